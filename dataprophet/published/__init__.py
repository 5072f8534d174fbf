"""Figures published with the metric (arXiv 2603.19688), and what recomputing them gives."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dataprophet.agreement import kendall_tau
from dataprophet.errors import DataError

NAMES = ("metric_scores", "relative_improvement_percent", "kendall_tau", "ablation", "selection_results")

# the averages printed under the columns of the selection table; selection_results.csv holds the rows
PRINTED_AVERAGES = {"real_uniform": 67.6, "real_icons": 69.6, "real_oracle": 70.8, "real_dataprophet": 71.0}
PRINTED_TAU = {"tau_target": 0.863, "tau_source": 0.857}

_STEP = 0.01  # the published scores are read to two decimals


@dataclass(frozen=True)
class Matrix:
    """A published matrix: sources in rows, targets in columns, values (S, T) float64."""

    sources: list[str]
    targets: list[str]
    values: npt.NDArray[np.float64]


def path(name: str) -> Path:
    """Return the path of a published CSV.

    Args:
        name: one of ``NAMES``, with or without ".csv".

    Raises:
        DataError: there is no such table.
    """
    stem = name.removesuffix(".csv")
    if stem not in NAMES:
        raise DataError(f"no published table {name!r}", where="published", fix=f"choose among {', '.join(NAMES)}")
    return Path(__file__).with_name(f"{stem}.csv")


def matrix(name: str) -> Matrix:
    """Read a published table of numbers whose rows and columns are named.

    Args:
        name: "metric_scores", "relative_improvement_percent" or "selection_results".
    """
    with path(name).open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return Matrix([row[0] for row in rows], header[1:], np.array([row[1:] for row in rows], dtype=np.float64))


def additive_residual(scores: npt.NDArray[np.float64]) -> float:
    """Return how far log M(s,t) - log M(t,s) is from a term in s plus a term in t.

    In the formula the similarities are symmetric and cancel, and the rest belongs to s or to t alone.

    Args:
        scores: (S, S) positive scores, sources and targets in one order.

    Returns:
        The root mean square of the least-squares residual over the S(S-1) cells off the diagonal (on it, it is zero).
    """
    logs = np.log(scores)
    skew = logs - logs.T
    residual = skew - skew.mean(axis=0) - skew.mean(axis=1, keepdims=True) + skew.mean()
    n = len(scores)
    return float(np.sqrt((residual**2).sum() / (n * (n - 1))))


def rounding_residuals(scores: npt.NDArray[np.float64], *, draws: int = 2000, seed: int = 0) -> npt.NDArray[np.float64]:
    """Return the residuals that rounding alone gives to a matrix that obeys the formula.

    The nearest matrix of exactly additive form is perturbed by uniform errors of half a step of the two decimals.

    Args:
        scores: (S, S) positive scores, rounded to two decimals.
        draws: how many perturbed matrices.
        seed: seed of the perturbations.

    Returns:
        (draws,) float64, each ``additive_residual`` of one draw.
    """
    logs = np.log(scores)
    term = (logs - logs.T).mean(axis=1)
    exact = np.exp((logs + logs.T + term[:, None] - term) / 2)
    rng = np.random.default_rng(seed)
    errors = rng.uniform(-_STEP / 2, _STEP / 2, size=(draws, *scores.shape))
    return np.array([additive_residual(exact + error) for error in errors])


def findings() -> dict[str, Any]:
    """Recompute every finding of README.md in this folder from the CSVs beside it.

    Returns:
        "tau_b", "tau_a" and "tau_b_off_diagonal": each {"tau_target", "tau_source"}; "tau_printed" as in the paper;
        "additive_residual"; "rounding_residual": {"mean", "low", "high"} (95 % of draws); "selection_averages": column ->
        mean over the benchmarks; "selection_averages_printed" as in the paper.
    """
    scores, gains = matrix("metric_scores"), matrix("relative_improvement_percent")
    found: dict[str, Any] = {}
    for name, variant, diagonal in (("tau_b", "b", True), ("tau_a", "a", True), ("tau_b_off_diagonal", "b", False)):
        agreement = kendall_tau(scores, gains, "b" if variant == "b" else "a", diagonal=diagonal)
        found[name] = {"tau_target": agreement.tau_target, "tau_source": agreement.tau_source}
    found["tau_printed"] = dict(PRINTED_TAU)
    found["additive_residual"] = additive_residual(scores.values)
    simulated = rounding_residuals(scores.values)
    low, high = np.percentile(simulated, [2.5, 97.5])
    found["rounding_residual"] = {"mean": float(simulated.mean()), "low": float(low), "high": float(high)}
    table = matrix("selection_results")
    found["selection_averages"] = dict(zip(table.targets, table.values.mean(axis=0).tolist(), strict=True))
    found["selection_averages_printed"] = dict(PRINTED_AVERAGES)
    return found
