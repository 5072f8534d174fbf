"""`dataprophet profile` killed at random times, ten times in a row: the bytes of one undisturbed run.

The model is the shipped demo model. A seed fixes the times at which a run is killed, as shares of the time that an
undisturbed one takes; what a kill hits depends on the machine. With two processes the workers are killed with their
driver. The repeat is timed in a process that has loaded the command, and finds everything unchanged.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from harness import Bench, at_most, options

from dataprophet.cli import main as command_line
from dataprophet.demo.pool import write_pool

REPEAT_SECONDS = 2.0


def words(pool: Path, place: Path, processes: int) -> list[str]:
    """A profile command whose cache lies beside its output."""
    known = ["profile", str(pool), "--model", "demo", "--name", "pool", "--out", str(place / "out.profile")]
    return [*known, "--processes", str(processes)]


def run(arguments: list[str], kill_after: float | None) -> int:
    """Run the command in a session of its own, kill all of that after so many seconds; the exit status."""
    started = [sys.executable, "-P", "-m", "dataprophet.cli", *arguments]
    with subprocess.Popen(started, stdout=subprocess.DEVNULL, start_new_session=True) as process:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(kill_after)
        os.killpg(process.pid, signal.SIGKILL)
        return process.wait()


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    bench = Bench("profile_kills", options(__doc__))
    kills, rows = (3, 2000) if bench.quick else (10, 4000)
    chosen = random.Random(0)
    with tempfile.TemporaryDirectory(prefix="profile-kills-") as name:
        folder = Path(name)
        pool = write_pool(folder / "pool", rows, file_samples=rows // 2)
        expected = b""
        for processes in (1, 2):
            whole, place = folder / f"whole-{processes}", folder / f"killed-{processes}"
            whole.mkdir()
            place.mkdir()
            began = time.monotonic()
            status = run(words(pool, whole, processes), None)
            took = time.monotonic() - began
            expected = expected or (whole / "out.profile").read_bytes()
            killed = finished = 0
            while killed < kills:
                ended = run(words(pool, place, processes), chosen.random() * took)
                killed += ended == -signal.SIGKILL
                finished += ended == 0
                if ended == 0:  # everything is done, and may be done anew until the last kill
                    (place / "out.profile").replace(place / "earlier.profile")
                    run([*words(pool, place, processes), "--fresh"], chosen.random() * took)
                    killed += 1
                print(f"{processes} processes: {killed} kills, {time.monotonic() - began:.0f} s", flush=True)
            status = status or run(words(pool, place, processes), None)
            earlier = place / "earlier.profile"
            made = [path.read_bytes() for path in (earlier, place / "out.profile") if path.exists()]
            task = f"{kills} kills of {rows:,} rows with {processes} process{'es' * (processes > 1)}"
            wrong = sum(part != expected for part in [*made, (whole / "out.profile").read_bytes()])
            bench.judge(task, [at_most("profiles other than the undisturbed one", 0, wrong)])
            bench.judge(task, [at_most("exit statuses other than expected", 0, float(status != 0))])
        began = time.monotonic()
        with contextlib.redirect_stdout(io.StringIO()):
            command_line(words(pool, folder / "whole-1", 1))
        seconds = time.monotonic() - began
        bench.judge("a repeat on unchanged input", [at_most("seconds beside start-up", REPEAT_SECONDS, seconds)])
    bench.write()
    sys.exit(any(target["reached"] is False for target in bench.targets))


if __name__ == "__main__":
    main()
