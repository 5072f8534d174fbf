"""Every fault that scoring a pool must survive, at random times and on real processes; `make soak` runs it.

The model is the shipped demo model, in worker processes that the local engine starts. A seed fixes what is killed and
which rows are damaged; when exactly a kill hits depends on the machine.
"""

from __future__ import annotations

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dying_store
import fault_pools as faults
import numpy as np
from harness import Bench, at_most, options

from dataprophet.scoring.folder.pool import open_scores
from dataprophet.scoring.score import score
from dataprophet.store import open_store

KEY = "0123456789abcdef"
PROCESSES = 2


class Soak:
    """The scenarios, each judged by itself."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.bench, self.folder = bench, folder
        self.random = random.Random(0)
        self.model = faults.demo_model()
        self.target = faults.make_target(folder / "target.profile", self.model)
        quick = bench.quick
        self.kills, self.driver_kills = (4, 1) if quick else (50, 5)
        self.cell_kills = 3 if quick else 100
        self.files, self.samples = (30, 60) if quick else (300, 100)

    def whole(self, pool: Path) -> Path:
        """The pool scored in this process without a fault."""
        out = self.folder / f"{pool.name}-whole"
        score(pool, [self.target], self.model, out=out)
        return out

    def start(self, pool: Path, out: Path, *more: str, processes: int = PROCESSES, **environment: str) -> faults.Run:
        return faults.Run(pool, self.target, out, "--processes", str(processes), *more, **environment)

    def judge(self, task: str, **wrong: float) -> None:
        """Nothing of what is counted shall have happened."""
        for what, count in wrong.items():
            if count:
                print(f"WRONG: {what}: {count}")
        self.bench.judge(
            task, [at_most("rows lost or doubled, files left behind, wrong exit statuses", 0, sum(wrong.values()))]
        )

    def commit_steps(self) -> None:
        wrong = 0
        for step in range(dying_store.STEPS + 1):
            root = self.folder / "steps" / str(step)
            status = subprocess.run(
                [sys.executable, "-P", dying_store.__file__, str(root), str(step), KEY], check=False
            ).returncode
            store = open_store(root)
            died = store.done(KEY)
            won = store.commit(KEY, {name: dying_store.part(text) for name, text in dying_store.PARTS.items()}, {})
            store.collect()
            names = set(store.markers()[KEY]["files"].values())
            left = {f"data/{name}" for name in os.listdir(root / "data")}
            expected = dying_store.DIED if step < dying_store.STEPS else 0
            wrong += won is died or names != left or status != expected
        self.judge(
            f"a process that ends at each of {dying_store.STEPS} steps of a commit", not_exactly_one_commit=wrong
        )

    def random_kills(self) -> None:
        pool = faults.make_pool(self.folder / "kills", self.files, self.samples, corrupt=3)
        faults.truncate(pool / "part-00004.parquet")
        expected = self.whole(pool)
        out, log = self.folder / "kills-out", self.folder / "forward"
        plan = ["worker"] * self.kills + ["driver"] * self.driver_kills + ["SIGTERM", "SIGINT"]
        self.random.shuffle(plan)
        odd, run, started = 0, None, time.monotonic()
        while plan:
            if run is None:
                run = self.start(pool, out, FORWARD_LOG=str(log))
                before = faults.commits(out)
            faults.wait_for(lambda run=run, before=before: faults.commits(out) > before or not run.running(), 300)
            if not run.running():
                raise AssertionError(f"the pool was done before {len(plan)} kills: {run.end()}")
            time.sleep(self.random.random() / 2)
            before = faults.commits(out)
            kind = plan[-1]
            if kind == "worker":
                if faults.kill_worker(run, self.random) is None:
                    continue
            else:
                number = signal.SIGKILL if kind == "driver" else signal.Signals[kind]
                workers = run.workers()
                run.kill(number)
                expected_status = {"driver": -signal.SIGKILL, "SIGTERM": 143, "SIGINT": 130}[kind]
                odd += run.end()[0] != expected_status
                faults.wait_for(lambda workers=workers: not set(workers) & {pid for pid, _, _ in faults.processes()})
                run = None
            print(f"{time.monotonic() - started:6.1f} s, {before} commits: {plan.pop()}", flush=True)
        status, said = (run or self.start(pool, out, FORWARD_LOG=str(log))).end(600)
        odd += status != 1 or "part-00004.parquet" not in said  # one file could not be read
        found, same = faults.account(out), faults.account(expected)
        scored = open_scores(out)
        task = (
            f"{self.kills} kills of workers and {self.driver_kills} of the driver, SIGTERM, Ctrl-C; {found_text(found)}"
        )
        self.judge(
            task,
            **_wrong(found),
            rows_other_than_without_faults=found["digest"] != same["digest"],
            profile_other_than_without_faults=scored.profile != open_scores(expected).profile,
            exit_statuses_other_than_expected=odd,
            corrupt_pictures_not_told=max(0, 3 - found["statuses"].get("decode_error", 0)),
        )
        ended = self.kills + PROCESSES * (self.driver_kills + 2)
        lost = (faults.forwarded(log) - scored.n_samples) / ended / faults.largest_shard(scored)
        self.bench.judge(task, [at_most("shards of work of the model lost for each kill of a process", 1, lost)])

    def kills_at_one_cell(self) -> None:
        """The worker is killed whenever it has begun the pool's only cell, and so is whatever tries its samples."""
        pool = faults.make_pool(self.folder / "one-cell", 1, 100)
        expected, out = self.whole(pool), self.folder / "one-cell-out"
        kills, runs = 0, 0
        while kills < self.cell_kills:
            runs += 1
            with self.start(pool, out, processes=1) as run:
                while kills < self.cell_kills and (pid := _at_a_cell(run, out)):
                    with suppress(ProcessLookupError):  # it had just ended
                        os.kill(pid, signal.SIGKILL)
                        kills += 1
                if kills < self.cell_kills:
                    run.end()
        status, _ = self.start(pool, out, processes=1).end()
        print(f"{kills} kills in {runs} runs", flush=True)
        self.judge(
            f"{self.cell_kills} kills at one cell, of workers and of what tries its samples",
            exit_status=status,
            result_other_than_without_faults=faults.account(out) != faults.account(expected),
            **_wrong(faults.account(out)),
        )

    def poison(self) -> None:
        pool = faults.make_pool(self.folder / "poison", 3, 100)
        faults.change_row(pool / "part-00001.parquet", 7, faults.poison)
        expected = self.whole(pool)
        out = self.folder / "poison-out"
        status, _ = self.start(pool, out, POISON=faults.poison_tokens(self.model)).end()
        found = faults.account(out)
        rows, plain = open_scores(out).read().to_pandas(), open_scores(expected).read().to_pandas()
        good = (rows["status"] == "ok").to_numpy()
        names = ["mean_nll", "QSim:target", "ASim:target", "ISim:target"]
        mine, its = rows[names].to_numpy(np.float64)[good], plain[names].to_numpy(np.float64)[good]
        task = "a sample that ends the process whenever it is computed"
        self.judge(
            task,
            exit_status=status,
            other_samples_lost=found["statuses"].get("crashed", 0) - 1,
            **_wrong(found),
        )
        apart = np.abs(mine.mean(0) / its.mean(0) - 1).max()
        self.bench.judge(
            task,
            [
                at_most(
                    "relative difference of the means of all other samples from those without it", 1e-8, float(apart)
                ),
                at_most("difference of any number of another sample", 1e-5, float(np.abs(mine - its).max())),
            ],
        )

    def stopped_worker(self) -> None:
        pool = faults.make_pool(self.folder / "stopped", 12, 100)
        expected, out, stall = self.whole(pool), self.folder / "stopped-out", 60
        run = self.start(pool, out)
        faults.wait_for(lambda: faults.commits(out) > 0)
        held = run.workers()[0]
        os.kill(held, signal.SIGSTOP)
        began = time.monotonic()
        faults.wait_for(lambda: held not in run.workers(), 300)
        took = time.monotonic() - began
        status, said = run.end()
        task = "a worker that is stopped (SIGSTOP)"
        self.judge(
            task,
            not_told=f"worker process {held} has been stopped" not in said,
            exit_status=status,
            result_other_than_without_faults=faults.account(out) != faults.account(expected),
            **_wrong(faults.account(out)),
        )
        self.bench.judge(task, [at_most("seconds until it is told and replaced", 2 * stall, took)])

    def hanging_sample(self) -> None:
        pool = faults.make_pool(self.folder / "hangs", 3, 100)
        faults.change_row(pool / "part-00001.parquet", 7, faults.poison)
        out, tokens = self.folder / "hangs-out", faults.poison_tokens(self.model)
        status, said = self.start(pool, out, "--stall", "15", POISON=tokens, HANGS="1").end(600)
        found = faults.account(out)
        again, _ = self.start(pool, out, "--retry", "crashed").end()
        self.judge(
            "a sample at which the process waits for ever",
            not_told=said.count("made no progress for 15 s: another one takes its place") != 2,
            exit_status=status + again,
            other_samples_lost=found["statuses"].get("crashed", 0) - 1,
            still_without_a_score=sum(n for name, n in faults.account(out)["statuses"].items() if name != "ok"),
            **_wrong(found),
        )

    def tar(self) -> None:
        folder = self.folder / "tars"
        faults.make_tars(folder, 3, 50)
        faults.truncate(folder / "part-00001.tar")
        out = self.folder / "tars-out"
        status, said = self.start(folder, out, processes=0).end()
        self.judge(
            "a tar that is cut short",
            not_told=status != 1 or "part-00001.tar" not in said,
            **_wrong(faults.account(out)),
        )

    def two_drivers(self) -> None:
        pool = faults.make_pool(self.folder / "two", 6, 100)
        expected, out = self.whole(pool), self.folder / "two-out"
        runs = [self.start(pool, out, processes=1) for _ in range(2)]
        statuses = [run.end()[0] for run in runs]
        self.judge(
            "two drivers on one output",
            exit_status=sum(statuses),
            result_other_than_of_one=faults.account(out) != faults.account(expected),
            **_wrong(faults.account(out)),
        )

    def full_disk(self) -> None:
        pool = faults.make_pool(self.folder / "full", 6, 100)
        expected = self.whole(pool)
        with self.small_disk() as (place, how, limit, enlarge):
            out = place / "out"
            run = self.start(pool, out, processes=1)
            limit(run)
            status, said = run.end()
            told = status == 1 and said.count("no space is left") == 1 and len(said.splitlines()) == 1
            half = faults.commits(out)
            enlarge()
            again, _ = self.start(pool, out, processes=1).end()
            self.judge(
                f"a full disk ({how}) after {half} of 6 shards",
                not_told=not told,
                exit_status_with_room=again,
                result_other_than_without_faults=faults.account(out) != faults.account(expected),
                **_wrong(faults.account(out)),
            )

    @contextmanager
    def small_disk(self) -> Any:
        """A file system with room for some shards; where none may be mounted, a limit on the size of files."""
        place = self.folder / "disk"
        place.mkdir()
        size = 3 * 2**20 // 2
        mounted = os.geteuid() == 0 and shutil.which("mount") is not None
        if mounted:
            mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)]
            mounted = subprocess.run(mount, check=False, capture_output=True).returncode == 0

        def limit(run: faults.Run) -> None:
            if not mounted:
                (worker,) = faults.wait_for(run.workers)
                resource.prlimit(worker, resource.RLIMIT_FSIZE, (20_000, 20_000))

        def enlarge() -> None:
            if mounted:
                subprocess.run(["mount", "-o", f"remount,size={size * 100}", str(place)], check=True)

        try:
            yield place, "tmpfs" if mounted else "limit on files", limit, enlarge
        finally:
            if mounted:
                subprocess.run(["umount", str(place)], check=True)


