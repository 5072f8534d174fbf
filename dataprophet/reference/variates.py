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

from dataprophet.reference.products import ROWS, Array, Clusters, Integers, product

Floats = npt.NDArray[np.floating]
Read = Callable[[Integers], Floats]

_NEIGHBOURS = (
    2  # other clusters whose distance is told by cells: the one that squared distances call nearest may not be
)
_SAMPLE = 1024
_SHRINK = 60

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

    def __init__(self, read: Read, sample: Integers):
        """``sample`` numbers some rows, to tell where the others are."""
        part = read(sample)
        self._read, self.dtype, self.width = read, part.dtype, part.shape[1]
        self._mean = part.mean(axis=0, dtype=np.float64)
        self._scale_to(-int(np.frexp(np.abs(part).max(initial=0.0))[1]))  # so that its largest element is near 1

    def shrink(self) -> None:
        """Make all rows much smaller, down to where the squares of no finite numbers overflow."""
        self._scale_to(self._exponent - _SHRINK)

    def _scale_to(self, exponent: int) -> None:
        limit = 100 if self.dtype == np.float32 else 900
        self._exponent = min(max(exponent, -limit), limit)
        self._centre = np.ldexp(self._mean, self._exponent).astype(self.dtype)

    def __call__(self, rows: Integers) -> tuple[Floats, Floats]:
        """Some rows, and their squared norms."""
        part = self._read(rows)
        if self._exponent:
            part *= self.dtype.type(np.ldexp(1.0, self._exponent))
        part -= self._centre
        return part, np.einsum("ij,ij->i", part, part)


def control_variates(read: Read, clusters: Clusters, cells: int, rng: np.random.Generator) -> Array:
    """Control variates (n, 9) of the Euclidean silhouettes of all rows, the most telling first.

    Args:
        read: gives some rows as a new array (m, d) of float32 or float64, in which the distances are computed.
        clusters: (n,) cluster numbers without gaps.
        cells: into how many each cluster is cut; the cost is about that of 4 * cells + K rows scored exactly.
        rng: draws the rows around which the cells form.

    Returns:
        Silhouettes from the cells and from mean squared distances, their mean distances to the own and to the nearest
        other cluster, and squares of those from the cells.
    """
    n = len(clusters)
    rows = _Rows(read, np.sort(rng.choice(n, min(n, _SAMPLE), replace=False)))
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
        total: Floats = np.zeros((len(anchors), rows.width))
        nearest = np.empty(len(inside), np.int64)
        for at, part in _parts(inside):
            vectors, norms = rows(part)
            squared = _squared_distances(vectors, norms, points)
            nearest[at] = squared[:, : len(anchors)].argmin(axis=1)
            one_hot = (nearest[at] == np.arange(len(anchors))[:, None]).astype(rows.dtype)
            total += product(one_hot, vectors, rows.dtype)
            means = squared[:, len(anchors) :] + spread
            inner[part] = means[:, k] * (counts[k] / max(counts[k] - 1, 1))
            means[:, k] = np.inf
            near[part] = np.argsort(means, axis=1, kind="stable")[:, : near.shape[1]]
            outer[part] = means[np.arange(len(part)), near[part, 0]]
        found, own[inside] = _cells(rows, inside, nearest, total)
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


def _parts(rows: Integers) -> Iterator[tuple[slice, Integers]]:
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


def _means(rows: _Rows, members: list[Integers]) -> tuple[Floats, Floats]:
    """Mean of each cluster (K, d), and its mean squared deviation (K,)."""
    means, spread = np.empty((len(members), rows.width)), np.empty(len(members))
    for k, inside in enumerate(members):
        total, squares = np.zeros(rows.width), 0.0
        for _, part in _parts(inside):
            with np.errstate(over="ignore", invalid="ignore"):
                vectors, norms = rows(part)
            total += vectors.sum(axis=0, dtype=np.float64)
            squares += float(norms.sum(dtype=np.float64))
        if not np.isfinite(squares):  # a row beside which all of the sample are nothing
            rows.shrink()
            return _means(rows, members)
        means[k] = total / len(inside)
        spread[k] = max(squares / len(inside) - float((means[k] * means[k]).sum()), 0.0)
    return means.astype(rows.dtype), spread.astype(rows.dtype)


def _cells(rows: _Rows, inside: Integers, nearest: Integers, total: Floats) -> tuple[_Cells, Array]:
    """The cells of a cluster, and the mean distance of each of its rows to its others.

    ``nearest`` numbers the cell of each row, ``total`` holds the sum of the rows of each cell; some may be empty.
    """
    sizes = np.bincount(nearest, minlength=len(total))
    cell = (np.cumsum(sizes > 0) - 1)[nearest]
    sizes, total = sizes[sizes > 0], total[sizes > 0]
    means = _centres((total / sizes[:, None]).astype(rows.dtype))
    squared = np.empty((len(inside), len(sizes)), rows.dtype)
    for at, part in _parts(inside):
        squared[at] = _squared_distances(*rows(part), means)
    deviations = squared[np.arange(len(inside)), cell].astype(np.float64)
    spread = np.bincount(cell, weights=deviations) / sizes
    relative = np.divide(deviations, spread[cell], out=np.ones_like(deviations), where=spread[cell] > 0.0)
    bend = np.bincount(cell, weights=(relative - 1.0) ** 2) / sizes / 8.0
    found = _Cells(means, *(values.astype(rows.dtype) for values in (spread, bend, sizes)))
    own = np.empty(len(inside))
    for at, part in _parts(np.arange(len(inside))):
        distances = _distances(squared[at], found)
        count = found.counts[cell[at]]
        among = distances[np.arange(len(part)), cell[at]]  # of its own cell, those left lie farther than all did
        own[at] = (distances * found.counts).sum(axis=1) - among * (count - np.sqrt(count * (count - 1.0)))
    return found, own / max(len(inside) - 1, 1)


def _distances(squared: Floats, cells: _Cells) -> Floats:
    """Approximate mean distance (n, g) to the rows of each cell, from the squared distance to its mean."""
    squared += cells.spread
    within = np.divide(cells.spread, squared, out=np.zeros_like(squared), where=squared > 0.0)
    return np.asarray(np.sqrt(squared) * (1.0 - np.minimum(cells.bend * within * within, 0.5)))


def _score(inner: Array, outer: Array) -> Array:
    largest = np.maximum(inner, outer)
    return np.asarray(np.divide(outer - inner, largest, out=np.zeros_like(largest), where=largest > 0.0))
