"""Pools of precomputed features: the same as a dataset to whoever scores a pool, without torch and without a model.

A pool is a file of features (see ``features/file.py``), a folder of ``.npy`` files or of such files, or a folder that
``dataprophet score --embeddings`` wrote. Files are mapped into memory a few cells at a time, so that a pool may be
larger than memory.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from dataprophet.data.index import CELL_ROWS, FileIndex, relative_name, state_of
from dataprophet.errors import DataError, ProfileError, explained, require
from dataprophet.features.columns import SUFFIXES, PlainColumns, npy_files, open_columns
from dataprophet.features.file import features_of
from dataprophet.scoring.folder.rows import Batch, lines_of

_BYTES_AT_ONCE = 128 << 20
_CELLS_AT_ONCE = 8
_CHUNK = 1 << 20
_CHANGED = "do not change a pool while it is read; run the command again"


class FeaturePool:
    """Files of precomputed features.

    Attributes:
        name: the pool's name.
        files: path of each file, or folder of ``.npy`` files, in the pool's order.
        settings: what is read of them, as text.
        origin: where the features came from, as far as the files tell: nothing.
        model_name: that of the model that made them, which is not known: there is a label for it.
        profile: the profile of the samples, where it is known better than from the features: it is not.
        side_by_side: whether parts of a file are best read by several threads at a time. Parquet is decoded in order.
    """

    origin: dict[str, Any] | None = None
    model_name = ""
    profile: Any = None

    def __init__(self, path: str | os.PathLike[str], *, name: str | None = None) -> None:
        """Find the files.

        Raises:
            DataError: there is nothing at ``path``, or no features.
        """
        self.path = os.fspath(path)
        self.name = name or Path(self.path).stem
        self.settings = "features"
        self.files = _files(Path(self.path))
        self.side_by_side = not any(path.lower().endswith(".parquet") for path in self.files)
        self._lock = threading.Lock()
        self._opened: tuple[str, PlainColumns] | None = None

    def index(self, number: int) -> FileIndex:
        """Read a file once, for its digest.

        Raises:
            DataError: it cannot be read, or lacks columns.
        """
        path = self.files[number]
        with _data_errors(), explained(OSError, DataError, "cannot be read", path, "check the path"):
            columns = self._columns(path)
            features_of(columns.read(0, min(1, columns.rows)), path)
            digest, size = _digest(Path(path))
        whole = Path(self.path)
        folder = whole if whole.is_dir() and self.files != [self.path] else whole.parent
        return FileIndex(relative_name(path, str(folder)), path, size, digest, columns.rows)

    def state(self, number: int) -> list[list[int] | str | None] | None:
        """Size and time of change of each part of a file; None where it cannot be told. See ``Dataset.state``."""
        try:
            return [state_of(str(part)) for part in _parts(Path(self.files[number]))]
        except OSError:
            return None

    def read_features(self, index: FileIndex, first: int, last: int) -> Iterator[Batch]:
        """Features of the cells [first, last), some cells at a time.

        The arrays are views of the mapped file: they may be read until the next are asked for, and later at a price.

        Yields:
            What a rows file says of the rows, the samples that have features (all), and those.

        Raises:
            DataError: the file is damaged, or is not what it was when it was indexed.
        """
        _require_size(index)
        columns = self._columns(index.path)
        prefix = f"{index.name}:" if len(self.files) > 1 else ""
        step = CELL_ROWS * _cells_at_once(index)
        behind = min(last * CELL_ROWS, index.rows)
        columns.expect(first * CELL_ROWS, min(first * CELL_ROWS + step, behind))
        for start in range(first * CELL_ROWS, behind, step):
            stop = min(start + step, behind)
            _require_size(index)
            columns.expect(stop, min(stop + step, behind))
            kinds, what = (ProfileError, pa.ArrowException, OSError), f"rows from {start + 1} on cannot be read"
            with explained(kinds, DataError, what, index.path, ""):
                features = features_of(columns.read(start, stop), index.path, first=start + 1, prefix=prefix)
            yield lines_of(index.name, features.ids, start), np.arange(stop - start), features
            columns.forget(start, stop)

    def _columns(self, path: str) -> PlainColumns:
        """The opened file; the last one is kept open."""
        with self._lock:
            if self._opened is None or self._opened[0] != path:
                with _data_errors():
                    self._opened = path, open_columns(Path(path))
            return self._opened[1]


def _require_size(index: FileIndex) -> None:
    """Raise DataError for a file of another size: a page of a mapped file that is not there any more is fatal."""
    with explained(OSError, DataError, "cannot be read", index.path, _CHANGED):
        same = _size(Path(index.path)) == index.size
    require(same, "the file has changed since it was indexed", index.path, _CHANGED)


@contextmanager
def _data_errors() -> Iterator[None]:
    """What is wrong with a file of features, as an error of the data."""
    try:
        yield
    except ProfileError as error:
        raise DataError(error.what, where=error.where, fix=error.fix) from error


def _files(path: Path) -> list[str]:
    if path.is_file() or _holds_arrays(path):
        return [str(path)]
    if not path.is_dir():
        raise DataError("no such file or folder", where=str(path), fix="check the path")
    entries = [entry for entry in sorted(path.iterdir()) if not entry.name.startswith((".", "_"))]
    found = [str(entry) for entry in entries if entry.suffix.lower() in SUFFIXES or _holds_arrays(entry)]
    if not found:
        seen = ", ".join(entry.name for entry in entries[:5]) or "nothing"
        what, fix = f"no features in the folder (it holds {seen})", f"name files {', '.join(SUFFIXES)} or nll.npy"
        raise DataError(what, where=str(path), fix=fix)
    return found


def _holds_arrays(path: Path) -> bool:
    return (path / "nll.npy").is_file()


def _cells_at_once(index: FileIndex) -> int:
    cell_bytes = index.size * CELL_ROWS // max(index.rows, 1)
    return max(1, min(_CELLS_AT_ONCE, _BYTES_AT_ONCE // max(cell_bytes, 1)))


def _parts(path: Path) -> list[Path]:
    return npy_files(path) if path.is_dir() else [path]


def _size(path: Path) -> int:
    return sum(part.stat().st_size for part in _parts(path))


def _digest(path: Path) -> tuple[str, int]:
    """XXH3 of the bytes, of a folder of the names too; and how many they are."""
    digest, size = xxhash.xxh3_128(), 0
    buffer = bytearray(_CHUNK)
    for part in _parts(path):
        if path.is_dir():
            digest.update(f"{part.name}\0{part.stat().st_size}\0".encode())
        with part.open("rb", buffering=0) as file:
            while count := file.readinto(buffer):
                digest.update(memoryview(buffer)[:count])
                size += count
    return digest.hexdigest(), size
