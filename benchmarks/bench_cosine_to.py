"""Cosine of each row to a few directions: ours, NumPy and torch."""

import numpy as np
from harness import Bench, Way, optional, options, thread_counts, threads

from dataprophet import ops

TARGETS = 14


def main() -> None:
    args = options(__doc__)
    torch = optional("torch")
    bench = Bench("cosine_to", args)
    n, d = (20_000 if args.quick else 200_000), 768
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((n, d), np.float32)
    directions = rng.standard_normal((TARGETS, d)).astype(np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    places = [("cpu", count) for count in thread_counts()]
    if torch and torch.cuda.is_available():
        places.append(("cuda", 1))
    for device, count in places:
        for dtype in ("float32", "bfloat16", "float16") if torch else ("float32", "float16"):
            with threads(count):
                run(bench, rows, directions, dtype, device, count, torch)
    bench.write()


def run(bench, rows, directions, dtype, device, count, torch):
    n, d = rows.shape
    x = torch.from_numpy(rows).to(device, getattr(torch, dtype)) if torch else rows.astype(dtype)
    wide = torch.from_numpy(rows).to(device) if torch else rows
    given = torch.from_numpy(directions).to(device) if torch else directions
    ways = [Way("ours", lambda: ops.cosine_to(x, given))]
    if device == "cpu" and dtype == "float32":
        ways.append(
            Way("numpy", lambda: (rows / np.linalg.norm(rows, axis=1, keepdims=True)) @ directions.T),
        )
    if torch:
        normalize, norm = torch.nn.functional.normalize, torch.linalg.vector_norm
        narrow = given.to(x.dtype)
        ways.append(Way("torch, normalize then product", lambda: normalize(x, dim=1) @ narrow.T))
        ways.append(Way("torch, product then scale", lambda: (x @ narrow.T) / norm(x, dim=1, keepdim=True)))
        if dtype != "float32":
            ways.append(Way("torch, to float32 first", lambda: float_first(x.float(), given, norm)))
    check(ways, x, directions)
    size = 4 if dtype == "float32" else 2
    bench.task(
        f"cosine_to, {n:,} x {d} {dtype}, {TARGETS} directions",
        ways,
        count=count,
        read=(wide.sum, n * d * 4, n * d * size),
        device=device,
    )


def float_first(x, given, norm):
    return (x @ given.T) / norm(x, dim=1, keepdim=True)


def check(ways, x, directions):
    host = np.asarray(x.float().cpu() if hasattr(x, "cpu") else x, np.float64)
    truth = (host / np.linalg.norm(host, axis=1, keepdims=True)) @ directions.astype(np.float64).T
    for way in ways:
        value = way.run()
        value = np.asarray(value.double().cpu() if hasattr(value, "cpu") else value)
        way.error = float(np.abs(value - truth).max())
    assert ways[0].error <= 1e-6, ways[0].error


if __name__ == "__main__":
    main()
