"""Several shards at a time in one process: while one has the device, the next one is read and decoded."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING

from dataprophet.errors import DataProphetError
from dataprophet.scoring.engines.dispatch import Message
from dataprophet.scoring.shards import Shard
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
    """Threads that score shards, until there are no more or one could not be scored.

    Args:
        count: how many.
        take: the next shard, or None at the end; called by several threads.
        score: scores it.
        say: called with what is to be said of each, or with an exception, after which the thread ends.
    """

    def __init__(
        self,
        count: int,
        take: Callable[[], Shard | None],
        score: Callable[[Shard], Message],
        say: Callable[[Message | BaseException], None],
    ) -> None:
        self._take, self._score, self._say = take, score, say
        # daemons: a thread that is inside a long call must not keep the process
        self._threads = [
            threading.Thread(target=self._run, name=f"dataprophet-shard-{number}", daemon=True)
            for number in range(count)
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
            said: Message | BaseException
            try:
                said = self._score(shard)
            except BaseException as error:
                said = error
            self._say(said)
            if isinstance(said, BaseException) or "result" not in said:
                return
