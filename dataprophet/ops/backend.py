"""The one importer of _core, _cuda and the Triton kernels: each is loaded when it is first needed."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from importlib import metadata
from typing import Any

from dataprophet.errors import MissingDependencyError
from dataprophet.ops.threads import thread_count

COMPILE = "did you forget to compile? Run: pip install -e . (in a checkout) or reinstall dataprophet"


@functools.cache
def core() -> Any:
    """The compiled CPU core. Raises MissingDependencyError where it does not load or is of another version."""
    try:
        module = importlib.import_module("dataprophet._core")
    except ImportError as error:
        raise MissingDependencyError(
            f"the compiled core does not load ({error})",
            where="dataprophet._core",
            fix=COMPILE,
        ) from error
    version = metadata.version("dataprophet")
    if module.__version__ != version:
        raise MissingDependencyError(
            f"the compiled core is of version {module.__version__}, the package of {version}",
            where="dataprophet._core",
            fix=COMPILE,
        )
    return module


@functools.cache
def cuda() -> Any | None:
    """The compiled CUDA module, or None where it is not built, does not load or is of another version."""
    try:
        module = importlib.import_module("dataprophet._cuda")
    except ImportError:
        return None
    return module if module.__version__ == metadata.version("dataprophet") else None


@functools.cache
def cuda_devices() -> int:
    """How many devices the compiled CUDA module can use: 0 without it."""
    module = cuda()
    return 0 if module is None else int(module.device_count()[0])


@functools.cache
def kernel(name: str) -> Callable[..., Any] | None:
    """The Triton kernel of that name, or None where Triton is missing or does not load."""
    try:
        module = importlib.import_module(f"dataprophet.kernels.{name}")
    except ImportError:
        return None
    found: Callable[..., Any] = getattr(module, name)
    return found


def torch_ops() -> Any:
    """The operations in plain torch, for where no compiled kernel serves."""
    return importlib.import_module("dataprophet.ops.torch_ops")


def core_info() -> dict[str, Any]:
    """Facts on the compiled core: version, instruction set in use, those available, and threads."""
    module = core()
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
