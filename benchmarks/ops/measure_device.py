# ruff: noqa: E402 (triton reads TRITON_INTERPRET when it is imported)
"""The operations on the GPU at hand, against what it can do: the middle of device.sh.

Each figure is a median of five runs by the device's clock, and is written at once. --rehearse runs all of it on the
CPU with tiny shapes, the Triton kernels in their interpreter.

    python benchmarks/run.py measure_device [--results FILE] [--rehearse]
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from pathlib import Path

rehearsal = "--rehearse" in sys.argv
if rehearsal:
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported

import torch
from device_table import record
from measure_linear_logprobs import PEER, TABLE, measured, milliseconds

from dataprophet import ops
from dataprophet.ops import backend

DTYPES = ("bfloat16", "float16", "float32")
DEVICE = "cpu" if rehearsal else "cuda"
ONCE, SILHOUETTE, NEAREST = (
    ((256, 64), (300, 64), (200, 64))
    if rehearsal
    else (
        (1_000_000, 1_536),
        (100_000, 1_536),
        (20_000, 1_536),
    )
)
LOGITS, PRODUCT, LINEAR = ((2, 5_000), 64, (20, 1_100)) if rehearsal else ((16_384, 151_936), 8_192, (65_536, 151_936))
DEPTHS = {1_536: 32, 2_048: 48, 3_584: 64}  # of the head, and in a rehearsal
TARGETS, K = 14, 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, help="file that a line of JSON for each row is added to")
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, with tiny shapes")
    file = parser.parse_args().results
    peaks = ceilings(file)
    steps = [once, silhouette, kmeans, nearest, token_logprobs, linear_logprobs]
    failed = [step.__name__ for step in steps if not survives(step, file, peaks)]
    sys.exit(f"failed: {', '.join(failed)}" if failed else 0)


def survives(step, *given) -> bool:
    """Whether a step ended well; what comes behind it is measured in either case."""
    try:
        step(*given)
        return True
    except Exception:
        traceback.print_exc()
        return False
    finally:
        if DEVICE == "cuda":
            torch.cuda.empty_cache()


def goal(reached: bool) -> bool | None:
    """A rehearsal reaches no goal and misses none."""
    return None if rehearsal else reached


def normal(*shape, dtype="float32", seed=0):
    drawn = torch.randn(*shape, generator=torch.Generator(DEVICE).manual_seed(seed), device=DEVICE)
    return drawn.to(getattr(torch, dtype))


def timed(run) -> float:
    return milliseconds(torch, run, DEVICE, 0 if rehearsal else 5)


def ceilings(file) -> dict[str, float]:
    """Gigabytes a second of a copy, and teraflops of a product of random numbers."""
    x = torch.empty(1 << (20 if rehearsal else 32), dtype=torch.uint8, device=DEVICE)
    to = torch.empty_like(x)
    copy = 2 * x.nbytes / timed(lambda: to.copy_(x)) / 1e6
    record(file, "copy", f"{copy / 1e3:.2f} TB/s")
    a, b = normal(PRODUCT, PRODUCT, dtype="bfloat16"), normal(PRODUCT, PRODUCT, dtype="bfloat16", seed=1)
    product = 2 * PRODUCT**3 / timed(lambda: a @ b) / 1e9
    record(file, "product", f"{product:.0f} TFLOP/s")
    return {"copy": copy, "product": product}


def once(file, peaks) -> None:
    """mean_direction and cosine_to, which read every row once."""
    directions = torch.nn.functional.normalize(normal(TARGETS, ONCE[1], seed=1), dim=1)
    percent = {"mean_direction": [], "cosine_to": []}
    for dtype in DTYPES:
        x = normal(*ONCE).add_(0.1).to(getattr(torch, dtype))
        for name, run in (
            ("mean_direction", lambda x=x: ops.mean_direction(x)),
            ("cosine_to", lambda x=x: ops.cosine_to(x, directions)),
        ):
            taken = timed(run)
            percent[name].append(100 * x.nbytes / taken / 1e6 / peaks["copy"])
            print(f"{name} {dtype}: {taken:.3f} ms", flush=True)
    for name, found in percent.items():
        record(file, name, "/".join(f"{value:.0f}" for value in found), goal(min(found) >= 80))


def silhouette(file, peaks) -> None:
    n, d = SILHOUETTE
    labels = torch.arange(n, device=DEVICE) % K
    x = (normal(K, d, seed=1)[labels] + normal(n, d)).half()
    run = lambda: ops.silhouette_samples(x, labels)  # noqa: E731
    taken, chosen = timed(run), backend.silhouette_tiles
    backend.silhouette_tiles = lambda *_: None
    module = timed(run)  # the same by the CUDA module alone
    backend.silhouette_tiles = chosen
    percent = 100 * n * n * d / taken / 1e9 / peaks["product"]
    record(file, "silhouette", f"{percent:.0f} ({taken:.1f} ms, by CUDA C++ {module:.1f})", goal(percent >= 50))
    activity = torch.profiler.ProfilerActivity
    with torch.profiler.profile(activities=[activity.CPU, *([activity.CUDA] if DEVICE == "cuda" else [])]) as profile:
        run()
    kernels = {
        event.key: event.self_device_time_total / 1e3
        for event in profile.key_averages()
        if event.device_type == torch.autograd.DeviceType.CUDA
    }
    tiles = sum(spent for name, spent in kernels.items() if "_tiles" in name)
    rest = sum(kernels.values()) - tiles
    record(file, "silhouette_parts", f"{tiles:.1f}/{rest:.1f}/{max(0.0, taken - tiles - rest):.1f}")
    for name, spent in sorted(kernels.items(), key=lambda item: -item[1])[:12]:
        print(f"  {spent:9.3f} ms  {name[:100]}")


def kmeans(file, _) -> None:
    n, d = SILHOUETTE
    x = normal(n, d, dtype="bfloat16")
    taken = timed(lambda: ops.kmeans(x, K, init=x[:K].float().cpu().numpy(), max_iter=10, tol=0))
    record(file, "kmeans", f"{taken:.1f} ms, {11 * x.nbytes / taken / 1e9:.2f} TB/s")


def nearest(file, peaks) -> None:
    n, d = NEAREST
    x, y = normal(n, d, dtype="bfloat16"), normal(n, d, dtype="bfloat16", seed=1)
    taken = timed(lambda: ops.nearest(x, y))
    record(file, "nearest", f"{taken:.1f} ms, {100 * 2 * n * n * d / taken / 1e9 / peaks['product']:.0f}% of product")


def token_logprobs(file, peaks) -> None:
    from dataprophet.kernels.token_logprobs import token_logprobs as kernel

    logits = torch.empty(*LOGITS, dtype=torch.bfloat16, device=DEVICE).normal_(0, 3)
    targets = torch.randint(LOGITS[1], LOGITS[:1], device=DEVICE)
    taken = timed(lambda: kernel(logits, targets))
    percent = 100 * logits.nbytes / taken / 1e6 / peaks["copy"]
    record(file, "token_logprobs", f"{percent:.0f} ({taken:.2f} ms)", goal(percent >= 90))


def linear_logprobs(file, _) -> None:
    """Against the product alone; CCE too, where it is installed."""
    for depth, small in DEPTHS.items():
        found = {
            name: (taken, error)
            for name, taken, error in measured(
                torch, *LINEAR, small if rehearsal else depth, DEVICE, 0 if rehearsal else 5
            )
        }
        for name, (taken, error) in found.items():
            print(f"D={depth} {name}: {taken if isinstance(taken, str) else f'{taken:.2f} ms'}, error {error:.1e}")
        alone, (ours, error) = found.pop("product alone")[0], found[TABLE]
        bound = max(2e-5, 2.8e-8 * depth)
        text = f"{ours / alone:.2f} ({ours:.1f} ms, error {error:.0e})"
        record(file, f"linear_{depth}", text, goal(ours / alone <= 1.11 and error <= bound))
        peer = found.pop(PEER, None)
        if depth == next(iter(DEPTHS)):
            name, (best, _) = min(
                ((name, way) for name, way in found.items() if not isinstance(way[0], str)), key=lambda item: item[1][0]
            )
            beside = f", {PEER} {peer[0] / alone:.2f}" if peer else ""
            record(file, "linear_best", f"{name.removeprefix('sweep, ')}: {best / alone:.2f}{beside}")


if __name__ == "__main__":
    main()
