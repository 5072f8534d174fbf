"""Diversity of a dataset: silhouette of its clusters plus the entropy of their shares (Sil + H of arXiv 2603.19688)."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from dataprophet import ops
from dataprophet.errors import ProfileError, explained, require
from dataprophet.ops.arrays import fetched
from dataprophet.ops.backend import lifted
from dataprophet.profiling.jackknife import influence
from dataprophet.profiling.sketch import N_GROUPS, Sketch, groups_of

HALVES = 16
HALVED_SAMPLES = 4096
"""So many samples of the sketch, its first, are halved and clustered anew; more would cost time and add little."""


def entropy(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Entropy of the shares along the last axis of ``counts`` (..., K), over log K: 0 to 1."""
    shares = counts / np.maximum(counts.sum(-1, keepdims=True), 1)
    logs = np.log(shares, out=np.zeros_like(shares), where=shares > 0)
    return np.asarray(-(shares * logs).sum(-1) / np.log(counts.shape[-1]) + 0.0, np.float64)


@dataclass(frozen=True, eq=False)
class DiversitySums:
    """Sums of the diversity by group of samples, from which its value and its jackknife follow.

    Attributes:
        silhouette_sum: (64,) float64, silhouettes summed in each group.
        cluster_counts: (64, K) int64, samples of each group in each cluster.
        halves: (16,) float64, the value on halves of the samples (up to 4,096 of them), each clustered anew from a
            seed of its own; NaN where a half is too small.
    """

    silhouette_sum: NDArray[np.float64]
    cluster_counts: NDArray[np.int64]
    halves: NDArray[np.float64]

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

    def influence(self) -> NDArray[np.float64]:
        """(64,) influence of each group of samples on the value, the clusters held fixed."""
        left = self.cluster_counts.sum(0) - self.cluster_counts
        mean = (self.silhouette_sum.sum() - self.silhouette_sum) / np.maximum(left.sum(-1), 1)
        return influence(np.array(self.value), mean + entropy(left), self.cluster_counts.sum(1))

    def clustering_error(self) -> float:
        """Standard deviation that comes from the clustering: another seed, or other samples, end in another optimum.

        The variance of the halves is that of a delete-half jackknife, which estimates the variance of the value. What
        fixed clusters explain of it, scaled to the samples that were halved, is taken off. NaN, not known, where fewer
        than two halves are large enough to be clustered.
        """
        halves = self.halves[np.isfinite(self.halves)]
        if len(halves) < 2:
            return float("nan")
        explained = (self.influence() ** 2).sum() * self.n / min(self.n, HALVED_SAMPLES)
        return float(np.sqrt(np.maximum(0.0, halves.var(ddof=1) - explained)))

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DiversitySums) and all(
            np.array_equal(getattr(self, part.name), getattr(other, part.name), equal_nan=True) for part in fields(self)
        )


def diversity_of(sketch: Sketch, clusters: int, seed: int, *, where: str) -> DiversitySums:
    """k-means and exact Euclidean silhouette of a sketch, of its float16 vectors as they are.

    Raises:
        ProfileError: when the sketch holds too few different samples for that many clusters.
    """
    require_enough(_distinct(sketch.z, clusters + 1), clusters, where)
    with explained(ValueError, ProfileError, "diversity is not defined", where, "use more varied samples"):
        found = _computed(sketch.z, clusters, seed)
    groups, (labels, silhouettes) = groups_of(sketch.hashes), fetched(found.labels, found.silhouettes)
    counts = np.bincount(groups * clusters + labels, minlength=N_GROUPS * clusters).reshape(N_GROUPS, clusters)
    sums = np.bincount(groups, weights=silhouettes, minlength=N_GROUPS).astype(np.float64)
    return DiversitySums(sums, counts.astype(np.int64), _halves(sketch.z[:HALVED_SAMPLES], groups, clusters, seed))


def require_enough(distinct: int, clusters: int, where: str) -> None:
    """Raise a ProfileError unless there are more different samples than clusters."""
    what = f"diversity needs more than {clusters} different samples, and there are {distinct}"
    fix = f"use more samples, or profile with fewer clusters (clusters={max(2, distinct - 1)})"
    require(distinct > clusters, what, where, fix, ProfileError)


def _halves(z: NDArray[np.float16], groups: NDArray[np.int64], clusters: int, seed: int) -> NDArray[np.float64]:
    """The value on 16 halves of the samples. Any two of them share half of their 32 groups (a Hadamard design)."""
    values = np.full(HALVES, np.nan)
    for half in range(HALVES):
        parity = np.array([(group & (half + 1)).bit_count() % 2 for group in range(N_GROUPS)])
        rows = z[parity[groups[: len(z)]] == half % 2]
        if _distinct(rows, clusters + 1) > clusters:
            values[half] = _computed(rows, clusters, seed + 1 + half).value
    return values


def _computed(z: NDArray[np.float16], clusters: int, seed: int) -> ops.Diversity:
    """The diversity of vectors (n, d), on a device where there is one."""
    n, d = z.shape
    found: ops.Diversity = lifted(lambda rows: ops.diversity(rows, clusters, seed=seed), z, n * d * (n / 2 + clusters))
    return found


def _distinct(rows: NDArray[np.floating], enough: int) -> int:
    """How many different rows there are, up to ``enough``: most data have these among their first."""
    found: set[bytes] = set()
    for row in rows:
        found.add(row.tobytes())
        if len(found) == enough:
            break
    return len(found)
