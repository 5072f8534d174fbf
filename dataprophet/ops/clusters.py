"""Operations on clusters: k-means, silhouettes and the entropy of cluster shares."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataprophet.ops import backend, checks, cuda, reference
from dataprophet.ops.arrays import Operand, operand
from dataprophet.ops.estimate import estimated_mean
from dataprophet.ops.reference import KMeans, Silhouette
from dataprophet.ops.threads import thread_count


def kmeans(x: Any, k: int, *, seed: int = 0, init: Any = None, max_iter: int = 100, tol: float = 1e-4) -> KMeans:
    """Cluster rows with Lloyd's k-means, from greedy k-means++ or from given centroids.

    Args:
        x: (n, d) array of finite numbers, n >= k.
        k: number of clusters.
        seed: of k-means++; unused with ``init``.
        init: (k, d) array of first centroids.
        max_iter: most Lloyd iterations.
        tol: stop once the centroids' squared shift is at most this times the mean variance of the columns.

    Returns:
        KMeans(centroids (k, d) float32, labels (n,) int64, inertia, n_iter). No cluster is empty: one that would be
        moves to the row farthest from its centroid. Each row is with a nearest centroid, up to rounding, unless
        max_iter ended it after such a move; fewer distinct rows than clusters give inertia 0, and centroids that are
        equal. Ties go to the lowest index. A seed gives the same bits for any number of threads.

    Raises:
        DataProphetError: k is not in [1, n], x or init is not finite, or init has another shape.
    """
    rows = operand(x, "x", 2)
    start = checks.first_centroids(rows, k, init, max_iter, tol)
    way, draws = backend.place("kmeans", rows), reference.kmeans_draws(k, seed)
    if way == "cuda":
        found = KMeans(*cuda.kmeans(rows, k, draws, start, max_iter=max_iter, tol=tol))
    elif way == "reference":
        found = reference.kmeans(checks.finite_values(rows), k, seed=seed, init=start, max_iter=max_iter, tol=tol)
    else:
        centroids, labels = np.empty((k, rows.shape[1]), np.float32), np.empty(rows.shape[0], np.int64)
        first = None if start is None else np.ascontiguousarray(start, np.float64)
        inertia, n_iter, bad = backend.core.kmeans(
            rows.rows(), first, draws, centroids, labels, max_iter, tol, thread_count()
        )
        checks.no_bad_rows(rows, bad)
        found = KMeans(centroids, labels, inertia, n_iter)
    return found._replace(centroids=rows.give_back(found.centroids), labels=rows.give_back(found.labels))


def silhouette_samples(x: Any, labels: Any, *, metric: str = "euclidean") -> Any:
    """Silhouette of each row: (b - a) / max(a, b).

    Args:
        x: (n, d) array of finite numbers.
        labels: (n,) integers, of 2 to n - 1 different values.
        metric: "euclidean", "sqeuclidean" or "cosine".

    Returns:
        (n,) float32 in [-1, 1]; 0 for a row that is alone in its cluster. n x n is never stored.

    Raises:
        DataProphetError: another number of labels, an unknown metric, or, for "cosine", a row without a direction.
    """
    rows, clusters = checks.clustering(x, labels, metric)
    return rows.give_back(silhouettes(rows, clusters, metric)[0].astype(np.float32))


def silhouette_score(
    x: Any, labels: Any, *, metric: str = "euclidean", sample_size: int | None = None, seed: int = 0
) -> Silhouette:
    """Mean silhouette of the rows, exact or estimated from a sample of them.

    The estimate scores ``sample_size`` rows exactly, each against all rows. It regresses their scores on approximate
    ones that are known for all rows, from mean squared distances to the clusters, and adds what the regression tells of
    the others. Its error is 7 to several hundred times below that of the mean of as many rows, from about 250 rows on,
    and the approximate scores cost a few passes over x.

    Args:
        x: (n, d) array of finite numbers.
        labels: (n,) integers, of 2 to n - 1 different values.
        metric: "euclidean", "sqeuclidean" or "cosine".
        sample_size: how many rows to score; None, n or more scores all. Ignored for "sqeuclidean" and "cosine", whose
            exact mean costs no more than a few passes over x.
        seed: of the sample.

    Returns:
        Silhouette(mean, standard_error), without units. The error tells how far the estimate is from the exact mean of
        these n rows, which lies within mean +- 1.96 standard_error for about 95% of seeds. It is 0 where all rows were
        scored. Neither rounding (1e-7 for float32, 1e-6 for the shorter dtypes) nor what other rows would have given is
        part of it. Fewer than about 30 sampled rows give too short an interval: of 8 rows it holds the mean for less
        than 90% of seeds. The same bits for any number of threads.

    Raises:
        DataProphetError: as silhouette_samples, or a sample size below 2.
    """
    rows, clusters = checks.clustering(x, labels, metric)
    checks.sample_of(sample_size)
    if sample_size is None or sample_size >= rows.shape[0] or metric != "euclidean":
        return Silhouette(float(silhouettes(rows, clusters, metric)[0].mean()), 0.0)
    squared = silhouettes(rows, clusters, "sqeuclidean")[1]
    return Silhouette(
        *estimated_mean(
            clusters, squared, sample_size, seed, lambda picked: silhouettes(rows, clusters, metric, picked)[0]
        )
    )


def silhouettes(
    rows: Operand, clusters: NDArray[np.int32], metric: str, picked: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Silhouettes (m,) of checked rows, or of those picked, and the mean distances (m, 2) that they come from.

    ``clusters`` are those of all rows, numbered from 0 without gaps. The distances are to the other rows of the own
    cluster and to those of the nearest other one.
    """
    way = backend.place("silhouettes", rows)
    if way == "cuda":
        return cuda.silhouettes(rows, clusters, metric, picked)
    if way == "reference":
        return reference.silhouettes(checks.finite_values(rows), clusters, metric, picked)
    count = rows.shape[0] if picked is None else len(picked)
    scores, means = np.empty(count), np.empty((count, 2))
    bad = backend.core.silhouettes(
        rows.rows(), clusters, int(clusters.max()) + 1, metric, picked, scores, means, thread_count()
    )
    checks.no_bad_rows(rows, bad)
    return scores, means


def cluster_entropy(labels: Any, k: int) -> float:
    """Entropy of the shares of the clusters over log k.

    Args:
        labels: (n,) integers in [0, k), n >= 1.
        k: number of clusters.

    Returns:
        A number in [0, 1]: 1 for equal shares, 0 for a single cluster.

    Raises:
        DataProphetError: no labels, or a label outside [0, k).
    """
    given = operand(labels, "labels", 1, integers=True)
    checks.at_least(given, 1)
    checks.require(k >= 1, f"expected at least 1, got {k}", "k", "raise it")
    if backend.place("cluster_entropy", given) == "cuda":
        counts, outside = cuda.cluster_counts(given.values.long(), k)
        if not outside:
            return reference.entropy_of_counts(counts)
    values = given.numpy()
    checks.in_range(values, k, "labels")
    return reference.cluster_entropy(values.astype(np.int64), k)
