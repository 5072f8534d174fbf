"""Checks of arguments of operations: each raises one line that names the argument, what it must be and what came."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dataprophet.errors import DataProphetError
from dataprophet.ops.arrays import Operand, like, operand
from dataprophet.ops.reference import LogprobParts, bad_rows_error

_ANY = int(np.iinfo(np.int64).max)
_METRICS = ("euclidean", "sqeuclidean", "cosine")


def require(holds: bool, problem: str, where: str, fix: str) -> None:
    """Raise DataProphetError unless something holds of an argument."""
    if not holds:
        raise DataProphetError(problem, where=where, fix=fix)


def rows_of(values: Any, name: str) -> Operand:
    """An array of at least one row."""
    rows = operand(values, name, 2)
    at_least(rows, 1)
    return rows


def at_least(given: Operand, count: int) -> None:
    """Raise where an argument has fewer rows than ``count``."""
    problem = f"expected at least {count} row, got shape {given.shape}"
    require(given.shape[0] >= count, problem, given.name, "give it data")


def same_columns(first: Operand, second: Operand) -> None:
    """Raise where two arrays differ in their number of columns."""
    problem = f"expected {first.shape[1]} columns as in {first.name}, got shape {second.shape}"
    require(first.shape[1] == second.shape[1], problem, second.name, "both must come from the same encoder")


def finite_values(given: Operand) -> npt.NDArray[Any]:
    """The values as NumPy; raise for rows with NaN or infinity, naming the first."""
    values = given.numpy()
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise bad_rows_error(given.name, 0, len(bad), int(bad[0]))
    return values


def finite_directions(finite: npt.NDArray[np.bool_]) -> None:
    """Raise where some directions (T,) are not finite once they are float32, naming the first."""
    bad = np.flatnonzero(~finite)
    if len(bad):
        problem = f"row {bad[0]} is not finite as float32"
        raise DataProphetError(problem, where="directions", fix="give finite directions")


def no_bad_rows(rows: Operand, report: tuple[int, int, int]) -> None:
    """Raise for rows without a direction, as the core reports them: zero rows, non-finite rows, the first of either."""
    zero, nonfinite, first = report
    if zero or nonfinite:
        raise bad_rows_error(rows.name, zero, nonfinite, first)


def groups_of(groups: Any, rows: Operand, count: int) -> npt.NDArray[np.int64]:
    """(n,) groups of rows in [0, count), or -1."""
    given = operand(groups, "groups", 1, integers=True).numpy().astype(np.int64)
    n = rows.shape[0]
    problem = f"expected {n} elements, one for each row of {rows.name}, got shape {given.shape}"
    require(len(given) == n, problem, "groups", "give a group, or -1, for each row")
    _between(given, -1, count, "groups", "check count")
    return np.ascontiguousarray(given)


def in_range(values: npt.NDArray[Any], stop: int, name: str) -> None:
    """Raise for integers outside [0, stop), naming the first."""
    _between(values, 0, stop, name, "check the ids")


def _between(values: npt.NDArray[Any], start: int, stop: int, name: str, fix: str) -> None:
    outside = np.flatnonzero((values < start) | (values >= stop))
    if len(outside):
        problem = f"element {outside[0]} is {values[outside[0]]}, outside [{start}, {stop})"
        raise DataProphetError(problem, where=name, fix=fix)


def targets_of(targets: Any, rows: Operand, size: int | None) -> Operand:
    """One target for each row, in [0, size), of any size for None; unchecked on CUDA, where that would wait for it."""
    at = like(targets, "targets", 1, rows, integers=True)
    problem = f"expected {rows.shape[0]} elements as {rows.name} has rows, got {at.shape[0]}"
    require(at.shape[0] == rows.shape[0], problem, "targets", "give one for each row")
    if not at.on_cuda:
        in_range(at.numpy(), _ANY if size is None else size, "targets")
    return at


def bias_of(bias: Any, size: int, rows: Operand) -> Operand:
    """One bias for each of ``size`` tokens."""
    offset = like(bias, "bias", 1, rows)
    problem = f"expected {size} elements, got {offset.shape[0]}"
    require(offset.shape[0] == size, problem, "bias", "give one for each token")
    return offset


def parts_of(parts: Sequence[LogprobParts]) -> list[LogprobParts]:
    """The parts of a vocabulary, as operands of one library, with a value for each row."""
    require(len(parts) > 0, "expected at least 1", "parts", "give those of all shards")
    main = operand(parts[0].maximum, "maximum", 1)
    n = main.shape[0]
    found = []
    for i, part in enumerate(parts):
        each = LogprobParts(*(like(part[field], name, 1, main) for field, name in enumerate(LogprobParts._fields)))
        for given in each:
            problem = f"expected {n} elements as in the first part, got {given.shape[0]} in part {i}"
            require(given.shape == main.shape, problem, given.name, "give parts of the same rows")
        found.append(each)
    return found


def segments(offsets: Operand, count: int) -> None:
    """Raise unless offsets cut [0, count] into segments that are not empty."""
    given = offsets.numpy().astype(np.int64)
    lengths = np.diff(given)
    inside = given[0] >= 0 and given[-1] <= count and bool((lengths >= 0).all())
    require(inside, f"expected increasing offsets in [0, {count}]", "offsets", "start at 0, end at n")
    empty = np.flatnonzero(lengths == 0)
    if len(empty):
        raise DataProphetError(f"segment {empty[0]} is empty", where="offsets", fix="leave empty segments out")


def first_centroids(rows: Operand, k: int, init: Any, max_iter: int, tol: float) -> npt.NDArray[Any] | None:
    """The centroids that k-means of rows starts from, None for its own choice; raise for options that do not fit."""
    n, d = rows.shape
    require(1 <= k <= n, f"expected 1 <= k <= {n} rows, got {k}", "k", "lower k")
    require(max_iter >= 0 and tol >= 0.0, f"got max_iter={max_iter}, tol={tol}", "kmeans", "give neither below 0")
    if init is None:
        return None
    first = operand(init, "init", 2)
    problem = f"expected shape {(k, d)}, got {first.shape}"
    require(first.shape == (k, d), problem, "init", "give k rows as wide as x")
    return finite_values(first)


def sample_of(sample_size: int | None) -> None:
    """Raise for a sample of fewer than two rows, which tells nothing of its error."""
    enough = sample_size is None or sample_size >= 2
    require(enough, f"expected at least 2, got {sample_size}", "sample_size", "raise it")


def clusters_of(rows: Operand, k: int) -> None:
    """Raise unless rows can be cut into k clusters that have a silhouette."""
    n = rows.shape[0]
    require(2 <= k <= n - 1, f"expected 2 <= k <= n - 1 for {n} rows, got {k}", "k", "choose another k")


def clustering(x: Any, labels: Any, metric: str) -> tuple[Operand, npt.NDArray[np.int32]]:
    """Rows fit for a silhouette, and their clusters, numbered from 0 without gaps, in the order of the labels."""
    rows = operand(x, "x", 2)
    given = operand(labels, "labels", 1, integers=True).numpy()
    n = rows.shape[0]
    require(metric in _METRICS, f"expected one of {', '.join(_METRICS)}, got {metric!r}", "metric", "choose one")
    problem = f"expected {n} labels as x has rows, got {len(given)}"
    require(len(given) == n, problem, "labels", "give one for each row")
    clusters, count = _numbered(given)
    problem = f"expected 2 to n - 1 different labels, got {count} over {n} rows"
    require(2 <= count <= n - 1, problem, "labels", "cluster into fewer, at least 2, clusters")
    return rows, clusters


def _numbered(labels: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int32], int]:
    """Labels renumbered from 0 without gaps, in their order, and how many different ones there are."""
    low, high = (int(labels.min()), int(labels.max())) if len(labels) else (0, 0)
    if high - low > len(labels):  # a table of all labels between would be longer than they are: sort them
        names, clusters = np.unique(labels, return_inverse=True)
        return clusters.astype(np.int32), len(names)
    wide = labels if labels.dtype == np.uint64 else labels.astype(np.int64)
    offsets = (wide - wide.dtype.type(low)).astype(np.int64)
    numbers = np.cumsum(np.bincount(offsets) > 0, dtype=np.int32) - np.int32(1)
    return numbers[offsets], int(numbers[-1]) + 1 if len(labels) else 0
