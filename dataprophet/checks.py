"""Checks of arguments of operations: each raises one line that names the argument, what it must be and what came."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dataprophet.errors import DataProphetError
from dataprophet.intake import Operand, like, operand
from dataprophet.reference import bad_rows_error

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


def in_range(values: npt.NDArray[Any], stop: int, name: str) -> None:
    """Raise for integers outside [0, stop), naming the first."""
    outside = np.flatnonzero((values < 0) | (values >= stop))
    if len(outside):
        raise DataProphetError(
            f"element {outside[0]} is {values[outside[0]]}, outside [0, {stop})", where=name, fix="check the ids"
        )


def targets_of(targets: Any, rows: Operand, size: int) -> Operand:
    """One target for each row; checked against ``size`` except on CUDA, where that would wait for the device."""
    at = like(targets, "targets", 1, rows, integers=True)
    if at.shape[0] != rows.shape[0]:
        raise DataProphetError(
            f"expected {rows.shape[0]} elements as {rows.name} has rows, got {at.shape[0]}",
            where="targets",
            fix="give one for each row",
        )
    if not at.on_cuda:
        in_range(at.numpy(), size, "targets")
    return at


def clustering(x: Any, labels: Any, metric: str) -> tuple[Operand, npt.NDArray[Any], npt.NDArray[Any]]:
    """Rows, their values as NumPy, and their labels, fit for a silhouette."""
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
    count = len(np.unique(given))
    if not 2 <= count <= len(given) - 1:
        raise DataProphetError(
            f"expected 2 to n - 1 different labels, got {count} over {len(given)} rows",
            where="labels",
            fix="cluster into fewer, at least 2, clusters",
        )
    return rows, finite_values(rows), given
