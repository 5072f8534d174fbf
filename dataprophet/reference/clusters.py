"""Clusters: k-means, silhouettes and the entropy of cluster shares."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dataprophet.reference.directions import chunks_of, normalized
from dataprophet.reference.products import ROWS, Array, product

Labels = npt.NDArray[np.int64]

_CANDIDATES = 4  # of greedy k-means++, as in scikit-learn for k = 10
_TILE = 1024


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


class Silhouette(NamedTuple):
    """Mean silhouette and its standard error, which is 0 where every row was scored."""

    mean: float
    standard_error: float


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
    columns (scikit-learn's rule), or after ``max_iter`` iterations. A cluster left empty takes the row farthest from
    its centroid. Ties go to the lowest index.
    """
    points: Array = np.array(x, np.float64)
    centre = points.mean(axis=0)
    points -= centre  # distances from norms and products lose fewer digits around the mean
    norms = np.einsum("ij,ij->i", points, points)
    threshold = tol * float(norms.sum()) / max(points.size, 1)
    centroids = _plus_plus(points, norms, k, seed) if init is None else np.array(init, np.float64) - centre

    labels, distances = _assign(points, norms, centroids)
    labels = _fill_empty(labels, distances, k)
    n_iter = 0
    while n_iter < max_iter:
        n_iter += 1
        moved = _means(points, labels, k)
        shift = float(((moved - centroids) ** 2).sum())
        centroids = moved
        previous = labels
        labels, distances = _assign(points, norms, centroids)
        labels = _fill_empty(labels, distances, k)
        if shift <= threshold or np.array_equal(labels, previous):
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


def _plus_plus(points: Array, norms: Array, k: int, seed: int) -> Array:
    """Greedy k-means++: of four candidates drawn by squared distance, the one that lowers the inertia most."""
    rng = np.random.default_rng(seed)
    chosen = [int(rng.integers(len(points)))]
    closest = _distances(points, norms, points[chosen])[:, 0]
    while len(chosen) < k:
        closest[chosen] = 0.0
        cumulative = np.cumsum(closest)
        if cumulative[-1] > 0.0:
            draws = rng.random(_CANDIDATES) * cumulative[-1]
            candidates = np.minimum(np.searchsorted(cumulative, draws, side="right"), len(points) - 1)
        else:  # fewer distinct rows than clusters
            candidates = np.setdiff1d(np.arange(len(points)), chosen)[:1]
        reduced = np.minimum(closest[:, None], _distances(points, norms, points[candidates]))
        best = int(reduced.sum(axis=0).argmin())
        chosen.append(int(candidates[best]))
        closest = reduced[:, best]
    return points[chosen]


def _assign(points: Array, norms: Array, centroids: Array) -> tuple[Labels, Array]:
    distances = _distances(points, norms, centroids)
    labels = distances.argmin(axis=1)
    return labels, np.take_along_axis(distances, labels[:, None], axis=1)[:, 0]


def _fill_empty(labels: Labels, distances: Array, k: int) -> Labels:
    counts = np.bincount(labels, minlength=k)
    for empty in np.flatnonzero(counts == 0):
        spare = np.where(counts[labels] > 1, distances, -1.0)
        farthest = int(spare.argmax())
        counts[labels[farthest]] -= 1
        counts[empty] += 1
        labels[farthest] = empty
        distances[farthest] = 0.0
    return labels


def _means(points: Array, labels: Labels, k: int) -> Array:
    sums = _cluster_sums(points, labels, k)
    return np.asarray(sums / np.bincount(labels, minlength=k)[:, None])


def _cluster_sums(points: Array, labels: Labels, k: int) -> Array:
    """Sums of the rows of each cluster (k, d), as the product of a one-hot matrix with the rows."""
    sums: Array = np.zeros((points.shape[1], k))
    for start in range(0, len(points), ROWS):
        part = labels[start : start + ROWS]
        one_hot = np.zeros((len(part), k))
        one_hot[np.arange(len(part)), part] = 1.0
        sums += product(points[start : start + ROWS].T, one_hot)
    return np.ascontiguousarray(sums.T)


