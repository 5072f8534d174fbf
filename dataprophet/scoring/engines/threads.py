"""Several shards at a time in one process: while one has the device, the next one is read and decoded."""

from __future__ import annotations

import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from dataprophet.errors import DataProphetError
from dataprophet.scoring.engines.dispatch import Message
from dataprophet.scoring.folder.shards import Shard
from dataprophet.store.journal import Stopped

if TYPE_CHECKING:
    from dataprophet.scoring.worker import Worker

AT_A_TIME = {"samples": 2, "features": 3}
"""Shards at a time of each kind of pool. Those of features wait mostly for disks, to be read and to be committed."""

BROKEN = 70
"""Exit status of a worker after an error that is no fault of the input, as after which CUDA cannot be used."""


def score(worker: Worker, shard: Shard) -> Message:
    """Score a shard; what is to be said of it."""
    try:
        return {"result": asdict(worker.run(shard))}
    except Stopped:
        return {"dropped": shard.key}
    except DataProphetError as error:
        return {"error": error.to_dict()}


def score_or_die(worker: Worker, shard: Shard) -> Message:
    """The same in a process of its own, which ends after another error: another process, another chance."""
    try:
        return score(worker, shard)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        worker.store.abandon()  # the other shards; this one's journal has it
        os._exit(BROKEN)


class Threads:
    """Threads that score shards, until they are told to stop or one could not be scored.

    Args:
        count: how many.
        say: called with what is to be said of each shard, or with an exception, after which the thread ends.
    """

    def __init__(self, count: int, say: Callable[[Message | BaseException], None]) -> None:
        self._count, self._say = count, say
        self._shards: queue.SimpleQueue[Shard | None] = queue.SimpleQueue()
        self.give = self._shards.put
        self._threads: list[threading.Thread] = []

    def start(self, score: Callable[[Shard], Message]) -> None:
        """Begin with the shards that were given, or will be; ``score`` scores one."""
        for number in range(self._count):
            # daemons: a thread that is inside a long call must not keep the process
            thread = threading.Thread(target=self._run, args=(score,), name=f"dataprophet-shard-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Have each thread end after the shards that were given before."""
        for _ in range(self._count):
            self.give(None)

    def join(self, seconds: float | None = None) -> bool:
        """Wait for the threads, each at most so long; whether all have ended."""
        for thread in self._threads:
            thread.join(seconds)
        return not any(thread.is_alive() for thread in self._threads)

    def _run(self, score: Callable[[Shard], Message]) -> None:
        while (shard := self._shards.get()) is not None:
            said: Message | BaseException
            try:
                said = score(shard)
            except BaseException as error:
                said = error
            self._say(said)
            if isinstance(said, BaseException) or "result" not in said:
                return
