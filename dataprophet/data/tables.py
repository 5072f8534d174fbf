"""Rows of JSON, JSONL, CSV and TSV files, as dictionaries with their row numbers."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from dataprophet.data.rows import BadRow, Row
from dataprophet.errors import DataError

Rows = Iterator[tuple[int, Row | BadRow]]

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


def read_jsonl(path: str) -> Rows:
    """Rows of a JSON-lines file; the row number is the line number. Blank lines are skipped."""
    with opened(path) as file:
        for number, line in enumerate(file, 1):
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


def read_delimited(path: str, delimiter: str) -> Rows:
    """Rows of a CSV or TSV file with a header, counted from 1 behind it. Empty cells are None.

    Raises:
        DataError: no header, or text that is not UTF-8.
    """
    with opened(path) as file:
        lines = (_text(line, number, path) for number, line in enumerate(file, 1))
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        number = 0
        try:
            header = next(reader, [])
            names = [name.strip() for name in header]
            if not any(names):
                raise DataError("no header line", where=path, fix="name the columns in the first line")
            if len(set(names)) != len(names):
                raise DataError(f"two columns have one name in {names}", where=path, fix="rename one of them")
            for cells in reader:
                if not cells:
                    continue
                number += 1
                if len(cells) != len(names):
                    what = f"{len(cells)} cells under {len(names)} columns"
                    yield number, BadRow("bad_row", what, "quote cells that hold the delimiter or a line break")
                else:
                    yield number, {name: cell or None for name, cell in zip(names, cells, strict=True)}
        except csv.Error as error:
            raise DataError(
                f"bad quoting ({error})", where=f"{path} row {number + 1}", fix="quote cells as CSV does"
            ) from error


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
