"""Figures published with the metric (arXiv 2603.19688), and what recomputing them gives.

``dataprophet evaluate --published`` and the tests call it; it reads the CSV files beside it and nothing else.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dataprophet.errors import DataError
from dataprophet.metric.agreement import kendall_tau
from dataprophet.metric.matrix import TransferMatrix

NAMES = ("metric_scores", "relative_improvement_percent", "kendall_tau", "ablation", "selection_results")

# the averages printed under the columns of the selection table; selection_results.csv holds the rows
PRINTED_AVERAGES = {"real_uniform": 67.6, "real_icons": 69.6, "real_oracle": 70.8, "real_dataprophet": 71.0}
PRINTED_TAU = {"tau_target": 0.863, "tau_source": 0.857}

_STEP = 0.01  # the published scores are read to two decimals


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


def matrix(name: str) -> TransferMatrix:
    """Read "metric_scores" or "relative_improvement_percent", whose rows are sources and columns are targets."""
    return TransferMatrix.from_csv(path(name))


def selection_averages() -> dict[str, float]:
    """Return the mean over the benchmarks of each column of the selection table."""
    with path("selection_results").open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return {name: float(np.mean([float(row[j]) for row in rows])) for j, name in enumerate(header) if j}


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
        "tau_b", "tau_a", "tau_b_off_diagonal" and, as in the paper, "tau_printed": each {"tau_target", "tau_source"};
        "additive_residual"; "rounding_residual": {"mean", "low", "high"}, 95 % of the draws lying from low to high;
        "selection_averages" and, as in the paper, "selection_averages_printed": column -> mean over the benchmarks.
    """
    scores, gains = matrix("metric_scores"), matrix("relative_improvement_percent")
    found: dict[str, Any] = {}
    off_diagonal = kendall_tau(scores, gains, diagonal=False)
    taus = {"tau_b": kendall_tau(scores, gains), "tau_a": kendall_tau(scores, gains, "a")}
    for name, agreement in {**taus, "tau_b_off_diagonal": off_diagonal}.items():
        found[name] = {"tau_target": agreement.tau_target, "tau_source": agreement.tau_source}
    found["tau_printed"] = dict(PRINTED_TAU)
    found["additive_residual"] = additive_residual(scores.values)
    simulated = rounding_residuals(scores.values)
    low, high = np.percentile(simulated, [2.5, 97.5])
    found["rounding_residual"] = {"mean": float(simulated.mean()), "low": float(low), "high": float(high)}
    found["selection_averages"] = selection_averages()
    found["selection_averages_printed"] = dict(PRINTED_AVERAGES)
    return found
