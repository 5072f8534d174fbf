"""Clusters: k-means and the entropy of cluster shares."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dataprophet.ops.reference.products import ROWS, Array, Clusters, product

Labels = npt.NDArray[np.int64]

_CANDIDATES = 4  # of greedy k-means++, as in scikit-learn for k = 10
_ROUNDING = 2.0**-30  # of a squared length: what fp32 sums of equal rows may leave between them and their mean


class KMeans(NamedTuple):
    """Result of k-means.

    Attributes:
        centroids: (k, d) float32 array in the caller's library.
        labels: (n,) int64; each cluster has at least one row.
        inertia: sum of squared distances of the rows to their centroids.
        n_iter: Lloyd iterations done.
    """

    centroids: Any
    labels: Any
    inertia: float
    n_iter: int


def kmeans_draws(k: int, seed: int) -> Array:
    """The uniforms in [0, 1) that greedy k-means++ takes: one for the first centre, four for each other."""
    return np.random.default_rng(seed).random(1 + _CANDIDATES * (k - 1))


def kmeans(
    x: npt.NDArray[Any],
    k: int,
    *,
    seed: int = 0,
    init: npt.NDArray[Any] | None = None,
    max_iter: int = 100,
    tol: float = 1e-4,
) -> KMeans:
    """Lloyd's k-means of the rows of x (n, d), from greedy k-means++ with a seed or from ``init`` (k, d).

    It stops when no label changes, when the centroids' squared shift is at most ``tol`` times the mean variance of the
    columns (scikit-learn's rule), or after ``max_iter`` iterations. A cluster left empty moves to the row farthest from
    its centroid, and after a move of more than rounding it goes on. Ties go to the lowest index.
    """
    points: Array = np.array(x, np.float64)
    centre = points.mean(axis=0)
    points -= centre  # distances from norms and products lose fewer digits around the mean
    norms = np.einsum("ij,ij->i", points, points)
    threshold = tol * float(norms.sum()) / max(points.size, 1)
    centroids = _plus_plus(points, k, kmeans_draws(k, seed)) if init is None else np.array(init, np.float64) - centre

    labels, _ = _assigned(points, norms, centroids)
    n_iter = 0
    while n_iter < max_iter:
        n_iter += 1
        sums = cluster_sums(points, labels, k)
        moved: Array = sums / np.bincount(labels, minlength=k)[:, None]
        shift = float(((moved - centroids) ** 2).sum())
        centroids, previous = moved, labels
        labels, relocated = _assigned(points, norms, centroids)
        if not relocated and (shift <= threshold or np.array_equal(labels, previous)):
            break
    inertia = 0.0
    for start in range(0, len(points), ROWS):
        part = slice(start, start + ROWS)
        inertia += float(((points[part] - centroids[labels[part]]) ** 2).sum())
    return KMeans((centroids + centre).astype(np.float32), labels, inertia, n_iter)


def _distances(points: Array, norms: Array, centroids: Array) -> Array:
    """Squared distances (n, k), never negative."""
    squares = np.einsum("ij,ij->i", centroids, centroids)
    result = np.empty((len(points), len(centroids)))
    for start in range(0, len(points), ROWS):
        part = slice(start, start + ROWS)
        result[part] = norms[part, None] - 2.0 * product(points[part], centroids.T) + squares
    return np.maximum(result, 0.0, out=result)


def _plus_plus(points: Array, k: int, draws: Array) -> Array:
    """Greedy k-means++: of four candidates drawn by squared distance, the one that lowers the inertia most."""
    n = len(points)
    chosen = [min(int(draws[0] * n), n - 1)]
    closest = _squared_differences(points, points[chosen[0]])
    while len(chosen) < k:
        cumulative = np.cumsum(closest)
        if cumulative[-1] > 0.0:
            first = 1 + _CANDIDATES * (len(chosen) - 1)
            targets = draws[first : first + _CANDIDATES] * cumulative[-1]
            candidates = np.minimum(np.searchsorted(cumulative, targets, side="right"), n - 1)
        else:  # fewer distinct rows than clusters
            candidates = np.setdiff1d(np.arange(n), chosen)[:1]
        reduced = np.stack([np.minimum(closest, _squared_differences(points, points[row])) for row in candidates])
        best = int(reduced.sum(axis=1).argmin())
        chosen.append(int(candidates[best]))
        closest = reduced[best]
    return points[chosen]


def _squared_differences(points: Array, centre: Array) -> Array:
    """Squared distances to one row: exactly 0 for its like."""
    result = np.empty(len(points))
    for start in range(0, len(points), ROWS):
        difference = points[start : start + ROWS] - centre
        result[start : start + ROWS] = np.einsum("ij,ij->i", difference, difference)
    return result


def _assigned(points: Array, norms: Array, centroids: Array) -> tuple[Labels, bool]:
    """The nearest centroid of each row; one that would have none moves to the row farthest from its own.

    Also whether one moved to a row that was away from its own by more than rounding.
    """
    squared = _distances(points, norms, centroids)
    labels: Labels = squared.argmin(axis=1)
    distances = np.take_along_axis(squared, labels[:, None], axis=1)[:, 0]
    counts, relocated = np.bincount(labels, minlength=len(centroids)), False
    for empty in np.flatnonzero(counts == 0):
        spare = np.where(counts[labels] > 1, distances, -1.0)
        farthest = int(spare.argmax())
        counts[labels[farthest]] -= 1
        counts[empty] += 1
        labels[farthest] = empty
        centroids[empty] = points[farthest]
        relocated |= bool(distances[farthest] > _ROUNDING * norms[farthest])
        distances[farthest] = 0.0
    return labels, relocated


def cluster_sums(points: Array, labels: Clusters, k: int) -> Array:
    """Sums of the rows of each cluster (k, d), as the product of a one-hot matrix with the rows."""
    sums: Array = np.zeros((points.shape[1], k))
    for start in range(0, len(points), ROWS):
        part = labels[start : start + ROWS]
        one_hot = np.zeros((len(part), k))
        one_hot[np.arange(len(part)), part] = 1.0
        sums += product(points[start : start + ROWS].T, one_hot)
    return np.ascontiguousarray(sums.T)


def cluster_entropy(labels: npt.NDArray[Any], k: int) -> float:
    """Entropy of the shares of k clusters over log k: 1 for equal shares, 0 for one cluster (and for k = 1)."""
    return entropy_of_counts(np.bincount(labels, minlength=k))


def entropy_of_counts(counts: npt.NDArray[np.int64]) -> float:
    """The same of how many labels each cluster has."""
    if len(counts) == 1:
        return 0.0
    shares = counts / counts.sum()
    shares = shares[shares > 0.0]
    return min(1.0, float(-(shares * np.log(shares)).sum() / np.log(len(counts))) + 0.0)
