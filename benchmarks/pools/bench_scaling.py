"""Time for each sample, and memory, of `score` from ten thousand samples to a million: both should stay as they are."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_feature_pool import target_profiles, write_pool
from harness import Bench, Target, at_most, options

import dataprophet as dp
from dataprophet.demo import pool as demo_pool
from dataprophet.demo.datasets import write_datasets

HERE = Path(__file__).resolve().parent


def main() -> None:
    if sys.argv[1:2] in (["features"], ["samples"]):  # a process of its own, for its memory
        return scored(*sys.argv[1:])
    args = options(__doc__)
    bench = Bench("scaling", args)
    features = (10_000, 20_000, 40_000) if args.quick else (10_000, 100_000, 1_000_000)
    samples = (200, 400) if args.quick else (10_000, 40_000)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for target in target_profiles():
            target.save(work / f"{target.name}.profile")
        measure(bench, "features", work, features, "rows of 3 fields x 1536 float16, 14 targets")
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_datasets(work / "demo")
        dataset = dp.open_dataset(work / "demo" / "count-bench", name="count-bench")
        dp.profile(dataset, dp.load_model("demo", device="cpu")).save(work / "count-bench.profile")
        measure(bench, "samples", work, samples, "drawn samples, the demo model on the CPU")
    bench.write()


def scored(kind: str, work: str, pool: str) -> None:
    """Score a pool; print the seconds from the first shard to the last, the samples, and the largest resident memory.

    Reading the pool for its digest, loading the model, and the end are left out: they do not grow with the pool, or are
    measured elsewhere.
    """
    times = []
    model = "m" if kind == "features" else dp.load_model("demo", device="cpu")
    done = dp.score(
        pool,
        sorted(Path(work).glob("*.profile")),
        model,
        out=f"{pool}-out",
        features=kind == "features",
        progress=lambda *_: times.append(time.perf_counter()),
    )
    status = Path("/proc/self/status").read_text().splitlines()
    peak = next(line.split()[1] for line in status if line.startswith("VmHWM"))
    print(json.dumps({"seconds": times[-1] - times[0], "samples": done.n_samples, "mb": int(peak) / 1024}))


def measure(bench: Bench, kind: str, work: Path, sizes: tuple[int, ...], what: str) -> None:
    """A pool of each size, largest last; each is scored once to warm up, and then in turn."""
    found: dict[int, list[dict[str, float]]] = {size: [] for size in sizes}
    for size in sizes:
        path = work / f"pool{size}"
        if kind == "features":
            write_pool(path, size)
        else:
            demo_pool.write_pool(path, size)
    for _ in range(1 if bench.quick or kind == "samples" else 3):
        for size in sizes:
            command = [sys.executable, str(HERE / "bench_scaling.py"), kind, str(work), str(work / f"pool{size}")]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[size].append(json.loads(done.stdout.splitlines()[-1]))
            for part in work.glob("*-out"):
                shutil.rmtree(part)
    each = {n: 1e6 * min(run["seconds"] / run["samples"] for run in runs) for n, runs in found.items()}
    memory = {size: max(run["mb"] for run in runs) for size, runs in found.items()}
    rows = [[f"{size:,}", f"{each[size]:.1f}", f"{memory[size]:.0f}"] for size in sizes]
    bench.lines(what, ["samples", "microseconds for each", "MB resident at most"], rows)
    change = 100 * (each[sizes[-1]] / each[sizes[0]] - 1)
    goals: list[Target] = [
        at_most(f"at most 5% longer for each of {sizes[-1]:,} than of {sizes[0]:,}", 5, change),
        at_most(f"memory: at most 1.1 times that of {sizes[-2]:,}", 1.1, memory[sizes[-1]] / memory[sizes[-2]]),
    ]
    bench.judge(what, goals)


if __name__ == "__main__":
    main()
