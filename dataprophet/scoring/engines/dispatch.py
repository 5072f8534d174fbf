"""The policy of every engine: which worker gets which shard, and what becomes of those that a worker had when it died.

A transport knows what a worker is: a process of this machine (``local.py``) or an actor of a cluster (``ray.py``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any

from dataprophet.errors import DataProphetError, require
from dataprophet.scoring.folder.config import RunConfig
from dataprophet.scoring.folder.shards import Shard, ShardResult
from dataprophet.store.base import Store
from dataprophet.store.journal import CRASHES

FRUITLESS = 5
"""Deaths without progress after which a shard is given up."""

GRACE = 20.0
"""Seconds for shards to be dropped at the end of their cells, before they are left as they are."""

Message = Mapping[str, Any]
"""What a worker says: ``cell``, how far a shard is, and ``result`` of it, as dictionaries; ``dropped``, the key of one
that it was asked to drop; ``error``, which ends the run. Or what is said of it: ``died``, how, with its last ``words``,
and ``key`` where that shard alone was lost."""

Report = Callable[[ShardResult], None]
"""Takes how far a shard is, after a cell, and what became of it, in the thread of the engine."""


def require_named_model(config: RunConfig, where: str, fix: str) -> None:
    """Refuse to hand a run to other processes whose model only this one has."""
    named = config.kind == "features" or config.model
    require(named, "a loaded model cannot be handed to other processes", where, fix, DataProphetError)


class Transport(ABC):
    """Workers that shards are given to."""

    @abstractmethod
    def start(self) -> None:
        """Start the workers."""

    @abstractmethod
    def ready(self) -> Iterable[Hashable]:
        """The workers that take shards now."""

    @abstractmethod
    def give(self, worker: Any, shard: Shard) -> None:
        """Give a worker a shard."""

    @abstractmethod
    def wait(self) -> Iterable[tuple[Hashable, Message]]:
        """Wait until workers say something, or for a moment."""

    def replace(self, worker: Any) -> None:  # noqa: B027 (not where it happens by itself)
        """Start another worker in place of one that died."""

    @abstractmethod
    def end(self) -> None:
        """Have the workers drop what they have, wait for that a while, and end them."""


class Dispatcher:
    """Gives shards to the workers of a transport until all are done.

    Args:
        transport: the workers.
        store: the output folder, whose journals tell what died of what.
        at_a_time: shards that a worker has at a time.
    """

    def __init__(self, transport: Transport, store: Store, at_a_time: int) -> None:
        self._transport, self._at_a_time, self._retries = transport, at_a_time, Retries(store)
        self._waiting: deque[Shard] = deque()
        self._given: dict[Hashable, dict[str, Shard]] = {}  # what each worker has

    def run(self, shards: Sequence[Shard], report: Report) -> None:
        """Have shards scored; ``report`` is called with each result.

        Raises:
            DataProphetError: what ended the run.
        """
        self._waiting.extend(shards)
        try:
            self._transport.start()
            while self._waiting or any(self._given.values()):
                self._assign()
                for worker, message in self._transport.wait():
                    self._handle(worker, message, report)
        finally:
            self._transport.end()

    def _assign(self) -> None:
        """First one shard to each worker. Those that saw a death are alone in one, so that another names its cause."""
        suspects = self._retries.suspects
        for depth in range(self._at_a_time):
            for worker in self._transport.ready():
                here = self._given.setdefault(worker, {})
                if not self._waiting or len(here) > depth:
                    continue
                if depth and (self._waiting[0].key in suspects or suspects & here.keys()):
                    continue
                shard = self._waiting.popleft()
                here[shard.key] = shard
                self._transport.give(worker, shard)

    def _handle(self, worker: Hashable, message: Message, report: Report) -> None:
        here = self._given.setdefault(worker, {})
        if "cell" in message:
            report(ShardResult(**message["cell"]))
        elif "result" in message:
            result = ShardResult(**message["result"])
            del here[result.key]
            report(result)
        elif "dropped" in message:
            self._waiting.appendleft(here.pop(message["dropped"]))
        elif "error" in message:
            raise DataProphetError.from_dict(message["error"])
        else:
            for key in [message["key"]] if "key" in message else [*reversed(here)]:
                shard = here.pop(key)
                given_up = self._retries.died(shard, message["died"], message.get("words", ""))
                if given_up is None:
                    self._waiting.appendleft(shard)
                else:
                    report(given_up)
            if self._waiting:
                self._transport.replace(worker)


class Retries:
    """Counts the deaths of processes against the shards that they had.

    A death is progress where the journal comes closer to its cause. A sample that kills every process is found after a
    few; only what no isolation finds is given up.

    Args:
        store: the output folder, whose journals tell what was under way.

    Attributes:
        suspects: keys of shards that were there when a process died, in this run or before: each should have a process
            to itself, so that its next death blames no other.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.suspects = store.suspects()
        self._progress: Counter[str] = Counter()  # shard -> how far its journal had come at the last death
        self._fruitless: Counter[str] = Counter()  # shard -> deaths at which it came no further

    def died(self, shard: Shard, how: str, words: str = "") -> ShardResult | None:
        """Note the death of a process that had a shard.

        Args:
            shard: the shard.
            how: how the process ended.
            words: what it said last, for the log.

        Returns:
            None where the shard shall be scored again, or the result that says it was given up.
        """
        self._store.log(shard.key, f"the worker process {how}\n{words}")
        self.suspects.add(shard.key)
        progress = sum(min(count, CRASHES) for count in self._store.crashes(shard.key).values())
        if progress <= self._progress[shard.key]:
            self._fruitless[shard.key] += 1
        self._progress[shard.key] = progress
        if self._fruitless[shard.key] < FRUITLESS:
            return None
        detail = f"given up: a worker process {how} again and again while it was scored"
        self._store.log(shard.key, detail)
        return ShardResult(shard.key, "failed", detail=detail)
