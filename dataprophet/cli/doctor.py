"""``dataprophet doctor``: what is installed, what works, and what to do about what does not.

Nothing raises: a broken part is a finding. It looks at packages and at the core, never at data or models.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import platform
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata

from dataprophet import ops
from dataprophet.cli.common import output
from dataprophet.errors import DataProphetError, install
from dataprophet.ops.backend import COMPILE, own_device

_REQUIRED = (
    "python",
    "core",
    "instruction set",
    "numpy",
    "scipy",
    "pyarrow",
    "safetensors",
    "xxhash",
    "rich",
    "shtab",
    "pyyaml",
)
_MODULES = {"pyyaml": "yaml"}
_LOWEST_TRANSFORMERS, _NEXT_TRANSFORMERS = (5, 23), (6, 0)


@dataclass(frozen=True, slots=True)
class Check:
    """One finding.

    Attributes:
        name: what was looked at.
        ok: whether it works. False for something optional that is missing, too: see ``required``.
        found: what is there, such as a version.
        fix: what to do where it does not work; empty where it does.
        required: whether DataProphet cannot do without it.
    """

    name: str
    ok: bool
    found: str
    fix: str = ""
    required: bool = False


class _Fault(Exception):
    """What is found of something that does not work, and what to do about it."""

    def __init__(self, found: str, fix: str = "") -> None:
        self.found, self.fix = found, fix


def report() -> list[Check]:
    """Look at every part. Works on the base install, and whatever is broken.

    Returns:
        One check for each part, in a fixed order.
    """
    probes: dict[str, Callable[[], str]] = {
        "python": lambda: f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "core": _core,
        "instruction set": _instruction_set,
        **{name: partial(_package, name, install(), module=_MODULES.get(name, "")) for name in _REQUIRED[3:]},
        "cuda module": _cuda_module,
        "cuda device": _cuda_device,
        "triton": _triton,
        "torch": partial(_package, "torch", install("model")),
        "torch device": _torch_device,
        "operations": _operations,
        "transformers": _transformers,
        "torchvision": _torchvision,
        "peft": partial(_package, "peft", f"for models that hold an adapter: {install('peft')}"),
        "pillow": partial(_package, "pillow", install("model"), module="PIL"),
        "datasets": partial(_package, "datasets", install("data")),
        "altair": partial(_package, "altair", install("report")),
        "jinja2": partial(_package, "jinja2", install("report")),
        "vl-convert": partial(_package, "vl-convert-python", install("report"), module="vl_convert"),
        "fsspec": partial(_package, "fsspec", f"for s3://, gs:// and the like: {install('remote')}"),
        "ray": partial(_package, "ray", f"for --engine ray: {install('ray')}"),
    }
    return [_checked(name, probe) for name, probe in probes.items()]


def format_report(checks: list[Check]) -> str:
    """Lines of text, one for each check and one more for each fix."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        state = "ok" if check.ok else "MISSING" if check.required else "-"
        lines.append(f"{check.name:<{width}}  {state:<7}  {check.found}")
        if check.fix:
            lines.append(f"{'':<{width}}           {check.fix}")
    return "\n".join(lines)


def _checked(name: str, probe: Callable[[], str]) -> Check:
    required = name in _REQUIRED
    try:
        return Check(name, True, probe(), required=required)
    except _Fault as fault:
        return Check(name, False, fault.found, fault.fix, required)
    except Exception as error:  # importing someone else's broken package can raise anything at all
        return Check(name, False, f"broken: {_one_line(error)}", f"reinstall {name}", required)


@contextlib.contextmanager
def _failing(what: str, fix: str) -> Iterator[None]:
    """Any error as a fault: what fails, and the error."""
    try:
        yield
    except Exception as error:
        raise _Fault(f"{what}{_one_line(error)}", fix) from error


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _package(name: str, fix: str, *, module: str = "") -> str:
    """Version of a package that imports."""
    version = _version(name)
    if version is None:
        raise _Fault("not installed", fix)
    with _failing(f"{version} is installed but does not import: ", fix):
        importlib.import_module(module or name)
    return version


def _core() -> str:
    try:
        info = ops.core_info()
    except DataProphetError as error:  # DATAPROPHET_THREADS, DATAPROPHET_ISA: it says itself what to do
        raise _Fault(f"{error.where}: {error.what}" if error.where else error.what, error.fix) from error
    except Exception as error:
        raise _Fault(_one_line(error), COMPILE) from error
    return f"version {info['version']}, {info['threads']} threads"


