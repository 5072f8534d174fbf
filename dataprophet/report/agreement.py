"""The section of agreement with measured gains: taus of the targets, and how sure they are."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from dataprophet.errors import MetricError
from dataprophet.metric.agreement import kendall_tau
from dataprophet.metric.factors import Floats
from dataprophet.report.page import Columns, Page
from dataprophet.report.scores import aligned
from dataprophet.report.values import number

RESAMPLES, _SEED = 1_000, 0


def add_agreement(page: Page) -> None:
    """Kendall's tau-b of scores and gains, where gains were given."""
    matrix, gains = page.inputs.matrix, page.inputs.gains
    if matrix is None or gains is None:
        return
    found = kendall_tau(matrix, gains.matrix, blanks=True)
    per_target, mean = resampled(matrix.values, aligned(gains.matrix, matrix))
    places = [matrix.targets.index(name) for name in found.per_target]
    bounds = np.column_stack([per_target[:, places], mean])
    rows: Columns = {"target": [*found.per_target, "mean over targets"]}
    rows |= {
        "tau": [*found.per_target.values(), found.tau_target],
        "low": bounds[0].tolist(),
        "high": bounds[1].tolist(),
    }
    page.figures.add("taus", "taus", rows)
    for place, target in enumerate(matrix.targets):
        page.figures.add("agreement", f"target/{place}", page.figures.rows[f"target/{place}"], target)
    others = {"tau over sources (ranking targets)": found.tau_source, "mean of the two": found.tau}
    if set(matrix.sources) & set(matrix.targets):
        with suppress(MetricError):  # too few cells are left
            apart = kendall_tau(matrix, gains.matrix, diagonal=False, blanks=True)
            others["tau over targets, without a dataset for itself"] = apart.tau_target
    values = {
        "tau": number(found.tau_target),
        "low": number(float(mean[0])),
        "high": number(float(mean[1])),
        "others": [[name, number(value)] for name, value in others.items()],
        "sources": [[name, number(tau)] for name, tau in found.per_source.items()],
        "resamples": f"{RESAMPLES:,}",
        "read_as": gains.read_as,
    }
    page.section("agreement", "Agreement with gains", values)


def resampled(predicted: Floats, observed: Floats) -> tuple[Floats, Floats]:
    """95% intervals of tau-b by the percentiles of a bootstrap.

    Each resample draws the sources anew, with replacement, and for the mean the targets, too. A source that is drawn
    several times makes no pair with itself. Resamples in which a target has no ordered pair are left out of its own.

    Args:
        predicted: (S, T).
        observed: (S, T), NaN where nothing was measured.

    Returns:
        (2, T) bounds for each target, NaN where it has no ordered pair, and (2,) of the mean over targets.
    """
    count, targets = predicted.shape
    random = np.random.default_rng(_SEED)
    draws = random.integers(count, size=(RESAMPLES, count))
    weights = np.apply_along_axis(np.bincount, 1, draws, minlength=count).astype(np.float64)
    upper = np.triu_indices(count, 1)
    pairs = weights[:, upper[0]] * weights[:, upper[1]]  # (R, P): how often each pair of sources was drawn
    both = np.where(np.isnan(observed), np.nan, predicted)
    x, y = (np.nan_to_num(np.sign(values[upper[0]] - values[upper[1]])) for values in (both, observed))  # (P, T)
    agreed = pairs @ (x * y)
    with np.errstate(invalid="ignore", divide="ignore"):
        taus = agreed / np.sqrt((pairs @ np.abs(x)) * (pairs @ np.abs(y)))  # (R, T)
    known = np.flatnonzero(~np.isnan(taus).all(0))
    bounds = np.full((2, targets), np.nan)
    if not len(known):
        return bounds, np.full(2, np.nan)
    drawn = known[random.integers(len(known), size=(RESAMPLES, len(known)))]
    bounds[:, known] = _bounds(taus[:, known])
    chosen = np.take_along_axis(taus, drawn, 1)
    counts = np.count_nonzero(~np.isnan(chosen), axis=1)
    means = np.nansum(chosen, 1) / np.where(counts, counts, np.nan)
    return bounds, _bounds(means[:, None])[:, 0]


def _bounds(values: NDArray[np.float64]) -> Floats:
    return np.asarray(np.nanpercentile(values, [2.5, 97.5], axis=0), np.float64)
