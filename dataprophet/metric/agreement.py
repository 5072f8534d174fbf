"""Agreement of two score matrices: Kendall's tau per target, per source, and their means."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dataprophet.errors import MetricError
from dataprophet.ops.arrays import as_numpy

_SHOWN_NAMES = 5


@dataclass(frozen=True)
class RankAgreement:
    """How well one matrix ranks what another one measured (arXiv 2603.19688, evaluation of the metric).

    Attributes:
        tau: the mean of ``tau_target`` and ``tau_source``.
        tau_target: mean over targets of the tau that ranks the sources of one target.
        tau_source: mean over sources of the tau that ranks the targets of one source.
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


def kendall_tau(
    predicted: Any, observed: Any, variant: Literal["a", "b"] = "b", *, diagonal: bool = True
) -> RankAgreement:
    """Compare a predicted score matrix with an observed one by Kendall's tau, per target and per source.

    With C concordant and D discordant pairs out of n0 = n(n-1)/2, of which X are tied in ``predicted`` and Y in
    ``observed``: tau-a = (C - D) / n0 and tau-b = (C - D) / sqrt((n0 - X)(n0 - Y)). Counts are exact integers.

    Args:
        predicted: a TransferMatrix (``sources``, ``targets``, ``values`` of shape (S, T)) or a plain (S, T) array,
            whose rows and columns are then named "0", "1", ...
        observed: the same; rows and columns are matched by name, in any order.
        variant: "b" or "a".
        diagonal: whether cells whose source and target share a name take part. Cells left out may be NaN.

    Returns:
        The taus; dictionaries follow the order of ``predicted``.

    Raises:
        MetricError: names differ or repeat, a cell that takes part is not finite, fewer than two cells are left
            to rank, or tau-b is undefined because one side is constant.
    """
    if variant not in ("a", "b"):
        raise MetricError(f"unknown variant {variant!r}", where="kendall_tau", fix="use 'a' or 'b'")
    sources, targets, x = _read(predicted, "predicted")
    other_sources, other_targets, y = _read(observed, "observed")
    rows = _match(sources, other_sources, "source")
    columns = _match(targets, other_targets, "target")
    y = y[np.ix_(rows, columns)]
    used = np.ones(x.shape, dtype=bool)
    if not diagonal:
        used = np.array([[source != target for target in targets] for source in sources], dtype=bool)
    _check_finite(x, used, sources, targets, "predicted")
    _check_finite(y, used, sources, targets, "observed")
    per_target = _taus(x, y, used, targets, kind="target", variant=variant)
    per_source = _taus(x.T, y.T, used.T, sources, kind="source", variant=variant)
    tau_target = float(np.mean(list(per_target.values())))
    tau_source = float(np.mean(list(per_source.values())))
    return RankAgreement((tau_target + tau_source) / 2, tau_target, tau_source, per_target, per_source, variant)


def _read(matrix: Any, where: str) -> tuple[list[str], list[str], npt.NDArray[Any]]:
    named = hasattr(matrix, "sources") and hasattr(matrix, "targets")
    values = as_numpy(matrix.values if named else matrix, where=where, ndim=2)
    sources = [str(name) for name in (matrix.sources if named else range(values.shape[0]))]
    targets = [str(name) for name in (matrix.targets if named else range(values.shape[1]))]
    if values.shape != (len(sources), len(targets)):
        raise MetricError(
            f"{len(sources)} sources and {len(targets)} targets but values of shape {values.shape}",
            where=where,
            fix="give one row per source and one column per target",
        )
    for kind, names in (("source", sources), ("target", targets)):
        repeated = [name for name, count in Counter(names).items() if count > 1]
        if repeated:
            raise MetricError(
                f"{kind} {_listed(repeated)} given more than once", where=where, fix="rename or drop the repeats"
            )
        if len(names) < 2:
            raise MetricError(
                f"{len(names)} {kind}{'s' * (len(names) != 1)}, and ranking needs at least 2",
                where=where,
                fix=f"add {kind}s",
            )
    return sources, targets, values


def _check_finite(
    values: npt.NDArray[Any], used: npt.NDArray[np.bool_], sources: list[str], targets: list[str], where: str
) -> None:
    bad = np.argwhere(used & ~np.isfinite(values))
    if len(bad):
        row, column = bad[0]
        raise MetricError(
            f"the cell of source {sources[row]!r}, target {targets[column]!r} is {values[row, column]}",
            where=where,
            fix="fill the cell, or drop its source or target from both matrices",
        )


def _match(wanted: list[str], given: list[str], kind: str) -> list[int]:
    place = {name: i for i, name in enumerate(given)}
    known = set(wanted)
    missing = [name for name in wanted if name not in place]
    extra = [name for name in given if name not in known]
    if missing or extra:
        parts = [f"missing {kind} {_listed(missing)}"] * bool(missing) + [f"extra {kind} {_listed(extra)}"] * bool(
            extra
        )
        raise MetricError(" and ".join(parts), where="observed", fix="give both matrices the same names")
    return [place[name] for name in wanted]


def _listed(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN_NAMES])
    return shown if len(names) <= _SHOWN_NAMES else f"{shown} and {len(names) - _SHOWN_NAMES} more"


def _taus(
    x: npt.NDArray[Any],
    y: npt.NDArray[Any],
    used: npt.NDArray[np.bool_],
    names: list[str],
    *,
    kind: str,
    variant: str,
) -> dict[str, float]:
    """Return tau of every column of x against the same column of y; one row against all later rows at a time."""
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
        if not pairs[j]:
            raise MetricError(
                f"{kind} {name!r} has fewer than 2 cells to rank",
                where="kendall_tau",
                fix="add names or keep the diagonal",
            )
        constant = [where for where, n in (("predicted", x_ordered[j]), ("observed", y_ordered[j])) if not n]
        if variant == "b" and constant:
            raise MetricError(
                f"all values of {kind} {name!r} are equal, so tau-b is undefined",
                where=" and ".join(constant),
                fix=f"drop this {kind} or use variant 'a'",
            )
        scale = int(pairs[j]) if variant == "a" else (int(x_ordered[j]) * int(y_ordered[j])) ** 0.5
        taus[name] = int(score[j]) / scale
    return taus


def _sign(one: npt.NDArray[Any], others: npt.NDArray[Any]) -> npt.NDArray[np.int8]:
    return (one > others).astype(np.int8) - (one < others).astype(np.int8)
