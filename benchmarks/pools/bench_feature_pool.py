"""Scores and profile of a pool of precomputed features: `score` from the disk, and its parts beside NumPy and torch."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from harness import (
    Bench,
    Floor,
    Probe,
    Target,
    Way,
    arithmetic,
    at_most,
    exact,
    faster,
    longer,
    of_floor,
    optional,
    options,
    reading,
)

import dataprophet as dp
from dataprophet import Profile, _core, ops
from dataprophet.features.features import FIELDS, Features
from dataprophet.ops.threads import thread_count
from dataprophet.profiling.sketch import N_GROUPS, groups_of, hash_ids
from dataprophet.scoring.sources.opener import open_feature_pool
from dataprophet.scoring.targets import Targets

D, TARGETS, DRAWN, STEP = 1536, 14, 8192, 8192
RESIDENT = """
import sys, bench_feature_pool
bench_feature_pool.scored(*sys.argv[1:])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""  # of this program alone: getrusage counts the parent that it was forked from


def main() -> None:
    args = options(__doc__)
    bench = Bench("feature_pool", args, rounds=3)
    n = 40_000 if args.quick else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        write_pool(Path(folder) / "pool", n)
        from_disk(bench, folder, n)
    n = 20_000 if args.quick else 200_000
    with tempfile.TemporaryDirectory() as folder:
        write_pool(Path(folder) / "pool", n)
        beside_peers(bench, f"{folder}/pool", n)
    in_memory(bench, n)
    bench.write()


def write_pool(folder: Path, n: int) -> None:
    """A folder of arrays: nll, and the three fields in float16. Rows repeat, with another sign."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    np.save(folder / "nll.npy", rng.exponential(1.0, n))
    for name in FIELDS:
        drawn = (rng.standard_normal((DRAWN, D), np.float32) + 0.3).astype(np.float16)
        rows = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float16, (n, D))
        for start in range(0, n, DRAWN):
            rows[start : start + DRAWN] = drawn[: n - start] * np.float16(1 + start // DRAWN % 2)
        rows.flush()
        del rows


def target_profiles() -> list[Profile]:
    rng = np.random.default_rng(1)
    made = []
    for number in range(TARGETS):
        made.append(Profile.empty(f"t{number}", "m"))
        rows = {name: rng.standard_normal((200, D), np.float32) + 0.3 for name in FIELDS}
        made[-1].update(Features([f"{number}-{i}" for i in range(200)], rng.exponential(1.0, 200), rows))
    return made


def scored(pool: str, out: str) -> dict[str, float]:
    """Seconds of the passes of `score`, each with none of the pool in memory: digests, rows and profile, the end."""
    times = []

    def progress(done: int, total: int) -> None:
        times.append(time.perf_counter())
        if done == 0:
            evict(pool)
            times[-1] = time.perf_counter()

    targets = target_profiles()
    evict(pool)
    start = time.perf_counter()
    dp.score(pool, targets, "m", out=out, features=True, progress=progress)
    return {"digests": times[0] - start, "scores": times[-1] - times[0], "end": time.perf_counter() - times[-1]}


def evict(pool: str) -> None:
    """Have the system forget what it holds of the files."""
    os.sync()
    for path in Path(pool).iterdir():
        file = os.open(path, os.O_RDONLY)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def read_files(pool: str) -> float:
    """Seconds to read the files from the disk, in large pieces, one after the other."""
    evict(pool)
    start, buffer = time.perf_counter(), bytearray(1 << 22)
    for path in Path(pool).iterdir():
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return time.perf_counter() - start


def from_disk(bench: Bench, folder: str, n: int) -> None:
    title = f"score, {n:,} x 3 fields x {D} float16, {TARGETS} targets, from the disk"
    pool, gigabytes = f"{folder}/pool", 3 * n * D * 2 / 1e9
    found: dict[str, list[float]] = {}
    for number in range(bench.rounds):
        seconds = {"reading alone": read_files(pool), **scored(pool, f"{folder}/out{number}")}
        for name, value in seconds.items():
            found.setdefault(name, []).append(value)
    child = [sys.executable, "-c", RESIDENT, pool, f"{folder}/child"]
    made = subprocess.run(child, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    times = {name: statistics.median(values) for name, values in found.items()}
    labels = {
        "reading alone": "reading the files, and nothing else",
        "digests": "first pass: digests of the files",
        "scores": "second pass: rows and profiles, committed",
        "end": "merged profile with its diversity, digest of the rows",
    }
    rows = []
    for name, label in labels.items():
        rate = "" if name == "end" else f"{gigabytes / times[name]:.2f}"
        per_second = f"{n / times[name]:,.0f}" if name == "scores" else ""
        spread = f"{min(found[name]):.2f}-{max(found[name]):.2f}"
        rows.append([label, f"{times[name]:.2f}", spread, rate, per_second])
    bench.lines(title, ["", "s", "of all rounds", "GB/s", "rows/s"], rows)
    reading_alone = min(times["reading alone"], times["digests"])  # the digests cost next to nothing
    share = 100 * reading_alone / times["scores"]
    goals = [
        Target("second pass: at least 70% of the bandwidth of reading the files alone", 70, share),
        at_most("at most 1500 MB resident", 1500, int(made.stdout) / 1024),
    ]
    bench.judge(title, goals)


def measured(pool_path: str, targets: Targets) -> Profile:
    """Scores and a profile, without writing: what is compared with the peers."""
    made, pool = Profile.empty("pool", "m"), open_feature_pool(pool_path)
    index = pool.index(0)
    for _, _, features in pool.read_features(index, 0, -(-index.rows // 1024)):
        targets.add(features, made)
    return made


def read_alone(folder: str) -> None:
    """Reads the same rows in the same steps, and does nothing with them."""
    pool = open_feature_pool(folder)
    columns = pool._columns(pool.files[0])
    for start in range(0, columns.rows, STEP):
        part = columns.read(start, min(start + STEP, columns.rows))
        for name in FIELDS:
            _core.read(part[name], thread_count())
        columns.forget(start, start + STEP)


def peer(folder: str, library: str, targets: Targets) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Cosines, and sums by group, in steps of as many rows."""
    torch = optional("torch")
    found = {}
    for name in FIELDS:
        rows = np.load(Path(folder) / f"{name}.npy", mmap_mode="r")
        groups = groups_of(hash_ids([str(row) for row in range(1, len(rows) + 1)]))
        directions = targets.directions[name].astype(np.float32)
        cosines, sums = np.empty((len(rows), TARGETS), np.float32), np.zeros((N_GROUPS, D))
        for start in range(0, len(rows), STEP):
            step = slice(start, start + STEP)
            if library == "numpy":
                part = rows[step].astype(np.float32)
                part /= np.linalg.norm(part, axis=1, keepdims=True)
                cosines[step] = part @ directions.T
                members = groups[step] == np.arange(N_GROUPS)[:, None]
                sums += members.astype(np.float32) @ part
            else:
                part = torch.nn.functional.normalize(torch.from_numpy(np.array(rows[step])).float(), dim=1)
                cosines[step] = (part @ torch.from_numpy(directions).T).numpy()
                total = torch.zeros(N_GROUPS, D).index_add_(0, torch.from_numpy(groups[step]), part)
                sums += total.numpy()
        found[name] = cosines, sums
    return found


