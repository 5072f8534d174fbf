"""Cosine of each row to a few directions: ours, NumPy and torch."""

import numpy as np
from data import SHAPES, cast, directions_of, dtypes, hard_rows, normal_rows
from harness import Bench, Way, arithmetic, at_most, exact, faster, longer, of_floor, optional, options, reading

from dataprophet import ops

TARGETS = 14


def main() -> None:
    args = options(__doc__)
    bench = Bench("cosine_to", args)
    for device in args.devices:
        rows = normal_rows(*SHAPES[device, args.quick], device)
        for dtype in dtypes(args.dtypes):
            run(bench, rows, directions_to(rows.shape[1]), dtype, device)
    if "cpu" in args.devices:
        accuracy(bench, directions_to(768))
    bench.write()


def directions_to(d):
    directions = np.random.default_rng(2).standard_normal((TARGETS, d)).astype(np.float32)
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def run(bench, rows, directions, dtype, device):
    n, d = rows.shape
    title = f"cosine_to, {n:,} x {d} {dtype}, {TARGETS} directions"
    torch = optional("torch")
    x, given = cast(rows, dtype, device), cast(directions, "float32", device)
    ways = [Way("ours", lambda: ops.cosine_to(x, given))]
    if device == "cpu" and dtype == "float32":
        ways.append(Way("numpy", lambda: (rows / np.linalg.norm(rows, axis=1, keepdims=True)) @ directions.T))
    if torch:
        normalize, norm = torch.nn.functional.normalize, torch.linalg.vector_norm
        narrow = given.to(x.dtype)
        ways.append(Way("torch, normalize then product", lambda: normalize(x, dim=1) @ narrow.T))
        ways.append(Way("torch, product then scale", lambda: (x @ narrow.T) / norm(x, dim=1, keepdim=True)))
        if dtype != "float32":
            ways.append(Way("torch, to float32 first", lambda: float_first(x.float(), given, norm)))
    expected = truth(x, directions)
    for way in ways:
        way.error = float(np.abs(exact(way.run()) - expected).max())
    bench.same_bits(title, ways[0].run, device)
    targets = [at_most("error at most 1e-6", 1e-6, ways[0].error)]
    floor = reading(n * d * (4 if dtype == "float32" else 2), x)
    if device == "cpu":  # a cosine for each direction, and a square
        floor = longer(floor, arithmetic(2.0 * n * d * (TARGETS + 1), dtype))
        targets.append(of_floor("at least 85% of reading, or of multiplying where that takes longer", 85))
    if device == "cuda":
        targets.append(of_floor("at least 80% of HBM bandwidth", 80))
    elif torch and dtype == "float32":
        targets.append(faster("float32: at least 5x the best torch", 5, "torch"))
    elif torch and dtype == "bfloat16":
        targets.append(faster("bfloat16: at least 7x the best torch", 7, "torch"))
        accurate = [way.name for way in ways[1:] if way.error <= 1e-5]
        targets.append(faster("bfloat16: at least 7x the best torch with errors up to 1e-5", 7, *accurate))
    bench.task(title, ways, floor=floor, targets=targets, device=device)


def float_first(x, given, norm):
    return (x @ given.T) / norm(x, dim=1, keepdim=True)


def accuracy(bench, directions):
    for name, rows in hard_rows(2_000, directions.shape[1]):
        found = float(np.abs(ops.cosine_to(rows, directions) - truth(rows, directions)).max())
        bench.judge(f"cosine_to, {name}, float32", [at_most("error at most 1e-6", 1e-6, found)])


def truth(x, directions):
    torch = optional("torch")
    wide = directions.astype(np.float64).T
    found = [
        part @ wide if isinstance(part, np.ndarray) else exact(part @ torch.from_numpy(wide).to(part))
        for part in directions_of(x)
    ]
    return np.concatenate(found)


if __name__ == "__main__":
    main()
