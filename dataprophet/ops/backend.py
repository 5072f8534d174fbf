"""The one place that chooses what computes: the compiled core, the CUDA module, Triton's kernels, torch or NumPy.

It alone imports compiled modules and kernels, each when it is first needed, and no operation asks further than here.
It notes where each operation is computed, for whoever is ``watching``.
``core`` is the compiled CPU core (dataprophet._core); reading it raises MissingDependencyError where it does not load
or is of another version. ``cuda`` is the CUDA module (dataprophet._cuda), or None where it is not built, does not load
or is of another version.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from importlib import metadata
from typing import TYPE_CHECKING, Any

import numpy as np

from dataprophet.errors import MissingDependencyError
from dataprophet.ops.arrays import Operand
from dataprophet.ops.threads import thread_count

if TYPE_CHECKING:  # their types; at run time __getattr__ loads them
    from dataprophet import _core, _cuda

    core, cuda = _core, _cuda

COMPILE = "did you forget to compile? Run: pip install . (in a checkout: then from another folder, or with python -P)"
_CAPABILITY = (8, 0)  # the lowest that the CUDA module is built for
_LIFTED = 1e9  # products, from which on rows of the host are worth the way to a device

Computed = dict[str, set[str]]
"""Operation -> where it was computed: see ``watching``."""

_computed: ContextVar[Computed | None] = ContextVar("computed", default=None)


def __getattr__(name: str) -> Any:
    if name == "core":
        return _load_core()
    if name == "cuda":
        return _load_cuda()
    raise AttributeError(name)


@functools.cache
def _load_core() -> Any:
    try:
        module = importlib.import_module("dataprophet._core")
    except ImportError as error:
        message = f"the compiled core does not load ({error})"
        raise MissingDependencyError(message, where="dataprophet._core", fix=COMPILE) from error
    version = metadata.version("dataprophet")
    if module.__version__ != version:
        message = f"the compiled core is of version {module.__version__}, the package of {version}"
        raise MissingDependencyError(message, where="dataprophet._core", fix=COMPILE)
    return module


@functools.cache
def _load_cuda() -> Any:
    try:
        module = importlib.import_module("dataprophet._cuda")
    except ImportError:
        return None
    return module if module.__version__ == metadata.version("dataprophet") else None


@functools.cache
def cuda_devices() -> int:
    """How many devices the compiled CUDA module can use: 0 without it."""
    module = _load_cuda()
    return 0 if module is None else int(module.device_count()[0])


def runs_on(device: Any) -> bool:
    """Whether the CUDA module is there and serves this device.

    Raises:
        MissingDependencyError: it would, but was built for other GPUs.
    """
    if not cuda_devices():
        return False
    import torch

    major, minor = torch.cuda.get_device_capability(device)
    if (major, minor) < _CAPABILITY:
        return False
    built = architectures()
    if built and not built_for(built, major, minor):
        what = f"the CUDA module is built for {', '.join(built)}; {device} is of compute capability {major}.{minor}"
        fix = f"build it with CMAKE_CUDA_ARCHITECTURES={major}{minor}, or with DATAPROPHET_CUDA=OFF"
        raise MissingDependencyError(what, where="dataprophet._cuda", fix=fix)
    return True


@functools.cache
def architectures() -> tuple[str, ...]:
    """What the CUDA module is built for, in CMake's words."""
    module = _load_cuda()
    return () if module is None else tuple(module.architectures.split())


def built_for(architectures: Sequence[str], major: int, minor: int) -> bool:
    """Whether code built for CMake's architectures runs on a device of that compute capability.

    Machine code ("90-real") runs on its own generation from its minor number on, PTX ("90-virtual") on all that is not
    older, "90" is both; what is "90a" runs on 9.0 alone.
    """
    for name in architectures:
        number = re.match(r"(\d+)(\d)([a-z]?)", name)
        if number is None:  # native, all, all-major
            return True
        built = int(number[1]), int(number[2])
        if number[3] == "a":
            if built == (major, minor):
                return True
        elif built <= (major, minor) and (built[0] == major or not name.endswith("-real")):
            return True
    return False


@contextmanager
def watching() -> Iterator[Computed]:
    """Notes where operations are computed meanwhile, in this thread.

    Yields:
        Operation -> its places: ``cuda`` (the CUDA core), ``triton``, ``torch``, ``core`` (the CPU), ``reference``
        (NumPy). "copied" stands behind one to which tensors had to leave their device.
    """
    found: Computed = {}
    token = _computed.set(found)
    try:
        yield found
    finally:
        _computed.reset(token)


