"""Where rows are written: a folder of a disk, or one of an object store."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dataprophet.data.remote import check_upload, is_url, upload
from dataprophet.files import MANIFEST, atomic_folder, check_folder


def check_output(out: str | os.PathLike[str], *, overwrite: bool = False) -> None:
    """See whether a folder may be written, before any work is done for it; raises as ``check_folder``."""
    if is_url(os.fspath(out)):
        check_upload(os.fspath(out), MANIFEST, overwrite=overwrite)
    else:
        check_folder(out, overwrite=overwrite)


@contextmanager
def output_folder(out: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """A temporary folder that becomes the output when the block ends well: a rename, or an upload, manifest last.

    Raises:
        DataProphetError: as ``check_output``, or when nothing can be written there.
    """
    if not is_url(os.fspath(out)):
        with atomic_folder(out, overwrite=overwrite) as path:
            yield path
        return
    check_output(out, overwrite=overwrite)
    with tempfile.TemporaryDirectory(prefix="dataprophet-export.") as folder:
        yield Path(folder)
        upload(folder, os.fspath(out), MANIFEST)


def place_of(out: str | os.PathLike[str]) -> str | Path:
    """The output folder as results name it."""
    return os.fspath(out) if is_url(os.fspath(out)) else Path(out)


def seen_from(out: str | os.PathLike[str], path: str) -> str:
    """A path relative to an output folder on a disk, so that both can move together; URLs stay."""
    if is_url(path):
        return path
    return os.path.abspath(path) if is_url(os.fspath(out)) else os.path.relpath(path, out)
