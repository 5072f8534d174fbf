"""Where the rows of a data file begin, so that any part of it is read without what stands before it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from dataprophet.data.files.arrow import arrow_rows, read_arrow
from dataprophet.data.files.json_list import mark_json, read_json_part
from dataprophet.data.files.text import (
    START,
    Digest,
    Mark,
    mark_delimited,
    mark_jsonl,
    opened,
    read_delimited,
    read_jsonl,
)
from dataprophet.data.formats.base import SUFFIXES
from dataprophet.data.formats.webdataset import mark_tar, read_tar
from dataprophet.data.remote import is_url, local, version
from dataprophet.data.rows import BadRow, Row
from dataprophet.errors import DataError

CELL_ROWS = 1024
"""Rows of a cell: batches are made within one, so that they depend on the input alone."""

_CHUNK = 1 << 22
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

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> FileIndex:
        """The index that ``to_json`` gave."""
        marks = tuple((int(offset), int(number)) for offset, number in document["marks"])
        return cls(**{**document, "marks": marks})


def index_file(path: str, name: str) -> FileIndex:
    """Read a file once, for its digest and its marks (a tar twice: its headers, which are few, are read first).

    Raises:
        DataError: it cannot be read, or is damaged in a way that hides where its rows are.
    """
    import xxhash  # here, so that datasets can be read where it is missing

    suffix = _suffix(path)
    size = _size(path)
    digest = xxhash.xxh3_128()
    rows, marks = 0, list[Mark]()
    if suffix in {".parquet", ".arrow"}:
        rows = arrow_rows(path)
    elif suffix == ".tar":
        rows = _keep_some(mark_tar(path), marks)
    elif suffix not in MARKS:
        raise DataError(f"unknown suffix {suffix!r}", where=path, fix=f"use {', '.join(SUFFIXES)} or .tar")
    else:
        rows = _keep_some(MARKS[suffix](path, digest), marks)
        return FileIndex(name, path, size, digest.hexdigest(), rows, tuple(marks))
    with opened(path, digest) as file:
        while file.read(_CHUNK):
            pass
    return FileIndex(name, path, size, digest.hexdigest(), rows, tuple(marks))


def _keep_some(every: Iterator[Mark], marks: list[Mark]) -> int:
    """Keep the mark of each cell's first row; returns how many rows there are."""
    count = 0
    for count, mark in enumerate(every, 1):
        if (count - 1) % CELL_ROWS == 0:
            marks.append(mark)
    return count


def read_range(
    index: FileIndex, first: int, last: int, wanted: set[str], max_pixels: int
) -> Iterator[tuple[int, Row | BadRow]]:
    """Raw rows of the cells [first, last), with their numbers.

    Raises:
        DataError: the file is damaged, or is not what it was when it was indexed.
    """
    path, suffix = index.path, _suffix(index.path)
    if _size(path) != index.size:
        raise DataError("the file has changed since it was indexed", where=path, fix=_CHANGED)
    start, stop = first * CELL_ROWS, min(last * CELL_ROWS, index.rows)
    if stop <= start:
        return
    mark = index.marks[first] if index.marks else START
    end = index.marks[last][0] if last < len(index.marks) else index.size
    if suffix in {".parquet", ".arrow"}:
        rows = read_arrow(path, wanted, max_pixels, start)
    elif suffix == ".jsonl":
        rows = read_jsonl(path, mark)
    elif suffix == ".json":
        rows = read_json_part(path, mark, end)
    elif suffix == ".tar":
        rows = read_tar(path, max_pixels, mark)
    else:
        rows = read_delimited(path, "," if suffix == ".csv" else "\t", mark)
    count = 0
    for count, row in enumerate(_first(rows, stop - start), 1):  # noqa: B007 (the last count is checked below)
        yield row
    if count != stop - start:
        what = f"{count} rows from row {start + 1} on, where the index has {stop - start}"
        raise DataError(what, where=path, fix=_CHANGED)


def in_cells(entries: Iterable[T]) -> Iterator[list[T]]:
    """Entries, one for each row from the start of a cell, as lists of a cell each."""
    cell: list[T] = []
    for entry in entries:
        cell.append(entry)
        if len(cell) == CELL_ROWS:
            yield cell
            cell = []
    if cell:
        yield cell


def state_of(path: str) -> list[int] | str | None:
    """Size and time of change of a file, or its version behind a URL; None where they are not known."""
    try:
        if is_url(path):
            return version(path)
        status = os.stat(path)
    except (OSError, DataError):
        return None
    return [status.st_size, status.st_mtime_ns]


def relative_name(path: str, folder: str) -> str:
    """A file's name within the dataset's folder, with ``/``; its base name where it lies elsewhere."""
    name = os.path.relpath(path, folder)
    return os.path.basename(path) if name.startswith(os.pardir) else name.replace(os.sep, "/")


def _first(rows: Iterator[T], count: int) -> Iterator[T]:
    """The first ``count``; the reader behind them is closed then, and reads no further."""
    for number, row in enumerate(rows, 1):
        yield row
        if number == count:
            break


def _suffix(path: str) -> str:
    return os.path.splitext(path)[1].lower()


def _size(path: str) -> int:
    try:
        return os.stat(local(path)).st_size
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror})", where=path, fix="check the path") from error


MARKS: dict[str, Callable[[str, Digest | None], Iterator[Mark]]] = {
    ".jsonl": mark_jsonl,
    ".json": mark_json,
    ".csv": lambda path, digest: mark_delimited(path, ",", digest),
    ".tsv": lambda path, digest: mark_delimited(path, "\t", digest),
}
"""Suffix -> marks of the rows of a file, and a hash of it on the way."""