def as_lists(*several: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """What ``watching`` noted, several times, as JSON holds it: operation -> its places, sorted."""
    every = sorted({name for computed in several for name in computed})
    return {name: sorted({where for computed in several for where in computed.get(name, ())}) for name in every}


def note(name: str, where: str) -> str:
    """Note where an operation is computed, and return that."""
    if (computed := _computed.get()) is not None:
        computed.setdefault(name, set()).add(where)
    return where


def place(name: str, *arrays: Operand) -> str:
    """Where an operation on rows is computed: "cuda", "core", or "reference" for float64.

    CUDA tensors that the CUDA module cannot read (empty, float64, on an old device, or no module) are copied to the
    CPU, and what is found there is copied back.
    """
    filled = all(0 not in each.shape for each in arrays)
    if filled and all(each.on_cuda and each.dtype != "float64" for each in arrays) and runs_on(arrays[0].values.device):
        return note(name, "cuda")
    way = "reference" if any(each.dtype == "float64" for each in arrays) else "core"
    note(name, f"{way}, copied" if filled and any(each.on_cuda for each in arrays) else way)
    return way


def own_device() -> Any:
    """The CUDA device on which this process computes what lies on the host and is worth the way; None without one."""
    if not cuda_devices():
        return None
    try:
        import torch
    except ImportError:
        return None
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else None
    with suppress(MissingDependencyError):  # a module for other GPUs
        return device if device is not None and runs_on(device) else None
    return None


def lifted(compute: Callable[[Any], Any], rows: Any, products: float) -> Any:
    """What an operation makes of rows: on the device, where there is one and the work is worth the way.

    Args:
        compute: the operation, for rows on the host or on the device.
        rows: (n, d) NumPy array, or a tensor, which is computed where it is.
        products: about how many multiplications it takes.
    """
    device = own_device() if products >= _LIFTED and isinstance(rows, np.ndarray) else None
    if device is None:
        return compute(rows)
    import torch

    try:
        return compute(torch.tensor(rows, device=device))
    except torch.OutOfMemoryError:
        pass  # behind the handler, whose error would hold on to the memory
    return compute(rows)


@functools.cache
def kernel(name: str) -> Callable[..., Any] | None:
    """The Triton kernel of that name, or None where Triton is missing or does not load."""
    try:
        module = importlib.import_module(f"dataprophet.kernels.{name}")
    except ImportError:
        return None
    found: Callable[..., Any] = getattr(module, name)
    return found


def silhouette_tiles(x: Any, sizes: Any) -> Callable[..., Any] | None:
    """Triton's kernel for Euclidean silhouettes; None where it is missing, or made for other devices or clusters.

    Args:
        x: (n, d) tensor on CUDA.
        sizes: (k,) NumPy array, of the clusters.
    """
    if (found := kernel("euclidean_silhouettes")) is None:
        return None
    import torch

    major, minor = torch.cuda.get_device_capability(x.device)
    suits = importlib.import_module("dataprophet.kernels.euclidean_silhouettes").suits
    return found if suits(10 * major + minor, sizes) else None


def on_tokens(name: str, *, wide: bool) -> Callable[..., Any]:
    """An operation on CUDA tensors of tokens: the Triton kernel of that name, else, or for float64, plain torch.

    Both take the same arguments and return the same.
    """
    found = None if wide else kernel(name)
    note(name, "triton" if found else "torch")
    return found or getattr(importlib.import_module("dataprophet.ops.torch_ops"), name)


def core_info() -> dict[str, Any]:
    """Facts on the compiled core: version, instruction set in use, those available, and threads."""
    module = _load_core()
    return {
        "version": module.__version__,
        "isa": module.isa(),
        "available_isas": list(module.available_isas()),
        "threads": thread_count(),
    }


def cuda_info() -> dict[str, Any]:
    """Facts on the CUDA module: whether it is built, how many devices it sees, why none, versions, architectures."""
    try:
        module = importlib.import_module("dataprophet._cuda")
    except ImportError as error:
        return {"built": False, "devices": 0, "reason": f"the CUDA module is not built or does not load ({error})"}
    devices, reason = module.device_count()
    return {
        "built": True,
        "devices": devices,
        "reason": reason,
        "runtime": module.runtime_version(),
        "driver": module.driver_version(),
        "architectures": module.architectures.split(),
        "version": module.__version__,
    }


def triton_available() -> bool:
    """Whether the Triton kernels can be imported."""
    return kernel("token_logprobs") is not None
