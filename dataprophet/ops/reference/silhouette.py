"""Silhouettes: of each row, and their mean."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dataprophet.ops.reference.clusters import cluster_sums
from dataprophet.ops.reference.directions import chunks_of, normalized
from dataprophet.ops.reference.products import ROWS, Array, Clusters, Integers, product

_TILE = 1024


class Silhouette(NamedTuple):
    """Mean silhouette and its standard error, which is 0 where every row was scored."""

    mean: float
    standard_error: float


def silhouette_samples(
    x: npt.NDArray[Any], labels: npt.NDArray[Any], *, metric: str = "euclidean"
) -> npt.NDArray[np.float32]:
    """Silhouette (b - a) / max(a, b) of each row of x (n, d), as (n,) float32.

    a is the mean distance to the other rows of its own cluster, b the least mean distance to another cluster. A row
    alone in its cluster scores 0. The metric is "euclidean", "sqeuclidean" or "cosine" (1 - cosine).
    """
    return silhouettes(x, numbered(labels), metric)[0].astype(np.float32)


def silhouette_score(x: npt.NDArray[Any], labels: npt.NDArray[Any], *, metric: str = "euclidean") -> Silhouette:
    """Mean silhouette over all rows of x."""
    return Silhouette(float(silhouettes(x, numbered(labels), metric)[0].mean()), 0.0)


def numbered(labels: npt.NDArray[Any]) -> Integers:
    """Labels as cluster numbers from 0 on, without gaps, in the order of the labels."""
    return np.unique(labels, return_inverse=True)[1].astype(np.int64)


def silhouettes(
    x: npt.NDArray[Any], clusters: Clusters, metric: str, rows: Integers | None = None
) -> tuple[Array, Array]:
    """Silhouettes (m,) of some rows of x (n, d), by default all, and the mean distances (m, 2), a and b, behind them.

    ``clusters`` (n,) numbers clusters that are not empty. A row that is alone in its cluster has a = 0 and scores 0.
    """
    counts = np.bincount(clusters)
    exponent = 0
    if metric == "cosine":
        points = np.concatenate([normalized(x[part]) for part in chunks_of(x, "x")])
    else:
        points, exponent = _scaled(x)
    picked = np.arange(len(points)) if rows is None else rows
    if metric == "euclidean":
        points -= points.mean(axis=0)
        sums = _euclidean_sums(points, clusters, picked, None if rows is None else picked)
    else:
        sums = _collapsed_sums(points, clusters, counts, picked, metric)
    own = clusters[picked]
    at = np.arange(len(picked))
    inside = sums[at, own] / np.maximum(counts[own] - 1, 1)
    inside[counts[own] == 1] = 0.0
    means = sums / counts
    means[at, own] = np.inf
    outside = means.min(axis=1)
    largest = np.maximum(inside, outside)
    scores = np.divide(outside - inside, largest, out=np.zeros_like(largest), where=largest > 0.0)
    with np.errstate(over="ignore"):  # squares of huge distances are infinite
        inside, outside = (np.ldexp(means, exponent * (2 - (metric == "euclidean"))) for means in (inside, outside))
    return np.where(counts[own] > 1, scores, 0.0), np.stack([inside, outside], axis=1)


def _scaled(x: npt.NDArray[Any]) -> tuple[Array, int]:
    """The rows in float64 over 2**exponent, which is not 0 where squares would overflow or vanish."""
    points = np.array(x, np.float64)
    exponent = int(np.frexp(np.abs(points).max(initial=0.0))[1])
    if abs(exponent) < 300:
        return points, 0
    return np.ldexp(points, -exponent), exponent


def _collapsed_sums(points: Array, cluster: Clusters, counts: Integers, picked: Integers, metric: str) -> Array:
    """Sums of distances to each cluster in O(n K d).

    Squared distances to the rows of a cluster add up to size * |row - mean|^2 + spread, where spread is the sum over
    the cluster of |row - mean|^2; for unit vectors 1 - cosine is half of that. Nothing cancels.
    """
    means = cluster_sums(points, cluster, len(counts)) / counts[:, None]
    spread = np.zeros(len(counts))
    sums = np.empty((len(picked), len(counts)))
    for c, mean in enumerate(means):
        inside = points[cluster == c] - mean
        spread[c] = np.einsum("ij,ij->", inside, inside)
        for start in range(0, len(picked), ROWS):
            part = slice(start, start + ROWS)
            away = points[picked[part]] - mean
            sums[part, c] = counts[c] * np.einsum("ij,ij->i", away, away) + spread[c]
    return sums * 0.5 if metric == "cosine" else sums


def _euclidean_sums(points: Array, cluster: Clusters, picked: Integers, rows: Integers | None) -> Array:
    """Sums of Euclidean distances (len(picked), K), tile by tile over rows in the order of their cluster.

    With all rows picked, each tile above the diagonal serves its rows and its columns: half the work.
    """
    order = np.argsort(cluster, kind="stable")
    sorted_points, sorted_cluster = points[order], cluster[order]
    norms = np.einsum("ij,ij->i", sorted_points, sorted_points)
    left = sorted_points if rows is None else points[picked]
    left_norms = norms if rows is None else np.einsum("ij,ij->i", left, left)
    left_rows = np.arange(len(order)) if rows is None else np.argsort(order)[picked]
    sums: Array = np.zeros((len(left), int(cluster.max()) + 1))
    for i in range(0, len(left), _TILE):
        a = slice(i, min(i + _TILE, len(left)))
        for j in range(i if rows is None else 0, len(order), _TILE):
            b = slice(j, min(j + _TILE, len(order)))
            squared = left_norms[a, None] - 2.0 * product(left[a], sorted_points[b].T) + norms[b]
            distance = np.sqrt(np.maximum(squared, 0.0, out=squared), out=squared)
            distance[left_rows[a, None] == np.arange(b.start, b.stop)] = 0.0
            names, starts = np.unique(sorted_cluster[b], return_index=True)
            sums[a, names[0] : names[-1] + 1] += np.add.reduceat(distance, starts, axis=1)
            if rows is None and i != j:
                names, starts = np.unique(sorted_cluster[a], return_index=True)
                sums[b, names[0] : names[-1] + 1] += np.add.reduceat(distance, starts, axis=0).T
    if rows is None:
        unsorted = np.empty_like(sums)
        unsorted[order] = sums
        return unsorted
    return sums
