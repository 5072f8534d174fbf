"""Several shards at a time in one process: while one has the device, the next one is read and decoded."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from dataprophet.scoring.shards import Shard, ShardResult
from dataprophet.store.journal import Stopped

if TYPE_CHECKING:
    from dataprophet.scoring.worker import Worker

AT_A_TIME = {"samples": 2, "features": 3}
"""Shards at a time of each kind of pool. Those of features wait mostly for disks, to be read and to be committed."""

BROKEN = 70
"""Exit status of a worker after an error that is no fault of the input, as after which CUDA cannot be used."""


class Threads:
    """Threads that score shards until there are no more, or the store is stopped.

    Args:
        worker: scores them.
        take: the next shard, or None at the end; called by several threads.
        done: called with each result, by the threads.
        dropped: called with a shard that was dropped, since the store was stopped.
        failed: called with any other exception, after which the thread ends.
    """

    def __init__(
        self,
        worker: Worker,
        take: Callable[[], Shard | None],
        done: Callable[[ShardResult], None],
        dropped: Callable[[Shard], None],
        failed: Callable[[Shard, BaseException], None],
    ) -> None:
        self._worker = worker
        self._take, self._done, self._dropped, self._failed = take, done, dropped, failed
        # daemons: a thread that is inside a long call must not keep the process
        self._threads = [
            threading.Thread(target=self._run, name=f"dataprophet-shard-{number}", daemon=True)
            for number in range(AT_A_TIME[worker.config.kind])
        ]
        for thread in self._threads:
            thread.start()

    def join(self, seconds: float | None = None) -> bool:
        """Wait for the threads, each at most so long; whether all have ended."""
        for thread in self._threads:
            thread.join(seconds)
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self) -> None:
        while (shard := self._take()) is not None:
            try:
                result = self._worker.run(shard)
            except Stopped:
                self._dropped(shard)
                return
            except BaseException as error:
                self._failed(shard, error)
                return
            self._done(result)
