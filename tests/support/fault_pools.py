"""Pools with faults in them, runs that are killed, and the account of every row; for test_faults.py and soak.py."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataprophet import load_model, open_dataset, profile
from dataprophet.demo.datasets import make_items
from dataprophet.demo.pool import spec_of, write_pool
from dataprophet.demo.writers import write_items
from dataprophet.scoring.folder.pool import ScoredPool, open_scores

INSTRUMENTED = str(Path(__file__).resolve().parent / "instrumented")
POISON_TEXT = "What vexing quartz jumps?"
_CLI = "from dataprophet.cli import main; raise SystemExit(main())"


def make_pool(folder: Path, files: int, samples: int, *, corrupt: int = 0, seed: int = 0) -> Path:
    """A pool of Parquet files, with pictures cut short in some rows."""
    write_pool(folder, files * samples, file_samples=samples, seed=seed)
    chosen = random.Random(seed)
    for _ in range(corrupt):
        path = chosen.choice(sorted(folder.glob("*.parquet")))
        change_row(path, chosen.randrange(pq.read_metadata(path).num_rows), _cut_picture)
    return folder


def change_row(path: Path, number: int, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a row of a Parquet file."""
    table = pq.read_table(path)
    rows = table.to_pylist()
    change(rows[number])
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), path)


def make_tars(folder: Path, files: int, samples: int) -> None:
    """A pool of WebDataset shards."""
    folder.mkdir()
    for number in range(files):
        name = f"part-{number:05d}"
        spec = replace(spec_of(number), format="webdataset", path=f"{name}.tar")
        write_items(folder / spec.path, spec.name, spec.format, make_items(spec, 0, samples))


def _cut_picture(row: dict[str, Any]) -> None:
    row["images"][0]["bytes"] = row["images"][0]["bytes"][:60]


def poison(row: dict[str, Any]) -> None:
    """Make a row's last turn one that ends the process, in an instrumented run."""
    row["texts"][-1]["user"] = POISON_TEXT


def poison_tokens(model: Any) -> str:
    """The token ids that `POISON` takes: those of the middle of the text, which do not depend on what is around."""
    ids = model._encoder.tokenizer(POISON_TEXT, add_special_tokens=False)["input_ids"]
    return " ".join(str(number) for number in ids[2:-2])


def truncate(path: Path, share: float = 0.6) -> None:
    """Cut a file short."""
    os.truncate(path, int(path.stat().st_size * share))


def blank(path: Path) -> None:
    """Blank the first pages of a Parquet file: its footer says nothing about that."""
    with path.open("r+b") as stream:
        stream.seek(4)
        stream.write(bytes(400))


def make_target(path: Path, model: Any) -> Path:
    """Profile of a small benchmark."""
    folder = write_pool(path.with_suffix(".pool"), 60, file_samples=60, seed=99)
    profile(open_dataset(next(iter(sorted(folder.glob("*.parquet"))))), model, name="target").save(path)
    shutil.rmtree(folder)
    return path


def demo_model() -> Any:
    """The shipped model as the command line loads it."""
    return load_model("demo")


class Run:
    """A `dataprophet score` in a process of its own, with its workers."""

    def __init__(self, pool: Path, target: Path, out: Path, *options: str, **environment: str) -> None:
        command = [sys.executable, "-P", "-c", _CLI, "score", str(pool), "--target", str(target)]
        command += ["--model", "demo"]
        self.process = subprocess.Popen(
            [*command, "--out", str(out), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": INSTRUMENTED, **environment},
            start_new_session=True,
        )

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *exception: object) -> None:
        """End it, with its workers, where a test failed before it could."""
        if self.running():
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.communicate()

    def workers(self) -> list[int]:
        """Process ids of the workers."""
        return [
            pid for pid, parent, command in processes() if parent == self.process.pid and "worker_process" in command
        ]

    def running(self) -> bool:
        return self.process.poll() is None

    def kill(self, number: int) -> None:
        """Send a signal to the driver."""
        self.process.send_signal(number)

    def end(self, seconds: float = 300) -> tuple[int, str]:
        """Wait; the exit status, and standard error."""
        _, said = self.process.communicate(timeout=seconds)
        return self.process.returncode, said


def processes() -> Iterator[tuple[int, int, str]]:
    """Process id, parent and command line of every process that is not a zombie."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if fields[0] != "Z":
                yield int(entry.name), int(fields[1]), command


def wait_for(condition: Callable[[], Any], seconds: float = 300) -> Any:
    """Wait until something is true, and return it."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > until:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(0.02)
    return found


def commits(out: Path) -> int:
    """How many shards are committed."""
    return len(os.listdir(out / "commits")) if (out / "commits").is_dir() else 0


def kill_worker(run: Run, chosen: random.Random) -> int | None:
    """Kill one of a run's workers; its process id, or None where it has none."""
    found = run.workers()
    if not found:
        return None
    pid = chosen.choice(found)
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return None
    return pid


def account(out: Path) -> dict[str, Any]:
    """Every input row of a scored folder, counted; the counts are 0 where all is well.

    Returns:
        ``missing``: rows of readable files without a line. ``twice``: lines that are there more than once. ``odd``:
        turns of a row that do not count from 1. ``unnamed``: files that no marker names. ``statuses``, ``digest``.
    """
    scored = open_scores(out)
    seen: Counter[tuple[str, int, int]] = Counter()
    for batch in scored.batches(["file", "position", "turn"]):
        columns = [column.to_pylist() for column in batch.columns]
        seen.update(zip(*columns, strict=True))
    turns: dict[tuple[str, int], list[int]] = {}
    for file, position, turn in seen:
        turns.setdefault((file, position), []).append(turn)
    expected = {
        (file["name"], position) for file in scored.files if "error" not in file for position in range(file["rows"])
    }
    left = [f"{path.parent.name}/{path.name}" for folder in ("data", "tmp") for path in (out / folder).glob("*")]
    named = {name for marker in scored.store.markers().values() for name in marker["files"].values()}
    return {
        "missing": len(expected - turns.keys()),
        "unexpected": len(turns.keys() - expected),
        "twice": sum(count - 1 for count in seen.values()),
        "odd": sum(sorted(found) not in ([0], list(range(1, len(found) + 1))) for found in turns.values()),
        "unnamed": len({*left} - named),
        "statuses": dict(scored.statuses),
        "digest": scored.digest(),
    }


def all_well(found: dict[str, Any]) -> bool:
    """Whether every row is there once, and nothing is left behind."""
    return not any(found[name] for name in ("missing", "unexpected", "twice", "odd", "unnamed"))


def forwarded(log: Path) -> int:
    """Samples that went through the model, from the file that `FORWARD_LOG` named."""
    return sum(int(line.split()[1]) for line in log.read_text().splitlines()) if log.exists() else 0


def summary(out: Path) -> dict[str, Any]:
    """A folder's summary."""
    document: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return document


def largest_shard(scored: ScoredPool) -> int:
    """Samples of the largest shard."""
    return max(int(shard.marker["samples"]) for shard in scored.shards)
