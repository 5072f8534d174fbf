"""Log-probabilities of targets from logits that are given: ours, torch eager and compiled, Liger and QuACK."""

from harness import Bench, Floor, Probe, Target, Way, at_most, faster, of_floor, optional, options, reading
from tokens import EXACT, VOCABULARY, eager, if_present, megabytes, negative, truth, usable

from dataprophet import ops

EAGER = "torch, log_softmax and gather"


def main() -> None:
    args = options(__doc__)
    if optional("torch") is None:
        print("left out: the peers need torch")
        return
    bench = Bench("token_logprobs", args)
    for dtype in ("bfloat16", "float32") if "cpu" in args.devices else ():
        run(bench, 8 if args.quick else 320, dtype, "cpu")
    if "cuda" in args.devices:
        run(bench, 256 if args.quick else 16_384, "bfloat16", "cuda")
    else:
        bench.judge(
            "CUDA, 16,384 rows, bfloat16",
            [Target(each.text, each.bound, None, each.least) for each in cuda_targets([])],
        )
    bench.write()


def run(bench, n, dtype, device):
    torch = optional("torch")
    title = f"token_logprobs, {n:,} x {VOCABULARY:,} {dtype}"
    generator = torch.Generator(device).manual_seed(0)
    logits = torch.empty(n, VOCABULARY, dtype=getattr(torch, dtype), device=device)
    for row in logits:  # not all in float32 at once
        row.copy_(torch.randn(VOCABULARY, generator=generator, device=device) * 3)
    targets = torch.randint(0, VOCABULARY, (n,), generator=generator, device=device)
    ways = [
        Way("ours", lambda: ops.token_logprobs(logits, targets)),
        Way(EAGER, lambda: eager(logits, targets)),
        Way("torch.compile", compiled(torch, logits, targets)),
    ]
    if dtype != "float32" and device == "cpu":
        ways.append(Way("torch, to float32 first", lambda: eager(logits.float(), targets)))
    if device == "cuda":
        ways += cuda_peers(logits, targets)
    sample = torch.arange(0, n, max(1, n // 64), device=device)
    expected = truth(lambda columns: logits[sample, columns].double(), VOCABULARY, targets[sample])
    with torch.inference_mode():
        ways = usable(ways, expected, sample)
        bench.same_bits(title, ways[0].run, device)
        copy = torch.empty_like(logits) if device == "cuda" else None
        floor = reading(logits.nbytes, logits) if copy is None else copying(logits, copy)
        bench.task(
            title,
            ways,
            floor=floor,
            targets=cpu_targets(ways[0]) if device == "cpu" else [exact_enough(ways[0]), *cuda_targets(ways)],
            device=device,
            memory=True,
        )


def compiled(torch, logits, targets):
    run = torch.compile(eager)
    return lambda: run(logits, targets)


def cuda_peers(logits, targets):
    liger, quack = optional("liger_kernel.transformers.functional"), optional("quack.cross_entropy")
    if liger:
        yield Way("Liger", negative(liger.liger_cross_entropy, logits, targets, reduction="none"))
    if quack:
        yield Way("QuACK", negative(quack.cross_entropy_fwd, logits, targets))


def copying(x, out):
    """Floor of a task that reads x once, at the rate of a copy, which reads and writes."""
    copy = Way("copy", lambda: out.copy_(x))
    return Floor("GB", x.nbytes / 1e9, [Probe(copy, lambda _: 2 * x.nbytes / 1e9)])


def exact_enough(way):
    return at_most(f"error at most {EXACT:g} nat", EXACT, way.error)


def cpu_targets(way):
    return [
        exact_enough(way),
        faster("at least 2x torch eager", 2, EAGER),
        at_most("memory: a few results for each row, at most 1 MB", 1, megabytes),
    ]


def cuda_targets(ways):
    return [
        of_floor("at least 90% of the bandwidth of a copy", 90),
        if_present(faster("at least 4x torch eager, log_softmax and gather", 4, EAGER, kind="wall"), ways, EAGER),
        at_most("no memory beyond the result, at most 1 MB", 1, megabytes),
    ]


if __name__ == "__main__":
    main()
