"""Ids that occurred before, among any number of rows.

For ``dataset``, the scan of a pool and the exports, which refuse the second row of an id.
"""

from __future__ import annotations

import hashlib

import numpy as np

from dataprophet.data.sample import Conversation, Problem

_LATEST = 1 << 20


class KnownIds:
    """The ids of the rows so far: 8 bytes of a hash of each in a sorted array, which stay small where the ids would
    not, and the latest in a set, which takes ten times as much.
    """

    def __init__(self) -> None:
        self._latest: set[int] = set()
        self._sorted = np.empty(0, np.uint64)

    def repeated(self, row: Conversation, *, turns: bool = True) -> bool:
        """Whether a row's id, or with ``turns`` that of one of its samples, occurred before; if not, it has now."""
        keys = {_key(row.id)}
        if turns and len(row.turns) > 1:
            keys |= {_key(f"{row.id}#{turn + 1}") for turn in range(len(row.turns))}
        if self._latest & keys or (len(self._sorted) and any(map(self._is_sorted, keys))):
            return True
        self._latest |= keys
        if len(self._latest) >= _LATEST:
            latest = np.fromiter(self._latest, np.uint64, len(self._latest))
            self._sorted, self._latest = np.sort(np.concatenate([self._sorted, latest]), kind="stable"), set()
        return False

    def _is_sorted(self, key: int) -> bool:
        place = int(np.searchsorted(self._sorted, np.uint64(key)))
        return place < len(self._sorted) and int(self._sorted[place]) == key


def repeated_id(row: Conversation | Problem) -> Problem:
    """What is wrong with a row whose id occurred before."""
    message = f"the id {row.id!r} occurs before"
    return Problem("duplicate_id", message, "give every row an id of its own", row.file, row.row, row.id)


def _key(id: str) -> int:
    return int.from_bytes(hashlib.blake2b(id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