def beside_peers(bench: Bench, pool: str, n: int) -> None:
    title = f"scores and profile, {n:,} x 3 fields x {D} float16, {TARGETS} targets, from mapped arrays in memory"
    targets = Targets.of(target_profiles())
    ways = [Way("ours", lambda: measured(pool, targets)), Way("numpy", lambda: peer(pool, "numpy", targets))]
    if optional("torch"):
        ways.append(Way("torch", lambda: peer(pool, "torch", targets)))
    gigabytes = 3 * n * D * 2 / 1e9
    floor = Floor("GB", gigabytes, [Probe(Way("read alone", lambda: read_alone(pool)), lambda _: gigabytes)])
    goals = [faster("faster than the best of NumPy and torch by the clock", 1, "numpy", "torch", kind="wall")]
    bench.task(title, ways, floor=floor, targets=goals, items=n, counts=[thread_count()])


def in_memory(bench: Bench, n: int) -> None:
    title = f"measure_rows, {n:,} x {D} float16, {TARGETS} directions, {N_GROUPS} groups"
    rng = np.random.default_rng(2)
    drawn = (rng.standard_normal((DRAWN, D), np.float32) + 0.3).astype(np.float16)
    rows = np.resize(drawn, (n, D))
    directions = rng.standard_normal((TARGETS, D)).astype(np.float32)
    groups = rng.integers(0, N_GROUPS, n)
    ways = [Way("ours", lambda: ops.measure_rows(rows, directions, groups, N_GROUPS))]
    unit = exact(drawn) / np.linalg.norm(exact(drawn), axis=1, keepdims=True)
    found = ways[0].run().cosines[:DRAWN]
    ways[0].error = float(
        np.abs(found - (unit @ exact(directions).T)[:n]).max() / np.linalg.norm(directions, axis=1).max()
    )
    bench.same_bits(title, lambda: tuple(ways[0].run()))
    # A cosine for each direction, and a square; what the sums by group take is beside that.
    floor = longer(reading(rows.nbytes, rows), arithmetic(2.0 * n * D * (TARGETS + 1), "float16"))
    goals = [
        of_floor("at least 70% of reading, or of multiplying where that takes longer", 70),
        at_most("error at most 1e-6", 1e-6, ways[0].error),
    ]
    bench.task(title, ways, floor=floor, targets=goals, items=n)


if __name__ == "__main__":
    main()
