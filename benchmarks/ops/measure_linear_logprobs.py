"""Ways to compute linear_logprobs on the GPU at hand.

For each D it times the product alone (which writes logits of 16 bits and computes nothing of them), the sweep of the
table and variants of its configuration; it compares their results with those of float64. A variant that is faster is
for you to put into the table of kernels/configurations.py: its last bits may be others.

    python benchmarks/run.py measure_linear_logprobs [--rows 65536] [--vocabulary 151936] [--depths 1536 2048 3584]
"""

import argparse
import functools
import importlib.util
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from harness import optional

ROUNDS = 5
SAMPLE = 64  # rows that are compared with float64
TABLE, PEER = "sweep, of the table", "Cut Cross-Entropy"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=65_536)
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--depths", type=int, nargs="+", default=[1536, 2048, 3584])
    args = parser.parse_args()
    torch = optional("torch")
    if torch is None or optional("triton") is None or not torch.cuda.is_available():
        sys.exit("needs torch, Triton and a CUDA device")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, Triton {optional('triton').__version__}")
    print(f"{args.rows:,} rows, {args.vocabulary:,} tokens, bfloat16, median of {ROUNDS}\n")
    print("| D | way | ms | of the product alone | largest error, nat |")
    print("|---|---|---|---|---|")
    for depth in args.depths:
        alone = None
        for name, taken, error in measured(torch, args.rows, args.vocabulary, depth):
            if isinstance(taken, str):
                print(f"| {depth} | {name} | {taken} | | |")
                continue
            alone = alone or taken
            print(f"| {depth} | {name} | {taken:.2f} | {taken / alone:.2f} | {error:.1e} |", flush=True)


def measured(torch, n, vocabulary, depth, device="cuda", rounds=ROUNDS) -> Iterator[tuple[str, float | str, float]]:
    """Name, milliseconds and largest error of each way, the product alone first; where one fails, why.

    On the CPU, with Triton's interpreter, it shows that all of this runs.
    """
    from dataprophet.kernels import configurations, linear_sweep

    torch.manual_seed(0)
    kind = {"dtype": torch.bfloat16 if device == "cuda" else torch.float16, "device": device}  # see triton_cases.py
    hidden = torch.randn(n, depth, **kind)
    weight = torch.randn(vocabulary, depth, **kind) * (3 * depth**-0.5)
    targets = torch.randint(vocabulary, (n,), device=device)
    z = hidden[:SAMPLE].double() @ weight.double().T
    expected = z.log_softmax(1).gather(1, targets[:SAMPLE, None])[:, 0]
    found = torch.empty(n, device=device)
    capability = linear_sweep.capability(hidden.device) or 90
    table, pointers = (
        configurations.configuration(capability, sixteen_bit=True, regular=True, descriptors=descriptors)
        for descriptors in (True, False)
    )
    variants = {
        TABLE: (linear_sweep, table),
        "sweep, flat": (linear_sweep, replace(table, flat=not table.flat)),
        "sweep, specialised warps": (specialised(linear_sweep), replace(table, warps=4)),
        "sweep, one stage less": (linear_sweep, replace(table, stages=table.stages - 1)),
        "sweep, through pointers": (linear_sweep, pointers),
    }
    ways = {
        name: lambda way=way, chosen=chosen: way.sweep(hidden, weight, targets, (found,), configuration=chosen)
        for name, (way, chosen) in variants.items()
    }
    few = hidden[: max(1, n // 8)]  # all logits at once would be tens of gigabytes
    yield "product alone", milliseconds(torch, lambda: few @ weight.T, device, rounds) * n / len(few), 0.0
    for name, run in ways.items():
        try:
            taken = milliseconds(torch, run, device, rounds)
        except Exception as error:  # a variant may need more shared memory than there is, or another Triton
            yield name, type(error).__name__, 0.0
            continue
        yield name, taken, float((found[:SAMPLE] - expected).abs().max())
    peer = optional("cut_cross_entropy")
    if peer and device == "cuda":
        loss = lambda: peer.linear_cross_entropy(hidden, weight, targets, reduction="none")  # noqa: E731
        taken, error = milliseconds(torch, loss, device, rounds), (loss()[:SAMPLE] + expected).abs().max()
        yield PEER, taken, float(error)


@functools.cache
def specialised(module):
    """The module with warps that load and others that multiply: an option that not every Triton has, or compiles."""
    text, plain = Path(module.__file__).read_text(encoding="utf-8"), "flatten=FLAT"
    assert plain in text
    folder = tempfile.TemporaryDirectory()
    path = Path(folder.name) / "specialised_sweep.py"
    path.write_text(text.replace(plain, f"{plain}, warp_specialize=True"), encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    made = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = made
    spec.loader.exec_module(made)
    vars(made)["folder"] = folder  # kept as long as the module: Triton reads the text when it compiles
    return made


def milliseconds(torch, run, device="cuda", rounds=ROUNDS):
    """Median time of a run by the device's clock, after one that compiles; for no rounds the time of that one."""
    if rounds:
        run()
    times = []
    for _ in range(rounds or 1):
        if device == "cpu":
            start = time.perf_counter()
            run()
            times.append((time.perf_counter() - start) * 1e3)
            continue
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


if __name__ == "__main__":
    main()
