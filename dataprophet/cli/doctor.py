"""``dataprophet doctor``: what is installed, what works, and what to do about what does not.

Nothing raises: a broken part is a finding.
"""

from __future__ import annotations

import argparse
import importlib
import platform
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import metadata
from typing import Any

from dataprophet import ops
from dataprophet.cli.common import print_json
from dataprophet.errors import DataProphetError
from dataprophet.ops.backend import COMPILE

_MODEL = "pip install 'dataprophet[model]'"
_TRANSFORMERS = ((5, 23), (6,))


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


def report() -> list[Check]:
    """Look at every part. Works on the base install, and whatever is broken.

    Returns:
        One check for each part, in a fixed order.
    """
    probes: list[tuple[str, Callable[[], Check]]] = [
        ("python", _python),
        ("core", _core),
        ("instruction set", _instruction_set),
        ("numpy", lambda: _package("numpy", "pip install --upgrade dataprophet", required=True)),
        ("scipy", lambda: _package("scipy", "pip install --upgrade dataprophet", required=True)),
        ("pyarrow", lambda: _package("pyarrow", "pip install --upgrade dataprophet", required=True)),
        ("safetensors", lambda: _package("safetensors", "pip install --upgrade dataprophet", required=True)),
        ("cuda module", _cuda_module),
        ("cuda device", _cuda_device),
        ("triton", _triton),
        ("torch", lambda: _package("torch", _MODEL)),
        ("torch device", _torch_device),
        ("transformers", _transformers),
        ("torchvision", _torchvision),
        ("pillow", lambda: _package("PIL", _MODEL, distribution="pillow")),
        ("datasets", lambda: _package("datasets", "pip install 'dataprophet[data]'")),
        ("matplotlib", lambda: _package("matplotlib", "pip install 'dataprophet[report]'")),
    ]
    return [_guarded(name, probe) for name, probe in probes]


def format_report(checks: list[Check] | None = None) -> str:
    """Lines of text, one for each check and one more for each fix."""
    checks = report() if checks is None else checks
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        state = "ok" if check.ok else "MISSING" if check.required else "-"
        lines.append(f"{check.name:<{width}}  {state:<7}  {check.found}")
        if check.fix:
            lines.append(f"{'':<{width}}           {check.fix}")
    return "\n".join(lines)


def _guarded(name: str, probe: Callable[[], Check]) -> Check:
    # Importing someone else's broken package can raise anything at all.
    try:
        return probe()
    except Exception as error:
        return Check(name, False, f"broken: {_one_line(error)}", f"reinstall {name}")


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _package(module: str, fix: str, *, distribution: str = "", required: bool = False) -> Check:
    name = distribution or module
    version = _version(name)
    if version is None:
        return Check(name, False, "not installed", fix, required)
    try:
        importlib.import_module(module)
    except Exception as error:
        return Check(name, False, f"{version} is installed but does not import: {_one_line(error)}", fix, required)
    return Check(name, True, version, "", required)


def _python() -> Check:
    return Check("python", True, f"{platform.python_version()} on {platform.system()} {platform.machine()}", "", True)


def _core() -> Check:
    try:
        info = ops.core_info()
    except DataProphetError as error:  # DATAPROPHET_THREADS, DATAPROPHET_ISA: it says itself what to do
        return Check("core", False, f"{error.where}: {error.what}" if error.where else error.what, error.fix, True)
    except Exception as error:
        return Check("core", False, _one_line(error), COMPILE, True)
    return Check("core", True, f"version {info['version']}, {info['threads']} threads", "", True)


def _instruction_set() -> Check:
    try:
        info = ops.core_info()
    except Exception as error:
        return Check("instruction set", False, _one_line(error), "see the core", True)
    others = ", ".join(info["available_isas"])
    return Check("instruction set", True, f"{info['isa']} (this machine runs {others})", "", True)


