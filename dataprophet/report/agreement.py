"""The section of agreement with measured gains: taus of the targets, and how sure they are."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from dataprophet.errors import MetricError
from dataprophet.metric.agreement import kendall_tau
from dataprophet.metric.factors import Floats
from dataprophet.report.page import Columns, Page
from dataprophet.report.values import number

RESAMPLES, _SEED = 1_000, 0


def add_agreement(page: Page) -> None:
    """Kendall's tau-b of scores and gains, where gains were given."""
    matrix, gains = page.inputs.matrix, page.inputs.gains
    if matrix is None or gains is None:
        return
    found = kendall_tau(matrix, gains)
    order = (
        [gains.sources.index(name) for name in matrix.sources],
        [gains.targets.index(name) for name in matrix.targets],
    )
    per_target, mean = resampled(matrix.values, gains.values[np.ix_(*order)])
    names = [*matrix.targets, "mean over targets"]
    taus = [*found.per_target.values(), found.tau_target]
    bounds = np.column_stack([per_target, mean])
    rows: Columns = {"target": names, "tau": taus, "low": bounds[0].tolist(), "high": bounds[1].tolist()}
    page.figures.add("taus", "taus", rows)
    for place, target in enumerate(matrix.targets):
        page.figures.add("agreement", f"target/{place}", page.figures.rows[f"target/{place}"], target)
    others = {"tau over sources (ranking targets)": found.tau_source, "mean of the two": found.tau}
    if set(matrix.sources) & set(matrix.targets):
        with suppress(MetricError):  # too few cells are left
            apart = kendall_tau(matrix, gains, diagonal=False)
            others["tau over targets, without a dataset for itself"] = apart.tau_target
    values = {
        "tau": number(found.tau_target),
        "low": number(float(mean[0])),
        "high": number(float(mean[1])),
        "others": [[name, number(value)] for name, value in others.items()],
        "sources": [[name, number(tau)] for name, tau in found.per_source.items()],
        "resamples": f"{RESAMPLES:,}",
    }
    page.section("agreement", "Agreement with gains", values)


def resampled(predicted: Floats, observed: Floats) -> tuple[Floats, Floats]:
    """95% intervals of tau-b by the percentiles of a bootstrap.

    Each resample draws the sources anew, with replacement, and for the mean the targets, too. A source that is drawn
    several times makes no pair with itself. Resamples in which a target has no ordered pair are left out of its own.

    Args:
        predicted: (S, T).
        observed: (S, T).

    Returns:
        (2, T) bounds for each target, and (2,) of the mean over targets.
    """
    count, targets = predicted.shape
    random = np.random.default_rng(_SEED)
    draws = random.integers(count, size=(RESAMPLES, count))
    weights = np.apply_along_axis(np.bincount, 1, draws, minlength=count).astype(np.float64)
    upper = np.triu_indices(count, 1)
    pairs = weights[:, upper[0]] * weights[:, upper[1]]  # (R, P): how often each pair of sources was drawn
    x, y = (np.sign(values[upper[0]] - values[upper[1]]) for values in (predicted, observed))  # (P, T)
    agreed = pairs @ (x * y)
    with np.errstate(invalid="ignore", divide="ignore"):
        taus = agreed / np.sqrt((pairs @ np.abs(x)) * (pairs @ np.abs(y)))  # (R, T)
    means = np.nanmean(np.take_along_axis(taus, random.integers(targets, size=(RESAMPLES, targets)), 1), 1)
    return _bounds(taus), _bounds(means[:, None])[:, 0]


def _bounds(values: NDArray[np.float64]) -> Floats:
    return np.asarray(np.nanpercentile(values, [2.5, 97.5], axis=0), np.float64)
