"""Files and folders that appear under their final name whole, or not at all.

For every room that writes one. It knows nothing of what they hold.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dataprophet.errors import DataProphetError

MANIFEST = "manifest.json"
"""File that every output folder holds; a folder without it is never overwritten."""


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """What the system refuses, as an error of ours."""
    try:
        yield
    except OSError as error:
        raise DataProphetError(
            f"cannot be written ({error.strerror})", where=str(path), fix="check the folder's rights and free space"
        ) from error


def _check_place(path: Path) -> None:
    above = next(folder for folder in Path(os.path.abspath(path)).parents if os.path.lexists(folder))
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        reason = "is not writable" if above.is_dir() else "is not a folder"
        raise DataProphetError(
            f"cannot be written ({above} {reason})", where=str(path), fix="choose a place you can write to"
        )


def check_file(path: str | os.PathLike[str]) -> None:
    """See whether a file may be written, before any work is done for it.

    Raises:
        DataProphetError: when ``path`` is a folder or a device, or lies where nothing can be written.
    """
    final = Path(path)
    if final.is_dir():
        raise DataProphetError("is a folder, not a file", where=str(final), fix="name a file")
    if final.exists() and not final.is_file():
        raise DataProphetError("is not a regular file", where=str(final), fix="name another file")
    _check_place(final)


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it when the block ends well, and is removed when it does not.

    Raises:
        DataProphetError: as :func:`check_file`, or when the disk is full.
    """
    check_file(path)
    final = Path(os.path.realpath(path))  # a link stays, and what it points to is replaced
    temporary = final.with_name(f".{final.name}.{os.getpid()}.part")
    try:
        with _writing(Path(path)):
            final.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            os.replace(temporary, final)
    finally:
        with suppress(FileNotFoundError, NotADirectoryError):
            temporary.unlink()


def check_folder(path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """See whether a folder may be written, before any work is done for it.

    Raises:
        DataProphetError: when ``path`` exists and is not an empty folder, unless ``overwrite`` is true and the folder
            holds a manifest, so that only what was written here is ever replaced.
    """
    final = Path(path)
    if final.is_symlink() or (final.exists() and not final.is_dir()):
        raise DataProphetError("exists and is not a folder", where=str(final), fix="choose another name")
    if final.exists() and final.samefile(os.curdir):
        raise DataProphetError("is the folder you are in", where=str(final), fix="name a folder in it")
    if final.exists() and any(final.iterdir()):
        if not overwrite:
            fix = "choose another name, or allow overwriting (--overwrite)"
            raise DataProphetError("already exists", where=str(final), fix=fix)
        if not (final / MANIFEST).is_file():
            raise DataProphetError(
                f"holds no {MANIFEST}, so it is not overwritten", where=str(final), fix="choose another name"
            )
    _check_place(final)


@contextmanager
def atomic_folder(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder beside ``path`` that takes its name when the block ends well, and is removed when it does not.

    Raises:
        DataProphetError: as :func:`check_folder`, or when nothing can be written there.
    """
    final = Path(path)
    check_folder(final, overwrite=overwrite)
    with _writing(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".part", dir=final.parent))
        try:
            temporary.chmod(0o777 & ~_umask())
            yield temporary
            _put_in_place(temporary, final)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _put_in_place(temporary: Path, final: Path) -> None:
    """Rename; a folder cannot replace a full one in one step, so that one steps aside, and back if the rename fails."""
    if not final.is_dir() or not any(final.iterdir()):
        os.replace(temporary, final)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{final.name}.", suffix=".old", dir=final.parent))
    try:
        os.replace(final, aside)
    except OSError:
        aside.rmdir()
        raise
    try:
        os.replace(temporary, final)
    except OSError:
        os.replace(aside, final)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text atomically, with newlines as given."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def absolute(path: str) -> str:
    """A path that another process may use: made absolute where something is there; names and URLs stay as they are."""
    base = path.rpartition("::")[0] or path
    return os.path.abspath(path) if os.path.exists(base) else path


def sha256(path: str | os.PathLike[str]) -> str:
    """Hex SHA-256 of a file's bytes."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
