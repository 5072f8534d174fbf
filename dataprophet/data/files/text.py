"""Rows of JSON-lines, CSV and TSV files, from any row on, and marks of where their rows begin.

For ``files.containers``. A row is a dictionary as the file has it: what its columns mean is for the formats to say.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from typing import BinaryIO

from dataprophet.data.files.rows import ENCODING_FIX, START, BadRow, Digest, Mark, Rows, as_row, opened
from dataprophet.errors import DataError, first_line, require

# Base64 images are long fields. The limit is one for the process, so it is raised once and never lowered.
csv.field_size_limit(max(csv.field_size_limit(), 1 << 30))


def mark_jsonl(path: str, digest: Digest | None = None) -> Iterator[Mark]:
    """Marks of the lines that are not blank; ``digest`` is given all bytes of the file."""
    return (mark for mark, _ in _lines(path, START, digest))


def read_jsonl(path: str, mark: Mark = START) -> Rows:
    """Rows of a JSON-lines file from ``mark`` on; the row number is the line number. Blank lines are skipped."""
    for (_, before), line in _lines(path, mark):
        try:
            yield before + 1, as_row(json.loads(line.decode("utf-8")))
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
            if text.strip():
                yield (offset, number), text
            offset += len(line)


def mark_delimited(path: str, digest: Digest | None = None) -> Iterator[Mark]:
    """Marks of the rows of a CSV or TSV file behind its header; ``digest`` is given all bytes of the file."""
    return (mark for mark, _, _ in _records(path, START, digest))


def read_delimited(path: str, mark: Mark = START) -> Rows:
    """Rows of a CSV or TSV file with a header from ``mark`` on, counted from 1 behind it. Empty cells are None.

    Raises:
        DataError: no header, or text that is not UTF-8.
    """
    for (_, before), names, cells in _records(path, mark):
        if len(cells) == len(names):
            yield before + 1, {name: cell or None for name, cell in zip(names, cells, strict=True)}
        else:
            what = f"{len(cells)} cells under {len(names)} columns"
            yield before + 1, BadRow("bad_row", what, "quote cells that hold the delimiter or a line break")


def _records(path: str, mark: Mark, digest: Digest | None = None) -> Iterator[tuple[Mark, list[str], list[str]]]:
    """Where each record begins, the names of the columns, and its cells."""
    with opened(path, digest) as file:
        lines = _Lines(file, path)
        reader = csv.reader(lines, delimiter="\t" if path.lower().endswith(".tsv") else ",", strict=True)
        number = mark[1]
        try:
            names = [name.strip() for name in next(reader, [])]
            require(any(names), "no header line", path, "name the columns in the first line")
            require(len(set(names)) == len(names), f"two columns have one name in {names}", path, "rename one of them")
            if mark[0]:
                lines.offset = file.seek(mark[0])
            offset = lines.offset
            for cells in reader:
                if cells:
                    yield (offset, number), names, cells
                    number += 1
                offset = lines.offset
        except csv.Error as error:
            where = f"{path} row {number + 1}"
            raise DataError(f"bad quoting ({error})", where=where, fix="quote cells as CSV does") from error


class _Lines:
    """Lines of a file as text, with the byte behind the last one that was taken."""

    def __init__(self, file: BinaryIO, path: str) -> None:
        self._file, self._path, self.offset = file, path, 0

    def __iter__(self) -> Iterator[str]:
        for number, line in enumerate(self._file, 1):
            self.offset += len(line)
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError("not UTF-8", where=f"{self._path} line {number}", fix=ENCODING_FIX) from error
