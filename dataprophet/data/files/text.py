"""Rows of JSON-lines, CSV and TSV files, from any row on, and marks of where their rows begin.

For ``files.containers``. A row is a dictionary as the file has it: what its columns mean is for the formats to say.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import BinaryIO

from dataprophet.data.files.rows import ENCODING_FIX, START, BadRow, Digest, Mark, Rows, as_row, opened
from dataprophet.errors import DataError, first_line, require

# Base64 images are long fields. The limit is one for the process, so it is raised once and never lowered.
csv.field_size_limit(max(csv.field_size_limit(), 1 << 30))

_decode = json.JSONDecoder().decode
_OPEN = "unexpected end of data"  # the csv module's words for a quote without an end
_MISSING = {"", "nan", "NaN", "<NA>"}  # pandas' missing values, which str() writes out
_LONGEST_MISSING = 5
_TELLING = 64  # lines that are whole records, one after the other, are records


def mark_jsonl(path: str, digest: Digest | None = None) -> Iterator[Mark]:
    """Marks of the lines that are not blank; ``digest`` is given all bytes of the file."""
    return (mark for mark, _ in _lines(path, START, digest))


def read_jsonl(path: str, mark: Mark = START) -> Rows:
    """Rows of a JSON-lines file from ``mark`` on; the row number is the line number. Blank lines are skipped."""
    for (_, before), line in _lines(path, mark):
        try:
            yield before + 1, as_row(_decode(line.decode("utf-8")))
        except UnicodeDecodeError:
            yield before + 1, BadRow("bad_encoding", "the line is not UTF-8", ENCODING_FIX)
        except (ValueError, RecursionError) as error:
            yield before + 1, BadRow("bad_json", f"bad JSON ({first_line(error)})", "repair or remove the line")


def _lines(path: str, mark: Mark, digest: Digest | None = None) -> Iterator[tuple[Mark, bytes]]:
    offset, first = mark
    with opened(path, digest) as file:
        if offset:
            file.seek(offset)
        for number, line in enumerate(file, first):
            text = line.removeprefix(b"\xef\xbb\xbf") if number == 0 else line
            if text and not text.isspace():
                yield (offset, number), text
            offset += len(line)


def mark_delimited(path: str, digest: Digest | None = None) -> Iterator[Mark]:
    """Marks of the rows of a CSV or TSV file behind its header; ``digest`` is given all bytes of the file."""
    return (mark for mark, _, _ in _records(path, START, digest))


def read_delimited(path: str, mark: Mark = START) -> Rows:
    """Rows of a CSV or TSV file with a header from ``mark`` on, counted from 1 behind it; missing cells are None.

    Raises:
        DataError: no header, or text that is not UTF-8.
    """
    for (_, before), names, cells in _records(path, mark):
        if isinstance(cells, BadRow):
            yield before + 1, cells
        elif len(cells) == len(names):
            yield before + 1, {name: _value(cell) for name, cell in zip(names, cells, strict=True)}
        else:
            what = f"{len(cells)} cells under {len(names)} columns"
            yield before + 1, BadRow("bad_row", what, "quote cells that hold the delimiter or a line break")


def _value(cell: str) -> str | None:
    return None if len(cell) < _LONGEST_MISSING and cell in _MISSING else cell


def delimited_columns(path: str) -> list[str]:
    """Names in the header of a CSV or TSV file. Raises DataError where there is none."""
    with opened(path) as file:
        return _header(_Lines(file, path), path)


def _records(
    path: str, mark: Mark, digest: Digest | None = None
) -> Iterator[tuple[Mark, list[str], list[str] | BadRow]]:
    """Where each record begins, the names of the columns, and its cells."""
    delimiter = _delimiter(path)
    with opened(path, digest) as file:
        lines = _Lines(file, path)
        names, number = _header(lines, path), mark[1]
        if mark[0]:
            lines.seek(mark[0])
        offset = lines.offset
        while (line := lines.next()) is not None:
            if '"' not in line:
                bare = line.rstrip("\r\n")
                cells: list[str] | BadRow = bare.split(delimiter) if bare else []
            else:
                cells = _quoted(line, lines, delimiter, len(names), f"{path} row {number + 1}")
            if cells:
                yield (offset, number), names, cells
                number += 1
            offset = lines.offset


def _header(lines: _Lines, path: str) -> list[str]:
    try:
        names = [name.strip() for name in next(csv.reader([lines.next() or ""], delimiter=_delimiter(path)), [])]
    except csv.Error as error:
        raise DataError(f"bad header ({error})", where=path, fix="name the columns in the first line") from error
    require(any(names), "no header line", path, "name the columns in the first line")
    other = next((mark for mark in ",;\t|" if len(names) == 1 and mark in names[0]), "")
    fix = f"separate columns by {'tabs' if _delimiter(path) != ',' else 'commas, or name it .tsv if tabs do'}"
    require(not other, f"the header {names[0]!r} is one column, and holds {other!r}", path, fix)
    require(len(set(names)) == len(names), f"two columns have one name in {names}", path, "rename one of them")
    return names


def _delimiter(path: str) -> str:
    return "\t" if path.lower().endswith(".tsv") else ","


def _quoted(line: str, lines: _Lines, delimiter: str, columns: int, where: str) -> list[str] | BadRow:
    """Cells of a record whose first line holds a quote; takes the further lines that belong to it.

    Files are written with quotes around the cells that need them (pandas, VLMEvalKit), or without any, where a quote
    that begins a cell is a letter like others and must not join all lines up to the next one: lines that are whole
    records without quoting are taken for such.

    Raises:
        DataError: a quote has no end.
    """
    with suppress(csv.Error):  # most records are one line
        return next(csv.reader((line,), delimiter=delimiter, strict=True), [])
    taken, whole = [line], [line.count(delimiter) == columns - 1 > 0]

    def following() -> Iterator[str]:
        yield line
        while not (all(whole) and len(taken) > _TELLING) and (more := lines.next()) is not None:
            taken.append(more)
            whole.append(more.count(delimiter) == columns - 1 > 0)
            yield more

    bad = ""
    try:
        cells = next(csv.reader(following(), delimiter=delimiter, strict=True), [])
        if not all(whole):
            return cells
    except csv.Error as error:
        bad = str(error)
    told = delimiter == "\t" or len(taken) > _TELLING
    if bad and not (whole[0] and (told or _OPEN not in bad)):
        raise DataError(f"bad quoting ({bad})", where=where, fix="quote cells as CSV does")
    bare = line.rstrip("\r\n").split(delimiter)
    if told or (bad and not any(_enclosed(cell) for cell in bare)):
        lines.give_back(taken[1:])
        return bare
    what = (
        "a quoted cell holds quotes" if bad else f"a quoted cell holds {len(taken)} lines, each of which may be a row"
    )
    return BadRow("bad_row", what, "write a quote within a cell as two, and quotes around the cell")


def _enclosed(cell: str) -> bool:
    return len(cell) > 1 and cell[0] == cell[-1] == '"'


class _Lines:
    """Lines of a file as text.

    Attributes:
        path: of the file.
        number: lines taken.
        offset: the byte behind the last one.
    """

    def __init__(self, file: BinaryIO, path: str) -> None:
        self._file, self.path, self._again = file, path, list[bytes]()
        self.number = self.offset = 0

    def next(self) -> str | None:
        """Take the next line; None at the end."""
        line = self._again.pop() if self._again else self._file.readline()
        if not line:
            return None
        self.number += 1
        try:
            text = line.decode() if self.number > 1 else line.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            where = f"{self.path} line {self.number}"
            raise DataError("not UTF-8", where=where, fix=ENCODING_FIX) from error
        self.offset += len(line)
        return text

    def give_back(self, lines: list[str]) -> None:
        """Have lines that were taken last be taken again."""
        again = [line.encode() for line in reversed(lines)]
        self._again += again
        self.number -= len(lines)
        self.offset -= sum(map(len, again))

    def seek(self, offset: int) -> None:
        """Go to the start of a line."""
        self.offset = self._file.seek(offset)
