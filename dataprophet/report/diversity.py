"""Diversity of a profile: its clusters, their silhouettes, the sketch in two dimensions, the sample in each middle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dataprophet import ops
from dataprophet.data.sample import Sample
from dataprophet.profiling.profile import Profile
from dataprophet.report.page import Columns

_DRAWN, _SCORED = 600, 2_000
"""Samples of the sketch that are drawn as points, and that have their silhouettes computed: its first, which are
uniform."""


@dataclass
class Clusters:
    """A profile's clusters, as its diversity has them.

    Attributes:
        sizes: columns ``cluster`` and ``samples``.
        silhouettes: of up to 2,000 samples, cluster by cluster, from the highest down; empty in a sealed profile.
        points: of up to 600 samples, on the two main axes; likewise.
        variance: share of the variance on these axes.
    """

    sizes: Columns
    silhouettes: Columns
    points: Columns
    variance: float

    @classmethod
    def of(cls, profile: Profile) -> tuple[Clusters, Middles]:
        """The clusters of a profile, and what finds their middle samples."""
        counts = profile.diversity_sums.cluster_counts.sum(0)
        sizes: Columns = {"cluster": list(range(len(counts))), "samples": counts.tolist()}
        nothing = np.zeros(0)
        if profile.sketch is None:
            return cls(sizes, {}, {}, 0.0), Middles(np.zeros(0, np.uint64), np.zeros(0, np.int64), nothing)
        z = profile.sketch.z
        found = ops.kmeans(z, len(counts), seed=int(profile.settings["seed"]))
        labels = np.asarray(found.labels)
        shown, near = z[:_DRAWN].astype(np.float32), found.centroids[labels]
        distance = np.concatenate(
            [
                np.linalg.norm(z[start : start + 4096].astype(np.float32) - near[start : start + 4096], axis=1)
                for start in range(0, len(z), 4096)
            ]
        )
        points, variance = _projected(shown)
        columns: Columns = {"cluster": labels[:_DRAWN].tolist()}
        columns |= {name: points[:, axis].tolist() for axis, name in enumerate(("first", "second"))}
        middles = Middles(profile.sketch.hashes, labels, distance)
        return cls(sizes, _silhouettes(z[:_SCORED], labels[:_SCORED]), columns, variance), middles


def _silhouettes(z: NDArray[np.float16], labels: NDArray[np.int64]) -> Columns:
    if len(np.unique(labels)) < 2:
        return {}
    values = np.asarray(ops.silhouette_samples(z, np.unique(labels, return_inverse=True)[1]))
    order = np.lexsort((-values, labels))
    named: Columns = {"place": list(range(len(order))), "cluster": labels[order].tolist()}
    return {**named, "silhouette": values[order].tolist()}


def _projected(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """(n, 2) coordinates on the two main axes, the largest of each axis positive, and their share of the variance."""
    centred = rows - rows.mean(0)
    _, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    points = np.zeros((len(rows), 2), np.float32)
    made = centred @ axes[:2].T
    points[:, : made.shape[1]] = made * np.sign(made[np.abs(made).argmax(0), range(made.shape[1])])
    total = float((sizes**2).sum())
    return points, float((sizes[:2] ** 2).sum()) / total if total else 0.0


class Middles:
    """The sample nearest to the centroid of each cluster, among those that are fed.

    Args:
        hashes: (m,) uint64, ascending: the ids of the sketch's samples.
        labels: (m,) their clusters.
        distance: (m,) to their centroids.
    """

    def __init__(self, hashes: NDArray[np.uint64], labels: NDArray[np.int64], distance: NDArray[np.floating]) -> None:
        self._hashes, self._labels, self._distance = hashes, labels, distance
        self.nearest: dict[int, tuple[float, Sample]] = {}

    def feed(self, samples: list[Sample], hashes: NDArray[np.uint64]) -> None:
        """Samples, and the hashes of their ids."""
        if not len(self._hashes):
            return
        places = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        for number in np.flatnonzero(self._hashes[places] == hashes):
            place = places[number]
            cluster, distance = int(self._labels[place]), float(self._distance[place])
            if cluster not in self.nearest or distance < self.nearest[cluster][0]:
                self.nearest[cluster] = (distance, samples[number])
