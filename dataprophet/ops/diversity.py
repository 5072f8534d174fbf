"""Diversity of rows: their clusters, the silhouette of these and the entropy of their shares, in one call."""

from __future__ import annotations

from typing import Any

import numpy as np

from dataprophet.ops import checks
from dataprophet.ops.arrays import operand
from dataprophet.ops.clusters import cluster_entropy, kmeans, silhouette_samples, silhouette_score
from dataprophet.ops.reference import Diversity


def diversity(
    x: Any, k: int, *, seed: int = 0, sample_size: int | None = None, max_iter: int = 100, tol: float = 1e-4
) -> Diversity:
    """Cluster rows with k-means; mean Euclidean silhouette of the clusters plus the entropy of their shares.

    This is Sil + H of arXiv 2603.19688, where x holds one unit vector for each sample of a dataset.

    Args:
        x: (n, d) array of finite numbers, n > k.
        k: number of clusters, at least 2.
        seed: of k-means++, and of the sample.
        sample_size: how many rows to score for the silhouette, None for all; see silhouette_score.
        max_iter: most Lloyd iterations.
        tol: stop once the centroids' squared shift is at most this times the mean variance of the columns.

    Returns:
        Diversity(value, silhouette, standard_error, entropy, labels (n,) int64, silhouettes (n,) float32 or None where
        they were sampled, centroids (k, d) float32, inertia, n_iter): numbers and arrays of kmeans, silhouette_score,
        silhouette_samples and cluster_entropy. The same bits for any number of threads.

    Raises:
        DataProphetError: k is not in [2, n - 1], x is not finite, or the sample size is below 2.
    """
    rows = operand(x, "x", 2)
    checks.clusters_of(rows, k)
    checks.sample_of(sample_size)
    found = kmeans(x, k, seed=seed, max_iter=max_iter, tol=tol)
    scores = None
    if sample_size is None or sample_size >= rows.shape[0]:
        scores = silhouette_samples(x, found.labels)
        mean = float(operand(scores, "silhouettes", 1).numpy().mean(dtype=np.float64))
        error = 0.0
    else:
        mean, error = silhouette_score(x, found.labels, sample_size=sample_size, seed=seed)
    entropy = cluster_entropy(found.labels, k)
    return Diversity(
        mean + entropy, mean, error, entropy, found.labels, scores, found.centroids, found.inertia, found.n_iter
    )
