"""The best k of n samples by score, the same whatever their order: ties break by id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dataprophet.errors import BudgetError, MetricError
from dataprophet.ops.arrays import as_numpy


def select(
    scores: Any, k: int, *, ids: Sequence[Any] | npt.NDArray[Any] | None = None, threshold: float | None = None
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
    broken = np.isnan(values)
    if broken.any():
        row = int(np.argmax(broken))
        name = f"row {row}" if ids is None else f"row {row} (id {_text(ids[row])!r})"
        raise MetricError("the score is NaN", where=name, fix="score this sample again or drop it")
    k = _count(k, n, threshold, values)
    if not k:
        return np.empty(0, dtype=np.int64)
    last = np.partition(values, n - k)[n - k]
    sure = np.flatnonzero(values > last)
    tied = _by_id(np.flatnonzero(values == last), ids)[: k - len(sure)]
    chosen = np.concatenate([_by_id(sure, ids), tied])
    # a stable ascending sort of the reversed rows, reversed again, is descending and keeps ties in the order of the ids
    order = len(chosen) - 1 - np.argsort(values[chosen][::-1], kind="stable")[::-1]
    return chosen[order]


def _count(k: Any, n: int, threshold: float | None, values: npt.NDArray[Any]) -> int:
    try:
        whole = int(k)
        exact = whole == k and whole >= 0 and not isinstance(k, str)
    except (TypeError, ValueError, OverflowError):
        exact = False
    if not exact:
        raise BudgetError(f"{k!r} is not a number of samples", where="k", fix="use a whole number, 0 or more")
    if whole > n:
        raise BudgetError(f"{whole} samples asked of {n}", where="k", fix=f"ask for at most {n}")
    if threshold is not None:
        if np.isnan(threshold):
            raise BudgetError("it is NaN", where="threshold", fix="give a number or leave it out")
        reached = int(np.count_nonzero(values >= threshold))
        if whole > reached:
            raise BudgetError(
                f"{whole} samples asked, {reached} of {n} score at least {threshold}",
                where="threshold",
                fix=f"ask for at most {reached} or lower the threshold",
            )
    return whole


def _by_id(rows: npt.NDArray[np.intp], ids: Sequence[Any] | npt.NDArray[Any] | None) -> npt.NDArray[np.int64]:
    if ids is None:
        return rows.astype(np.int64)
    return np.array(sorted(rows.tolist(), key=lambda row: _text(ids[row])), dtype=np.int64)


def _text(sample_id: Any) -> str:
    return sample_id.decode("utf-8", "surrogateescape") if isinstance(sample_id, bytes) else str(sample_id)
