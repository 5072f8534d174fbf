"""One way to measure, print and write all benchmarks.

The ways of doing a task run in turn, in one process, round after round, so that a busy machine slows all of them alike.
What is quoted are medians over the rounds, and medians of the ratios within a round. Process-CPU time counts all
threads; on CUDA only wall time is given, with the device synchronised before and after.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

from dataprophet import ops

PACKAGES = ("dataprophet", "numpy", "scipy", "torch", "transformers", "scikit-learn")


@dataclass
class Way:
    """One way of doing a task. The first way of a task is ours, the others are compared with it."""

    name: str
    run: Callable[[], Any]
    error: float | None = None  # of its result, against float64, where that was looked at


def options(description: str) -> argparse.Namespace:
    """Options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for <name>.json")
    parser.add_argument("--quick", action="store_true", help="small data and two rounds: shows that it runs, no more")
    return parser.parse_args()


def optional(module: str) -> Any:
    """A module, or None where it is not installed: its rows are then left out."""
    try:
        return __import__(module, fromlist=["_"])
    except ImportError:
        print(f"{module} is not installed: left out", file=sys.stderr)
        return None


def most_threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def thread_counts() -> list[int]:
    """One thread, and all that this process may use."""
    return sorted({1, most_threads()})


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """Our core, torch and the BLAS of NumPy at this number of threads."""
    before = os.environ.get("DATAPROPHET_THREADS")
    os.environ["DATAPROPHET_THREADS"] = str(count)
    torch, pools = sys.modules.get("torch"), optional("threadpoolctl")
    old = torch.get_num_threads() if torch else 0
    try:
        with pools.threadpool_limits(count) if pools else contextlib.nullcontext():
            if torch:
                torch.set_num_threads(count)
            yield
    finally:
        if torch:
            torch.set_num_threads(old)
        if before is None:
            del os.environ["DATAPROPHET_THREADS"]
        else:
            os.environ["DATAPROPHET_THREADS"] = before


