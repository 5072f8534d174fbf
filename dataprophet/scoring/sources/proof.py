"""Proof that what was read of a data file is what was indexed, and what its shards are named by."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from dataprophet.data.index import FileIndex
from dataprophet.errors import require
from dataprophet.scoring.folder.shards import Shard

_AGAIN = "do not change a pool while it is scored; run the same command again"


class Proof:
    """The states in which files are known to be as they were indexed. Threads may share it.

    Args:
        pool: the pool.
        index: name of a file -> its index.
        states: calls back for the state of each file by its name, as it was when it was indexed.
    """

    def __init__(self, pool: Any, index: Callable[[str], FileIndex], states: Callable[[], dict[str, Any]]) -> None:
        self._pool, self._index, self._states = pool, index, states
        self._known: dict[str, Any] | None = None
        self._lock = threading.Lock()

    def require(self, shard: Shard, seen: Any) -> None:
        """See that a shard was read of what was indexed.

        Args:
            shard: the shard.
            seen: its file's state (``state_of``) before it was read.

        Raises:
            DataError: the file has changed.
        """
        where, now = self._pool.files[shard.file], self._pool.state(shard.file)
        require(now == seen, "the file has changed while it was read", where, _AGAIN)
        with self._lock:
            if self._known is None:
                self._known = self._states()
            if seen == self._known.get(shard.name):
                return
            # another state, as of a copy on another machine: the content decides
            same = self._pool.index(shard.file).digest == self._index(shard.name).digest
            same = same and self._pool.state(shard.file) == seen
            require(same, "the file has changed since it was indexed", where, _AGAIN)
            self._known[shard.name] = seen
