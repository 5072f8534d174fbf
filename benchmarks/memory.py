"""Memory that a way of doing a task takes, on the CPU or on CUDA."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def extra_memory(run: Callable[[], Any], device: str = "cpu") -> float | None:
    """Most megabytes held during a run above those before it; None where the system does not tell."""
    if device == "cuda":
        cuda = sys.modules["torch"].cuda
        cuda.synchronize()
        cuda.reset_peak_memory_stats()
        before = cuda.memory_allocated()
        run()
        return float(cuda.max_memory_allocated() - before) / 1e6
    try:
        _trim()
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far
        before = _status("VmRSS")
        run()
        return max(0.0, _status("VmHWM") - before) * 1024 / 1e6
    except (OSError, KeyError):
        return None


def _trim() -> None:
    """Hand memory that was freed back to the system: a run that takes it again must show."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _status(field: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return float(dict(line.split(":", 1) for line in lines)[field].split()[0])
