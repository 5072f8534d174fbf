"""The k largest of many numbers: of an array (``dp.select``), or of chunks that are never in memory at once.

``top_rows`` serves the ranking of pools. Nothing here knows pools: ties are broken by keys that the caller gives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, SupportsInt

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dataprophet.errors import BudgetError, MetricError, checked
from dataprophet.ops.arrays import as_numpy
from dataprophet.selection.allocation import whole_number

Chunks = Callable[[], Iterable[NDArray[np.floating]]]
Keys = Callable[[int, NDArray[np.int64]], pa.Table]
Tied = tuple[int, NDArray[np.int64], int]  # a chunk, rows within it, and rows before it

_LEAST = 1 << 16  # numbers that are gathered at least before they are pruned


@checked()
def select(
    scores: Any, k: SupportsInt, *, ids: Sequence[Any] | npt.NDArray[Any] | None = None, threshold: float | None = None
) -> npt.NDArray[np.int64]:
    """Return the rows of the k highest scores.

    Memory beyond the arguments is a few numbers per row; ids are read only for the rows that are chosen or tied for the
    last places.

    Args:
        scores: (n,) scores: NumPy, torch, DLPack or a sequence. Infinities are allowed, NaN is not.
        k: how many rows, 0 <= k <= n.
        ids: (n,) sample ids; among equal scores the smaller id as text comes first, and among equal ids the lower row.
            Without ids the lower row comes first.
        threshold: when given, only rows that score at least this much may be chosen.

    Returns:
        (k,) int64 row indices, by score from high to low, ties by id.

    Raises:
        MetricError: a score is NaN, or the ids do not match the scores in number.
        BudgetError: k is not a whole number, or more than the rows that may be chosen.
    """
    values = as_numpy(scores, where="scores", ndim=1)
    n = len(values)
    if ids is not None and len(ids) != n:
        raise MetricError(f"{len(ids)} ids for {n} scores", where="ids", fix="give one id per score")
    for row in np.flatnonzero(np.isnan(values))[:1].tolist():
        name = f"row {row}" if ids is None else f"row {row} (id {_text(ids[row])!r})"
        raise MetricError("the score is NaN", where=name, fix="score this sample again or drop it")
    k = whole_number(k, "k")
    if k > n:
        raise BudgetError(f"{k} samples asked of {n}", where="k", fix=f"ask for at most {n}")
    if threshold is not None:
        if np.isnan(threshold):
            raise BudgetError("it is NaN", where="threshold", fix="give a number or leave it out")
        reached = int(np.count_nonzero(values >= threshold))
        if k > reached:
            what = f"{k} samples asked, {reached} of {n} score at least {threshold}"
            raise BudgetError(what, where="threshold", fix=f"ask for at most {reached} or lower the threshold")
    if not k:
        return np.empty(0, dtype=np.int64)
    rows = np.flatnonzero(values >= np.partition(values, n - k)[n - k]).astype(np.int64)
    if ids is not None:
        rows = np.array(sorted(rows.tolist(), key=lambda row: _text(ids[row])), dtype=np.int64)
    # a stable ascending sort of the reversed rows, reversed again, is descending and keeps ties in the order of the ids
    order = len(rows) - 1 - np.argsort(values[rows][::-1], kind="stable")[::-1]
    return rows[order[:k]]


def _text(sample_id: Any) -> str:
    return sample_id.decode("utf-8", "surrogateescape") if isinstance(sample_id, bytes) else str(sample_id)


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
    least, above = _cut(chunks(), k)
    wanted = k - above  # of the rows that have the k-th largest number; no keys are asked for while all of them fit
    kept, waiting, size = list[pa.Table](), list[Tied](), 0
    rows, numbers, start = [], [], 0
    for number, values in enumerate(chunks()):
        sure = np.flatnonzero(values > least)
        rows.append(sure + start)
        numbers.append(values[sure].astype(np.float64))
        tied = np.flatnonzero(values == least)
        if len(tied):
            waiting.append((number, tied, start))
            size += len(tied)
        if size > max(2 * wanted, wanted + _LEAST):
            kept, waiting, size = _smallest(wanted, kept, waiting, keys), [], wanted
        start += len(values)
    if size > wanted:
        kept, waiting = _smallest(wanted, kept, waiting, keys), []
    of_kept = (table.column("_row").to_numpy() for table in kept)
    tied = np.concatenate([np.empty(0, np.int64), *of_kept, *(rows + start for _, rows, start in waiting)])
    every = np.concatenate([*rows, tied])
    order = np.argsort(every)
    return every[order], np.concatenate([*numbers, np.full(len(tied), least)])[order]


def _cut(chunks: Iterable[NDArray[np.floating]], k: int) -> tuple[float, int]:
    """The k-th largest number (the lowest, where there are fewer), and how many are above it.

    Hardly more than 2 k numbers are kept beside a chunk. Once k of them are, a number that is not above the lowest
    of these changes nothing.
    """
    kept: list[NDArray[np.floating]] = []
    least, size = None, 0
    for values in chunks:
        kept.append(values[~np.isnan(values)] if least is None else values[values > least])
        size += len(kept[-1])
        if size > max(2 * k, k + _LEAST):
            kept, size = [_largest(kept, k)], k
            least = kept[0].min()
    if not size:
        return float("inf"), 0
    top = _largest(kept, k)
    return float(top.min()), int(np.count_nonzero(top > top.min()))


def _largest(parts: list[NDArray[np.floating]], k: int) -> NDArray[np.floating]:
    values = np.concatenate(parts)
    first = max(0, len(values) - k)
    return np.partition(values, first)[first:].copy()  # so that the rest is freed


def _smallest(count: int, kept: list[pa.Table], waiting: Sequence[Tied], keys: Keys) -> list[pa.Table]:
    """The ``count`` smallest rows by their keys, of those kept before and those waiting."""
    asked = [keys(number, rows).append_column("_row", pa.array(rows + start)) for number, rows, start in waiting]
    table = pa.concat_tables([*kept, *asked])
    order = pc.sort_indices(table, [(name, "ascending") for name in table.column_names])
    return [table.take(order[:count]).combine_chunks()]