def silhouette_samples(
    x: npt.NDArray[Any], labels: npt.NDArray[Any], *, metric: str = "euclidean"
) -> npt.NDArray[np.float32]:
    """Silhouette (b - a) / max(a, b) of each row of x (n, d), as (n,) float32.

    a is the mean distance to the other rows of its own cluster, b the least mean distance to another cluster. A row
    alone in its cluster scores 0. The metric is "euclidean", "sqeuclidean" or "cosine" (1 - cosine).
    """
    return _silhouettes(x, labels, metric, None).astype(np.float32)


def silhouette_score(
    x: npt.NDArray[Any],
    labels: npt.NDArray[Any],
    *,
    metric: str = "euclidean",
    sample_size: int | None = None,
    seed: int = 0,
) -> Silhouette:
    """Mean silhouette over all rows of x, or over ``sample_size`` of them drawn with a seed.

    Each drawn row is scored exactly, against all rows. The standard error is that of a mean over a sample without
    replacement, and 0 without a sample.
    """
    n = x.shape[0]
    if sample_size is None or sample_size >= n:
        return Silhouette(float(_silhouettes(x, labels, metric, None).mean()), 0.0)
    rows = np.sort(np.random.default_rng(seed).choice(n, sample_size, replace=False))
    scores = _silhouettes(x, labels, metric, rows)
    error = float(np.sqrt(scores.var(ddof=1) / sample_size * (1.0 - sample_size / n))) if sample_size > 1 else np.nan
    return Silhouette(float(scores.mean()), error)


def _silhouettes(x: npt.NDArray[Any], labels: npt.NDArray[Any], metric: str, rows: Labels | None) -> Array:
    cluster = np.unique(labels, return_inverse=True)[1].astype(np.int64)
    counts = np.bincount(cluster)
    if metric == "cosine":
        points = np.concatenate([normalized(x[part]) for part in chunks_of(x, "x")])
    else:
        points = np.array(x, np.float64)
        points -= points.mean(axis=0)
    picked = np.arange(len(points)) if rows is None else rows
    if metric == "euclidean":
        sums = _euclidean_sums(points, cluster, picked, None if rows is None else picked)
    else:
        sums = _collapsed_sums(points, cluster, counts, picked, metric)
    own = cluster[picked]
    at = np.arange(len(picked))
    inside = sums[at, own] / np.maximum(counts[own] - 1, 1)
    means = sums / counts
    means[at, own] = np.inf
    outside = means.min(axis=1)
    largest = np.maximum(inside, outside)
    scores = np.divide(outside - inside, largest, out=np.zeros_like(largest), where=largest > 0.0)
    return np.where(counts[own] > 1, scores, 0.0)


def _collapsed_sums(points: Array, cluster: Labels, counts: Labels, picked: Labels, metric: str) -> Array:
    """Sums of distances to each cluster in O(n K d): squared distances and cosines add up to cluster sums."""
    sums = _cluster_sums(points, cluster, len(counts))
    rows = points[picked]
    dots = np.concatenate([product(rows[i : i + ROWS], sums.T) for i in range(0, len(rows), ROWS)])
    if metric == "cosine":
        return np.asarray(np.maximum(counts - dots, 0.0))
    norms = np.einsum("ij,ij->i", points, points)
    spread = np.bincount(cluster, weights=norms)
    return np.asarray(np.maximum(counts * norms[picked, None] - 2.0 * dots + spread, 0.0))


def _euclidean_sums(points: Array, cluster: Labels, picked: Labels, rows: Labels | None) -> Array:
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


def cluster_entropy(labels: npt.NDArray[Any], k: int) -> float:
    """Entropy of the shares of k clusters over log k: 1 for equal shares, 0 for one cluster (and for k = 1)."""
    if k == 1:
        return 0.0
    shares = np.bincount(labels, minlength=k) / len(labels)
    shares = shares[shares > 0.0]
    return min(1.0, float(-(shares * np.log(shares)).sum() / np.log(k)) + 0.0)
