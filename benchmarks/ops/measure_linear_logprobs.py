"""Ways to compute linear_logprobs on the GPU at hand.

For each D it times the product alone (which writes logits of 16 bits and computes nothing of them), the sweep of the
table and variants of its configuration; it compares their results with those of float64. A variant that is faster is
for you to put into the table of kernels/configurations.py: its last bits may be others.

    python benchmarks/run.py measure_linear_logprobs [--rows 65536] [--vocabulary 151936] [--depths 1536 2048 3584]
"""

import argparse
import statistics
import sys
from dataclasses import replace

from harness import optional

ROUNDS = 5
SAMPLE = 64  # rows that are compared with float64


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
        measure(torch, args.rows, args.vocabulary, depth)


def measure(torch, n, vocabulary, depth):
    """Prints the ways for one D."""
    from dataprophet.kernels import configurations, linear_sweep

    torch.manual_seed(0)
    hidden = torch.randn(n, depth, dtype=torch.bfloat16, device="cuda")
    weight = torch.randn(vocabulary, depth, dtype=torch.bfloat16, device="cuda") * (3 * depth**-0.5)
    targets = torch.randint(vocabulary, (n,), device="cuda")
    z = hidden[:SAMPLE].double() @ weight.double().T
    expected = z.log_softmax(1).gather(1, targets[:SAMPLE, None])[:, 0]
    found = torch.empty(n, device="cuda")
    table = linear_sweep.configuration_of(hidden, weight)
    variants = {
        "sweep, of the table": table,
        "sweep, flat": replace(table, flat=not table.flat),
        "sweep, one stage less": replace(table, stages=table.stages - 1),
        "sweep, through pointers": configurations.configuration(
            linear_sweep.capability(hidden.device), sixteen_bit=True, regular=True, descriptors=False
        ),
    }
    ways = {
        name: lambda chosen=chosen: linear_sweep.sweep(hidden, weight, targets, (found,), configuration=chosen)
        for name, chosen in variants.items()
    }
    few = hidden[: max(1, n // 8)]  # all logits at once would be tens of gigabytes
    alone = milliseconds(torch, lambda: few @ weight.T) * n / len(few)
    print(f"| {depth} | product alone | {alone:.2f} | 1.00 | |")
    for name, run in ways.items():
        try:
            taken = milliseconds(torch, run)
        except Exception as error:  # a variant may need more shared memory than there is
            print(f"| {depth} | {name} | {type(error).__name__} | | |")
            continue
        error = float((found[:SAMPLE] - expected).abs().max())
        print(f"| {depth} | {name} | {taken:.2f} | {taken / alone:.2f} | {error:.1e} |", flush=True)


def milliseconds(torch, run):
    run()
    times = []
    for _ in range(ROUNDS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


if __name__ == "__main__":
    main()
