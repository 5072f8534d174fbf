"""Control variates of the silhouette: what costs O(n d) for each row, from clusters cut into cells.

The mean distance of a row x to a set of rows with mean c, mean squared deviation v = E|y - c|^2 and variance q of these
squared deviations is close to

    sqrt(D) (1 - q / (8 D^2)),        D = |x - c|^2 + v

by expanding the square root around the mean squared distance D. A whole cluster is too wide for this where few
directions matter, so each is cut into cells: its rows by the nearest of a few of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dataprophet.reference.products import ROWS, product

Labels = npt.NDArray[np.int64]
Floats = npt.NDArray[np.floating]
Read = Callable[[Labels], Floats]

_NEIGHBOURS = (
    2  # other clusters whose distance is told by cells: the one that squared distances call nearest may not be
)


class _Centres(NamedTuple):
    """Points that distances are measured to: (g, d), and their squared norms (g,)."""

    points: Floats
    squares: Floats


class _Cells(NamedTuple):
    """Cells of one cluster: means (g, d), mean squared deviations v (g,), q / (8 v^2) (g,), counts (g,)."""

    means: _Centres
    spread: Floats
    bend: Floats
    counts: Floats


class _Rows:
    """Rows, shifted and scaled so that no square overflows; silhouettes change with neither."""

    def __init__(self, read: Read, n: int):
        largest, total = 0.0, 0.0
        for start in range(0, n, ROWS):
            part = read(np.arange(start, min(start + ROWS, n)))
            largest = max(largest, float(np.abs(part).max(initial=0.0)))
            total = total + part.sum(axis=0, dtype=np.float64)
        self._read = read
        self.dtype, self.width = part.dtype, part.shape[1]
        limit = 100 if part.dtype == np.float32 else 900
        exponent = int(np.clip(-np.frexp(largest)[1], -limit, limit))
        self._scale = self.dtype.type(np.ldexp(1.0, exponent))
        self._centre = (np.ldexp(total / n, exponent)).astype(self.dtype)

    def __call__(self, rows: Labels) -> tuple[Floats, Floats]:
        """Some rows, and their squared norms."""
        part = self._read(rows) * self._scale - self._centre
        return part, np.einsum("ij,ij->i", part, part)


def control_variates(read: Read, clusters: Labels, cells: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Control variates (n, 9) of the Euclidean silhouettes of all rows, the most telling first.

    Args:
        read: gives some rows (m, d) as float32 or float64, in which the distances are computed.
        clusters: (n,) cluster numbers without gaps.
        cells: into how many each cluster is cut; the cost is about that of 4 * cells + K rows scored exactly.
        rng: draws the rows around which the cells form.

    Returns:
        Silhouettes from the cells and from mean squared distances, their mean distances to the own and to the nearest
        other cluster, and squares of those from the cells.
    """
    n = len(clusters)
    rows = _Rows(read, n)
    counts = np.bincount(clusters)
    members = np.split(np.argsort(clusters, kind="stable"), np.cumsum(counts)[:-1])
    centres, spread = _means(rows, members)
    own, other = np.empty(n), np.full(n, np.inf)
    inner, outer = np.empty(n), np.empty(n)
    near = np.empty((n, min(_NEIGHBOURS, len(counts) - 1)), np.int64)
    cut: list[_Cells] = []
    for k, inside in enumerate(members):
        anchors = rows(inside[np.sort(rng.choice(len(inside), min(cells, len(inside)), replace=False))])[0]
        points = _centres(np.concatenate([anchors, centres]))
        nearest = np.empty(len(inside), np.int64)
        for at, part in _parts(inside):
            squared = _squared_distances(*rows(part), points)
            nearest[at] = squared[:, : len(anchors)].argmin(axis=1)
            means = squared[:, len(anchors) :] + spread
            inner[part] = means[:, k] * (counts[k] / max(counts[k] - 1, 1))
            means[:, k] = np.inf
            near[part] = np.argsort(means, axis=1, kind="stable")[:, : near.shape[1]]
            outer[part] = means[np.arange(len(part)), near[part, 0]]
        assigned = np.unique(nearest, return_inverse=True)[1]
        found = _cells(rows, inside, assigned)
        own[inside] = _own_distances(rows, inside, assigned, found)
        cut.append(found)
    for k, found in enumerate(cut):
        for _, part in _parts(np.flatnonzero((near == k).any(axis=1))):
            distances = _distances(_squared_distances(*rows(part), found.means), found)
            other[part] = np.minimum(other[part], (distances * found.counts).sum(axis=1) / counts[k])
    np.sqrt(inner, out=inner)
    np.sqrt(outer, out=outer)
    score = _score(own, other)
    return np.stack(
        [score, _score(inner, outer), own, other, inner, outer, score * score, own * own, other * other], axis=1
    )


