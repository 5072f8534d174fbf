"""Arguments of the operations: any array in, checked; results out, in the caller's library and on its device."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dataprophet.errors import DataProphetError, MetricError, MissingDependencyError, install

_FLOATS = ("float32", "float16", "bfloat16", "float64")
_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
_CUDA = (2, 13)  # DLPack device types: CUDA and CUDA managed memory


@dataclass(frozen=True)
class Operand:
    """A checked argument.

    Attributes:
        values: a NumPy array, or a torch tensor without gradient.
        name: the argument's name, for errors.
        library: "numpy", "torch", or the name of the module whose ``from_dlpack`` takes results.
    """

    values: Any
    name: str
    library: str

    @property
    def is_torch(self) -> bool:
        return not isinstance(self.values, np.ndarray)

    @property
    def on_cuda(self) -> bool:
        return self.is_torch and self.values.device.type == "cuda"

    @property
    def dtype(self) -> str:
        return str(self.values.dtype).removeprefix("torch.")

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.values.shape)

    def numpy(self) -> npt.NDArray[Any]:
        """The values as a NumPy array; bfloat16 and float16 as float32, which holds them exactly."""
        values = self.values
        if self.is_torch:
            values = (values.float() if self.dtype in ("bfloat16", "float16") else values).cpu().numpy()
        elif self.dtype == "bfloat16":
            values = values.astype(np.float32)
        return np.asarray(values)

    def read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.floating]:
        """Some rows as NumPy: float64 as such, the other dtypes as float32, which holds them exactly."""
        part = self.values[rows]
        if self.is_torch:
            part = (part if self.dtype == "float64" else part.float()).cpu().numpy()
        return np.asarray(part, part.dtype if self.dtype == "float64" else np.float32)

    def rows(self, *, on_cpu: bool = True) -> Any:
        """The values as a compiled module reads them: rows without gaps, bfloat16 of NumPy as its bits."""
        values = self.values
        if self.is_torch:
            values = values.cpu() if on_cpu else values
            return values if values.shape[-1] <= 1 or values.stride(-1) == 1 else values.contiguous()
        size = values.itemsize
        gaps = values.shape[-1] > 1 and values.strides[-1] != size
        if gaps or any(stride % size for stride in values.strides):
            values = np.ascontiguousarray(values)
        return values.view(np.uint16) if self.dtype == "bfloat16" else values

    def give_back(self, result: Any) -> Any:
        """A result, of NumPy or torch, in the library and on the device of this argument."""
        if self.library == "numpy":
            return result
        if self.is_torch and isinstance(result, np.ndarray):
            import torch

            result = torch.from_numpy(result).to(self.values.device)
        return result if self.library == "torch" else sys.modules[self.library].from_dlpack(result)


def operand(values: Any, name: str, ndim: int, *, integers: bool = False) -> Operand:
    """Check one argument.

    Args:
        values: NumPy array, torch tensor, any other DLPack array, or a nested sequence of numbers.
        name: the argument's name, for errors.
        ndim: how many dimensions it must have.
        integers: whether it holds integers rather than floats.

    Returns:
        The argument, ready to compute with.

    Raises:
        TypeError: it is no array, or has another dtype.
        DataProphetError: it has another number of dimensions.
    """
    array, library = load(values, name)
    if integers and isinstance(values, list | tuple) and not array.size:
        array = array.astype(np.int64)  # NumPy takes a list of nothing for floats
    found = Operand(array, name, library)
    allowed = _INTEGERS if integers else _FLOATS
    if found.dtype not in allowed:
        expected = "integers" if integers else "float32, float16, bfloat16 or float64"
        raise TypeError(f"{name}: expected {expected}, got dtype {found.dtype}")
    if len(found.shape) != ndim:
        raise DataProphetError(
            f"expected {ndim} dimension{'s' * (ndim != 1)}, got shape {found.shape}", where=name, fix="reshape it"
        )
    return found


def like(values: Any, name: str, ndim: int, main: Operand, *, integers: bool = False) -> Operand:
    """Check an argument that goes with ``main``, and bring it to that one's library and device."""
    other = operand(values, name, ndim, integers=integers)
    if main.is_torch and not (other.is_torch and other.values.device == main.values.device):
        import torch

        array = other.numpy() if other.dtype == "bfloat16" or not other.is_torch else other.values
        moved = torch.as_tensor(_torch_ready(array)).to(main.values.device)
        return Operand(moved, name, other.library)
    if not main.is_torch and other.is_torch:
        return Operand(other.numpy(), name, "numpy")
    return other


def _torch_ready(array: Any) -> Any:
    """A NumPy array that torch takes: no negative strides, no unsigned type that it lacks, writable."""
    if not isinstance(array, np.ndarray):
        return array
    if array.dtype.kind == "u":
        array = array.astype(np.int64)
    return np.array(array, order="C")


def load(values: Any, name: str) -> tuple[Any, str]:
    """A NumPy array or a torch tensor of what was given, and the library it came from. Raises TypeError."""
    if isinstance(values, np.ndarray):
        native = values if values.dtype.isnative else values.astype(values.dtype.newbyteorder("="))
        return np.asarray(native), "numpy"
    library = type(values).__module__.partition(".")[0]
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(values, torch.Tensor):
        return _plain_tensor(values, name), "torch"
    if hasattr(values, "__dlpack__"):
        return _from_dlpack(values, name), library if hasattr(sys.modules.get(library), "from_dlpack") else "numpy"
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: expected an array, got {type(values).__name__} ({error})") from None
    if array.dtype == object:
        raise TypeError(f"{name}: expected an array, got {type(values).__name__}")
    return array, "numpy"


def _plain_tensor(values: Any, name: str) -> Any:
    if values.device.type not in ("cpu", "cuda"):
        raise TypeError(f"{name}: expected a tensor on the CPU or on CUDA, got device {values.device}")
    if values.layout is not sys.modules["torch"].strided:
        raise TypeError(f"{name}: expected a dense tensor, got layout {values.layout}")
    return values.detach().resolve_neg()  # DLPack would drop the negative bit


def _from_dlpack(values: Any, name: str) -> Any:
    device = int(values.__dlpack_device__()[0])
    try:
        if device not in _CUDA:
            return np.from_dlpack(values)
        import torch
    except ImportError as error:
        raise MissingDependencyError(
            f"a {type(values).__name__} on CUDA needs torch", where=name, fix=install("model")
        ) from error
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise TypeError(f"{name}: a {type(values).__name__} that NumPy cannot read ({error})") from None
    return torch.from_dlpack(values)


def fetched(*values: Any) -> list[npt.NDArray[Any]]:
    """NumPy arrays and torch tensors as NumPy; those on a device come side by side, and are waited for once."""
    given = [each if isinstance(each, np.ndarray) else each.to("cpu", non_blocking=True) for each in values]
    for device in {each.device for each in values if not isinstance(each, np.ndarray) and each.is_cuda}:
        sys.modules["torch"].cuda.current_stream(device).synchronize()
    return [np.asarray(each) for each in given]


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
