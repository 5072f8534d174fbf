"""Rows of a JSON list, parsed one by one: of a file of any size only a few megabytes are in memory.

For ``files.containers``. It knows nothing of what the rows mean.
"""

# Not ijson: it does not say at which byte an element begins, so that no part of a list could be read by itself, and it
# refuses NaN, integers above 64 bits and floats above 1e308, which are read in every other place.

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from dataprophet.data.files.rows import ENCODING_FIX, START, Digest, Mark, Rows, as_row, kind_of, opened
from dataprophet.errors import DataError, explained, first_line, require

_WHITE = " \t\n\r"  # what JSON takes for white space
_SPACE = re.compile(f"[{_WHITE}]*")
_CHUNK = 1 << 20
_BOM = b"\xef\xbb\xbf".decode("latin-1")


def mark_json(path: str, digest: Digest | None = None) -> Iterator[Mark]:
    """Marks of the rows of a JSON list; ``digest`` takes all bytes of the file. Raises as ``read_json``."""
    for number, (offset, _) in enumerate(_elements(path, digest)):
        yield offset, number


def read_json(path: str, mark: Mark = START, end: int | None = None) -> Rows:
    """Rows of a JSON list, counted from 1.

    Args:
        path: the file.
        mark: where to begin.
        end: with a mark: the byte where another row begins or the file ends.

    Raises:
        DataError: the file is no list, or is damaged; the rows before the damage have been given then.
    """
    values = (value for _, value in _elements(path)) if end is None else _part(path, mark, end)
    for number, value in enumerate(values, mark[1] + 1):
        yield number, as_row(value)


def _part(path: str, mark: Mark, end: int) -> Iterator[Any]:
    offset, number = mark
    with opened(path) as file:
        file.seek(offset)
        data = file.read(end - offset)
    what, fix = f"bad JSON from row {number + 1} on", "do not change a file while it is read"
    with explained((ValueError, RecursionError), DataError, what, path, fix):
        text = data.decode("utf-8").rstrip(_WHITE)
        yield from json.loads(f"[{text[:-1]}]")  # the last letter is the comma behind the part, or the list's end


class _NotAList(Exception):
    """The text is no JSON list. What is wrong, and where, is for a parse of the whole file to say."""


class _Window:
    """The part of a file that is being parsed, as Latin-1, so that a letter is a byte.

    JSON is marked up in ASCII alone, so an element ends at the same byte whatever its strings hold.

    Attributes:
        text: it.
        start: byte of the file at which ``text`` begins.
        place: what is parsed next, in ``text``.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.text, self.start, self.place = "", 0, 0
        self.more()
        self.place = len(_BOM) * self.text.startswith(_BOM)

    def more(self) -> bool:
        """Drop what is parsed, and read as much again as is left: long rows are parsed few times. False at the end."""
        left = self.text[self.place :]
        data = self._file.read(max(_CHUNK, len(left)))
        self.text, self.start, self.place = left + data.decode("latin-1"), self.start + self.place, 0
        return bool(data)

    def next(self) -> str:
        """Go to the next letter that is no white space, and return it; empty at the end."""
        while True:
            found = _SPACE.match(self.text, self.place)
            self.place = found.end() if found else self.place
            if self.place < len(self.text):
                return self.text[self.place]
            if not self.more():
                return ""

    def element(self) -> tuple[int, Any]:
        """Where the element at ``place`` begins in the file, and its value; ``place`` moves behind it."""
        while True:
            try:
                value, end = json.JSONDecoder().raw_decode(self.text, self.place)
                if end < len(self.text):  # else a number may go on behind what was read
                    break
            except json.JSONDecodeError:
                pass
            if not self.more():
                raise _NotAList
        element, offset = self.text[self.place : end], self.start + self.place
        self.place = end
        return offset, value if element.isascii() else json.loads(element.encode("latin-1").decode("utf-8"))


def _elements(path: str, digest: Digest | None = None) -> Iterator[tuple[int, Any]]:
    """Where each element of the list begins, and its value."""
    with opened(path, digest) as file:
        try:
            window = _Window(file)
            if window.next() != "[":
                raise _NotAList
            window.place += 1
            letter = window.next()
            while letter != "]":
                window.next()
                yield window.element()
                letter = window.next()
                if letter not in {",", "]"}:
                    raise _NotAList
                window.place += letter == ","
            window.place += 1
            if window.next():
                raise _NotAList
        except (_NotAList, ValueError, RecursionError):
            _parse_whole(path)


def _parse_whole(path: str) -> None:
    """Raise the DataError that says what is wrong with a file."""
    with opened(path) as file:
        data = file.read()
    try:
        document = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"byte {error.start} is not UTF-8", where=path, fix=ENCODING_FIX) from error
    except json.JSONDecodeError as error:
        what = f"bad JSON at line {error.lineno} column {error.colno} ({error.msg})"
        fix = "repair the file, or name it .jsonl if it has one object per line"
        raise DataError(what, where=path, fix=fix) from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"bad JSON ({first_line(error)})", where=path, fix="repair the file") from error
    what = f"the top level is {kind_of(document)}, not a list of rows"
    require(isinstance(document, list), what, path, "make it a list of objects")
    raise DataError("the file changed while it was read", where=path, fix="read it again")
