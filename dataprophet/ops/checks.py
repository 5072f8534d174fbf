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


def rows_of(values: Any, name: str) -> Operand:
    """An array of at least one row."""
    rows = operand(values, name, 2)
    at_least(rows, 1)
    return rows


def at_least(given: Operand, count: int) -> None:
    """Raise where an argument has fewer rows than ``count``."""
    if given.shape[0] < count:
        raise DataProphetError(
            f"expected at least {count} row, got shape {given.shape}", where=given.name, fix="give it data"
        )


def same_columns(first: Operand, second: Operand) -> None:
    """Raise where two arrays differ in their number of columns."""
    if first.shape[1] != second.shape[1]:
        raise DataProphetError(
            f"expected {first.shape[1]} columns as in {first.name}, got shape {second.shape}",
            where=second.name,
            fix="both must come from the same encoder",
        )


def finite_values(given: Operand) -> npt.NDArray[Any]:
    """The values as NumPy; raise for rows with NaN or infinity, naming the first."""
    values = given.numpy()
    finite = np.isfinite(values).all(axis=1)
    if not finite.all():
        raise bad_rows_error(given.name, 0, int((~finite).sum()), int(np.flatnonzero(~finite)[0]))
    return values


def finite_directions(given: npt.NDArray[np.float32]) -> None:
    """Raise for directions that hold NaN or infinity once they are float32, naming the first."""
    finite = np.isfinite(given).all(axis=1)
    if not finite.all():
        raise DataProphetError(
            f"row {np.flatnonzero(~finite)[0]} is not finite as float32",
            where="directions",
            fix="give finite directions",
        )


def no_bad_rows(rows: Operand, report: tuple[int, int, int]) -> None:
    """Raise for rows without a direction, as the core reports them: zero rows, non-finite rows, the first of either."""
    zero, nonfinite, first = report
    if zero or nonfinite:
        raise bad_rows_error(rows.name, zero, nonfinite, first)


def groups_of(groups: Any, rows: Operand, count: int) -> npt.NDArray[np.int64]:
    """(n,) groups of rows in [0, count), or -1."""
    given = operand(groups, "groups", 1, integers=True).numpy().astype(np.int64)
    if given.shape[0] != rows.shape[0]:
        raise DataProphetError(
            f"expected {rows.shape[0]} elements, one for each row of {rows.name}, got shape {given.shape}",
            where="groups",
            fix="give a group, or -1, for each row",
        )
    outside = np.flatnonzero((given < -1) | (given >= count))
    if len(outside):
        raise DataProphetError(
            f"element {outside[0]} is {given[outside[0]]}, outside [-1, {count})", where="groups", fix="check count"
        )
    return np.ascontiguousarray(given)


def in_range(values: npt.NDArray[Any], stop: int, name: str) -> None:
    """Raise for integers outside [0, stop), naming the first."""
    outside = np.flatnonzero((values < 0) | (values >= stop))
    if len(outside):
        raise DataProphetError(
            f"element {outside[0]} is {values[outside[0]]}, outside [0, {stop})", where=name, fix="check the ids"
        )


def targets_of(targets: Any, rows: Operand, size: int | None) -> Operand:
    """One target for each row, in [0, size), of any size for None; unchecked on CUDA, where that would wait for it."""
    at = like(targets, "targets", 1, rows, integers=True)
    if at.shape[0] != rows.shape[0]:
        raise DataProphetError(
            f"expected {rows.shape[0]} elements as {rows.name} has rows, got {at.shape[0]}",
            where="targets",
            fix="give one for each row",
        )
    if not at.on_cuda:
        in_range(at.numpy(), _ANY if size is None else size, "targets")
    return at


def bias_of(bias: Any, size: int, rows: Operand) -> Operand:
    """One bias for each of ``size`` tokens."""
    offset = like(bias, "bias", 1, rows)
    if offset.shape[0] != size:
        raise DataProphetError(
            f"expected {size} elements, got {offset.shape[0]}", where="bias", fix="give one for each token"
        )
    return offset