def _cuda_module() -> Check:
    info = ops.cuda_info()
    if not info["built"]:
        fix = "where there is a GPU: install a CUDA toolkit, then DATAPROPHET_CUDA=ON pip install -e ."
        return Check("cuda module", False, info["reason"], fix)
    return Check(
        "cuda module", True, f"CUDA {_cuda_version(info['runtime'])}, built for {' '.join(info['architectures'])}"
    )


def _cuda_device() -> Check:
    info = ops.cuda_info()
    if not info["built"]:
        return Check("cuda device", False, "unknown without the CUDA module", "")
    if info["devices"]:
        return Check("cuda device", True, f"{info['devices']}, driver serves CUDA {_cuda_version(info['driver'])}")
    if info["driver"] == 0:
        return Check("cuda device", False, "no NVIDIA driver", "where there is a GPU: install its driver")
    found = f"none ({info['reason']}); driver serves CUDA {_cuda_version(info['driver'])}"
    if info["driver"] < info["runtime"]:
        return Check("cuda device", False, found, f"update the driver to one for CUDA {_cuda_version(info['runtime'])}")
    return Check("cuda device", False, found, "check CUDA_VISIBLE_DEVICES and nvidia-smi")


def _cuda_version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}"


def _triton() -> Check:
    check = _package("triton", "where there is a GPU: pip install 'dataprophet[triton]'")
    if check.ok and not ops.triton_available():
        return Check("triton", False, f"{check.found}, but the kernels do not import", "pip install torch triton")
    return check


def _torch_device() -> Check:
    torch = _importable("torch")
    if torch is None:
        return Check("torch device", False, "unknown without torch", _MODEL)
    built = torch.version.cuda or getattr(torch.version, "hip", None)
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        return Check("torch device", True, f"{names} (torch for CUDA {built})")
    if built:
        return Check("torch device", True, f"CPU; torch is built for CUDA {built} but sees no device")
    fix = "" if not ops.cuda_info()["devices"] else "there is a GPU: install a torch built for CUDA (see pytorch.org)"
    return Check("torch device", not fix, "CPU; torch is built without CUDA", fix)


def _transformers() -> Check:
    low, high = _TRANSFORMERS
    wanted = f"{low[0]}.{low[1]} or later, below {high[0]}"
    check = _package("transformers", _MODEL)
    if not check.ok:
        return check
    if not low <= _numbers(check.found) < high:
        return Check("transformers", False, f"{check.found}, but {wanted} is needed", f"{_MODEL} --upgrade")
    return check


def _numbers(version: str) -> tuple[int, ...]:
    parts = []
    for part in version.split(".")[:3]:
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        parts.append(int(digits))
    return tuple(parts)


def _torchvision() -> Check:
    """Optional; but one that does not match torch breaks the import of transformers' image processors."""
    version = _version("torchvision")
    if version is None:
        return Check("torchvision", True, "not installed; the image processors that need no torchvision are used")
    torch = _version("torch")
    if torch is None:
        return Check("torchvision", False, f"{version}, but torch is missing", _MODEL)
    fix = "pip uninstall torchvision, or install the one made for this torch, from the same index"
    wanted = next((need for need in metadata.requires("torchvision") or [] if need.startswith("torch==")), "")
    needed = wanted.removeprefix("torch==").partition(";")[0].strip()
    if needed and needed != torch.partition("+")[0]:
        return Check("torchvision", False, f"{version}, made for torch {needed}, but torch is {torch}", fix)
    if _importable("torch") is None:
        return Check("torchvision", False, f"{version}, but torch does not import", _MODEL)
    try:
        importlib.import_module("torchvision")
    except Exception as error:
        return Check("torchvision", False, f"{version} does not match torch {torch}: {_one_line(error)}", fix)
    return Check("torchvision", True, version)


def _importable(module: str) -> Any:
    if module in sys.modules:
        return sys.modules[module]
    try:
        return importlib.import_module(module)
    except Exception:
        return None


def run(args: argparse.Namespace) -> int:
    """Print what is installed; always 0, for nothing optional is an error."""
    checks = report()
    if args.json:
        print_json([asdict(check) for check in checks])
    else:
        print(format_report(checks))
    return 0
