"""Arrays of any library in, NumPy out: the one coercion of the modules that need no compiled core."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dataprophet.errors import MetricError


def as_numpy(values: Any, *, where: str, ndim: int) -> npt.NDArray[Any]:
    """Return numbers as a NumPy array of their own dtype, without a copy where none is needed.

    Args:
        values: NumPy array, torch tensor (any device, any float dtype), DLPack array, or nested sequence of numbers.
        where: the argument's name, for the error.
        ndim: how many dimensions it must have.

    Returns:
        An array of ``ndim`` dimensions, of integers or real floats. bfloat16 comes back as float32, without loss.

    Raises:
        MetricError: the values are not real numbers, or have another number of dimensions.
    """
    array: npt.NDArray[Any]
    if hasattr(values, "detach"):  # torch: on any device, and NumPy has no bfloat16
        values = values.detach().resolve_neg().cpu()
        if str(values.dtype) == "torch.bfloat16":
            values = values.float()
        array = values.numpy()
    elif hasattr(values, "__dlpack__") and not isinstance(values, np.ndarray):
        try:
            array = np.from_dlpack(values)
        except (BufferError, RuntimeError, TypeError) as error:
            raise MetricError(
                f"a {type(values).__name__} that NumPy cannot read ({error})",
                where=where,
                fix="copy it to the CPU as float32 or float64",
            ) from error
    else:
        try:
            array = np.asarray(values)
        except (TypeError, ValueError) as error:
            raise MetricError(
                f"not an array of numbers ({error})", where=where, fix="pass rows of one length"
            ) from error
    if array.dtype.kind not in "iuf" and array.size:
        raise MetricError(f"expected real numbers, got dtype {array.dtype}", where=where, fix="pass integers or floats")
    if array.ndim != ndim:
        raise MetricError(
            f"expected {ndim} dimension{'s' * (ndim != 1)}, got shape {array.shape}", where=where, fix="reshape it"
        )
    return array
