"""Weights of the factors, fitted to measured gains and shrunk towards 1, the published metric.

`dataprophet calibrate` and ``transfer_matrix(..., weights=)`` call it. It knows matrices, and nothing of profiles.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataprophet.errors import MetricError, choose, explained
from dataprophet.files import write_text
from dataprophet.metric.agreement import kendall_tau
from dataprophet.metric.factors import FACTORS, Floats
from dataprophet.metric.matrix import Influences, TransferMatrix

SHRINKAGES = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, math.inf)
"""From nearly least squares to none at all: with an infinite one every weight is 1."""

Part = tuple[Floats, Floats]
"""One target: (n, F) logarithms of the factors, and (n,) gains, both less their means."""

_LEAST_TARGETS = 3
_FILE = "give a file that `dataprophet calibrate` wrote"


@dataclass(frozen=True)
class Calibration:
    """What was fitted, and how well it does on targets that were left out of the fit.

    Attributes:
        weights: factor -> its exponent in the score. 1 where it cannot change a ranking, as 1/PPL(t).
        shrinkage: chosen among ``SHRINKAGES``.
        tau: mean over targets of Kendall's tau-b of the published score with the gains.
        tau_left_out: the same where each target's score has the weights that the other targets give it.
        error: root mean square difference of gains and scores within a target, both scaled to a spread of 1.
        error_left_out: the same, each target by the weights of the others.
        per_target: target -> {"tau", "tau_left_out"}.
        gains: how many gains were fitted to.
        diagonal: whether gains of a dataset on itself were among them.
    """

    weights: dict[str, float]
    shrinkage: float
    tau: float
    tau_left_out: float
    error: float
    error_left_out: float
    per_target: dict[str, dict[str, float]]
    gains: int
    diagonal: bool

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON, atomically; `read_weights` reads the weights of it."""
        write_text(path, json.dumps(self.to_json(), indent=1) + "\n")

    def to_json(self) -> dict[str, Any]:
        """Its attributes; an infinite shrinkage is null."""
        return {**asdict(self), "shrinkage": self.shrinkage if math.isfinite(self.shrinkage) else None}


def calibrate(scores: TransferMatrix, gains: TransferMatrix, *, diagonal: bool = True) -> Calibration:
    """Fit the exponent of every factor to measured gains (ridge regression, centred on the published exponents).

    Within each target, let x_f be the logarithms of factor f over sources less their mean, and y the gains likewise,
    scaled over all targets to the spread of log M. The weights w minimise, with n_f the sum of squares of x_f,

        |y - sum_f w_f x_f|^2 + shrinkage * sum_f n_f (w_f - 1)^2

    The shrinkage is the one with the least error when each target is left out in turn. What is told of targets that
    were left out chooses it anew among the others, so that nothing of a target enters its own score.

    Args:
        scores: a matrix with factors.
        gains: (S', T') measured gains by name; NaN, and what is not there, was not measured.
        diagonal: whether a source that has the target's name counts.

    Raises:
        MetricError: no factors, a factor that is not positive, or fewer than three targets with two sources that
            differ in gain.
    """
    if not scores.factors:
        fix = "read the matrix together with its .factors.csv file"
        raise MetricError("holds no factors to weigh", where="scores", fix=fix)
    targets = [target for target in scores.targets if target in gains.targets]
    known = {(s, t): gains.values[i, j] for i, s in enumerate(gains.sources) for j, t in enumerate(gains.targets)}
    parts = dict[str, Part]()
    for target in targets:
        chosen = [
            row
            for row, source in enumerate(scores.sources)
            if np.isfinite(known.get((source, target), np.nan)) and (diagonal or source != target)
        ]
        y = np.array([known[scores.sources[row], target] for row in chosen])
        if len(y) > 1 and np.ptp(y) > 0:
            column = np.array([part[chosen, scores.column(target)] for part in scores.factors.values()])
            if not (column > 0).all():
                what = f"a factor of target {target!r} is not positive, and has no logarithm"
                raise MetricError(what, where="scores", fix="leave the dataset or the factor out")
            x = np.log(column).T
            parts[target] = x - x.mean(0), y - y.mean()
    if len(parts) < _LEAST_TARGETS:
        what = f"{len(parts)} targets have gains of two sources that differ, and leaving one out takes 3"
        raise MetricError(what, where="gains", fix="measure more targets")
    names, measured = list(parts), list(parts.values())
    data = _scaled(measured, measured)
    shrinkage = _chosen(data)
    weights = _fit(data, shrinkage)
    left, apart = [], []  # what is told of a target that is left out, and that target, scaled as the others are
    for place in range(len(measured)):
        others = measured[:place] + measured[place + 1 :]
        rest = _scaled(others, others)
        left.append(_fit(rest, _chosen(rest)))
        apart += _scaled(measured[place : place + 1], others)
    per_target = {
        name: {"tau": _tau(x.sum(1), y), "tau_left_out": _tau(x @ own, y)}
        for name, (x, y), own in zip(names, data, left, strict=True)
    }
    published = [np.ones(len(weights))] * len(data)
    size = float(np.concatenate([x.sum(1) for x, _ in measured]).std()) or 1.0
    return Calibration(
        weights=dict(zip(scores.factors, weights.tolist(), strict=True)),
        shrinkage=shrinkage,
        tau=float(np.mean([each["tau"] for each in per_target.values()])),
        tau_left_out=float(np.mean([each["tau_left_out"] for each in per_target.values()])),
        error=math.sqrt(_error(data, published)) / size,
        error_left_out=math.sqrt(_error(apart, left)) / size,
        per_target=per_target,
        gains=sum(len(y) for _, y in data),
        diagonal=diagonal,
    )


