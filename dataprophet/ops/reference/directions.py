"""Directions: means of normalised rows, and cosines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from dataprophet.errors import DataProphetError
from dataprophet.ops.reference.products import ROWS, Array, exact_dots_with, product

SUM_UNIT = 2.0**-30
"""What sums of normalised rows are multiples of."""


def bad_rows_error(name: str, zero: int, nonfinite: int, first: int) -> DataProphetError:
    """The error for rows that have no direction: the first of them, and how many there are of each kind."""
    parts = [f"{zero} all-zero"] * (zero > 0) + [f"{nonfinite} with NaN or infinity"] * (nonfinite > 0)
    count = zero + nonfinite
    return DataProphetError(
        f"{count} row{'s' * (count != 1)} without a direction ({', '.join(parts)}), the first is row {first}",
        where=name,
        fix="leave such rows out",
    )


def normalized(x: npt.NDArray[Any], name: str = "x") -> Array:
    """Return the l2-normalised rows of x (n, d) in float64, or raise for rows that are all zero or not finite."""
    rows = np.array(x, np.float64)
    # Dividing by the largest element first keeps the squares of any finite float64 in range.
    largest = np.abs(rows).max(axis=1, initial=0.0)
    _check(largest, name)
    rows /= largest[:, None]
    rows /= np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    return rows


def chunks_of(x: npt.NDArray[Any], name: str) -> list[slice]:
    """Slices of rows to work on, after a look for bad rows over the whole array, so that the error counts all."""
    slices = [slice(start, start + ROWS) for start in range(0, x.shape[0], ROWS)]
    largest = [np.abs(x[part].astype(np.float64)).max(axis=1, initial=0.0) for part in slices]
    _check(np.concatenate([*largest, np.zeros(0)]), name)
    return slices


def _check(largest: Array, name: str) -> None:
    """Raise for bad rows, known by their largest elements."""
    zero, nonfinite = largest == 0.0, ~np.isfinite(largest)
    if (zero | nonfinite).any():
        raise bad_rows_error(name, int(zero.sum()), int(nonfinite.sum()), int((zero | nonfinite).argmax()))


def mean_direction(x: npt.NDArray[Any], name: str = "x") -> Array:
    """Mean of the l2-normalised rows of x (n, d), as (d,) float64. A row that is all zero or not finite is an error."""
    total: Array = np.zeros(x.shape[1])
    for part in chunks_of(x, name):
        total += normalized(x[part], name).sum(axis=0)
    return np.asarray(total / x.shape[0])


def expected_cosine(x: npt.NDArray[Any], y: npt.NDArray[Any]) -> float:
    """Expected cosine of independent draws from the rows of x and of y: the dot product of their mean directions.

    Equal to the mean over all n x m pairs, at a cost of (n + m) d (QSim, ASim and ISim of arXiv 2603.19688).
    """
    return float(np.einsum("i,i->", mean_direction(x, "x"), mean_direction(y, "y")))


def cosine_to(x: npt.NDArray[Any], directions: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Dot product of each normalised row of x (n, d) with each of directions (T, d), used as given: (n, T) float32."""
    result = np.empty((x.shape[0], directions.shape[0]), np.float32)
    for part in chunks_of(x, "x"):
        result[part] = product(normalized(x[part]), directions.T)
    return result


class RowMeasures(NamedTuple):
    """What one read of rows gives; in the library of the rows.

    Attributes:
        cosines: (n, T) float32, dot product of each normalised row with each direction; NaN where there is none.
        lengths: (n,) float64 l2 norms; NaN for rows left out.
        sums: (count, d) float64, sums of the normalised rows of each group, every component of a row rounded to a
            multiple of ``SUM_UNIT``.
    """

    cosines: Any
    lengths: Any
    sums: Any


