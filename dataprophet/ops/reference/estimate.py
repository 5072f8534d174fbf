"""Estimate of a mean over all rows from a stratified sample, with control variates (a generalised regression estimate).

The silhouettes of a sample are regressed on control variates that are known for all rows. The estimate is the mean of
the fitted values over all rows plus the weighted mean of the residuals, so it is consistent whether or not the
regression holds, and its error is that of the residuals alone (Särndal, Swensson and Wretman, Model Assisted Survey
Sampling, 1992, chapters 6 and 7). Residuals are those that a row has from a regression without it: the jackknife, which
takes off the bias of slopes fitted to the same sample, and does not underrate the error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dataprophet.ops.reference.products import Array, Clusters, Integers
from dataprophet.ops.reference.variates import Read, control_variates
from dataprophet.selection.allocation import allocate

_SHARE = 16  # a cluster with an expected share of fewer rows of the sample joins the others of its kind
_LEAST = 8  # rows drawn from each stratum, or all of them
_ROWS_PER_VARIATE = 10
_CELL_SHARE = 16  # one cell in each cluster for so many sampled rows: the control variates then cost a quarter of these
_COLLINEAR = 1e-7  # share of a variate's length that must be new to count as more than rounding


class Strata(NamedTuple):
    """Groups of rows that are sampled apart.

    Attributes:
        of: (n,) the stratum of each row, -1 for rows outside the population.
        sizes: (H,) rows in each stratum.
        drawn: (H,) rows to draw from each.
    """

    of: Integers
    sizes: Integers
    drawn: Integers


def estimated_mean(
    read: Read, clusters: Clusters, sample_size: int, seed: int, score: Callable[[Integers], Array]
) -> tuple[float, float]:
    """Mean silhouette of all rows and its standard error, from the scores of ``sample_size`` of them.

    Args:
        read: gives some rows as floats.
        clusters: (n,) cluster numbers without gaps.
        sample_size: rows to score, at least 2 and fewer than n.
        seed: of the sample and of the control variates.
        score: the exact silhouettes (m,) of m rows, given their ascending numbers.

    Returns:
        Mean and standard error; 0 where the rows in clusters of two or more are no more than ``sample_size``.
    """
    n = len(clusters)
    counts = np.bincount(clusters)
    population = counts[clusters] > 1  # a row that is alone in its cluster scores 0, known without a sample
    size = int(population.sum())
    if sample_size >= size:
        return float(score(np.flatnonzero(population)).sum() / n), 0.0
    of_rows, of_cells = np.random.default_rng(seed).spawn(2)
    strata = stratify(clusters, sample_size)
    rows = draw(strata, of_rows)
    scores = score(rows)
    variates = control_variates(read, clusters, cells_of(sample_size), of_cells)
    mean, error = estimate(strata, variates, rows, scores)
    return mean * size / n, error * size / n


def cells_of(sample_size: int) -> int:
    """Into how many cells the control variates cut each cluster: more for a larger sample, so that they stay cheap."""
    return max(4, sample_size // _CELL_SHARE)


def stratify(clusters: Clusters, sample_size: int) -> Strata:
    """Strata of the rows in clusters of two or more: each large cluster is one, all small ones together are another.

    The sample is shared out in proportion, except that each stratum gives at least 8 rows, or all that it has.
    """
    counts = np.bincount(clusters)
    inside = counts > 1
    total = int(counts[inside].sum())
    large = inside & (counts * sample_size >= _SHARE * total)
    stratum = np.where(large, np.cumsum(large) - 1, int(large.sum()))
    of = np.where(inside[clusters], stratum[clusters], -1)
    sizes = np.bincount(of[of >= 0])
    least = np.minimum(sizes, min(_LEAST, sample_size))
    return Strata(of, sizes, allocate(sizes, sample_size, capacity=sizes, minimum=least))


def draw(strata: Strata, rng: np.random.Generator) -> Integers:
    """Row numbers of a sample without replacement, ascending."""
    order = np.argsort(strata.of, kind="stable")[int((strata.of < 0).sum()) :]
    stops = np.cumsum(strata.sizes)
    parts = [
        order[stop - size : stop][rng.choice(size, count, replace=False)]
        for stop, size, count in zip(stops.tolist(), strata.sizes.tolist(), strata.drawn.tolist(), strict=True)
    ]
    return np.sort(np.concatenate(parts))


def estimate(strata: Strata, variates: npt.NDArray[np.floating], rows: Integers, scores: Array) -> tuple[float, float]:
    """Mean over the population and its standard error, from the scores of sampled rows.

    The regression has an intercept for each stratum and common slopes; a variate that the ones before it explain is
    left out, and a small sample takes fewer of them. The error is that of stratified sampling without replacement, of
    the residuals divided by one minus their leverage (the jackknife, or HC3) and weighted as the scores are.

    Args:
        strata: of the population.
        variates: (n, p) control variates, the most telling first.
        rows: (m,) sampled rows.
        scores: (m,) their scores.
    """
    of, sizes, drawn = strata
    sampled = of[rows]
    size = int(sizes.sum())
    weight = (sizes / drawn)[sampled]
    share = sizes / size

    def means(values: Array) -> Array:
        return np.asarray(np.bincount(sampled, weights=values, minlength=len(sizes)) / drawn)

    def centred(values: Array) -> Array:
        return values - means(values)[sampled]

    used = min(variates.shape[1], (len(rows) - len(sizes)) // _ROWS_PER_VARIATE)
    inside = of >= 0
    basis: list[Array] = []
    gaps: list[float] = []  # population mean minus sample mean of each vector of the basis
    mean = float(share @ means(scores))
    residual = centred(scores)
    leverage = (1.0 / drawn)[sampled]
    calibration = np.ones(len(rows))  # the estimate is the mean over rows of weight * calibration * score
    for column in variates.T[:used]:
        values = column.astype(np.float64)
        given = values[rows]
        population = np.bincount(of[inside], weights=values[inside], minlength=len(sizes)) / sizes
        gap = float(share @ (population - means(given)))
        vector = centred(given)
        length = _length(vector, weight)
        for _ in range(2):  # once more, for what rounding left
            for other, its_gap in zip(basis, gaps, strict=True):
                slope = _dot(vector, other, weight)
                vector = vector - slope * other
                gap -= slope * its_gap
        left = _length(vector, weight)
        if not left > _COLLINEAR * length:
            continue
        vector, gap = vector / left, gap / left
        basis.append(vector)
        gaps.append(gap)
        slope = _dot(residual, vector, weight)
        mean += slope * gap
        residual = residual - slope * vector
        leverage = leverage + weight * vector * vector
        calibration = calibration + size * gap * vector
    deviation = calibration * residual / np.maximum(1.0 - leverage, 1.0 / len(rows))
    squares = np.bincount(sampled, weights=deviation * deviation, minlength=len(sizes))
    variance = (share**2 * (1.0 - drawn / sizes) / drawn**2 * squares).sum()
    return mean + float((weight * deviation).sum()) / size, float(np.sqrt(variance))


def _dot(a: Array, b: Array, weight: Array) -> float:
    """Weighted dot product, without a BLAS, whose order of addition may depend on its threads."""
    return float((weight * a * b).sum())


def _length(a: Array, weight: Array) -> float:
    return float(np.sqrt(_dot(a, a, weight)))
