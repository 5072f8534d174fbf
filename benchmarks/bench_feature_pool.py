"""Scores and profile of a pool of precomputed features, from a mapped file and in memory: ours, NumPy and torch."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from harness import Bench, Floor, Probe, Target, Way, at_most, exact, faster, of_floor, optional, options, reading

from dataprophet import Profile, _core, ops
from dataprophet.feature_pool import open_feature_pool
from dataprophet.features import FIELDS, Features
from dataprophet.scoring import Targets
from dataprophet.sketch import N_GROUPS, groups_of, hash_ids
from dataprophet.threads import thread_count

D, TARGETS, DRAWN, STEP = 1536, 14, 8192, 8192
RESIDENT = """
import resource, sys, bench_feature_pool
bench_feature_pool.ours(sys.argv[1])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def main() -> None:
    args = options(__doc__)
    bench = Bench("feature_pool", args, rounds=3)
    n = 40_000 if args.quick else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        write_pool(Path(folder), n)
        from_file(bench, folder, n)
    in_memory(bench, 20_000 if args.quick else 200_000)
    bench.write()


def write_pool(folder: Path, n: int) -> None:
    """A folder of arrays: nll, and the three fields in float16. Rows repeat, with another sign."""
    rng = np.random.default_rng(0)
    np.save(folder / "nll.npy", rng.exponential(1.0, n))
    for name in FIELDS:
        drawn = (rng.standard_normal((DRAWN, D), np.float32) + 0.3).astype(np.float16)
        rows = np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float16, (n, D))
        for start in range(0, n, DRAWN):
            rows[start : start + DRAWN] = drawn[: n - start] * np.float16(1 + start // DRAWN % 2)
        rows.flush()
        del rows


def make_targets() -> Targets:
    rng = np.random.default_rng(1)
    made = []
    for number in range(TARGETS):
        made.append(Profile.empty(f"t{number}", "m"))
        rows = {name: rng.standard_normal((200, D), np.float32) + 0.3 for name in FIELDS}
        made[-1].update(Features([f"{number}-{i}" for i in range(200)], rng.exponential(1.0, 200), rows))
    return Targets.of(made)


def ours(folder: str) -> Profile:
    """As `score --features` computes it, less the writing of rows."""
    targets, made = make_targets(), Profile.empty("pool", "m")
    pool = open_feature_pool(folder)
    index = _index(pool)
    for _, _, features in pool.read_features(index, 0, -(-index.rows // 1024)):
        targets.add(features, made)
    return made


def _index(pool):
    """The index of the pool's file without its digest, which scoring does not need."""
    from dataprophet.data.index import FileIndex

    size = sum(path.stat().st_size for path in Path(pool.path).iterdir())
    rows = len(np.load(Path(pool.path) / "nll.npy", mmap_mode="r"))
    return FileIndex("pool", pool.path, size, "", rows)


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
        directions = targets._directions[name].astype(np.float32)
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


def from_file(bench: Bench, folder: str, n: int) -> None:
    title = f"scores and profile, {n:,} x 3 fields x {D} float16, {TARGETS} targets, from a folder of arrays"
    targets = make_targets()
    ways = [Way("ours", lambda: ours(folder)), Way("numpy", lambda: peer(folder, "numpy", targets))]
    if optional("torch"):
        ways.append(Way("torch", lambda: peer(folder, "torch", targets)))
    gigabytes = 3 * n * D * 2 / 1e9
    floor = Floor("GB", gigabytes, [Probe(Way("read alone", lambda: read_alone(folder)), lambda _: gigabytes)])
    made = subprocess.run(
        [sys.executable, "-c", RESIDENT, folder],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=True,
        env=os.environ,
    )
    goals = [
        Target(
            "at least 70% of the bandwidth of reading alone, by the clock",
            70,
            lambda rows: rows["ours"]["percent_of_wall_floor"],
        ),
        faster("faster than the best of NumPy and torch by the clock", 1, "numpy", "torch", kind="wall"),
        at_most("at most 1500 MB resident", 1500, int(made.stdout) / 1024),
    ]
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
    goals = [of_floor("at least 70% of the memory's bandwidth", 70), at_most("error at most 1e-6", 1e-6, ways[0].error)]
    bench.task(title, ways, floor=reading(rows.nbytes, rows), targets=goals, items=n)


if __name__ == "__main__":
    main()
