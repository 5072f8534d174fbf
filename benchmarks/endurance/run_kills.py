"""`dataprophet run` killed at random times, ten times in a row: the bytes of one undisturbed run.

Datasets are drawn, the model is the shipped demo model. A seed fixes the times at which a run is killed, as shares of
the time that an undisturbed one takes; what a kill hits depends on the machine. A repeat finds everything unchanged.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from harness import Bench, at_most, options
from profile_kills import run

from dataprophet.cli import main as command_line
from dataprophet.demo.datasets import SOURCES, TARGETS, write_datasets
from dataprophet.scoring.cache import CACHE

REPEAT_SECONDS = 5.0


def words(data: Path, out: Path) -> list[str]:
    """A run of four sources and two targets."""
    sources, targets = ([str(data / spec.path) for spec in specs] for specs in (SOURCES[:4], TARGETS[:2]))
    asked = ["--source", *sources, "--target", *targets, "--model", "demo", "--budget", "100", "--out", str(out)]
    return ["run", *asked]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of the results but the cache."""
    files = (path for path in folder.rglob("*") if path.is_file() and CACHE not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    bench = Bench("run_kills", options(__doc__))
    kills, samples = (3, 60) if bench.quick else (10, 200)
    chosen = random.Random(0)
    with tempfile.TemporaryDirectory(prefix="run-kills-") as name:
        folder = Path(name)
        write_datasets(folder / "data", n_source=samples, n_target=samples)
        whole, place = folder / "whole" / "out", folder / "killed" / "out"
        began = time.monotonic()
        status = run(words(folder / "data", whole), None)
        took = time.monotonic() - began
        expected, wrong, killed = contents(whole), 0, 0
        while killed < kills:
            ended = run(words(folder / "data", place), chosen.random() * took)
            killed += ended == -signal.SIGKILL
            if ended == 0:  # everything is done: begin once more
                wrong += contents(place) != expected
                shutil.rmtree(place)
            print(f"{killed} kills, {time.monotonic() - began:.0f} s", flush=True)
        status = status or run(words(folder / "data", place), None)
        wrong += contents(place) != expected
        bench.judge(f"{kills} kills", [at_most("folders other than the undisturbed one", 0, float(wrong))])
        bench.judge(f"{kills} kills", [at_most("exit statuses other than expected", 0, float(status != 0))])
        began = time.monotonic()
        with contextlib.redirect_stdout(io.StringIO()):
            command_line(words(folder / "data", whole))
        seconds = time.monotonic() - began
        bench.judge("a repeat on unchanged input", [at_most("seconds beside start-up", REPEAT_SECONDS, seconds)])
    bench.write()
    sys.exit(any(target["reached"] is False for target in bench.targets))


if __name__ == "__main__":
    main()
