"""Estimate of the mean silhouette from a sample of rows, by regression on what is known of all rows.

Called by ``silhouette_score``; knows neither where rows lie nor what computes the silhouettes. The scores of the sample
are regressed on control variates, and the estimate is the mean of the fitted values over all rows: consistent whether
or not the regression holds, with the error of its residuals alone (Särndal, Swensson and Wretman, Model Assisted Survey
Sampling, 1992, chapter 6). Residuals are those that a row has from a regression without it: the jackknife, which takes
off the bias of slopes fitted to the same sample, and does not underrate the error.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_SHARE = 16  # a cluster with as many rows of the sample, as expected, has a mean of its own in the regression
_ROWS_PER_SLOPE = 10  # a small sample takes fewer variates


def estimated_mean(
    clusters: NDArray[np.int32],
    squared: NDArray[np.float64],
    sample_size: int,
    seed: int,
    score: Callable[[NDArray[np.int64]], NDArray[np.float64]],
) -> tuple[float, float]:
    """Mean silhouette of all rows and its standard error, from the scores of ``sample_size`` of them.

    Args:
        clusters: (n,) cluster numbers without gaps.
        squared: (n, 2) mean squared distances of each row to its own and to the nearest other cluster.
        sample_size: rows to score, at least 2 and fewer than n.
        seed: of the sample.
        score: the exact silhouettes (m,) of m rows, given their ascending numbers.

    Returns:
        Mean and standard error; 0 where the rows in clusters of two or more are no more than ``sample_size``.
    """
    counts = np.bincount(clusters)
    population = np.flatnonzero(counts[clusters] > 1)  # a row that is alone scores 0, known without a sample
    n, size, m = len(clusters), len(population), sample_size
    if m >= size:
        return float(score(population).sum() / n), 0.0
    rows = population[np.sort(np.random.default_rng(seed).choice(size, m, replace=False))]
    large = np.flatnonzero((counts > 1) & (counts * m >= _SHARE * size))
    columns = [np.ones(m)]
    for values in _variates(clusters, squared, large):
        inside = values[population]
        mean, deviation = inside.mean(), inside.std()
        if len(columns) <= m // _ROWS_PER_SLOPE and deviation > 0.0:
            columns.append((values[rows] - mean) / deviation)  # the intercept is then the mean over all rows
    x, scores = np.stack(columns, axis=1), score(rows)
    # einsum, and products too small for threads: the same bits for any number of them
    slopes = np.einsum("ij,jk->ik", x, np.linalg.pinv(np.einsum("ij,ik->jk", x, x), rcond=1e-10, hermitian=True))
    residuals = scores - np.einsum("ij,j->i", x, np.einsum("ij,i->j", slopes, scores))
    without = residuals / np.maximum(1.0 - np.einsum("ij,ij->i", slopes, x), 1.0 / m)
    parts = slopes[:, 0] * without
    estimate = float((slopes[:, 0] * scores).sum() + (1.0 - 1.0 / m) * parts.sum())
    error = float(np.sqrt((1.0 - m / size) * (parts * parts).sum()))
    return estimate * size / n, error * size / n


def _variates(
    clusters: NDArray[np.int32], squared: NDArray[np.float64], large: NDArray[np.int64]
) -> list[NDArray[np.float64]]:
    """Control variates (n,), the most telling first: silhouettes of root mean squared distances, clusters, the rest."""
    with np.errstate(invalid="ignore", divide="ignore"):  # distances whose squares overflow tell nothing
        own, other = np.sqrt(squared / squared.max()).T
    largest = np.maximum(own, other)
    score = np.divide(other - own, largest, out=np.zeros_like(largest), where=largest != 0.0)
    members = [(clusters == cluster).astype(np.float64) for cluster in large]
    shapes = [own, other, score**2, own**2, other**2, own * other, score**3, score * own]
    return [values for values in (score, *members, *shapes) if np.isfinite(values).all()]
