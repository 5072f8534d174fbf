"""Greedy choice of what is good and unlike the rest: maximal marginal relevance, evaluated lazily.

``pick`` asks for the next offer, and tells what it accepted. Vectors and scores come in; pools are not known here.
"""

from __future__ import annotations

import heapq
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from dataprophet.features.features import nearest_vectors

Vectors: TypeAlias = NDArray[np.float16]

_BATCH = 64  # candidates whose gain is brought up to date at a time


class Chosen:
    """Vectors of what is chosen."""

    def __init__(self) -> None:
        self._rows: list[Vectors] = []
        self._codes: list[int] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, z: Vectors, code: int) -> None:
        """Add the vector of a candidate."""
        self._rows.append(z.copy())  # a view would keep all vectors of its block in memory
        self._codes.append(code)

    def nearest(self, z: Vectors, first: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Largest cosine of each vector to those from ``first`` on, and the candidate that has it; -1 where none is."""
        if first >= len(self) or not len(z):
            return np.full(len(z), -np.inf, np.float32), np.full(len(z), -1, np.int64)
        cosine, index = nearest_vectors(z, np.stack(self._rows[first:]))
        return cosine, np.array(self._codes[first:])[index]


class Greedy:
    """Candidates in the order of maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998).

    The next one is the candidate u with the largest (1 - w) s(u) / s_max - w max(0, cos(u, v) over v chosen), ties by
    rank. A gain only falls as more is chosen, so a candidate's last gain is a bound of it, and only candidates that
    come to the top of a heap are evaluated again (lazily, after Minoux 1978): the order is that of evaluating all.

    Args:
        scores: (n,) of the candidates, from high to low; the highest is taken for s_max.
        z: (n, d) float16 unit vectors.
        usable: (n,) whether a candidate has a vector; one without is unlike everything.
        weight: w, 0 to 1.
        chosen: what is chosen before, and what the caller adds for each candidate that it accepts.
    """

    def __init__(
        self, scores: NDArray[np.float64], z: Vectors, usable: NDArray[np.bool_], weight: float, chosen: Chosen
    ) -> None:
        self.z, self.usable, self.weight, self.chosen = z, usable, weight, chosen
        top = np.abs(scores[0]) if len(scores) and scores[0] else 1.0
        self._relevance = (1.0 - weight) * (scores / top)
        self._cosine = np.full(len(scores), -np.inf, np.float32)
        self._of = np.full(len(scores), -1, np.int64)
        self._seen = np.zeros(len(scores), np.int64)  # how many were chosen when the gain was last computed
        self._heap = [(-gain, place) for place, gain in enumerate(self._relevance.tolist())]
        heapq.heapify(self._heap)

    def next(self) -> tuple[int, float, int] | None:
        """The next candidate, its largest cosine to what is chosen, and whose it is; None at the end."""
        while self._heap:
            stale: list[int] = []
            while self._heap and len(stale) < _BATCH and self._is_stale(self._heap[0][1]):
                stale.append(heapq.heappop(self._heap)[1])
            if not stale:
                place = heapq.heappop(self._heap)[1]
                return place, float(self._cosine[place]), int(self._of[place])
            self._renew(np.array(stale))
        return None

    def _is_stale(self, place: int) -> bool:
        return bool(self.usable[place]) and self._seen[place] < len(self.chosen)

    def _renew(self, places: NDArray[np.int64]) -> None:
        cosine, of = self.chosen.nearest(self.z[places], int(self._seen[places].min()))
        nearer = cosine > self._cosine[places]
        self._cosine[places[nearer]], self._of[places[nearer]] = cosine[nearer], of[nearer]
        self._seen[places] = len(self.chosen)
        gains = self._relevance[places] - self.weight * np.maximum(self._cosine[places], 0.0)
        for gain, place in zip(gains.tolist(), places.tolist(), strict=True):
            heapq.heappush(self._heap, (-gain, place))