def _at_a_cell(run: faults.Run, out: Path) -> int | None:
    """The process that has just begun a cell, or tries its samples; None once the run has ended."""

    def found() -> tuple[int | None] | None:
        if not run.running():
            return (None,)
        workers = run.workers()
        trials = [pid for pid, parent, words in faults.processes() if parent in workers and "trial_process" in words]
        if trials:
            return (trials[0],)
        journals = list((out / "journal").glob("*")) if (out / "journal").is_dir() else []
        begun = any(f"-{pid}-" in line for pid in workers for each in journals for line in _lines(each))
        return (workers[0],) if workers and begun else None

    return faults.wait_for(found, 600)[0]


def _lines(path: Path) -> list[str]:
    with suppress(FileNotFoundError):
        return path.read_text(errors="replace").splitlines()
    return []


def _wrong(found: dict[str, Any]) -> dict[str, float]:
    """What an account must not have."""
    return {name: found[name] for name in ("missing", "twice", "unexpected", "odd", "unnamed")}


def found_text(found: dict[str, Any]) -> str:
    return ", ".join(f"{count:,} {status}" for status, count in sorted(found["statuses"].items()))


def main() -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as the command line computes: one thread for each worker
    bench = Bench("soak", options(__doc__))
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        soak = Soak(bench, Path(folder))
        scenarios: list[Callable[[], None]] = [
            soak.commit_steps,
            soak.tar,
            soak.full_disk,
            soak.two_drivers,
            soak.poison,
            soak.stopped_worker,
            soak.hanging_sample,
            soak.kills_at_one_cell,
            soak.random_kills,
        ]
        for scenario in scenarios:
            scenario()
    bench.write()
    sys.exit(any(target["reached"] is False for target in bench.targets))


if __name__ == "__main__":
    main()
