"""Log-probabilities of targets under a linear head: ours, torch eager and compiled, CCE, Liger and QuACK."""

from harness import Bench, Target, Way, arithmetic, at_most, faster, optional, options, thread_counts
from tokens import VOCABULARY, at_most_times, eager, exact_nats, if_present, megabytes, negative, truth, usable

from dataprophet import ops

EAGER, WIDE, CHUNKED = "torch, product and log_softmax", "torch, to float32 first", "torch, chunks in float32"
PRODUCT, CCE = "product alone", "CCE"
CPU_SIZES = ((30, 256), (320, 256), (2_048, 256), (30, 1_536), (320, 1_536), (2_048, 1_536))
CUDA_ROWS, CUDA_DEPTHS = 65_536, (1_536, 2_048, 3_584)


def main() -> None:
    args = options(__doc__)
    if optional("torch") is None:
        print("left out: the peers need torch")
        return
    bench = Bench("linear_logprobs", args, rounds=3)
    sizes = [(30, 256)] if args.quick else CPU_SIZES
    for n, depth in sizes if "cpu" in args.devices else ():
        for dtype in ("bfloat16", "float32"):
            run(bench, n, depth, dtype, "cpu")
    for depth in CUDA_DEPTHS:
        if "cuda" in args.devices:
            run(bench, 2_048 if args.quick else CUDA_ROWS, depth, "bfloat16", "cuda")
        else:
            unmeasured = [Target(each.text, each.bound, None, each.least) for each in cuda_targets([])]
            bench.judge(f"CUDA, {CUDA_ROWS:,} rows, d={depth} bfloat16", unmeasured)
    bench.write()


def run(bench, n, depth, dtype, device):
    torch = optional("torch")
    title = f"linear_logprobs, {n:,} rows, {VOCABULARY:,} tokens, d={depth} {dtype}"
    generator = torch.Generator(device).manual_seed(0)
    kind = {"generator": generator, "device": device}
    hidden = torch.randn(n, depth, **kind).to(getattr(torch, dtype))
    weight = (torch.randn(VOCABULARY, depth, **kind) * 3 * depth**-0.5).to(getattr(torch, dtype))
    targets = torch.randint(0, VOCABULARY, (n,), **kind)
    given = hidden, weight, targets
    ways = [
        Way("ours", lambda: ops.linear_logprobs(*given)),
        Way(EAGER, lambda: naive(*given)),
        Way("torch.compile", compiled(torch, given)),
        *(cpu_peers(*given) if device == "cpu" else cuda_peers(*given)),
    ]
    sample = torch.arange(0, n, max(1, n // 32), device=device)
    rows = hidden[sample].double()
    expected = truth(lambda tokens: rows @ weight[tokens].double().T, VOCABULARY, targets[sample])
    with torch.inference_mode():
        ways = usable(ways, expected, sample)
        bench.same_bits(title, ways[0].run, device)
        bench.task(
            title,
            ways,
            floor=arithmetic(2.0 * n * VOCABULARY * depth, dtype, device),
            targets=[
                exact_enough(ways[0], depth, device),
                *(cpu_targets(dtype) if device == "cpu" else cuda_targets(ways)),
            ],
            device=device,
            counts=None if n < 1_000 or device == "cuda" else thread_counts()[-1:],  # long ones once
            memory=True,
        )


def naive(hidden, weight, targets):
    return eager(hidden @ weight.T, targets)


def compiled(torch, given):
    run = torch.compile(naive)
    return lambda: run(*given)


def cpu_peers(hidden, weight, targets):
    torch_ops, cce = optional("dataprophet.ops.torch_ops"), optional("cut_cross_entropy")
    if str(hidden.dtype) != "torch.float32":
        yield Way(WIDE, lambda: naive(hidden.float(), weight.float(), targets))
    yield Way(CHUNKED, lambda: torch_ops.linear_logprobs(hidden, weight, targets))
    if cce:
        options = {"reduction": "none", "impl": "torch_compile"}
        yield Way("CCE, torch_compile", negative(cce.linear_cross_entropy, hidden, weight, targets, **options))


def cuda_peers(hidden, weight, targets):
    yield Way(PRODUCT, lambda: hidden @ weight.T)
    cce, quack = optional("cut_cross_entropy"), optional("quack.linear_cross_entropy")
    liger = optional("liger_kernel.transformers.functional")
    if cce:
        yield Way(CCE, negative(cce.linear_cross_entropy, hidden, weight, targets, reduction="none"))
    if liger:
        fused = liger.liger_fused_linear_cross_entropy
        yield Way("Liger", negative(fused, hidden, weight, targets, reduction="none"))
    if quack:
        plain = quack.linear_cross_entropy_func
        yield Way("QuACK", negative(plain, hidden, weight, None, targets, reduction="none"))


def exact_enough(way, depth, device):
    bound = exact_nats(depth, device)
    return at_most(f"error at most {bound:.1g} nat", bound, way.error)


def cpu_targets(dtype):
    exact_form = EAGER if dtype == "float32" else WIDE
    return [
        faster("at least 1.5x torch eager in float32", 1.5, exact_form),
        at_most("memory: no n x V, at most 16 MB", 16, megabytes),
    ]


def cuda_targets(ways):
    return [
        if_present(at_most_times("at most 1.11x the time of the product alone", 1.11, PRODUCT), ways, PRODUCT),
        if_present(faster("at least 1.25x CCE, forward", 1.25, CCE, kind="wall"), ways, CCE),
        at_most("memory beyond the result at most 8 MB", 8, megabytes),
    ]


if __name__ == "__main__":
    main()
