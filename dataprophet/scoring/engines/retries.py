"""When a shard that was under way as a process died is scored again, and when it is given up."""

from __future__ import annotations

from collections import Counter

from dataprophet.scoring.shards import Shard, ShardResult
from dataprophet.store.base import Store
from dataprophet.store.journal import CRASHES

FRUITLESS = 5
"""Deaths without progress after which a shard is given up."""


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
