"""Candidates in the order of their scores, block by block, in memory for one block; ``pick`` asks for the blocks."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dataprophet.selection.candidates import DETAILS, Candidates, Part
from dataprophet.selection.quotas import Quota
from dataprophet.selection.top_k import top_rows

KEYS = DETAILS[:4]
"""What orders equal scores: the id as text, then source and file by name, the row of the file, the turn."""


class Ranking:
    """The candidates of a quota from the highest score down.

    Args:
        candidates: all candidates.
        quota: what scores them, and which sources it takes from.
        minimum: only scores of at least this; None for all.
        nearest: whether blocks tell ``Nearest:T``.
    """

    def __init__(
        self, candidates: Candidates, quota: Quota, *, minimum: float | None = None, nearest: bool = False
    ) -> None:
        self.candidates, self.score, self.minimum, self.nearest = candidates, quota.score, minimum, nearest
        self._parts = [part for part in candidates.parts if quota.sources is None or part.source in quota.sources]
        self._last: dict[str, Any] | None = None
        self._sizes: dict[int, int] = {}  # part -> its candidates

    def next(self, count: int, full: Collection[str] = ()) -> pa.Table:
        """The next ``count`` candidates, fewer where there are no more, in two passes over the scores.

        Args:
            count: how many.
            full: sources that are passed over.

        Returns:
            Columns as ``Candidates.details`` gives them, and ``score``; by score from high to low, ties by ``KEYS``.
            No columns where there is no candidate.
        """
        parts = [part for part in self._parts if part.source not in full]

        def keys(number: int, rows: NDArray[np.int64]) -> pa.Table:
            return self.candidates.details(parts[number], rows).select(KEYS)

        rows, scores = top_rows(lambda: map(self._left, parts), count, keys)
        if not len(rows):
            return pa.table({})
        edges = np.cumsum([0, *(self._sizes[part.number] for part in parts)])
        cuts = np.searchsorted(rows, edges)
        found = [
            self.candidates.details(part, rows[start:stop] - edge, nearest=self.nearest)
            for part, edge, start, stop in zip(parts, edges, cuts, cuts[1:], strict=False)
            if stop > start
        ]
        table = pa.concat_tables(found).append_column("score", pa.array(scores))
        by = [("score", "descending"), *((name, "ascending") for name in KEYS)]
        table = table.take(pc.sort_indices(table, by)).combine_chunks()
        self._last = table.slice(table.num_rows - 1).select(["score", *KEYS]).to_pylist()[0]
        return table

    def _left(self, part: Part) -> NDArray[np.float64]:
        """Scores of a part's candidates, NaN for those that do not count or have been given before."""
        scores = self.score(self.candidates.values(part))
        self._sizes[part.number] = len(scores)
        if self.minimum is not None:
            scores[scores < self.minimum] = np.nan
        if self._last is not None:
            last = self._last["score"]
            scores[scores > last] = np.nan
            tied = np.flatnonzero(scores == last)
            if len(tied):
                scores[tied[~_behind(self.candidates.details(part, tied), self._last)]] = np.nan
        return scores


def _behind(table: pa.Table, last: dict[str, Any]) -> NDArray[np.bool_]:
    """Which candidates stand behind one of the same score."""
    behind = pa.scalar(False)
    for name in reversed(KEYS):  # the last key decides where those before it are equal
        column = table.column(name)
        behind = pc.or_(pc.greater(column, last[name]), pc.and_(pc.equal(column, last[name]), behind))
    return np.asarray(behind)
