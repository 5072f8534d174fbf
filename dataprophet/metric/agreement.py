"""Agreement of two score matrices: Kendall's tau per target, per source, and their means.

`dataprophet evaluate` and the published figures call it; it knows matrices only. SciPy's ``kendalltau`` has no tau-a,
and rounds so that two equal rankings with ties do not always agree by 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dataprophet.errors import MetricError, checked
from dataprophet.metric.matrix import TransferMatrix
from dataprophet.ops.arrays import as_numpy

_SHOWN_NAMES = 5


@dataclass(frozen=True)
class RankAgreement:
    """How well one matrix ranks what another one measured (arXiv 2603.19688, evaluation of the metric).

    Attributes:
        tau: the mean of ``tau_target`` and ``tau_source``, or the one of them that there is.
        tau_target: mean over targets of the tau that ranks the sources of one target; NaN where none can be had.
        tau_source: mean over sources of the tau that ranks the targets of one source; likewise.
        per_target: tau by target name, in the order of the predicted matrix.
        per_source: tau by source name, likewise.
        variant: "b" (corrected for ties) or "a" (all pairs in the denominator).
    """

    tau: float
    tau_target: float
    tau_source: float
    per_target: dict[str, float]
    per_source: dict[str, float]
    variant: str


@checked()
def kendall_tau(
    predicted: Any, observed: Any, variant: Literal["a", "b"] = "b", *, diagonal: bool = True, blanks: bool = False
) -> RankAgreement:
    """Compare a predicted score matrix with an observed one by Kendall's tau, per target and per source.

    With C concordant and D discordant pairs out of n0 = n(n-1)/2, of which X are tied in ``predicted`` and Y in
    ``observed``: tau-a = (C - D) / n0 and tau-b = (C - D) / sqrt((n0 - X)(n0 - Y)). Counts are exact integers.

    Args:
        predicted: a TransferMatrix (``sources``, ``targets``, ``values`` of shape (S, T)) or a plain (S, T) array,
            whose rows and columns are then named "0", "1", ...; or a pandas.DataFrame, whose names are its labels.
        observed: the same; rows and columns are matched by name, in any order.
        variant: "b" or "a".
        diagonal: whether cells whose source and target share a name take part. Cells left out may be NaN.
        blanks: whether cells of ``observed`` that are NaN are left out, as are sources and targets that it lacks. A
            target (or source) with fewer than two cells to rank, or constant ones, then has no tau.

    Returns:
        The taus; dictionaries follow the order of ``predicted``.

    Raises:
        MetricError: names differ or repeat, a cell that takes part is not finite, fewer than two cells are left
            to rank, or tau-b is undefined because one side is constant.
    """
    if variant not in ("a", "b"):
        raise MetricError(f"unknown variant {variant!r}", where="kendall_tau", fix="use 'a' or 'b'")
    least = 1 if blanks else 2
    x, y = _read(predicted, "predicted", least), _read(observed, "observed", least)
    rows, columns = _match(x.sources, y.sources, "source", blanks), _match(x.targets, y.targets, "target", blanks)
    used = np.array([[diagonal or source != target for target in x.targets] for source in x.sources])
    there = np.ix_([place >= 0 for place in rows], [place >= 0 for place in columns])
    given, measured = x.values, np.full(x.shape, np.nan)
    measured[there] = y.values[np.ix_([i for i in rows if i >= 0], [j for j in columns if j >= 0])]
    if blanks:
        used &= ~np.isnan(measured)
    for values, where in ((given, "predicted"), (measured, "observed")):
        for row, column in np.argwhere(used & ~np.isfinite(values))[:1]:
            what = f"the cell of source {x.sources[row]!r}, target {x.targets[column]!r} is {values[row, column]}"
            fix = "fill the cell, or drop its source or target from both matrices"
            raise MetricError(what, where=where, fix=fix)
    per_target = _taus(given, measured, used, x.targets, kind="target", variant=variant, skip=blanks)
    per_source = _taus(given.T, measured.T, used.T, x.sources, kind="source", variant=variant, skip=blanks)
    if not (per_target or per_source):
        what = "no target and no source has two cells to rank that differ"
        raise MetricError(what, where="observed", fix="measure more pairs of source and target")
    tau_target, tau_source = (_mean(list(taus.values())) for taus in (per_target, per_source))
    tau = _mean([mean for mean in (tau_target, tau_source) if not math.isnan(mean)])
    return RankAgreement(tau, tau_target, tau_source, per_target, per_source, variant)


def _mean(taus: list[float]) -> float:
    return float(np.mean(taus)) if taus else math.nan


def _read(matrix: Any, where: str, least: int) -> TransferMatrix:
    """A matrix of any kind, with so many sources and targets or more."""
    try:
        if hasattr(matrix, "index") and hasattr(matrix, "columns"):  # a table of pandas, with names
            names = [str(name) for name in matrix.index], [str(name) for name in matrix.columns]
            read = TransferMatrix(*names, as_numpy(matrix.to_numpy(), where=where, ndim=2))
        elif not (hasattr(matrix, "sources") and hasattr(matrix, "targets")):
            values = as_numpy(matrix, where=where, ndim=2)
            sources, targets = ([str(number) for number in range(size)] for size in values.shape)
            read = TransferMatrix(sources, targets, values)
        else:
            read = TransferMatrix(matrix.sources, matrix.targets, matrix.values)
    except MetricError as error:
        raise MetricError(error.what, where=where, fix=error.fix) from error
    for count, kind in zip(read.shape, ("source", "target"), strict=True):
        if count < least:
            what = f"{count} {kind}{'s' * (count != 1)}, and ranking needs at least 2"
            raise MetricError(what, where=where, fix=f"add {kind}s")
    return read


def _match(wanted: list[str], given: list[str], kind: str, may_lack: bool) -> list[int]:
    """Where each name that is wanted stands; -1 where it is missing and may be."""
    place, known = {name: i for i, name in enumerate(given)}, set(wanted)
    missing, extra = [name for name in wanted if name not in place], [name for name in given if name not in known]
    missing = [] if may_lack and not extra else missing
    parts = [f"{what} {kind} {_listed(names)}" for what, names in (("missing", missing), ("extra", extra)) if names]
    if parts:
        raise MetricError(" and ".join(parts), where="observed", fix="give both matrices the same names")
    return [place.get(name, -1) for name in wanted]


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN_NAMES])
    return shown if len(names) <= _SHOWN_NAMES else f"{shown} and {len(names) - _SHOWN_NAMES} more"


def _taus(
    x: NDArray[Any],
    y: NDArray[Any],
    used: NDArray[np.bool_],
    names: list[str],
    *,
    kind: str,
    variant: str,
    skip: bool,
) -> dict[str, float]:
    """Tau of every column of x against the same column of y; one row against all later rows at a time.

    Columns without a tau are skipped, or an error.
    """
    columns = x.shape[1]
    score, pairs, x_ordered, y_ordered = (np.zeros(columns, dtype=np.int64) for _ in range(4))
    for i in range(len(x) - 1):
        both = used[i] & used[i + 1 :]
        dx = _sign(x[i], x[i + 1 :]) * both
        dy = _sign(y[i], y[i + 1 :]) * both
        score += (dx * dy).sum(axis=0, dtype=np.int64)
        pairs += both.sum(axis=0, dtype=np.int64)
        x_ordered += np.count_nonzero(dx, axis=0)
        y_ordered += np.count_nonzero(dy, axis=0)
    taus = {}
    for j, name in enumerate(names):
        if skip and not (pairs[j] and x_ordered[j] and y_ordered[j]):
            continue
        if not pairs[j]:
            what = f"{kind} {name!r} has fewer than 2 cells to rank"
            raise MetricError(what, where="kendall_tau", fix="add names or keep the diagonal")
        constant = [where for where, n in (("predicted", x_ordered[j]), ("observed", y_ordered[j])) if not n]
        if variant == "b" and constant:
            what = f"all values of {kind} {name!r} are equal, so tau-b is undefined"
            raise MetricError(what, where=" and ".join(constant), fix=f"drop this {kind} or use variant 'a'")
        scale = int(pairs[j]) if variant == "a" else (int(x_ordered[j]) * int(y_ordered[j])) ** 0.5
        taus[name] = int(score[j]) / scale
    return taus


def _sign(one: NDArray[Any], others: NDArray[Any]) -> NDArray[np.int8]:
    return (one > others).astype(np.int8) - (one < others).astype(np.int8)
