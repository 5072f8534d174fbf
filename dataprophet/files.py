"""Files and folders that appear under their final name whole, or not at all.

For every room that writes one. It knows nothing of what they hold.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from dataprophet.errors import DataProphetError, explained, require

MANIFEST = "manifest.json"
"""File that every output folder holds; a folder without it is never overwritten."""

_PART = re.compile(r"[0-9a-f]{16}\.part")  # the end of a name that is not final
_NAMED = 100  # characters of the final name in it


def _writing(path: Path) -> AbstractContextManager[None]:
    """What the system refuses, as an error of ours."""
    fix = "check the folder's rights and free space"
    return explained(OSError, DataProphetError, "cannot be written", str(path), fix)


def _require(holds: object, what: str, where: Path, fix: str) -> None:
    require(holds, what, str(where), fix, DataProphetError)


def _check_place(path: Path) -> None:
    above = next(folder for folder in Path(os.path.abspath(path)).parents if os.path.lexists(folder))
    fix = "choose a place you can write to"
    _require(above.is_dir(), f"cannot be written ({above} is not a folder)", path, fix)
    _require(os.access(above, os.W_OK | os.X_OK), f"cannot be written ({above} is not writable)", path, fix)


def check_file(path: str | os.PathLike[str]) -> None:
    """See whether a file may be written, before any work is done for it.

    Raises:
        DataProphetError: when ``path`` is a folder or a device, or lies where nothing can be written.
    """
    final = Path(path)
    _require(not final.is_dir(), "is a folder, not a file", final, "name a file")
    _require(final.is_file() or not final.exists(), "is not a regular file", final, "name another file")
    _check_place(final)


def check_replaced(path: str | os.PathLike[str], kind: str, is_one: Callable[[Path], bool]) -> None:
    """As :func:`check_file`; also refuse to replace a file of another kind than what is to be written.

    Args:
        path: the file.
        kind: what is to be written, in words.
        is_one: whether a file is that.
    """
    check_file(path)
    final = Path(path)
    same = not final.exists() or final.stat().st_size == 0 or is_one(final)
    _require(same, f"exists and is no {kind}, so it is not overwritten", final, "choose another name")


@contextmanager
def atomic_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it when the block ends well, and is removed when it does not.

    Raises:
        DataProphetError: as :func:`check_file`, or when the disk is full.
    """
    check_file(path)
    final = Path(os.path.realpath(path))  # a link stays, and what it points to is replaced
    with _writing(Path(path)):
        final.parent.mkdir(parents=True, exist_ok=True)
        with _part_of(final, _new_file) as temporary:
            try:
                yield temporary
                os.replace(temporary, final)
            finally:
                with suppress(FileNotFoundError):
                    temporary.unlink()


def check_folder(path: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """See whether a folder may be written, before any work is done for it.

    Raises:
        DataProphetError: when ``path`` exists and is not an empty folder, unless ``overwrite`` is true and the folder
            holds a manifest, so that only what was written here is ever replaced.
    """
    final, other = Path(path), "choose another name"
    odd = final.is_symlink() or (final.exists() and not final.is_dir())
    _require(not odd, "exists and is not a folder", final, other)
    here = final.exists() and final.samefile(os.curdir)
    _require(not here, "is the folder you are in", final, "name a folder in it")
    if final.exists() and any(final.iterdir()):
        _require(overwrite, "already exists", final, f"{other}, or allow overwriting (overwrite=True)")
        _require((final / MANIFEST).is_file(), f"holds no {MANIFEST}, so it is not overwritten", final, other)
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
        with _part_of(final, _new_folder) as temporary:
            try:
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
        os.replace(temporary, final)
    except OSError:
        if final.exists():
            aside.rmdir()
        else:
            os.replace(aside, final)
        raise
    shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _part_of(final: Path, make: Callable[[Path], int]) -> Iterator[Path]:
    """A hidden file or folder beside a final one, locked: the system ends the lock with the process.

    What others of that name left behind is removed; ``make`` makes this one and opens it.
    """
    front = f".{final.name[:_NAMED]}."
    for name in os.listdir(final.parent):
        if name.startswith(front) and _PART.fullmatch(name[len(front) :]):
            _remove_left_behind(final.with_name(name))
    temporary = final.with_name(f"{front}{secrets.token_hex(8)}.part")
    opened = make(temporary)
    try:
        with suppress(OSError):  # a file system without locks: nothing is ever taken for left behind
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield temporary
    finally:
        os.close(opened)


def _remove_left_behind(part: Path) -> None:
    """Remove what no process holds."""
    with suppress(OSError):
        opened = os.open(part, os.O_RDONLY)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(part) if part.is_dir() else part.unlink()
        finally:
            os.close(opened)


def _new_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)


def _new_folder(path: Path) -> int:
    path.mkdir()
    return os.open(path, os.O_RDONLY)


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
