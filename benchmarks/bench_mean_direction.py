"""Mean of l2-normalised rows: ours, NumPy and torch."""

import numpy as np
from harness import Bench, Way, optional, options, thread_counts, threads

from dataprophet import ops


def main() -> None:
    args = options(__doc__)
    torch = optional("torch")
    bench = Bench("mean_direction", args)
    n, d = (20_000 if args.quick else 200_000), 768
    rows = np.random.default_rng(0).standard_normal((n, d), np.float32)
    rows += np.float32(0.1)
    places = [("cpu", count) for count in thread_counts()]
    if torch and torch.cuda.is_available():
        places.append(("cuda", 1))
    for device, count in places:
        for dtype in ("float32", "bfloat16", "float16") if torch else ("float32", "float16"):
            with threads(count):
                run(bench, rows, dtype, device, count, torch)
    bench.write()


def run(bench, rows, dtype, device, count, torch):
    n, d = rows.shape
    x = torch.from_numpy(rows).to(device, getattr(torch, dtype)) if torch else rows.astype(dtype)
    wide = torch.from_numpy(rows).to(device) if torch else rows
    ways = [Way("ours", lambda: ops.mean_direction(x))]
    if device == "cpu" and dtype == "float32":
        ways.append(Way("numpy", lambda: (rows / np.linalg.norm(rows, axis=1, keepdims=True)).mean(axis=0)))
    if torch:
        normalize, norm = torch.nn.functional.normalize, torch.linalg.vector_norm
        ways.append(Way("torch, normalize and mean", lambda: normalize(x, dim=1).mean(0)))
        ways.append(Way("torch, norms then product", lambda: (norm(x, dim=1).reciprocal() @ x) / n))
        if dtype != "float32":
            ways.append(Way("torch, to float32 first", lambda: normalize(x.float(), dim=1).mean(0)))
    check(ways, x, device)
    size = 4 if dtype == "float32" else 2
    bench.task(
        f"mean_direction, {n:,} x {d} {dtype}",
        ways,
        count=count,
        read=(wide.sum, n * d * 4, n * d * size),
        device=device,
    )


def check(ways, x, device):
    host = np.asarray(x.float().cpu() if hasattr(x, "cpu") else x, np.float64)
    truth = np.mean(host / np.linalg.norm(host, axis=1, keepdims=True), axis=0)
    for way in ways:
        value = way.run()
        value = np.asarray(value.double().cpu() if hasattr(value, "cpu") else value)
        way.error = float(np.linalg.norm(value - truth) / np.linalg.norm(truth))
    assert ways[0].error <= 2e-7, ways[0].error


if __name__ == "__main__":
    main()
