"""Ids that occurred before, among any number of rows: a row whose id is taken gets its place behind it.

For ``dataset``, the scan of a pool and the exports, which refuse the second row of an id. The first row of an id keeps
it; each further one is called ``<id>@<file>:<row>``, unless it is equal to an earlier one in everything that is read.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import numpy as np

from dataprophet.data.files.rows import printable
from dataprophet.data.images.sources import CellImage, ImageSource, MemoryImage, TarImage
from dataprophet.data.index import relative_name
from dataprophet.data.sample import DUPLICATE, Conversation, Problem
from dataprophet.errors import DataError

_LATEST = 1 << 18
_OFFSET_BITS = 44  # of a place; the number of its file stands before them
_OFFSET = (1 << _OFFSET_BITS) - 1
_MASK = (1 << 64) - 1


def exportable(name: str) -> bool:
    """Whether trainers can be given an id: one that is there, and can be printed."""
    return bool(name) and name.isprintable()


class KnownIds:
    """The ids of the rows so far, and what the rows hold: 24 bytes of hashes and places for each, in sorted arrays,
    which stay small where the ids would not.

    Args:
        folder: of the dataset, which the names of its files are relative to.
    """

    def __init__(self, folder: str = "") -> None:
        self._folder, self._files = folder, dict[str, int]()
        self._ids, self._rows = _Table(), _Table()
        self._earlier = ThreadPoolExecutor(1)  # whose cursors of tables stay behind those of this thread

    def repeated(self, row: Conversation) -> bool:
        """Whether a row's id occurred before; if not, it has now."""
        return not self._take([_key(row.id)])

    def settled(self, row: Conversation, *, turns: bool = True) -> Conversation | Problem:
        """The row under an id that no row before has, nor with ``turns`` a turn of one; a Problem for a duplicate."""
        content = _content(row)
        if self._take(_keys(row, turns=turns)):
            self._rows.add(content, self._place(row))
            return row
        if self._seen(row, content):
            return duplicate(row)
        name = relative_name(row.file, self._folder) if self._folder else os.path.basename(row.file)
        named = qualified(row, name)
        if self._take(_keys(named, turns=turns)):
            return named
        what = f"the id {row.id!r} occurs before, and with its place too"
        return Problem("bad_id", what, "give every row an id of its own", row.file, row.row, row.id)

    def _take(self, keys: Collection[int]) -> bool:
        """Note these ids, unless one of them is known."""
        find, add = self._ids.find, self._ids.add
        for key in keys:
            if find(key) is not None:
                return False
        for key in keys:
            add(key)
        return True

    def _place(self, row: Conversation) -> int:
        """Where the images are that a table or tar holds, so that they can be read again."""
        number = self._files.get(row.file)
        if number is None:
            number = self._files[row.file] = len(self._files)
        held = _held(row) if row.sources else ()
        return number << _OFFSET_BITS | (_start(held[0]) if held else 0)

    def _seen(self, row: Conversation, content: int) -> bool:
        """Whether a row of this content occurred before, its images in tables and tars included; it has now."""
        place, held = self._rows.find(content), _held(row)
        if place is None:
            self._rows.add(content, self._place(row))
        if place is None or not held:
            return place is not None
        if self._rows.find(_key((content, "read"))) is None:  # the first time that bytes decide
            self._rows.add(_key((content, "read")))
            path, shift = list(self._files)[place >> _OFFSET_BITS], (place & _OFFSET) - _start(held[0])
            first = [_moved(source, path, shift) for source in held]
            self._rows.add(_key((content, self._earlier.submit(_digest, first).result())))
        own = _digest(held)
        key = _key((content, own))
        found = bool(own) and self._rows.find(key) is not None
        self._rows.add(key)
        return found


def qualified(row: Conversation, file: str) -> Conversation:
    """The row with its place behind its id: the name of its file, as the dataset's folder has it, and the row."""
    stem = printable(os.path.splitext(file)[0])
    return replace(row, id=f"{row.id}@{stem}:{row.row}" if stem else f"{row.id}@{row.row}")


def duplicate(row: Conversation | Problem) -> Problem:
    """What is wrong with a row that is equal to an earlier one."""
    message = "the row is equal to an earlier one of its id"
    return Problem(DUPLICATE, message, "leave it out", row.file, row.row, row.id)


class _Table:
    """A number for each of many keys of 64 bits: the latest in a dictionary, which takes ten times as much, the others
    in sorted arrays.
    """

    def __init__(self) -> None:
        self._latest: dict[int, int] = {}
        self._keys, self._values = np.empty(0, np.uint64), np.empty(0, np.int64)

    def add(self, key: int, value: int = 0) -> None:
        self._latest[key] = value
        if len(self._latest) < _LATEST:
            return
        keys = np.concatenate([self._keys, np.fromiter(self._latest, np.uint64, len(self._latest))])
        order = np.argsort(keys, kind="stable")
        values = np.fromiter(self._latest.values(), np.int64, len(self._latest))
        if len(self._values) or values.any():  # ids have none
            before = self._values if len(self._values) else np.zeros(len(self._keys), np.int64)
            self._values = np.concatenate([before, values])[order]
        self._keys, self._latest = keys[order], {}

    def find(self, key: int) -> int | None:
        """The number of a key; None where it is not there."""
        if key in self._latest or not len(self._keys):
            return self._latest.get(key)
        place = int(np.searchsorted(self._keys, np.uint64(key)))
        if place == len(self._keys) or int(self._keys[place]) != key:
            return None
        return int(self._values[place]) if len(self._values) else 0


def _keys(row: Conversation, *, turns: bool) -> Collection[int]:
    """Keys of a row's id, and with ``turns`` of those of its samples."""
    if not turns or len(row.turns) == 1:
        return (_key(row.id),)
    return [_key(row.id), *(_key(f"{row.id}#{turn}") for turn in range(1, len(row.turns) + 1))]


def _key(value: object) -> int:
    """A hash of this process: quick, and never written."""
    return hash(value) & _MASK


def _content(row: Conversation) -> int:
    """A hash of all that is read of a row but the bytes that a table or a tar holds."""
    sources, extra = tuple(map(_known, row.sources)) if row.sources else None, repr(row.extra) if row.extra else None
    return hash((row.id, row.turns, sources, extra)) & _MASK


def _known(source: ImageSource) -> object:
    if type(source) is CellImage:  # isinstance of an abstract class takes five times as long
        return source.cell.column, source.cell.index
    if type(source) is TarImage:
        return source.member.size
    return id(source.image) if type(source) is MemoryImage else source


def _held(row: Conversation) -> list[CellImage | TarImage]:
    """Images of a row that a table or a tar holds."""
    return [source for source in row.sources if type(source) is CellImage or type(source) is TarImage]


def _digest(sources: Iterable[ImageSource]) -> str:
    """Digest of the bytes of images; empty where one cannot be read, of which nobody knows what it is."""
    with suppress(DataError):
        return " ".join(source.digest() for source in sources)
    return ""


def _start(source: CellImage | TarImage) -> int:
    return source.cell.row if isinstance(source, CellImage) else source.member.offset


def _moved(source: CellImage | TarImage, path: str, shift: int) -> ImageSource:
    """The image that lies as many rows or bytes away, in that file."""
    if isinstance(source, CellImage):
        return replace(source, cell=replace(source.cell, path=path, row=source.cell.row + shift))
    return replace(source, member=replace(source.member, path=path, offset=source.member.offset + shift))
