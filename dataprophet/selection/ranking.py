"""Units in the order of their scores, block by block, in memory for one block."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dataprophet.selection.candidates import Part, Units
from dataprophet.selection.top_k import top_rows

KEYS = ("id", "rank", "position", "turn")
"""What orders equal scores: the id as text, then source and file by name, the row of the file, the turn."""

Score = Callable[[NDArray[np.float64]], NDArray[np.float64]]


class Ranking:
    """Units from the highest score down.

    Args:
        units: the units.
        score: (n, T) scores for the targets -> (n,) the score that ranks, NaN where there is none.
        sources: only units of these; None for all.
        minimum: only scores of at least this; None for all.
        nearest: whether blocks tell ``Nearest:T``.
    """

    def __init__(
        self,
        units: Units,
        score: Score,
        *,
        sources: Collection[str] | None = None,
        minimum: float | None = None,
        nearest: bool = False,
    ) -> None:
        self.units, self.score, self.minimum, self.nearest = units, score, minimum, nearest
        self._parts = [part for part in units.parts if sources is None or part.source in sources]
        self._last: dict[str, object] | None = None

    def next(self, count: int, full: Collection[str] = ()) -> pa.Table:
        """The next ``count`` units, fewer where there are no more, in two passes over the scores.

        Args:
            count: how many.
            full: sources that are passed over.

        Returns:
            Columns as ``Units.details`` gives them, and ``score``; by score from high to low, ties by ``KEYS``.
        """
        parts = [part for part in self._parts if part.source not in full]

        def chunks() -> Iterator[NDArray[np.float64]]:
            for part in parts:
                yield self._left(part)

        def keys(number: int, rows: NDArray[np.int64]) -> pa.Table:
            return self.units.details(parts[number], rows).select(KEYS)

        rows, scores = top_rows(chunks, count, keys)
        table = self._details(parts, rows, scores)
        if table.num_rows:
            self._last = table.slice(table.num_rows - 1).select(["score", *KEYS]).to_pylist()[0]
        return table

    def _left(self, part: Part) -> NDArray[np.float64]:
        """Scores of a part's units, NaN for those that do not count or have been given before."""
        scores = self.score(self.units.values(part))
        if self.minimum is not None:
            scores[scores < self.minimum] = np.nan
        if self._last is not None:
            last = float(self._last["score"])  # type: ignore[arg-type]
            scores[scores > last] = np.nan
            tied = np.flatnonzero(scores == last)
            if len(tied):
                done = ~_behind(self.units.details(part, tied), self._last)
                scores[tied[done]] = np.nan
        return scores

    def _details(self, parts: list[Part], rows: NDArray[np.int64], scores: NDArray[np.float64]) -> pa.Table:
        """Details of chosen units, in order."""
        found: list[pa.Table] = []
        start = taken = 0
        for part in parts:
            stop = start + self.units.count(part)
            until = int(np.searchsorted(rows, stop))
            if until > taken or not found:  # an empty table from the first part has the columns
                found.append(self.units.details(part, rows[taken:until] - start, nearest=self.nearest))
            start, taken = stop, until
        if not found:
            return pa.table({name: [] for name in (*KEYS, "score")})
        table = pa.concat_tables(found).append_column("score", pa.array(scores))
        return table.take(pa.array(in_order(table))).combine_chunks()


def in_order(table: pa.Table) -> NDArray[np.int64]:
    """Rows of a table of units by score from high to low, ties by ``KEYS``."""
    scores = table.column("score").to_numpy()
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    same = ranked[1:] == ranked[:-1]
    tied = np.flatnonzero(np.concatenate([same, [False]]) | np.concatenate([[False], same]))
    if len(tied):
        runs = np.cumsum(np.concatenate([[True], ~same]))[tied]
        keys = table.select(KEYS).take(pa.array(order[tied])).append_column("run", pa.array(runs))
        by = pc.sort_indices(keys, [("run", "ascending"), *((name, "ascending") for name in KEYS)]).to_numpy()
        order[tied] = order[tied][by]
    return order


def _behind(table: pa.Table, last: dict[str, object]) -> NDArray[np.bool_]:
    """Which units stand behind one of the same score."""
    behind = np.zeros(table.num_rows, np.bool_)
    same = np.ones(table.num_rows, np.bool_)
    for name in KEYS:
        column = table.column(name)
        behind |= same & pc.greater(column, last[name]).to_numpy(zero_copy_only=False)
        same &= pc.equal(column, last[name]).to_numpy(zero_copy_only=False)
    return behind
