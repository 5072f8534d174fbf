"""One way to measure, judge, print and write all benchmarks; the timing itself is in dataprophet/ops/timing.py.

A benchmark has tasks. Each task runs ours and its peers, prints a table, and says beside each of its targets what was
measured. A floor is the least time that a task could take on this machine: its work, in bytes read or in
multiply-adds, at the best rate that plain reads or a loop of multiply-adds on registers reach in the same rounds.
"""

from __future__ import annotations

import argparse
import json
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from floors import Floor, Probe, arithmetic, longer, reading, utilisation
from memory import extra_memory

from dataprophet.ops.timing import (
    KINDS,
    Way,
    interleaved,
    machine,
    optional,
    thread_counts,
    threads,
)

__all__ = [
    "Bench",
    "Floor",
    "Probe",
    "Target",
    "Way",
    "arithmetic",
    "at_most",
    "exact",
    "faster",
    "longer",
    "of_floor",
    "optional",
    "options",
    "reading",
    "thread_counts",
    "threads",
    "utilisation",
]

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
BIT_THREADS = (1, 2, 3, 8, 64)


@dataclass
class Target:
    """What a task should reach.

    Attributes:
        text: the target in words, with its number.
        bound: that number.
        value: what was measured, or how to read it off the rows of the task's table, by name; None: not measured.
        least: whether the value should be at least the bound, or at most.
    """

    text: str
    bound: float
    value: Callable[[dict[str, dict[str, Any]]], float] | float | None
    least: bool = True

    def judged(self, rows: dict[str, dict[str, Any]], op: str, task: str) -> dict[str, Any]:
        value = self.value(rows) if callable(self.value) else self.value
        reached = None if value is None else bool(value >= self.bound if self.least else value <= self.bound)
        return {
            "op": op,
            "task": task,
            "text": self.text,
            "bound": self.bound,
            "least": self.least,
            "value": None if value is None else float(value),
            "reached": reached,
        }


def faster(text: str, bound: float, *peers: str, kind: str = "cpu") -> Target:
    """Ours is this many times faster than the best of the peers whose names start so."""
    return Target(
        text, bound, lambda rows: min(row[f"{kind}_ratio"] for name, row in rows.items() if name.startswith(peers))
    )


def of_floor(text: str, percent: float, way: str = "ours") -> Target:
    """So many percent of the floor."""
    return Target(text, percent, lambda rows: rows[way]["percent_of_floor"])


def at_most(text: str, bound: float, value: Callable[[dict[str, dict[str, Any]]], float] | float | None) -> Target:
    """A measured value is no larger."""
    return Target(text, bound, value, least=False)


