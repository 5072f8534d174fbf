"""Operations on directions: means of normalised rows, and cosines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataprophet.ops import backend, checks, cuda, reference
from dataprophet.ops.arrays import Operand, fetched, like, operand
from dataprophet.ops.reference import RowMeasures, bad_rows_error
from dataprophet.ops.threads import thread_count


def mean_direction(x: Any) -> Any:
    """Mean of the l2-normalised rows of an array.

    Args:
        x: (n, d) array, n >= 1.

    Returns:
        (d,) float64. The same bits for any number of threads.

    Raises:
        DataProphetError: no rows, or a row that is all zero or holds NaN or infinity.
    """
    return _mean_direction(checks.rows_of(x, "x"))


def expected_cosine(x: Any, y: Any) -> float:
    """Expected cosine similarity of independent draws from the rows of two arrays.

    It is the dot product of their mean directions, and equals the mean over all pairs of rows: the similarity factors
    of arXiv 2603.19688.

    Args:
        x: (n, d) array, n >= 1.
        y: (m, d) array, m >= 1.

    Returns:
        A number in [-1, 1], without a unit.

    Raises:
        DataProphetError: no rows, different d, or a row that is all zero or holds NaN or infinity.
    """
    first, second = checks.rows_of(x, "x"), checks.rows_of(y, "y")
    checks.same_columns(first, second)
    left, right = (operand(_mean_direction(rows), "mean direction", 1).numpy() for rows in (first, second))
    return float(np.einsum("i,i->", left, right))


def cosine_to(x: Any, directions: Any) -> Any:
    """Dot product of each l2-normalised row with each direction.

    Args:
        x: (n, d) array. n may be 0.
        directions: (T, d) array of finite numbers, used as given, not normalised.

    Returns:
        (n, T) float32. The same bits for any number of threads.

    Raises:
        DataProphetError: different d, or a row without a direction.
    """
    rows, others = _with_directions(x, directions)
    way = backend.place("cosine_to", rows)
    if way == "cuda" and others.shape[0]:
        single = others.values.float()
        checks.finite_directions(fetched(single.isfinite().all(1))[0])
        return rows.give_back(cuda.cosine_to(rows, single))
    given = _single(others)
    if way == "reference":
        return rows.give_back(reference.cosine_to(rows.numpy(), others.numpy()))
    out = np.empty((rows.shape[0], given.shape[0]), np.float32)
    checks.no_bad_rows(rows, backend.core.cosine_to(rows.rows(), given, out, thread_count()))
    return rows.give_back(out)


def measure_rows(x: Any, directions: Any, groups: Any, count: int) -> RowMeasures:
    """Cosines to directions, lengths, and exact sums by group, in one read of the rows.

    Args:
        x: (n, d) array. n may be 0.
        directions: (T, d) array of finite numbers, used as given, not normalised. T may be 0.
        groups: (n,) integers, the group of each row in [0, count), or -1 for a row that is left out.
        count: number of groups.

    Returns:
        ``cosines`` (n, T) float32 and ``lengths`` (n,) float64, NaN for rows left out, and ``sums`` (count, d) float64.
        Components of normalised rows are rounded to multiples of 2^-30, so that below 2^23 no addition rounds: the sums
        are the same bits for any order of the rows, and add up over parts. No result depends on the number of threads,
        and none of a row on the rows beside it.

    Raises:
        DataProphetError: different d or n, a group out of range, or a row without a direction that is not left out.
    """
    rows, others = _with_directions(x, directions)
    given = _single(others)
    places = checks.groups_of(groups, rows, count)
    found = measured(rows, given if rows.dtype != "float64" else others.numpy(), places, count)
    (lengths,) = fetched(found.lengths)
    bad = (places >= 0) & ~((lengths > 0) & np.isfinite(lengths))
    if bad.any():
        zero = int((lengths[bad] == 0).sum())
        raise bad_rows_error(rows.name, zero, int(bad.sum()) - zero, int(np.flatnonzero(bad)[0]))
    return RowMeasures(*(rows.give_back(part) for part in found))


def measured(rows: Operand, directions: NDArray[Any], groups: NDArray[np.int64], count: int) -> RowMeasures:
    """``measure_rows`` of checked arguments; lengths tell which rows have no direction.

    In NumPy, but on CUDA for rows that are there, where nothing waits for the device: see ``fetched``.
    """
    way = backend.place("measure_rows", rows)
    if way == "reference":
        return reference.measure_rows(rows.numpy(), directions, groups, count)
    n, d = rows.shape
    given = np.require(directions, np.float32, ["C", "A"])
    if way == "cuda":
        return cuda.measure_rows(rows, given, groups, count)
    found = RowMeasures(np.empty((n, len(given)), np.float32), np.empty(n), np.empty((count, d)))
    backend.core.measure_rows(rows.rows(), given, groups, *found, thread_count())
    return found


def average_directions(
    fields: Sequence[Any], lengths: Sequence[NDArray[np.float64]], chosen: NDArray[np.int64]
) -> tuple[Any, Any]:
    """Average of the directions of several fields of a row, normalised again.

    Args:
        fields: (n, d) arrays. Where all are on CUDA, results are tensors there, for which nothing waits; of those that
            the CUDA core cannot read, the chosen rows alone leave the device.
        lengths: for each field (n,) the lengths of its rows, NaN where a row lacks it; what lies there then may be
            anything.
        chosen: (m,) rows.

    Returns:
        (m, d) float16 unit vectors, and (m,) float32 lengths of the sums of directions: where it is 0, or no more than
        rounding leaves, the vector means nothing. The same bits for any number of threads, and for a row whatever
        others are chosen.
    """
    given = [operand(rows, "field", 2) for rows in fields]
    if backend.place("average_directions", *given) == "cuda" and len(chosen):
        return cuda.average_directions(given, lengths, chosen)
    if any(rows.on_cuda for rows in given):
        own_rows, own_lengths = [rows.read(chosen) for rows in given], [own[chosen] for own in lengths]
        return average_directions(own_rows, own_lengths, np.arange(len(chosen)))
    scales, extreme = np.zeros((len(given), len(chosen)), np.float32), np.zeros(len(chosen), np.bool_)
    for place, (rows, own) in enumerate(zip(given, lengths, strict=True)):
        length = own[chosen]
        plain = (length > 1e-30) & (length < 1e30) & (rows.dtype != "float64")  # fp32 scales such a row
        np.divide(1.0, length, out=scales[place], where=plain, casting="same_kind")
        extreme |= ~plain & (~np.isnan(length) | (rows.dtype == "float64"))
    z, norms = np.empty((len(chosen), given[0].shape[1]), np.float16), np.empty(len(chosen), np.float32)
    if extreme.any():
        few = chosen[extreme]
        parts, own_lengths = [rows.read(few) for rows in given], [own[few] for own in lengths]
        z[extreme], norms[extreme] = reference.average_directions(parts, own_lengths, np.arange(len(few)))
    left = ~extreme
    if left.all():
        backend.core.average_directions([rows.rows() for rows in given], chosen, scales, z, norms, thread_count())
    elif left.any():
        z[left], norms[left] = average_directions(fields, lengths, chosen[left])
    return z, norms


def nearest(x: Any, y: Any) -> tuple[Any, Any]:
    """Best match of each row of x among the rows of y, by cosine.

    Args:
        x: (n, d) array. n may be 0.
        y: (m, d) array, m >= 1.

    Returns:
        The cosine (n,) float32, and the row of y (n,) int64, the lowest among equals. n x m is never stored.

    Raises:
        DataProphetError: y has no rows, different d, or a row without a direction.
    """
    rows = operand(x, "x", 2)
    others = like(y, "y", 2, rows)
    checks.at_least(others, 1)
    checks.same_columns(rows, others)
    way = backend.place("nearest", rows, others)
    if way == "cuda":
        cosine, index = cuda.nearest(rows, others)
        return rows.give_back(cosine), rows.give_back(index)
    values, places = np.empty(rows.shape[0], np.float32), np.empty(rows.shape[0], np.int64)
    if way == "reference":
        values, places = reference.nearest(rows.numpy(), others.numpy())
    else:
        same = rows.dtype == others.dtype
        left, right = (
            each.rows() if same else np.ascontiguousarray(each.numpy(), np.float32) for each in (rows, others)
        )
        bad = backend.core.nearest(left, right, values, places, thread_count())
        checks.no_bad_rows(rows, bad[0])
        checks.no_bad_rows(others, bad[1])
    return rows.give_back(values), rows.give_back(places)


def _mean_direction(rows: Operand) -> Any:
    way = backend.place("mean_direction", rows)
    if way == "cuda":
        return rows.give_back(cuda.mean_direction(rows))
    if way == "reference":
        return rows.give_back(reference.mean_direction(rows.numpy(), rows.name))
    out = np.empty(rows.shape[1])
    checks.no_bad_rows(rows, backend.core.mean_direction(rows.rows(), out, thread_count()))
    return rows.give_back(out)


def _with_directions(x: Any, directions: Any) -> tuple[Operand, Operand]:
    """Rows, and directions of as many columns."""
    rows = operand(x, "x", 2)
    others = like(directions, "directions", 2, rows)
    checks.same_columns(rows, others)
    return rows, others


def _single(directions: Operand) -> NDArray[np.float32]:
    """Directions as the core reads them: aligned float32, and finite as such."""
    with np.errstate(over="ignore"):
        given = np.require(directions.numpy(), np.float32, ["C", "A"])
    checks.finite_directions(np.isfinite(given).all(axis=1))
    return given
