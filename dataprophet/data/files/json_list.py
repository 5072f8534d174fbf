"""Rows of a JSON list, parsed one by one: of a file of any size only a few megabytes are in memory.

For ``files.containers``. It knows nothing of what the rows mean.
"""

# Not ijson: it does not say at which byte an element begins, so that no part of a list could be read by itself, and it
# refuses NaN, integers above 64 bits and floats above 1e308, which are read in every other place.

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, BinaryIO

from dataprophet.data.files.rows import ENCODING_FIX, START, Digest, Mark, Rows, as_row, kind_of, opened
from dataprophet.errors import DataError, explained

_WHITE = " \t\n\r"  # what JSON takes for white space
_SPACE = re.compile(f"[{_WHITE}]*")
_CHUNK, _AT_ONCE = 1 << 20, 1 << 24
_LONGEST = 1 << 28  # bytes of a row
_LATE = 16  # bytes at the end of what was read so far, in which what is wrong may only be cut off
_BOM = b"\xef\xbb\xbf".decode("latin-1")
_BAD = ValueError, RecursionError
_NO_UTF8 = "is not UTF-8"
_INNER = bytes(range(0x80, 0xC0))  # bytes that begin no character


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
    what, fix = f"bad JSON from row {number + 1} on", "do not change a file while it is read"
    with opened(path) as file, explained(_BAD, DataError, what, path, fix):
        file.seek(offset)
        if end - offset <= _AT_ONCE:  # the quickest way
            text = file.read(end - offset).decode("utf-8").rstrip(_WHITE)
            yield from json.loads(f"[{text[:-1]}]")  # the last letter is the comma behind the part, or the list's end
            return
        for begin, value in _listed(_Window(file, offset)):
            if begin >= end:
                return
            yield value


class _Damage(ValueError):
    """What is wrong with a list, and at which byte of the file."""

    def __init__(self, what: str, offset: int) -> None:
        super().__init__(what)
        self.what, self.offset = what, offset


class _TooLong(_Damage):
    """A row has more bytes than it may have."""


class _Window:
    """The part of a file that is being parsed, as Latin-1, so that a letter is a byte.

    JSON is marked up in ASCII alone, so an element ends at the same byte whatever its strings hold.

    Args:
        file: it.
        start: byte of the file that is read next.

    Attributes:
        text: the part.
        start: byte of the file at which ``text`` begins.
        place: what is parsed next, in ``text``.
    """

    def __init__(self, file: BinaryIO, start: int = 0) -> None:
        self._file = file
        self.text, self.start, self.place = "", start, 0
        self.more()
        self.place = len(_BOM) * (start == 0 and self.text.startswith(_BOM))

    @property
    def offset(self) -> int:
        """The byte of the file that is parsed next."""
        return self.start + self.place

    def more(self, longest: int = _LONGEST) -> bool:
        """Drop what is parsed, and read as much again as is left: long rows are parsed few times. False at the end."""
        left = self.text[self.place :]
        if len(left) > longest:
            raise _TooLong(f"a row, or a text without an end, of more than {longest} bytes", self.offset)
        data = self._file.read(max(_CHUNK, len(left)))
        self.text, self.start, self.place = left + data.decode("latin-1"), self.offset, 0
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

    def element(self, longest: int = _LONGEST) -> tuple[int, Any]:
        """Where the element at ``place`` begins in the file, and its value; ``place`` moves behind it."""
        while True:
            wrong = None
            try:
                value, end = json.JSONDecoder().raw_decode(self.text, self.place)
            except json.JSONDecodeError as error:
                wrong = _Damage(error.msg, self.start + error.pos)
                if error.pos < len(self.text) - _LATE and not error.msg.startswith("Unterminated string"):
                    raise wrong from error  # whatever comes behind it
            if wrong is None and end < len(self.text):  # else a number may go on behind what was read
                break
            if not self.more(longest):
                if wrong is not None:
                    raise wrong
                break
        element, offset = self.text[self.place : end], self.offset
        self.place = end
        if element.isascii():
            return offset, value
        try:
            return offset, json.loads(element.encode("latin-1").decode("utf-8"))
        except UnicodeDecodeError as error:
            raise _Damage(_NO_UTF8, offset + error.start) from error


def _elements(path: str, digest: Digest | None = None) -> Iterator[tuple[int, Any]]:
    """Where each element of the list begins, and its value."""
    with opened(path, digest) as file, explained(_BAD, DataError, "bad JSON", path, "repair the file"):
        try:
            window = _Window(file)
            if window.next() != "[":
                _require_list(window, path)
            window.place += 1
            yield from _listed(window)
            window.place += 1
            if window.next():
                raise _Damage("Extra data", window.offset)
        except _Damage as damage:
            raise _told(path, damage) from damage


def _listed(window: _Window) -> Iterator[tuple[int, Any]]:
    """Elements up to the end of the list, and where each begins."""
    letter = window.next()
    while letter != "]":
        window.next()
        yield window.element()
        letter = window.next()
        if letter not in {",", "]"}:
            raise _Damage("Expecting ',' delimiter", window.offset)
        window.place += letter == ","


def _require_list(window: _Window, path: str) -> None:
    """Raise what is wrong with a file that begins with something else than a list."""
    kind: Any = {}
    with suppress(_TooLong):  # of an object of any size that it is one is all that matters
        _, kind = window.element(_CHUNK if window.next() == "{" else _LONGEST)
        if window.next():
            raise _Damage("Extra data", window.offset)
    raise DataError(
        f"the top level is {kind_of(kind)}, not a list of rows", where=path, fix="make it a list of objects"
    )


def _told(path: str, damage: _Damage) -> DataError:
    """The error, with line and column, which are counted through the file."""
    if damage.what == _NO_UTF8:
        return DataError(f"byte {damage.offset} {_NO_UTF8}", where=path, fix=ENCODING_FIX)
    line = column = 1
    with opened(path) as file:
        left = damage.offset
        if file.read(len(_BOM)) == _BOM.encode("latin-1"):
            left -= len(_BOM)
        else:
            file.seek(0)
        while left > 0 and (data := file.read(min(_CHUNK, left))):
            left -= len(data)
            if lines := data.count(b"\n"):
                line, column = line + lines, 1
            column += len(data[data.rfind(b"\n") + 1 :].translate(None, _INNER))
    what = f"bad JSON at line {line} column {column} ({damage.what})"
    return DataError(what, where=path, fix="repair the file, or name it .jsonl if it has one object per line")
