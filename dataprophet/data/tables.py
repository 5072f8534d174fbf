"""Rows of JSON, JSONL, CSV and TSV files, as dictionaries with their row numbers."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from dataprophet.data.rows import BadRow, Row
from dataprophet.errors import DataError

Rows = Iterator[tuple[int, Row | BadRow]]
Mark = tuple[int, int]
"""Where a row begins: the byte, and how many rows (in JSONL, lines) stand before it."""

START: Mark = (0, 0)

_WHITE = " \t\n\r"  # what JSON takes for white space
_SPACE = re.compile(f"[{_WHITE}]*")
_ENDS = re.compile(f"[{_WHITE}]*][{_WHITE}]*")
_ENCODING_FIX = "save the file as UTF-8"
# Base64 images are long fields. The limit is one for the process, so it is raised once and never lowered.
csv.field_size_limit(max(csv.field_size_limit(), 1 << 30))


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """The file opened for reading. Raises DataError when it cannot be."""
    try:
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise DataError(
            f"cannot be read ({error.strerror or error})", where=path, fix="check the path and your rights to it"
        ) from error


def read_json(path: str) -> Rows:
    """Rows of a JSON array, counted from 1. The text is parsed whole; images stay where they are."""
    with opened(path) as file:
        data = file.read()
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"byte {error.start} is not UTF-8", where=path, fix=_ENCODING_FIX) from error
    except json.JSONDecodeError as error:
        what = f"bad JSON at line {error.lineno} column {error.colno} ({error.msg})"
        raise DataError(
            what, where=path, fix="repair the file, or name it .jsonl if it has one object per line"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"bad JSON ({_line(error)})", where=path, fix="repair the file") from error
    if not isinstance(document, list):
        raise DataError(
            f"the top level is {_kind(document)}, not a list of rows", where=path, fix="make it a list of objects"
        )
    for number, row in enumerate(document, 1):
        yield number, row if isinstance(row, dict) else _not_an_object(row)


def mark_json(path: str) -> Iterator[Mark]:
    """Marks of the rows of a JSON array. The text is parsed whole, a row at a time."""
    with opened(path) as file:
        data = file.read()
    bom = len(data) - len(data.removeprefix(b"\xef\xbb\xbf"))
    try:
        text = data[bom:].decode("utf-8")
    except UnicodeDecodeError:
        text = ""
    del data
    place, offset = _next_element(text, 0, "["), bom
    done = 0
    if place < 0 or text[place : place + 1] == "]":  # empty, or something that the reader has a message for
        for _ in read_json(path):
            pass
        return
    decoder = json.JSONDecoder()
    number = 0
    while place >= 0:
        offset += place - done if text.isascii() else len(text[done:place].encode("utf-8", "surrogatepass"))
        done = place
        yield offset, number
        number += 1
        try:
            _, end = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            end = -1
        place = _next_element(text, end, ",") if end >= 0 else -1
        if place < 0 and (end < 0 or not _ENDS.fullmatch(text, end)):
            for _ in read_json(path):  # it says what is wrong, and where
                pass
            raise DataError("bad JSON", where=path, fix="repair the file")


def read_json_part(path: str, mark: Mark, end: int) -> Rows:
    """Rows of a JSON array from ``mark`` to byte ``end``, where another row begins or the file ends."""
    offset, number = mark
    with opened(path) as file:
        file.seek(offset)
        data = file.read(end - offset)
    text = data.decode("utf-8", "surrogatepass").rstrip(_WHITE)
    try:
        rows = json.loads(f"[{text[:-1]}]")  # the last letter is the comma behind the part, or the list's end
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"bad JSON from row {number + 1} on ({_line(error)})",
            where=path,
            fix="do not change a file while it is read",
        ) from error
    for count, row in enumerate(rows, number + 1):
        yield count, row if isinstance(row, dict) else _not_an_object(row)


def _next_element(text: str, start: int, mark: str) -> int:
    """Place of what follows ``mark``, which is the next thing but white space; -1 where it is not."""
    found = _SPACE.match(text, start)
    place = found.end() if found else start
    if text[place : place + 1] != mark:
        return -1
    found = _SPACE.match(text, place + 1)
    return found.end() if found else place + 1


def mark_jsonl(path: str) -> Iterator[Mark]:
    """Marks of the lines that are not blank."""
    offset = 0
    with opened(path) as file:
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
                yield number, BadRow("bad_encoding", "the line is not UTF-8", _ENCODING_FIX)
            except (ValueError, RecursionError) as error:
                yield number, BadRow("bad_json", f"bad JSON ({_line(error)})", "repair or remove the line")
            else:
                yield number, row if isinstance(row, dict) else _not_an_object(row)


def mark_delimited(path: str, delimiter: str) -> Iterator[Mark]:
    """Marks of the rows of a CSV or TSV file behind its header."""
    with opened(path) as file:
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
        raise DataError("not UTF-8", where=f"{path} line {number}", fix=_ENCODING_FIX) from error


def _not_an_object(row: Any) -> BadRow:
    return BadRow("bad_row", f"the row is {_kind(row)}, not an object", 'write it as {"id": ..., ...}')


def _kind(value: Any) -> str:
    return "null" if value is None else f"a {type(value).__name__}"


def _line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
