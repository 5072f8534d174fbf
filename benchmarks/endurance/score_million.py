"""A pool of a million samples, scored end to end by the command line while workers and drivers are killed.

    python benchmarks/run.py score_million [--samples N] [--work DIR]

Draws the pool, profiles two benchmarks with the demo model, and runs `dataprophet score` again and again until it
ends by itself. Meanwhile processes are ended with SIGKILL at times that a seed chooses. Then every row is checked, and
time, memory, kills and digests go to results/<processor>/runs/score_million.json.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from harness import RESULTS, folder_of

import dataprophet as dp
from dataprophet.demo.datasets import write_datasets
from dataprophet.demo.pool import write_pool
from dataprophet.ops.timing import machine

TARGETS = {"count-bench": "count-bench/count-bench.parquet", "scene-bench": "scene-bench/scene-bench.tsv"}
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Watch:
    """What was seen of the processes of a run: of each the CPU seconds and the largest resident memory."""

    kinds: dict[int, str] = field(default_factory=dict)
    cpu: dict[int, float] = field(default_factory=dict)
    memory: dict[int, float] = field(default_factory=dict)

    def look(self, driver: int) -> list[int]:
        """Note the state of a driver and its workers; returns the workers."""
        workers = []
        for pid in [driver, *children(driver)]:
            with suppress(OSError, IndexError, ValueError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes()
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                status = Path(f"/proc/{pid}/status").read_text()
                kind = "driver" if pid == driver else "worker" if b"worker_process" in words else "probe"
                self.memory[pid] = int(status.split("VmHWM:")[1].split()[0]) / 1e6  # raises for one that has ended
                self.kinds[pid] = kind
                self.cpu[pid] = (int(fields[11]) + int(fields[12])) / _TICKS
                if kind == "worker":
                    workers.append(pid)
        return workers

    def summary(self) -> dict[str, Any]:
        """By kind of process: how many, CPU seconds, and the peak of resident memory."""
        return {
            kind: {
                "processes": sum(found == kind for found in self.kinds.values()),
                "cpu_seconds": round(sum(self.cpu[pid] for pid, found in self.kinds.items() if found == kind), 1),
                "peak_gb": round(max(self.memory[pid] for pid, found in self.kinds.items() if found == kind), 3),
            }
            for kind in sorted(set(self.kinds.values()))
        }


def children(pid: int) -> list[int]:
    """Process numbers of the children of a process."""
    with suppress(OSError):
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(child) for task in tasks for child in (task / "children").read_text().split()]
    return []


def score(
    words: list[str], watch: Watch, kills: list[dict[str, Any]], plan: list[tuple[float, str]], began: float
) -> int:
    """Run the command once, killing what the plan says when its time comes; returns the exit status."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    rng = random.Random(len(kills))
    while process.poll() is None:
        workers = watch.look(process.pid)
        due = bool(plan) and time.monotonic() - began >= plan[0][0]
        if due and (workers or plan[0][1] == "driver"):
            _, kind = plan.pop(0)
            pid = process.pid if kind == "driver" else rng.choice(workers)
            os.kill(pid, signal.SIGKILL)
            kills.append({"second": round(time.monotonic() - began, 1), "process": kind})
        time.sleep(0.2)
    return process.returncode