def options(description: str | None) -> argparse.Namespace:
    """Options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for <name>.json (default: benchmarks/results/<processor>)"
    )
    parser.add_argument("--quick", action="store_true", help="small data and two rounds: shows that it runs, no more")
    parser.add_argument(
        "--dtypes",
        nargs="+",
        choices=("float32", "bfloat16", "float16"),
        help="the tasks of these alone, where rows of several are measured; the file holds no others then",
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), help="the tasks of this alone (default: what there is)")
    args = parser.parse_args()
    args.devices = devices(args.device)
    if args.out is None:  # a quick run never replaces measurements
        args.out = ROOT / "build" / "bench-quick" if args.quick else RESULTS / folder_of(machine())
    return args


def devices(wanted: str | None = None) -> list[str]:
    """Devices to measure: the wanted one, or the CPU and, where torch sees one, CUDA."""
    torch = optional("torch")
    found = ["cpu", *(["cuda"] if torch and torch.cuda.is_available() else [])]
    if wanted not in (None, *found):
        raise SystemExit("--device cuda: torch sees no CUDA device; leave it out")
    return [wanted] if wanted else found


def folder_of(machine: dict[str, Any]) -> str:
    """Name of the folder for what a machine measured: its processor, instruction set and GPU."""
    words = re.sub(r" ?\((?:R|TM)\)|\bProcessor\b|\bCPU\b|@.*", " ", machine["cpu"])
    parts = [words, machine["isa"], machine["gpu"] or ""]
    return "-".join(re.findall(r"[a-z0-9.]+", " ".join(parts).lower()))


def exact(value: Any) -> Any:
    """A result or an array of any library as float64 in NumPy."""
    value = value.detach().double().cpu().numpy() if hasattr(value, "detach") else value
    return np.asarray(value, np.float64)


class Bench:
    """Collects the tasks of one benchmark."""

    def __init__(self, name: str, args: argparse.Namespace, rounds: int = 5) -> None:
        self.name, self.out = name, args.out
        if args.quick and self._path.exists() and not json.loads(self._path.read_text(encoding="utf-8"))["quick"]:
            raise SystemExit(
                f"--out {self.out}: {self._path.name} holds measurements, which a quick run does not replace"
            )
        self.quick, self.rounds = args.quick, 2 if args.quick else rounds
        self.tasks: list[dict[str, Any]] = []
        self.targets: list[dict[str, Any]] = []
        self.machine = machine()

    @property
    def _path(self) -> Path:
        return Path(self.out) / f"{self.name}.json"

    def same_bits(self, title: str, run: Callable[[], Any], device: str = "cpu") -> None:
        """Raise unless a task gives the same bits for any number of threads, and on CUDA from run to run."""
        results = set()
        for count in BIT_THREADS if device == "cpu" else (1, 1, 1):
            with threads(count):
                results.add(_bytes(run()))
        over = f"{', '.join(map(str, BIT_THREADS))} threads" if device == "cpu" else "3 runs"
        if len(results) != 1:
            raise AssertionError(f"{title}: {len(results)} different results over {over}")
        self.judge(title, [at_most(f"the same bits over {over}", 1, len(results))])

    def task(
        self,
        title: str,
        ways: Sequence[Way],
        *,
        floor: Floor | None = None,
        targets: Sequence[Target] = (),
        items: int | None = None,
        tokens: int | None = None,
        device: str = "cpu",
        counts: Sequence[int] | None = None,
        memory: bool = False,
    ) -> None:
        """Measure the ways of one task, print them, and judge its targets.

        Args:
            title: what is done, with shape and dtype.
            ways: ours first; the others are compared with it.
            floor: the least time that it could take.
            targets: what it should reach.
            items: how many samples, rows or cells one run handles, for items per second.
            tokens: how many tokens one run handles, for tokens per second.
            device: "cpu" or "cuda".
            counts: numbers of threads to measure at: one and all, unless said.
            memory: whether to run each way once more for its memory, rather than ours and the quick ones.
        """
        counts = counts or (thread_counts() if device == "cpu" else [1])
        probes = [probe.way for probe in floor.probes] if floor else []
        found = interleaved([*ways, *probes], self.rounds, counts=counts, device=device)
        clock = "cpu" if device == "cpu" else "wall"
        least = (
            {kind: floor.seconds(found, kind) for kind in KINDS if device == "cpu" or kind == "wall"} if floor else {}
        )
        rows = []
        for way in ways:
            times = found[way.name]
            row: dict[str, Any] = {"name": way.name}
            for kind in KINDS:
                row[f"{kind}_ms"] = times.median(kind) * 1e3
                row[f"{kind}_threads"] = times.best(kind)
                row[f"{kind}_ratio"] = times.ratio(found[ways[0].name], kind)
                row[f"{kind}_rounds_ms"] = {
                    str(count): [value * 1e3 for value in seconds] for count, seconds in times.seconds[kind].items()
                }
            if items:
                row["items_per_second"] = items / times.median("wall")
            if tokens:
                row["tokens_per_second"] = tokens / times.median("wall")
            if floor:
                row["percent_of_floor"] = 100 * least[clock] / times.median(clock)
                row["percent_of_wall_floor"] = 100 * least["wall"] / times.median("wall")
            if memory or way is ways[0] or times.median("wall") < 20:  # else not worth another run
                with threads(counts[-1], way.isa):
                    row["extra_mb"] = extra_memory(way.run, device)
            row["error"] = way.error
            rows.append(row)
        entry: dict[str, Any] = {"title": title, "device": device, "rounds": self.rounds, "ways": rows}
        entry["threads"] = list(counts)
        if floor:
            entry["floor_ms"] = least[clock] * 1e3
            entry["floor_label"] = floor.label
            entry["floor_rate"] = f"{number(floor.work / least[clock])} {floor.unit}/s"
        self.tasks.append(entry)
        print(table(entry), flush=True)
        self.judge(title, targets, {row["name"]: row for row in rows})

    def lines(self, title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print and keep a table of what was measured in another way than ``task`` does."""
        entry = {"title": title, "device": "cpu", "head": list(head), "rows": [list(row) for row in rows]}
        self.tasks.append(entry)
        print(table(entry), flush=True)

    def judge(self, task: str, targets: Sequence[Target], rows: dict[str, dict[str, Any]] | None = None) -> None:
        """Print and keep targets beside what was measured."""
        for target in targets:
            entry = target.judged(rows or {}, self.name, task)
            self.targets.append(entry)
            print(f"{verdict(entry)}: {entry['text']}: {number(entry['value']) or '-'} ({task})", flush=True)
        if targets:
            print(flush=True)

    def write(self) -> None:
        """Write <out>/<name>.json."""
        self.out.mkdir(parents=True, exist_ok=True)
        path = self._path
        found = {
            "name": self.name,
            "quick": self.quick,
            "machine": self.machine,
            "targets": self.targets,
            "tasks": self.tasks,
        }
        temporary = path.with_suffix(".part")
        temporary.write_text(json.dumps(_rounded(found), indent=1) + "\n", encoding="utf-8")
        temporary.replace(path)
        print(f"wrote {path}")


