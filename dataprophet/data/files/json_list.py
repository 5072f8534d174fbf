"""Rows of a JSON list, parsed one by one: of a file of any size only a few megabytes are in memory."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from dataprophet.data.files.text import ENCODING_FIX, Digest, Mark, Rows, first_line, kind_of, not_an_object, opened
from dataprophet.errors import DataError

_WHITE = " \t\n\r"  # what JSON takes for white space
_SPACE = re.compile(f"[{_WHITE}]*")
_CHUNK = 1 << 20
_BOM = b"\xef\xbb\xbf"


def read_json(path: str) -> Rows:
    """Rows of a JSON list, counted from 1.

    Raises:
        DataError: the file is no list, or is damaged; the rows before the damage have been given then.
    """
    for number, (_, row) in enumerate(_elements(path), 1):
        yield number, row if isinstance(row, dict) else not_an_object(row)


def mark_json(path: str, digest: Digest | None = None) -> Iterator[Mark]:
    """Marks of the rows of a JSON list; ``digest`` is given all bytes of the file.

    Raises:
        DataError: as ``read_json``.
    """
    for number, (offset, _) in enumerate(_elements(path, digest)):
        yield offset, number


def read_json_part(path: str, mark: Mark, end: int) -> Rows:
    """Rows of a JSON list from ``mark`` to byte ``end``, where another row begins or the file ends."""
    offset, number = mark
    with opened(path) as file:
        file.seek(offset)
        data = file.read(end - offset)
    try:
        text = data.decode("utf-8").rstrip(_WHITE)
        rows = json.loads(f"[{text[:-1]}]")  # the last letter is the comma behind the part, or the list's end
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"bad JSON from row {number + 1} on ({first_line(error)})",
            where=path,
            fix="do not change a file while it is read",
        ) from error
    for count, row in enumerate(rows, number + 1):
        yield count, row if isinstance(row, dict) else not_an_object(row)


class _Irregular(Exception):
    """The text is no JSON list. What is wrong, and where, is for a parse of the whole file to say."""


class _Window:
    """The part of a file's text that is being parsed.

    Attributes:
        text: it.
        place: what is parsed next, in ``text``.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        first = file.read(_CHUNK)
        self._offset = len(_BOM) if first.startswith(_BOM) else 0
        self._counted = 0  # the letter that stands at byte _offset
        self.text, self.place = self._decode(first.removeprefix(_BOM)), 0

    def more(self) -> bool:
        """Drop what is parsed, and read as much again as is left: long rows are parsed few times. False at the end."""
        left = self.text[self.place :]
        self.offset()
        data = self._file.read(max(_CHUNK, len(left)))
        self.text, self.place, self._counted = left + self._decode(data), 0, 0
        return bool(data)

    def offset(self) -> int:
        """Byte of the file at ``place``."""
        self._offset += len(self.text[self._counted : self.place].encode())
        self._counted = self.place
        return self._offset

    def next(self) -> str:
        """Go to the next letter that is no white space, and return it; empty at the end."""
        while True:
            found = _SPACE.match(self.text, self.place)
            self.place = found.end() if found else self.place
            if self.place < len(self.text):
                return self.text[self.place]
            if not self.more():
                return ""

    def _decode(self, data: bytes) -> str:
        try:
            return self._decoder.decode(data, not data)
        except UnicodeDecodeError as error:
            raise _Irregular from error


def _elements(path: str, digest: Digest | None = None) -> Iterator[tuple[int, Any]]:
    """Where each element of the list begins, and its value."""
    with opened(path, digest) as file:
        try:
            window = _Window(file)
            if window.next() != "[":
                raise _Irregular
            window.place += 1
            letter = window.next()
            while letter != "]":
                window.next()
                yield _element(window)
                letter = window.next()
                if letter not in {",", "]"}:
                    raise _Irregular
                window.place += letter == ","
            window.place += 1
            if window.next():
                raise _Irregular
        except _Irregular:
            _parse_whole(path)


def _element(window: _Window) -> tuple[int, Any]:
    """The element at the window's place, which moves behind it."""
    decoder = json.JSONDecoder()
    while True:
        try:
            value, end = decoder.raw_decode(window.text, window.place)
            if end < len(window.text):  # else a number may go on behind what was read
                break
        except json.JSONDecodeError:
            pass
        except (ValueError, RecursionError) as error:
            raise _Irregular from error
        if not window.more():
            raise _Irregular
    offset = window.offset()
    window.place = end
    return offset, value


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
    if isinstance(document, list):
        raise DataError("the file changed while it was read", where=path, fix="read it again")
    what = f"the top level is {kind_of(document)}, not a list of rows"
    raise DataError(what, where=path, fix="make it a list of objects")