def _parts(rows: Labels) -> Iterator[tuple[slice, Labels]]:
    """Row numbers in blocks, each with its place among them."""
    for start in range(0, len(rows), ROWS):
        at = slice(start, start + ROWS)
        yield at, rows[at]


def _centres(points: Floats) -> _Centres:
    return _Centres(points, np.einsum("ij,ij->i", points, points))


def _squared_distances(points: Floats, norms: Floats, centres: _Centres) -> Floats:
    """Squared distances (n, g), not negative."""
    result = norms[:, None] - 2.0 * product(points, centres.points.T, points.dtype) + centres.squares
    return np.maximum(result, 0.0, out=result)


def _means(rows: _Rows, members: list[Labels]) -> tuple[Floats, Floats]:
    """Mean of each cluster (K, d), and its mean squared deviation (K,)."""
    means, spread = [], []
    for inside in members:
        total, squares = np.zeros(rows.width), 0.0
        for _, part in _parts(inside):
            points, norms = rows(part)
            total += points.sum(axis=0, dtype=np.float64)
            squares += float(norms.sum(dtype=np.float64))
        mean = total / len(inside)
        means.append(mean)
        spread.append(max(squares / len(inside) - float((mean * mean).sum()), 0.0))
    return np.stack(means).astype(rows.dtype), np.array(spread, rows.dtype)


def _cells(rows: _Rows, inside: Labels, assigned: Labels) -> _Cells:
    """The cells of a cluster, given the cell of each of its rows."""
    counts = np.bincount(assigned)
    total = np.zeros((len(counts), rows.width))
    for at, part in _parts(inside):
        cell = assigned[at]
        order = np.argsort(cell, kind="stable")
        names, starts = np.unique(cell[order], return_index=True)
        total[names] += np.add.reduceat(rows(part)[0][order], starts, axis=0)
    means = (total / counts[:, None]).astype(rows.dtype)
    deviations = np.empty(len(inside))
    for at, part in _parts(inside):
        apart = rows(part)[0] - means[assigned[at]]
        deviations[at] = np.einsum("ij,ij->i", apart, apart)
    spread = np.bincount(assigned, weights=deviations) / counts
    relative = np.divide(deviations, spread[assigned], out=np.ones_like(deviations), where=spread[assigned] > 0.0)
    bend = np.bincount(assigned, weights=(relative - 1.0) ** 2) / counts / 8.0
    return _Cells(_centres(means), *(values.astype(rows.dtype) for values in (spread, bend, counts)))


def _own_distances(rows: _Rows, inside: Labels, assigned: Labels, cells: _Cells) -> npt.NDArray[np.float64]:
    """Mean distance of each row of a cluster to its other rows: of its own cell, those left, which lie farther."""
    result = np.empty(len(inside))
    for at, part in _parts(inside):
        distances = _distances(_squared_distances(*rows(part), cells.means), cells)
        cell = assigned[at]
        count = cells.counts[cell]
        among = distances[np.arange(len(part)), cell]
        result[at] = (distances * cells.counts).sum(axis=1) - among * (count - np.sqrt(count * (count - 1.0)))
    return result / max(len(inside) - 1, 1)


def _distances(squared: Floats, cells: _Cells) -> Floats:
    """Approximate mean distance (n, g) to the rows of each cell, from the squared distance to its mean."""
    squared += cells.spread
    within = np.divide(cells.spread, squared, out=np.zeros_like(squared), where=squared > 0.0)
    return np.asarray(np.sqrt(squared) * (1.0 - np.minimum(cells.bend * within * within, 0.5)))


def _score(inner: npt.NDArray[np.float64], outer: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    largest = np.maximum(inner, outer)
    return np.divide(outer - inner, largest, out=np.zeros_like(largest), where=largest > 0.0)
