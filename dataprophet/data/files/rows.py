"""What every reader of files gives: numbered rows, bad ones among them, and marks of where rows begin.

For the readers beside it and whoever takes their rows. It knows nothing of formats, images and samples.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from dataprophet.data.remote import local
from dataprophet.errors import DataError, explained, require

Row = dict[str, Any]
Mark = tuple[int, int]
"""Where a row begins: the byte, and how many rows (in JSONL, lines) stand before it."""

START: Mark = (0, 0)
ENCODING_FIX = "save the file as UTF-8"
_CHUNK = 1 << 20


class BadRow(Exception):
    """Raised or given for a row that cannot be used; becomes a Problem with the row's place."""

    def __init__(self, code: str, message: str, fix: str) -> None:
        super().__init__(message)
        self.code, self.message, self.fix = code, message, fix


Rows = Iterator[tuple[int, Row | BadRow]]


def as_row(value: Any) -> Row | BadRow:
    """A JSON value as a row, which has to be an object."""
    if isinstance(value, dict):
        return value
    return BadRow("bad_row", f"the row is {kind_of(value)}, not an object", 'write it as {"id": ..., ...}')


def kind_of(value: Any) -> str:
    """What a value is, in words."""
    if isinstance(value, float):
        return "a float" if math.isfinite(value) else repr(value)
    return "null" if value is None else "empty" if value == "" else f"a {type(value).__name__}"


def short(text: str) -> str:
    """Text in quotes, its middle left out where it is long."""
    return repr(text if len(text) <= 80 else f"{text[:60]}...{text[-15:]}")


class Digest(Protocol):
    """A running hash."""

    def update(self, data: bytes | memoryview, /) -> object:
        """Take more bytes."""


@contextmanager
def opened(path: str, digest: Digest | None = None) -> Iterator[io.BufferedReader]:
    """The file opened for reading; ``digest`` is given what is read. Raises DataError when it cannot be opened."""
    with (
        explained(OSError, DataError, "cannot be read", path, "check the path and your rights to it"),
        open(local(path), "rb") as file,
    ):
        yield file if digest is None else io.BufferedReader(_HashingReader(file, digest), _CHUNK)


def read_object(path: str, fix: str) -> dict[str, Any]:
    """The JSON object that a small file holds. Raises DataError, with this fix, where it holds none."""
    with opened(path) as file, explained((ValueError, RecursionError), DataError, "bad JSON", path, fix):
        value = json.loads(file.read().decode("utf-8-sig"))
    require(isinstance(value, dict), "not an object", path, fix)
    return dict(value)


def as_unicode(name: str) -> str:
    """A name as UTF-8 can hold it: bytes of a file's name that are none become escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def printable(name: str) -> str:
    """A name of a file, which may be any characters, as ids can begin with it."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in name)


class _HashingReader(io.RawIOBase):
    """A file that shows what is read of it to a hash."""

    def __init__(self, file: io.BufferedReader, digest: Digest) -> None:
        self._file, self._digest = file, digest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer)
        self._digest.update(memoryview(buffer)[:count])
        return count