def verdict(target: dict[str, Any]) -> str:
    return {None: "not measured", True: "reached", False: "missed"}[target["reached"]]


_OPTIONAL = {
    "percent_of_floor": "% of floor",
    "items_per_second": "per second",
    "tokens_per_second": "tokens/s",
    "extra_mb": "extra MB",
    "error": "error",
}


def table(entry: dict[str, Any]) -> str:
    """A task as a Markdown table."""
    if "head" in entry:
        return _table(f"**{entry['title']}**", entry["head"], entry["rows"])
    cuda = entry["device"] == "cuda"
    kinds = ("wall",) if cuda else KINDS
    several = len(entry["threads"]) > 1
    head = [""]
    for kind in kinds:
        head += [{"cpu": "CPU ms", "wall": "wall ms"}[kind], *(["threads"] if several else []), "ratio"]
    optional_columns = {**_OPTIONAL, "percent_of_floor": entry.get("floor_label", _OPTIONAL["percent_of_floor"])}
    head += [label for key, label in optional_columns.items() if any(row.get(key) is not None for row in entry["ways"])]
    lines = []
    for row in entry["ways"]:
        cells = [row["name"]]
        for kind in kinds:
            count = [str(row[f"{kind}_threads"])] if several else []
            cells += [number(row[f"{kind}_ms"]), *count, f"{row[f'{kind}_ratio']:.2f}"]
        cells += [number(row.get(key)) for key, label in optional_columns.items() if label in head]
        lines.append(cells)
    title = f"**{entry['title']}**" + (", CUDA" if cuda else "" if several else f", {entry['threads'][0]} thread")
    if "floor_ms" in entry:
        title += f"; floor {number(entry['floor_ms'])} ms at {entry['floor_rate']}"
    return _table(title, head, lines)


def _table(title: str, head: list[str], lines: list[list[str]]) -> str:
    text = ["| " + " | ".join(cells) + " |" for cells in [head, ["---"] + ["---:"] * (len(head) - 1), *lines]]
    return "\n".join([*textwrap.wrap(title, 120, break_on_hyphens=False), "", *text, ""])


def _bytes(value: Any) -> bytes:
    if isinstance(value, tuple | list):
        return b"|".join(_bytes(part) for part in value)
    if isinstance(value, bool | int | float):
        return repr(value).encode()
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    return np.asarray(value).tobytes()


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_rounded(part) for part in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def number(value: float | None) -> str:
    """A figure of a table: three digits or so."""
    if value is None:
        return ""
    if value == 0:
        return "0"
    if abs(value) < 1e-2:
        return f"{value:.0e}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"