def _instruction_set() -> str:
    with _failing("", "see the core"):
        info = ops.core_info()
    return f"{info['isa']} (this machine runs {', '.join(info['available_isas'])})"


def _cuda_module() -> str:
    info = ops.cuda_info()
    if not info["built"]:
        fix = "where there is a GPU: install a CUDA toolkit, then in a checkout DATAPROPHET_CUDA=ON pip install ."
        raise _Fault(info["reason"], fix)
    return f"CUDA {_cuda_version(info['runtime'])}, built for {' '.join(info['architectures'])}"


def _cuda_device() -> str:
    info = ops.cuda_info()
    if not info["built"]:
        raise _Fault("unknown without the CUDA module")
    if info["driver"] == 0:
        raise _Fault("no NVIDIA driver", "where there is a GPU: install its driver")
    driver = f"driver serves CUDA {_cuda_version(info['driver'])}"
    if info["devices"]:
        return f"{info['devices']}, {driver}"
    fix = "check CUDA_VISIBLE_DEVICES and nvidia-smi"
    if info["driver"] < info["runtime"]:
        fix = f"update the driver to one for CUDA {_cuda_version(info['runtime'])}"
    raise _Fault(f"none ({info['reason']}); {driver}", fix)


def _operations() -> str:
    """Where similarity, diversity and log-probabilities are computed."""
    with _failing("", "see the core"):
        device = own_device()
    torch = sys.modules.get("torch")
    if device is None and torch is not None and torch.cuda.is_available():
        found = "embeddings on the CPU, for torch has a CUDA device and the CUDA module none"
        raise _Fault(found, "see cuda module and cuda device; what lies on the device is copied to the CPU")
    if device is None:
        return "all on the CPU, by the core"
    tokens = "Triton" if ops.triton_available() else "torch"
    return f"of a model on CUDA and diversity: the CUDA core on {device}; log-probabilities: {tokens}; else the core"


def _cuda_version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _triton() -> str:
    version = _package("triton", f"where there is a GPU: {install('triton')}")
    if not ops.triton_available():
        raise _Fault(f"{version}, but the kernels do not import", install("model", "triton"))
    return version


def _torch_device() -> str:
    try:
        torch = importlib.import_module("torch")
    except Exception as error:
        raise _Fault("unknown without torch", install("model")) from error
    built = torch.version.cuda or getattr(torch.version, "hip", None)
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return f"{names} (torch for CUDA {built})"
    if built:
        return f"CPU; torch is built for CUDA {built} but sees no device"
    found = "CPU; torch is built without CUDA"
    if ops.cuda_info()["devices"]:
        raise _Fault(found, "there is a GPU: install a torch built for CUDA (see pytorch.org)")
    return found


def _transformers() -> str:
    version = _package("transformers", install("model"))
    numbers = re.match(r"(\d+)(?:\.(\d+))?", version)
    if numbers is None or not _LOWEST_TRANSFORMERS <= tuple(map(int, numbers.groups("0"))) < _NEXT_TRANSFORMERS:
        low, high = ".".join(map(str, _LOWEST_TRANSFORMERS)), _NEXT_TRANSFORMERS[0]
        raise _Fault(f"{version}, but {low} or later, below {high} is needed", install("model"))
    return version


def _torchvision() -> str:
    """Optional; but one that does not match torch breaks the import of transformers' image processors."""
    version, torch = _version("torchvision"), _version("torch")
    if version is None:
        return "not installed; the image processors that need no torchvision are used"
    if torch is None:
        raise _Fault(f"{version}, but torch is missing", install("model"))
    fix = "pip uninstall torchvision, or install the one made for this torch, from the same index"
    wanted = next((need for need in metadata.requires("torchvision") or [] if need.startswith("torch==")), "")
    needed = wanted.removeprefix("torch==").partition(";")[0].strip()
    if needed and needed != torch.partition("+")[0]:
        raise _Fault(f"{version}, made for torch {needed}, but torch is {torch}", fix)
    with _failing(f"{version}, but torch does not import: ", install("model")):
        importlib.import_module("torch")
    with _failing(f"{version} does not match torch {torch}: ", fix):
        importlib.import_module("torchvision")
    return version


def run(args: argparse.Namespace) -> int:
    """Print what is installed; always 0, for nothing optional is an error."""
    checks = report()
    output(args, [asdict(check) for check in checks], format_report(checks))
    return 0
