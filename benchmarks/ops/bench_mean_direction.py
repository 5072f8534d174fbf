"""Mean of l2-normalised rows: ours, NumPy and torch."""

import numpy as np
from data import SHAPES, cast, directions_of, dtypes, hard_rows, normal_rows
from harness import Bench, Target, Way, at_most, exact, faster, of_floor, optional, options, reading

from dataprophet import ops

NAIVE, BEST = "torch, normalize and mean", "torch"


def main() -> None:
    args = options(__doc__)
    bench = Bench("mean_direction", args)
    for device in args.devices:
        rows = normal_rows(*SHAPES[device, args.quick], device, shift=0.1)
        for dtype in dtypes(args.dtypes):
            run(bench, rows, dtype, device)
    if "cuda" not in args.devices:
        bench.judge("CUDA, 1,000,000 x 1536", [Target("one-pass operations: at least 80% of HBM bandwidth", 80, None)])
    if "cpu" in args.devices:
        accuracy(bench)
    bench.write()


def run(bench, rows, dtype, device):
    n, d = rows.shape
    title = f"mean_direction, {n:,} x {d} {dtype}"
    x = cast(rows, dtype, device)
    torch = optional("torch")
    ways = [Way("ours", lambda: ops.mean_direction(x))]
    if device == "cpu" and dtype == "float32":
        ways.append(Way("numpy", lambda: (rows / np.linalg.norm(rows, axis=1, keepdims=True)).mean(axis=0)))
    if torch:
        normalize, norm = torch.nn.functional.normalize, torch.linalg.vector_norm
        ways.append(Way(NAIVE, lambda: normalize(x, dim=1).mean(0)))
        ways.append(Way("torch, norms then product", lambda: (norm(x, dim=1).reciprocal() @ x) / n))
        if dtype != "float32":
            ways.append(Way("torch, to float32 first", lambda: normalize(x.float(), dim=1).mean(0)))
    expected = truth(x)
    for way in ways:
        way.error = relative(way.run(), expected)
    bench.same_bits(title, ways[0].run, device)
    targets = [at_most("relative error at most 2e-7", 2e-7, ways[0].error)]
    if device == "cuda":
        targets.append(of_floor("at least 80% of HBM bandwidth", 80))
    else:
        targets.append(of_floor("at least 90% of the measured read bandwidth", 90))
        if torch and dtype == "float32":
            targets.append(faster("float32: at least 2.2x the best torch", 2.2, BEST))
            targets.append(faster("float32: at least 8x the naive torch", 8, NAIVE))
        if torch and dtype == "bfloat16":
            targets.append(faster("bfloat16: at least 25x the naive torch in bfloat16", 25, NAIVE))
    bench.task(title, ways, floor=reading(n * d * (4 if dtype == "float32" else 2), x), targets=targets, device=device)


def accuracy(bench):
    for name, rows in hard_rows(2_000, 768):
        found = relative(ops.mean_direction(rows), truth(rows))
        bench.judge(f"mean_direction, {name}, float32", [at_most("relative error at most 2e-7", 2e-7, found)])


def truth(x):
    return sum(exact(part.sum(0)) for part in directions_of(x)) / len(x)


def relative(found, expected):
    return float(np.linalg.norm(exact(found) - expected) / np.linalg.norm(expected))


if __name__ == "__main__":
    main()