def machine() -> dict[str, Any]:
    """What the numbers depend on."""
    torch = sys.modules.get("torch")
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    core = ops.core_info()
    return {
        "cpu": _cpu_model(),
        "cores": most_threads(),
        "isa": core["isa"],
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


class Bench:
    """Collects the tasks of one benchmark."""

    def __init__(self, name: str, args: argparse.Namespace, rounds: int = 5) -> None:
        self.name, self.out = name, args.out
        self.quick, self.rounds = args.quick, 2 if args.quick else rounds
        self.tasks: list[dict[str, Any]] = []
        self.machine = machine()

    def task(
        self,
        title: str,
        ways: list[Way],
        *,
        count: int,
        items: int | None = None,
        read: tuple[Callable[[], Any], int, int] | None = None,
        device: str = "cpu",
    ) -> None:
        """Measure the ways of one task and print them.

        Args:
            title: what is done, with shape and dtype.
            ways: ours first.
            count: threads, already set by the caller with `threads`.
            items: how many samples, rows or cells one run handles, for items per second.
            read: a plain read of an array, the bytes it reads, and the bytes that the task has to read. The floor is
                the time that those bytes take at that bandwidth.
            device: "cpu" or "cuda".
        """
        found = _interleaved([*ways, *([Way("read", read[0])] if read else [])], self.rounds, device)
        clock = "cpu" if device == "cpu" else "wall"
        floor = {}
        if read:
            scale = read[2] / read[1]
            floor = {kind: statistics.median(found["read"][kind]) * scale for kind in ("cpu", "wall")}
        rows = []
        for way in ways:
            times = found[way.name]
            row: dict[str, Any] = {"name": way.name}
            for kind in ("cpu", "wall"):
                pairs = zip(times[kind], found[ways[0].name][kind], strict=True)
                row[f"{kind}_ms"] = statistics.median(times[kind]) * 1e3
                row[f"{kind}_ratio"] = statistics.median(theirs / ours for theirs, ours in pairs)
            if items:
                row["items_per_second"] = items / statistics.median(times["wall"])
            if floor:
                row["percent_of_floor"] = 100 * floor[clock] / (row[f"{clock}_ms"] / 1e3)
            slow = statistics.median(times["wall"]) > 5  # seconds: not worth another run
            row["extra_mb"] = None if slow else _extra_memory(way.run, device)
            if way.error is not None:
                row["error"] = way.error
            rows.append(row)
        entry: dict[str, Any] = {
            "title": title,
            "device": device,
            "threads": count,
            "rounds": self.rounds,
            "ways": rows,
        }
        if read:
            entry["floor_ms"] = floor[clock] * 1e3
            entry["read_gb_per_s"] = read[2] / floor[clock] / 1e9
        self.tasks.append(entry)
        print(table(entry), flush=True)

    def write(self) -> None:
        """Write <out>/<name>.json."""
        self.out.mkdir(parents=True, exist_ok=True)
        path = self.out / f"{self.name}.json"
        found = {"name": self.name, "quick": self.quick, "machine": self.machine, "tasks": self.tasks}
        temporary = path.with_suffix(".part")
        temporary.write_text(json.dumps(_rounded(found), indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)
        print(f"wrote {path}")


def table(entry: dict[str, Any]) -> str:
    """A task as a Markdown table."""
    cuda = entry["device"] == "cuda"
    head = ["", *([] if cuda else ["CPU ms", "ratio"]), "wall ms", "ratio"]
    for key, label in _OPTIONAL.items():
        if any(row.get(key) is not None for row in entry["ways"]):
            head.append(label)
    lines = []
    for row in entry["ways"]:
        cells = [row["name"]]
        for kind in ("wall",) if cuda else ("cpu", "wall"):
            cells += [_number(row[f"{kind}_ms"]), f"{row[f'{kind}_ratio']:.2f}"]
        cells += [_number(row.get(key)) for key, label in _OPTIONAL.items() if label in head]
        lines.append(cells)
    where = "CUDA" if cuda else f"{entry['threads']} thread{'s' * (entry['threads'] > 1)}"
    title = f"**{entry['title']}**, {where}"
    if "floor_ms" in entry:
        title += f"; floor {entry['floor_ms']:.1f} ms at {entry['read_gb_per_s']:.1f} GB/s"
    text = ["| " + " | ".join(cells) + " |" for cells in [head, ["---"] + ["---:"] * (len(head) - 1), *lines]]
    return "\n".join([title, "", *text, ""])


_OPTIONAL = {
    "percent_of_floor": "% of floor",
    "items_per_second": "per second",
    "extra_mb": "extra MB",
    "error": "error",
}


def _number(value: float | None) -> str:
    if value is None:
        return ""
    if value == 0:
        return "0"
    if abs(value) < 1e-2:
        return f"{value:.0e}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _interleaved(ways: list[Way], rounds: int, device: str) -> dict[str, dict[str, list[float]]]:
    found: dict[str, dict[str, list[float]]] = {way.name: {"cpu": [], "wall": []} for way in ways}
    for way in ways:
        way.run()
    for turn in range(rounds):
        for way in ways[turn % len(ways) :] + ways[: turn % len(ways)]:  # nobody always comes after the same one
            _synchronize(device)
            cpu, wall = time.process_time(), time.perf_counter()
            way.run()
            _synchronize(device)
            found[way.name]["cpu"].append(time.process_time() - cpu)
            found[way.name]["wall"].append(time.perf_counter() - wall)
    return found


def _synchronize(device: str) -> None:
    if device == "cuda":
        sys.modules["torch"].cuda.synchronize()


def _extra_memory(run: Callable[[], Any], device: str) -> float | None:
    """Most megabytes held during a run above those before it; None where the system does not tell."""
    if device == "cuda":
        cuda = sys.modules["torch"].cuda
        cuda.synchronize()
        cuda.reset_peak_memory_stats()
        before = cuda.memory_allocated()
        run()
        return float(cuda.max_memory_allocated() - before) / 1e6
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far
        before = _status("VmRSS")
        run()
        return max(0.0, _status("VmHWM") - before) / 1e3
    except (OSError, KeyError):
        return None


def _status(field: str) -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return float(dict(line.split(":", 1) for line in lines)[field].split()[0])
