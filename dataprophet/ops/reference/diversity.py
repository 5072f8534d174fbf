"""Diversity: silhouette of the clusters of k-means plus the entropy of their shares."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dataprophet.ops.reference.clusters import cluster_entropy, kmeans
from dataprophet.ops.reference.silhouette import silhouette_samples


class Diversity(NamedTuple):
    """Diversity of rows, and the clustering that it comes from.

    Attributes:
        value: silhouette + entropy (Sil + H of arXiv 2603.19688), in [-1, 2].
        silhouette: mean Euclidean silhouette of the rows, or its estimate.
        standard_error: of the silhouette, and so of the value with these clusters; 0 where every row was scored.
        entropy: of the clusters' shares over log k, in [0, 1].
        labels: (n,) int64 in the caller's library.
        silhouettes: (n,) float32 in the caller's library, or None where the mean is estimated.
        centroids: (k, d) float32 in the caller's library.
        inertia: sum of squared distances of the rows to their centroids.
        n_iter: Lloyd iterations done.
    """

    value: float
    silhouette: float
    standard_error: float
    entropy: float
    labels: Any
    silhouettes: Any
    centroids: Any
    inertia: float
    n_iter: int


def diversity(x: npt.NDArray[Any], k: int, *, seed: int = 0, max_iter: int = 100, tol: float = 1e-4) -> Diversity:
    """k-means of the rows of x (n, d), the silhouette of its clusters, and their entropy."""
    found = kmeans(x, k, seed=seed, max_iter=max_iter, tol=tol)
    scores = silhouette_samples(x, found.labels)
    mean, entropy = float(scores.mean(dtype=np.float64)), cluster_entropy(found.labels, k)
    return Diversity(
        mean + entropy, mean, 0.0, entropy, found.labels, scores, found.centroids, found.inertia, found.n_iter
    )
