"""Where the rows of a data file begin, so that any part of it is read without what stands before it.

For ``dataset`` and for whoever divides a pool into parts. It gives raw rows: what they mean is for the formats.
"""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from dataprophet.data.files.arrow import arrow_rows
from dataprophet.data.files.containers import ARROW, HASHED, MARKS, known_suffix, read_rows, suffix_of
from dataprophet.data.files.rows import BadRow, Mark, Row, opened
from dataprophet.data.remote import is_url, local, size_of, version
from dataprophet.errors import DataError, require

CELL_ROWS = 1024
"""Rows of a cell: batches are made within one, so that they depend on the input alone."""

_CHANGED = "do not change a pool while it is read; run the command again"

T = TypeVar("T")


@dataclass(frozen=True)
class FileIndex:
    """What is known of a data file before its rows are read.

    Attributes:
        name: its name, relative to the dataset's folder, with ``/``.
        path: where it lies.
        size: its bytes.
        digest: hex XXH3 (128 bits) of its bytes.
        rows: its raw rows, bad ones included.
        marks: for each cell, where its first row begins, as the file's format needs it; empty for formats that find
            rows by number.
    """

    name: str
    path: str
    size: int
    digest: str
    rows: int
    marks: tuple[Mark, ...] = ()

    @property
    def cell_bytes(self) -> int:
        """Bytes of the rows of a cell in the mean, images in them included; 0 where these are read apart from rows."""
        return self.size // max(1, len(self.marks)) if suffix_of(self.path) in HASHED else 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> FileIndex:
        """The index that ``to_json`` gave."""
        marks = tuple((int(offset), int(number)) for offset, number in document["marks"])
        return cls(**{**document, "marks": marks})


def index_file(path: str, name: str, *, hashed: bool = True, cell_rows: int | None = None) -> FileIndex:
    """Read a file once, for its digest and its marks (a tar twice: its headers, which are few, are read first).

    Args:
        path: the file.
        name: its name within the dataset.
        hashed: whether to take the digest, too, for which every byte is read; else it is empty.
        cell_rows: rows of a cell, if others than ``CELL_ROWS``; whoever reads the cells gives the same.

    Raises:
        DataError: it cannot be read, or is damaged in a way that hides where its rows are.
    """
    import xxhash  # here, so that datasets can be read where it is missing

    suffix, size = known_suffix(path), size_of(local(path))
    digest: Any = xxhash.xxh3_128()
    rows, marks = 0, list[Mark]()
    if suffix in ARROW:
        rows = arrow_rows(path)
    else:
        for mark in MARKS[suffix](path, digest if hashed else None):
            if rows % (cell_rows or CELL_ROWS) == 0:
                marks.append(mark)
            rows += 1
    if hashed and suffix not in HASHED:
        with opened(path) as file:
            digest = hashlib.file_digest(file, xxhash.xxh3_128)
    return FileIndex(name, path, size, digest.hexdigest() if hashed else "", rows, tuple(marks))


def read_range(
    index: FileIndex, first: int, last: int, wanted: Collection[str], cell_rows: int | None = None
) -> Iterator[tuple[int, Row | BadRow]]:
    """Raw rows of the cells [first, last), with their numbers.

    Raises:
        DataError: the file is damaged, or is not what it was when it was indexed.
    """
    path, marks = index.path, index.marks
    require(size_of(local(path)) == index.size, "the file has changed since it was indexed", path, _CHANGED)
    each = cell_rows or CELL_ROWS
    start, stop = first * each, min(last * each, index.rows)
    if stop <= start:
        return
    end = marks[last][0] if last < len(marks) else index.size
    rows = read_rows(path, wanted, marks[first] if marks else (0, start), end)
    count = 0
    for count, row in enumerate(rows, 1):
        yield row
        if count == stop - start:
            break
    what = f"{count} rows from row {start + 1} on, where the index has {stop - start}"
    require(count == stop - start, what, path, _CHANGED)


def in_cells(entries: Iterable[T], cell_rows: int | None = None) -> Iterator[list[T]]:
    """Entries, one for each row from the start of a cell, as lists of a cell each."""
    rest = iter(entries)
    while cell := list(itertools.islice(rest, cell_rows or CELL_ROWS)):
        yield cell


def state_of(path: str) -> list[int] | str | None:
    """Size, times of change and number of a file, or its version behind a URL; None where they are not known."""
    with suppress(OSError, DataError):
        if is_url(path):
            return version(path)
        status = os.stat(path)
        return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]  # ctime cannot be set back
    return None


def relative_name(path: str, folder: str) -> str:
    """A file's name within the dataset's folder, with ``/``; its base name where it lies elsewhere."""
    name = os.path.relpath(path, folder)
    return os.path.basename(path) if name.startswith(os.pardir) else name.replace(os.sep, "/")
