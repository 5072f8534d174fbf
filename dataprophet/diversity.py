"""Diversity of a dataset: silhouette of its clusters plus the entropy of their shares (Sil + H of arXiv 2603.19688)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dataprophet import ops
from dataprophet.errors import ProfileError
from dataprophet.sketch import N_GROUPS, Sketch, groups_of


def entropy(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Entropy of the shares along the last axis of ``counts`` (..., K), over log K: 0 to 1."""
    shares = counts / np.maximum(counts.sum(-1, keepdims=True), 1)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.asarray(-(shares * logs).sum(-1) / np.log(counts.shape[-1]) + 0.0, np.float64)


@dataclass(frozen=True, eq=False)
class Diversity:
    """Sums of the diversity by group of samples, from which its value and its jackknife follow.

    Attributes:
        silhouette_sum: (64,) float64, silhouettes summed in each group.
        cluster_counts: (64, K) int64, samples of each group in each cluster.
    """

    silhouette_sum: NDArray[np.float64]
    cluster_counts: NDArray[np.int64]

    @property
    def n(self) -> int:
        return int(self.cluster_counts.sum())

    @property
    def silhouette(self) -> float:
        return float(self.silhouette_sum.sum() / self.n)

    @property
    def entropy(self) -> float:
        return float(entropy(self.cluster_counts.sum(0)))

    @property
    def value(self) -> float:
        return self.silhouette + self.entropy

    def without_each_group(self) -> NDArray[np.float64]:
        """(64,) the value with each group left out, the clusters held fixed."""
        left = self.cluster_counts.sum(0) - self.cluster_counts
        mean = (self.silhouette_sum.sum() - self.silhouette_sum) / np.maximum(left.sum(-1), 1)
        return np.asarray(mean + entropy(left))

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Diversity)
            and np.array_equal(self.silhouette_sum, other.silhouette_sum)
            and np.array_equal(self.cluster_counts, other.cluster_counts)
        )


def diversity_of(sketch: Sketch, clusters: int, seed: int, *, where: str) -> Diversity:
    """k-means and exact Euclidean silhouette of a sketch.

    Raises:
        ProfileError: when the sketch holds too few different samples for that many clusters.
    """
    z = sketch.z.astype(np.float32)
    few = len(z) <= 4 * clusters  # more samples than that are not searched for copies: k-means copes with some
    distinct = len({row.tobytes() for row in sketch.z}) if few else len(z)
    if distinct <= clusters:
        raise ProfileError(
            f"diversity needs more than {clusters} different samples, and there are {distinct}",
            where=where,
            fix=f"use more samples, or profile with fewer clusters (clusters={max(2, distinct - 1)})",
        )
    try:
        labels = np.asarray(ops.kmeans(z, clusters, seed=seed).labels)
        silhouettes = np.asarray(ops.silhouette_samples(z, labels), np.float64)
    except ValueError as error:
        raise ProfileError(f"diversity is not defined ({error})", where=where, fix="use more varied samples") from error
    groups = groups_of(sketch.hashes)
    counts = np.bincount(groups * clusters + labels, minlength=N_GROUPS * clusters).reshape(N_GROUPS, clusters)
    sums = np.bincount(groups, weights=silhouettes, minlength=N_GROUPS).astype(np.float64)
    return Diversity(sums, counts.astype(np.int64))