def weighted(matrix: TransferMatrix, weights: Mapping[str, float]) -> TransferMatrix:
    """The matrix with its factors raised to weights; those without one keep 1. Errors follow to first order.

    A factor that is changed goes by another name, such as ``source_perplexity^0.3``: it is no perplexity any more.
    """
    if unknown := sorted(weights.keys() - matrix.factors.keys()):
        fix = choose(unknown[0], list(matrix.factors)) if matrix.factors else "use a matrix that holds factors"
        raise MetricError(f"no factor {unknown[0]!r}", where="weights", fix=fix)
    if not all(np.isfinite(weight) for weight in weights.values()):
        raise MetricError("one is not finite", where="weights", fix="give a number for each factor")
    factors, influences, values = dict[str, Floats](), dict[str, Influences](), np.ones(matrix.shape)
    for name, part in matrix.factors.items():
        weight = float(weights.get(name, 1.0))
        positive = np.where(part > 0, part, np.nan)
        called = name if weight == 1 else f"{name}^{weight:.4g}"
        factors[called] = part if weight == 1 else positive**weight
        values = values * positive**weight
        if name in matrix.influences:
            source, target = matrix.influences[name]
            influences[called] = Influences(source * weight, target * weight)
    beside = {name: getattr(matrix, name) for name in ("same", "answer_tokens", "identities")}
    return TransferMatrix(matrix.sources, matrix.targets, values, factors, influences=influences, **beside)


def read_weights(given: Mapping[str, float] | str | os.PathLike[str]) -> dict[str, float]:
    """Factor -> weight, from a mapping or from a file that `Calibration.save` wrote."""
    if isinstance(given, Mapping):
        return {str(name): float(weight) for name, weight in given.items()}
    with explained((OSError, ValueError), MetricError, "cannot be read", str(given), _FILE):
        held = json.loads(Path(given).read_text(encoding="utf-8"))
    found = held.get("weights") if isinstance(held, dict) else None
    if not isinstance(found, dict) or not all(isinstance(each, int | float) for each in found.values()):
        raise MetricError("holds no weights", where=str(given), fix=_FILE)
    return {name: float(weight) for name, weight in found.items() if name in FACTORS or weight != 1}


def is_weights(path: str | os.PathLike[str]) -> bool:
    """Whether a file is one that `read_weights` reads."""
    try:
        return bool(read_weights(path))
    except MetricError:
        return False


def _scaled(data: Sequence[Part], like: Sequence[Part]) -> list[Part]:
    """Gains in the scale that gives those of ``like`` the spread of log M."""
    spread = np.concatenate([y for _, y in like]).std()
    scale = float(np.concatenate([x.sum(1) for x, _ in like]).std() / spread) or 1.0
    return [(x, y * scale) for x, y in data]


def _fit(data: Sequence[Part], shrinkage: float) -> Floats:
    x, y = (np.concatenate(parts) for parts in zip(*data, strict=True))
    sizes, weights = (x**2).sum(0), np.ones(x.shape[1])
    moves = sizes > 1e-12 * max(float(sizes.max()), 1e-300)  # 1/PPL(t) is the same for all sources of a target
    if math.isinf(shrinkage) or not moves.any():
        return weights
    own = x[:, moves]
    ridge = own.T @ own + shrinkage * np.diag(sizes[moves])
    weights[moves] += np.linalg.solve(ridge, own.T @ (y - x.sum(1)))
    return weights


def _chosen(data: Sequence[Part]) -> float:
    """The shrinkage with the least error on targets that are left out; the largest of those that are equal."""

    def error(shrinkage: float) -> float:
        rests = [[*data[:place], *data[place + 1 :]] for place in range(len(data))]
        return round(_error(data, [_fit(rest, shrinkage) for rest in rests]), 12)  # equal, but for rounding

    return min(reversed(SHRINKAGES), key=error)


def _error(data: Sequence[Part], weights: Sequence[Floats]) -> float:
    squares = [((y - x @ own) ** 2) for (x, y), own in zip(data, weights, strict=True)]
    return float(np.concatenate(squares).mean())


def _tau(x: Floats, y: Floats) -> float:
    """Tau-b of one ranking; 0 where the scores are all equal."""
    if np.ptp(x) == 0:
        return 0.0
    return kendall_tau(x[:, None], y[:, None], blanks=True).tau_target