def accounted(scored: dp.ScoredPool, samples: int) -> dict[str, Any]:
    """Every input row and every turn exactly once, in order."""
    lines = 0
    previous = (-1, -1, 0)
    files = {file["name"]: number for number, file in enumerate(scored.files)}
    for batch in scored.batches(["file", "position", "turn", "status"]):
        number = np.array([files[name] for name in batch.column("file").dictionary.to_pylist()])
        at = number[batch.column("file").indices.to_numpy()]
        position, turn = batch.column("position").to_numpy(), batch.column("turn").to_numpy()
        keys = np.concatenate([[previous], np.stack([at, position, turn], 1)])
        step = np.diff(keys, axis=0)
        same_row = (step[:, 0] == 0) & (step[:, 1] == 0) & (step[:, 2] == 1)
        next_row = (step[:, 0] == 0) & (step[:, 1] == 1) & (keys[1:, 2] <= 1)
        next_file = (step[:, 0] == 1) & (keys[1:, 1] == 0) & (keys[1:, 2] <= 1)
        assert (same_row | next_row | next_file).all(), "a row is missing, or there twice"
        previous = tuple(int(value) for value in keys[-1])
        lines += batch.num_rows
    assert scored.n_rows == sum(file["rows"] for file in scored.files)
    assert lines == samples
    return {"rows": scored.n_rows, "lines": lines, "statuses": dict(scored.statuses)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Score a pool of a million samples, with kills.")
    parser.add_argument("--samples", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--processes", type=int, default=2, metavar="N", help="worker processes")
    parser.add_argument("--worker-kills", type=int, default=10, metavar="N")
    parser.add_argument("--driver-kills", type=int, default=2, metavar="N")
    parser.add_argument("--span", type=float, default=600, metavar="S", help="seconds over which the kills are spread")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the drawings and the kills")
    parser.add_argument("--work", metavar="DIR", help="folder for pool and scores (default: a temporary one)")
    parser.add_argument("--out", type=Path, default=RESULTS / folder_of(machine()) / "runs", metavar="DIR")
    args = parser.parse_args()
    work = Path(args.work or tempfile.mkdtemp(prefix="score-million-"))
    os.environ["PYTHONSAFEPATH"] = "1"
    cli = [sys.executable, "-P", "-m", "dataprophet.cli"]
    started = time.monotonic()
    if not (work / "pool").exists():
        write_pool(work / "pool", args.samples, seed=args.seed, processes=args.processes)
    drawn = time.monotonic() - started
    if not (work / "demo").exists():
        write_datasets(work / "demo", n_source=1, n_target=1000)
    profiles = []
    for name, path in TARGETS.items():
        profiles.append(str(work / f"{name}.profile"))
        words = ["profile", str(work / "demo" / path), "--model", "demo", "--name", name, "--out", profiles[-1]]
        subprocess.run([*cli, *words], check=True, stdout=subprocess.DEVNULL)
    rng = random.Random(args.seed)
    kinds = ["worker"] * args.worker_kills + ["driver"] * args.driver_kills
    plan = sorted((rng.uniform(20, args.span), kind) for kind in kinds)
    out = work / "scores"
    words = [*cli, "score", str(work / "pool"), "--target", *profiles, "--model", "demo", "--out", str(out)]
    words += ["--processes", str(args.processes)]
    watch, kills, runs = Watch(), list[dict[str, Any]](), 0
    began = time.monotonic()
    status = -signal.SIGKILL
    while status == -signal.SIGKILL:
        status = score(words, watch, kills, plan, began)
        runs += 1
    seconds = time.monotonic() - began
    assert status == 0, status
    scored = dp.open_scores(out)
    assert scored.complete
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    profile = hashlib.sha256((out / "pool.profile").read_bytes()).hexdigest()
    document = {
        "command": "python benchmarks/run.py score_million",
        "options": {key: value for key, value in vars(args).items() if key not in ("work", "out")},
        "machine": machine(),
        "samples": args.samples,
        "pool": {"files": len(scored.files), "rows": scored.n_rows, "draw_seconds": round(drawn, 1)},
        "targets": scored.targets,
        "processes": args.processes,
        "runs": runs,
        "seconds": round(seconds, 1),
        "samples_per_second": round(args.samples / seconds, 1),
        "by_process": watch.summary(),
        "kills": kills,
        "accounted": accounted(scored, args.samples),
        "shards": len(scored.shards),
        "output_gb": round(size / 1e9, 3),
        "digest": scored.digest(),
        "profile_sha256": profile,
    }
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "score_million.json").write_text(json.dumps(document, indent=1) + "\n")
    print(json.dumps(document, indent=1))
    if args.work is None:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