def softcap(bound: float | None) -> None:
    """Raise for a bound of logits that is not positive."""
    if bound is not None and not bound > 0.0:
        raise DataProphetError(f"expected a positive number, got {bound}", where="softcap", fix="use None for no cap")


def parts_of(parts: Sequence[LogprobParts]) -> list[LogprobParts]:
    """The parts of a vocabulary, as operands of one library, with a value for each row."""
    if not parts:
        raise DataProphetError("expected at least 1", where="parts", fix="give those of all shards")
    main = operand(parts[0].maximum, "maximum", 1)
    found = []
    for i, part in enumerate(parts):
        each = LogprobParts(*(like(part[field], name, 1, main) for field, name in enumerate(LogprobParts._fields)))
        for given in each:
            if given.shape != main.shape:
                raise DataProphetError(
                    f"expected {main.shape[0]} elements as in the first part, got {given.shape[0]} in part {i}",
                    where=given.name,
                    fix="give parts of the same rows",
                )
        found.append(each)
    return found


def segments(offsets: Operand, count: int) -> None:
    """Raise unless offsets cut [0, count] into segments that are not empty."""
    given = offsets.numpy().astype(np.int64)
    if given[0] < 0 or given[-1] > count or (np.diff(given) < 0).any():
        raise DataProphetError(
            f"expected increasing offsets in [0, {count}]", where="offsets", fix="start at 0, end at n"
        )
    if (np.diff(given) == 0).any():
        empty = int(np.flatnonzero(np.diff(given) == 0)[0])
        raise DataProphetError(f"segment {empty} is empty", where="offsets", fix="leave empty segments out")


def first_centroids(rows: Operand, k: int, init: Any, max_iter: int, tol: float) -> npt.NDArray[Any] | None:
    """The centroids that k-means of rows starts from, None for its own choice; raise for options that do not fit."""
    if not 1 <= k <= rows.shape[0]:
        raise DataProphetError(f"expected 1 <= k <= {rows.shape[0]} rows, got {k}", where="k", fix="lower k")
    if max_iter < 0 or not tol >= 0.0:
        raise DataProphetError(f"got max_iter={max_iter}, tol={tol}", where="kmeans", fix="give neither below 0")
    if init is None:
        return None
    first = operand(init, "init", 2)
    if first.shape != (k, rows.shape[1]):
        raise DataProphetError(
            f"expected shape {(k, rows.shape[1])}, got {first.shape}", where="init", fix="give k rows as wide as x"
        )
    return finite_values(first)


def sample_of(sample_size: int | None) -> None:
    """Raise for a sample of fewer than two rows, which tells nothing of its error."""
    if sample_size is not None and sample_size < 2:
        raise DataProphetError(f"expected at least 2, got {sample_size}", where="sample_size", fix="raise it")


def clusters_of(rows: Operand, k: int) -> None:
    """Raise unless rows can be cut into k clusters that have a silhouette."""
    if not 2 <= k <= rows.shape[0] - 1:
        raise DataProphetError(
            f"expected 2 <= k <= n - 1 for {rows.shape[0]} rows, got {k}", where="k", fix="choose another k"
        )


def clustering(x: Any, labels: Any, metric: str) -> tuple[Operand, npt.NDArray[np.int32]]:
    """Rows fit for a silhouette, and their clusters, numbered from 0 without gaps, in the order of the labels."""
    rows = operand(x, "x", 2)
    given = operand(labels, "labels", 1, integers=True).numpy()
    if metric not in _METRICS:
        raise DataProphetError(
            f"expected one of {', '.join(_METRICS)}, got {metric!r}", where="metric", fix="choose one"
        )
    if len(given) != rows.shape[0]:
        raise DataProphetError(
            f"expected {rows.shape[0]} labels as x has rows, got {len(given)}",
            where="labels",
            fix="give one for each row",
        )
    clusters, count = _numbered(given)
    if not 2 <= count <= len(given) - 1:
        raise DataProphetError(
            f"expected 2 to n - 1 different labels, got {count} over {len(given)} rows",
            where="labels",
            fix="cluster into fewer, at least 2, clusters",
        )
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
