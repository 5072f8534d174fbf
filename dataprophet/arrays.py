"""Numbers of any library in, NumPy out: the one coercion of the modules that compute in NumPy alone."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from dataprophet.errors import MetricError
from dataprophet.ops.arrays import Operand, load


def as_numpy(values: Any, *, where: str, ndim: int) -> npt.NDArray[Any]:
    """Return numbers as a NumPy array, without a copy where none is needed.

    Args:
        values: NumPy array, torch tensor (any device), DLPack array, or nested sequence of numbers.
        where: the argument's name, for the error.
        ndim: how many dimensions it must have.

    Returns:
        An array of ``ndim`` dimensions, of integers or real floats; bfloat16 as float32, which holds it exactly.

    Raises:
        MetricError: the values are not real numbers, or have another number of dimensions.
    """
    try:
        found, library = load(values, where)
    except TypeError as error:
        raise MetricError(str(error).removeprefix(f"{where}: "), where=where, fix="pass an array of numbers") from error
    array = Operand(found, where, library).numpy()
    if array.dtype.kind not in "iuf" and array.size:
        raise MetricError(f"expected real numbers, got dtype {array.dtype}", where=where, fix="pass integers or floats")
    if array.ndim != ndim:
        raise MetricError(
            f"expected {ndim} dimension{'s' * (ndim != 1)}, got shape {array.shape}", where=where, fix="reshape it"
        )
    return array
