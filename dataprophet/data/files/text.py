"""Rows of JSON-lines, CSV and TSV files, as dictionaries with their row numbers."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Protocol

from dataprophet.data.remote import local
from dataprophet.data.rows import BadRow, Row
from dataprophet.errors import DataError

Rows = Iterator[tuple[int, Row | BadRow]]
Mark = tuple[int, int]
"""Where a row begins: the byte, and how many rows (in JSONL, lines) stand before it."""

START: Mark = (0, 0)

ENCODING_FIX = "save the file as UTF-8"
_CHUNK = 1 << 20
# Base64 images are long fields. The limit is one for the process, so it is raised once and never lowered.
csv.field_size_limit(max(csv.field_size_limit(), 1 << 30))


class Digest(Protocol):
    """A running hash."""

    def update(self, data: bytes | memoryview, /) -> object:
        """Take more bytes."""


@contextmanager
def opened(path: str, digest: Digest | None = None) -> Iterator[io.BufferedReader]:
    """The file opened for reading; ``digest`` is given what is read. Raises DataError when it cannot be opened."""
    try:
        with open(local(path), "rb") as file:
            yield file if digest is None else io.BufferedReader(_Watched(file, digest), _CHUNK)
    except OSError as error:
        raise DataError(
            f"cannot be read ({error.strerror or error})", where=path, fix="check the path and your rights to it"
        ) from error


def mark_jsonl(path: str, digest: Digest | None = None) -> Iterator[Mark]:
    """Marks of the lines that are not blank; ``digest`` is given all bytes of the file."""
    offset = 0
    with opened(path, digest) as file:
        for number, line in enumerate(file):
            text = line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line
            if text.strip():
                yield offset, number
            offset += len(line)


def read_jsonl(path: str, mark: Mark = START) -> Rows:
    """Rows of a JSON-lines file; the row number is the line number. Blank lines are skipped.

    Args:
        path: the file.
        mark: where to begin.
    """
    with opened(path) as file:
        file.seek(mark[0])
        for number, line in enumerate(file, mark[1] + 1):
            text = line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            if not text.strip():
                continue
            try:
                row = json.loads(text.decode("utf-8"))
            except UnicodeDecodeError:
                yield number, BadRow("bad_encoding", "the line is not UTF-8", ENCODING_FIX)
            except (ValueError, RecursionError) as error:
                yield number, BadRow("bad_json", f"bad JSON ({first_line(error)})", "repair or remove the line")
            else:
                yield number, row if isinstance(row, dict) else not_an_object(row)


def mark_delimited(path: str, delimiter: str, digest: Digest | None = None) -> Iterator[Mark]:
    """Marks of the rows of a CSV or TSV file behind its header; ``digest`` is given all bytes of the file."""
    with opened(path, digest) as file:
        lines = _Lines(file, path)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        number, offset = -1, 0
        with _quoting(path, lambda: number):
            for cells in reader:
                if cells:
                    if number >= 0:
                        yield offset, number
                    number += 1
                offset = lines.offset


def read_delimited(path: str, delimiter: str, mark: Mark = START) -> Rows:
    """Rows of a CSV or TSV file with a header, counted from 1 behind it. Empty cells are None.

    Args:
        path: the file.
        delimiter: between cells.
        mark: where to begin.

    Raises:
        DataError: no header, or text that is not UTF-8.
    """
    with opened(path) as file:
        lines = _Lines(file, path)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        number = mark[1]
        with _quoting(path, lambda: number):
            header = next(reader, [])
            names = [name.strip() for name in header]
            if not any(names):
                raise DataError("no header line", where=path, fix="name the columns in the first line")
            if len(set(names)) != len(names):
                raise DataError(f"two columns have one name in {names}", where=path, fix="rename one of them")
            if mark[0]:
                lines.seek(mark[0])
            for cells in reader:
                if not cells:
                    continue
                number += 1
                if len(cells) != len(names):
                    what = f"{len(cells)} cells under {len(names)} columns"
                    yield number, BadRow("bad_row", what, "quote cells that hold the delimiter or a line break")
                else:
                    yield number, {name: cell or None for name, cell in zip(names, cells, strict=True)}


@contextmanager
def _quoting(path: str, number: Callable[[], int]) -> Iterator[None]:
    try:
        yield
    except csv.Error as error:
        raise DataError(
            f"bad quoting ({error})", where=f"{path} row {number() + 1}", fix="quote cells as CSV does"
        ) from error


class _Watched(io.RawIOBase):
    """A file that shows what is read of it to a hash."""

    def __init__(self, file: io.BufferedReader, digest: Digest) -> None:
        self._file, self._digest = file, digest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer)
        self._digest.update(memoryview(buffer)[:count])
        return count


class _Lines:
    """Lines of a file as text, with the byte behind the last one that was taken."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        self._file, self._path = file, path
        self.offset, self._number = 0, 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._file.readline()
        if not line:
            raise StopIteration
        self.offset += len(line)
        self._number += 1
        return _text(line, self._number, self._path)

    def seek(self, offset: int) -> None:
        self._file.seek(offset)
        self.offset = offset


def _text(line: bytes, number: int, path: str) -> str:
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise DataError("not UTF-8", where=f"{path} line {number}", fix=ENCODING_FIX) from error


def not_an_object(row: Any) -> BadRow:
    return BadRow("bad_row", f"the row is {kind_of(row)}, not an object", 'write it as {"id": ..., ...}')


def kind_of(value: Any) -> str:
    return "null" if value is None else f"a {type(value).__name__}"


def first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
