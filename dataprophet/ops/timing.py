"""Timing of several ways to do one task, fair on a busy machine: what ``dataprophet bench`` and benchmarks/ share.

The ways run in turn, in one process, round after round, each at one thread and at several, so that a busy machine slows
all of them alike. A way is quoted at the number of threads that serves it best. Times are medians over the rounds, and
ratios are medians of the ratios within a round. Process-CPU time counts all threads; on CUDA only the time by the clock
is taken, with the device synchronised before and after.
"""

from __future__ import annotations

import contextlib
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

from dataprophet import ops
from dataprophet.ops.threads import processors

KINDS = ("cpu", "wall")
_PACKAGES = (
    "dataprophet numpy scipy torch transformers scikit-learn faiss-cpu cuml-cu12 cuml-cu13 flash-kmeans fastkmeans "
    "triton cut-cross-entropy liger-kernel quack-kernels"
)


@dataclass
class Way:
    """One way of doing a task.

    Attributes:
        name: what the table calls it.
        run: does the task once.
        error: of its result, against float64, where that was looked at.
        isa: instruction set of the compiled core for this way; empty for the one in use.
    """

    name: str
    run: Callable[[], Any]
    error: float | None = None
    isa: str = ""


@dataclass
class Times:
    """Seconds of the rounds of one way: ``seconds[kind][threads]`` lists them, and its best number of threads."""

    seconds: dict[str, dict[int, list[float]]]

    def best(self, kind: str) -> int:
        found = self.seconds[kind]
        return min(found, key=lambda count: statistics.median(found[count]))

    def median(self, kind: str) -> float:
        return statistics.median(self.seconds[kind][self.best(kind)])

    def ratio(self, other: Times, kind: str) -> float:
        """How many times longer than another way this one takes, each at its best."""
        mine, theirs = self.seconds[kind][self.best(kind)], other.seconds[kind][other.best(kind)]
        return statistics.median(a / b for a, b in zip(mine, theirs, strict=True))


def optional(module: str) -> Any:
    """A module, or None where it is not installed or does not load."""
    with contextlib.suppress(ImportError):
        return import_module(module)
    return None


def thread_counts() -> list[int]:
    """One thread, and all that this process may use."""
    return sorted({1, processors()})


@contextlib.contextmanager
def threads(count: int, isa: str = "") -> Iterator[None]:
    """Our core, torch, and the BLAS and OpenMP libraries that are loaded, at this number of threads."""
    torch, pools = sys.modules.get("torch"), optional("threadpoolctl")
    old = torch.get_num_threads() if torch else 0
    settings = {"DATAPROPHET_THREADS": str(count), **({"DATAPROPHET_ISA": isa} if isa else {})}
    before = {name: os.environ.get(name) for name in settings}
    with pools.threadpool_limits(count) if pools else contextlib.nullcontext():
        try:
            os.environ.update(settings)
            if torch:
                torch.set_num_threads(count)
            yield
        finally:
            if torch:
                torch.set_num_threads(old)
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def interleaved(ways: Sequence[Way], rounds: int, *, counts: Sequence[int], device: str = "cpu") -> dict[str, Times]:
    """Times of the ways by name.

    Args:
        ways: each runs once before the clock starts, and then ``rounds`` times at each number of threads.
        rounds: how many.
        counts: numbers of threads.
        device: "cpu" or "cuda".
    """
    found = {way.name: Times({kind: {count: [] for count in counts} for kind in KINDS}) for way in ways}
    runs = [(way, count) for way in ways for count in counts]
    for way in ways:
        with threads(counts[0], way.isa):
            way.run()
    for turn in range(rounds):
        first = turn * len(runs) // rounds
        for way, count in runs[first:] + runs[:first]:  # nobody always comes after the same one
            with threads(count, way.isa):
                _settle()
                _synchronize(device)
                cpu, wall = time.process_time(), time.perf_counter()
                way.run()
                _synchronize(device)
                seconds = found[way.name].seconds
                seconds["cpu"][count].append(time.process_time() - cpu)
                seconds["wall"][count].append(time.perf_counter() - wall)
    return found


def _settle(longest: float = 0.5) -> None:
    """Wait for threads that spin after their last task, as those of OpenMP and OpenBLAS do: the next would pay.

    This thread works meanwhile, as a processor that rests is slower for a while.
    """
    step = 0.005
    for _ in range(round(longest / step)):
        end = time.perf_counter() + step
        before = time.process_time() - time.thread_time()
        while time.perf_counter() < end:
            pass
        if time.process_time() - time.thread_time() - before < step / 20:
            return


def _synchronize(device: str) -> None:
    if device == "cuda":
        sys.modules["torch"].cuda.synchronize()


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    torch = sys.modules.get("torch")
    versions = {}
    for name in _PACKAGES.split():
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return {
        "cpu": _cpu_model(),
        "cores": processors(),
        "isa": ops.core_info()["isa"],
        "gpu": torch.cuda.get_device_name() if torch and torch.cuda.is_available() else None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": versions,
        "load_average": round(os.getloadavg()[0], 2),
        "date": date.today().isoformat(),
    }


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