def measure_rows(
    x: npt.NDArray[Any], directions: npt.NDArray[Any], groups: npt.NDArray[np.int64], count: int
) -> RowMeasures:
    """Cosines, lengths and sums by group of the normalised rows of x (n, d); a row of group -1 is left out.

    Multiples of 2^-30 add up in float64 without rounding as long as a sum stays below 2^23, for which it takes 8
    million rows of one group that point the same way: the sums do not depend on the order of the rows, and those of
    parts add up to those of the whole, to the bit. Rows without a direction have length 0, or one that is not finite;
    they are in no sum.
    """
    n, d = x.shape
    cosines, lengths = np.full((n, len(directions)), np.nan, np.float32), np.full(n, np.nan)
    sums = np.zeros((count, d))
    # Exact dot products want vectors no longer than 1: powers of two change no digit.
    powers = np.frexp(np.linalg.norm(directions.astype(np.float64), axis=1))[1]
    dots = exact_dots_with(np.ldexp(directions.astype(np.float64), -powers[:, None]))
    used = np.flatnonzero(groups >= 0)
    for start in range(0, len(used), ROWS):
        rows = used[start : start + ROWS]
        wide = x[rows].astype(np.float64)
        largest = np.abs(wide).max(axis=1, initial=0.0)
        good = np.isfinite(largest) & (largest > 0)
        lengths[rows[~good]] = largest[~good]
        rows, wide, largest = rows[good], wide[good], largest[good]
        # Dividing by the largest element first keeps the squares of any finite float64 in range.
        wide /= largest[:, None]
        scaled = np.sqrt(np.einsum("ij,ij->i", wide, wide))
        wide /= scaled[:, None]
        with np.errstate(over="ignore"):
            lengths[rows] = np.minimum(largest * scaled, np.finfo(np.float64).max)
        cosines[rows] = np.ldexp(dots(wide).T, powers)
        members = csr_array((np.ones(len(rows)), (groups[rows], np.arange(len(rows)))), shape=(count, len(rows)))
        sums += members @ np.rint(wide / SUM_UNIT)
    return RowMeasures(cosines, lengths, sums * SUM_UNIT)


def average_directions(
    fields: Sequence[npt.NDArray[Any]], lengths: Sequence[npt.NDArray[np.float64]], chosen: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.float32]]:
    """Average of the directions of several fields (n, d) of chosen rows, normalised again, as (m, d) float16.

    ``lengths`` are NaN for rows that lack a field. The lengths (m,) of the sums of directions tell which rows have such
    an average: it is 0, or what rounding leaves, for those without.
    """
    z = np.zeros((len(chosen), fields[0].shape[1]), np.float16)
    norms = np.zeros(len(chosen), np.float32)
    for start in range(0, len(chosen), ROWS):
        part = chosen[start : start + ROWS]
        total = np.zeros((len(part), z.shape[1]))
        for rows, own in zip(fields, lengths, strict=True):
            here = ~np.isnan(own[part])
            total[here] += normalized(rows[part[here]])
        norm = np.sqrt(np.einsum("ij,ij->i", total, total))
        some = norm > 0
        z[start : start + ROWS][some] = total[some] / norm[some, None]
        norms[start : start + ROWS] = norm
    return z, norms


def nearest(x: npt.NDArray[Any], y: npt.NDArray[Any]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """For each row of x (n, d) the largest cosine to a row of y (m, d), and that row: the lowest index among equals."""
    best = np.full(x.shape[0], -np.inf)
    index = np.zeros(x.shape[0], np.int64)
    y_slices = chunks_of(y, "y")
    for rows in chunks_of(x, "x"):
        u = normalized(x[rows])
        for others in y_slices:
            cosine = product(u, normalized(y[others], "y").T)
            at = cosine.argmax(axis=1)
            value = np.take_along_axis(cosine, at[:, None], axis=1)[:, 0]
            better = value > best[rows]
            best[rows] = np.where(better, value, best[rows])
            index[rows] = np.where(better, others.start + at, index[rows])
    return best.astype(np.float32), index
