"""The top k of numbers that are never in memory at once: one pass finds the cut, a second one the rows above it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Chunks = Callable[[], Iterable[NDArray[np.floating]]]
Keys = Callable[[int, NDArray[np.int64]], pa.Table]

_LEAST = 1 << 16  # numbers that are gathered at least before they are pruned


class Cut:
    """The k-th largest of numbers that come in chunks. NaN is left out.

    At most 2 k numbers are kept beside a chunk: when there are more, the lower ones are dropped, and from then on
    only numbers above the lowest that is left can matter.
    """

    def __init__(self, k: int) -> None:
        self.k = k
        self._kept: list[NDArray[np.floating]] = []
        self._size = 0
        self._least: float | None = None  # the lowest kept number, once k are kept
        self._dropped = 0  # numbers equal to it that were dropped

    def add(self, values: NDArray[np.floating]) -> None:
        """Take a chunk of numbers."""
        if self._least is None:
            high = values[~np.isnan(values)]
        else:
            reached = values[values >= self._least]
            high = reached[reached > self._least]
            self._dropped += len(reached) - len(high)
        self._kept.append(high)
        self._size += len(high)
        if self._size > max(2 * self.k, self.k + _LEAST):
            self._prune()

    def result(self) -> tuple[float, int, int]:
        """The k-th largest number (the lowest, where there are fewer), how many are above it, and how many equal it."""
        if not self._size or not self.k:
            return float("inf"), 0, 0
        self._prune()
        (kept,) = self._kept
        cut = kept.min()
        above = int(np.count_nonzero(kept > cut))
        return float(cut), above, len(kept) - above + (self._dropped if cut == self._least else 0)

    def _prune(self) -> None:
        values = np.concatenate(self._kept)
        if len(values) > self.k:
            first = len(values) - self.k
            values.partition(first)
            kept = values[first:].copy()
            least = float(kept.min())
            if least != self._least:
                self._dropped = 0
            self._dropped += int(np.count_nonzero(values[:first] == least))
            self._least, values = least, kept
        elif len(values) == self.k:
            self._least = float(values.min())
        self._kept, self._size = [values], len(values)


def top_rows(chunks: Chunks, k: int, keys: Keys) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The k rows of the largest numbers, in about 40 k bytes beside a chunk.

    Args:
        chunks: gives the numbers, chunk by chunk; called twice, and the same both times. NaN is left out.
        k: how many rows.
        keys: of the rows of a chunk, by its number, a table to sort by, column by column: where several rows have the
            k-th largest number, the smallest of them are taken, and of equal keys the first rows. It is asked for such
            rows only, and only where not all of them are taken.

    Returns:
        Rows, counted through all chunks, ascending, and their numbers: all of them where there are fewer than k.
    """
    if k <= 0:
        return np.empty(0, np.int64), np.empty(0)
    cut = Cut(k)
    for values in chunks():
        cut.add(values)
    least, above, ties = cut.result()
    wanted = min(k - above, ties)
    smallest = _Smallest(wanted)
    rows: list[NDArray[np.int64]] = []
    numbers: list[NDArray[np.float64]] = []
    start = 0
    for number, values in enumerate(chunks()):
        reached = np.flatnonzero(values >= least)
        found = values[reached]
        sure = found > least if wanted < ties else np.ones(len(found), np.bool_)
        rows.append(reached[sure] + start)
        numbers.append(found[sure].astype(np.float64))
        if not sure.all():
            tied = reached[~sure]
            smallest.add(keys(number, tied), tied + start)
        start += len(values)
    if not rows:
        return np.empty(0, np.int64), np.empty(0)
    chosen = smallest.rows()
    every = np.concatenate([*rows, chosen])
    order = np.argsort(every)
    return every[order], np.concatenate([*numbers, np.full(len(chosen), least)])[order]


class _Smallest:
    """The smallest rows by their keys, in bounded memory."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._parts: list[pa.Table] = []
        self._size = 0

    def add(self, keys: pa.Table, rows: NDArray[np.int64]) -> None:
        self._parts.append(keys.append_column("_row", pa.array(rows)))
        self._size += len(rows)
        if self._size > max(2 * self.count, self.count + _LEAST):
            self._prune()

    def rows(self) -> NDArray[np.int64]:
        if not self._parts:
            return np.empty(0, np.int64)
        self._prune()
        found: NDArray[np.int64] = self._parts[0].column("_row").to_numpy()
        return found

    def _prune(self) -> None:
        table = pa.concat_tables(self._parts)
        order = pc.sort_indices(table, [(name, "ascending") for name in table.column_names])
        table = table.take(order[: self.count]).combine_chunks()
        self._parts, self._size = [table], table.num_rows
