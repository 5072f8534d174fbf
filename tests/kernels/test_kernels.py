"""Triton kernels: in the interpreter against float64, compiled ahead of time, and on a GPU where there is one."""

import importlib.util
import itertools
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from cuda_waiting import nothing_waits
from scipy.special import log_softmax

from dataprophet import ops

NATS = 2e-5  # for logits of some tens, summed in fp32
TRUNCATED = 2.8e-8  # for each of D: tensor cores round sums towards 0

# Each in a process of its own: TRITON_INTERPRET is read when triton is imported, and rules out compiling.
PROGRAMS = {"triton_cases.py": {"TRITON_INTERPRET": "1"}, "triton_compile.py": {}}


def release(package):
    return tuple(map(int, metadata.version(package).split(".")[:2]))


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS)
def test_kernels(program, tmp_path):
    for module in ("triton", "torch"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    if program == "triton_cases.py" and release("triton") < (3, 9) and release("numpy") >= (2, 4):
        pytest.skip("Triton's interpreter before 3.9 does not run with NumPy 2.4; constraints.txt has a pair that runs")
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    support = Path(__file__).resolve().parents[1] / "support"
    done = subprocess.run(
        [sys.executable, str(support / program)],
        env={**kept, "TRITON_CACHE_DIR": str(tmp_path), "PYTHONPATH": str(support), **PROGRAMS[program]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "fine", done.stderr


@pytest.mark.parametrize("depth", [72, 1536, 3584])
def test_sums_that_are_cut_off_stay_within_the_bound(depth):
    """Products of bfloat16 as tensor cores add them up: 16 at a time, exactly, then rounded towards 0."""
    rng = np.random.default_rng(0)
    shapes = ((70, depth), 1.0), ((257, depth), 3 * depth**-0.5)
    drawn = [(rng.standard_normal(shape) * scale).astype(np.float32) for shape, scale in shapes]
    hidden, weight = ((x.view(np.uint32) & 0xFFFF0000).view(np.float32).astype(float) for x in drawn)
    sums = np.zeros((70, 257), np.float32)
    for start in range(0, depth, 16):
        exact = sums + hidden[:, start : start + 16] @ weight[:, start : start + 16].T
        sums = exact.astype(np.float32)
        sums = np.where(np.abs(sums) > np.abs(exact), np.nextafter(sums, np.float32(0)), sums)
    errors = np.abs(log_softmax(sums.astype(float), axis=1) - log_softmax(hidden @ weight.T, axis=1))
    errors = errors[np.arange(70), rng.integers(0, 257, 70)]  # of a target in each row
    assert errors.max() <= max(NATS, TRUNCATED * depth)
    assert (errors.max() > NATS) == (depth > 1000)  # a bound for all depths would be too narrow, or too wide


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    return torch


def head_of(torch, n, vocabulary, depth, dtypes, seed=0):
    """hidden, weight and targets on CUDA, of logits with a standard deviation of 3."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, depth, generator=generator)
    weight = torch.randn(vocabulary, depth, generator=generator) * 3 * depth**-0.5
    targets = torch.randint(0, vocabulary, (n,), generator=generator)
    first, second = (getattr(torch, dtype) for dtype in dtypes)
    return hidden.to(first).cuda(), weight.to(second).cuda(), targets.cuda()


HEADS = [{}, {"bias": True, "softcap": 30.0, "scale": 0.5}]
PAIRS = [("bfloat16", "bfloat16"), ("float16", "float16"), ("float32", "float32"), ("float32", "bfloat16")]


@pytest.mark.gpu
@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("dtypes", PAIRS)
@pytest.mark.parametrize(
    ("n", "vocabulary", "depth"), [(1, 1, 16), (3, 1000, 17), (129, 5003, 72), (300, 40_000, 1536), (70, 257, 3584)]
)
def test_linear_logprobs_on_cuda(torch, n, vocabulary, depth, dtypes, head):
    """Aligned heads and others, through tensor descriptors where the device has them."""
    hidden, weight, targets = head_of(torch, n, vocabulary, depth, dtypes)
    given = head | ({"bias": torch.linspace(-2, 2, vocabulary).cuda()} if head else {})
    z = hidden.double() @ weight.double().T
    if head:
        z = 30 * torch.tanh((z + given["bias"].double()) * 0.5 / 30)
    expected = torch.log_softmax(z, 1).gather(1, targets[:, None])[:, 0].cpu()
    plain = ops.linear_logprobs(hidden, weight, targets, **given)
    bound = max(NATS, TRUNCATED * depth)
    np.testing.assert_allclose(plain.cpu(), expected, atol=bound)
    np.testing.assert_allclose(ops.token_logprobs(z.float(), targets).cpu(), expected, atol=NATS)
    half = vocabulary // 2
    cuts = itertools.pairwise((0, half, vocabulary))
    shards = [
        ops.logprob_parts(
            hidden,
            weight[a:b],
            targets,
            first=a,
            **(given | ({"bias": given["bias"][a:b]} if head else {})),
        )
        for a, b in cuts
    ]
    np.testing.assert_allclose(ops.merge_logprobs(shards).cpu(), plain.cpu(), atol=bound)


@pytest.mark.gpu
@pytest.mark.parametrize("dtypes", PAIRS)
@pytest.mark.parametrize("depth", [72, 1536])
def test_bits_on_cuda(torch, dtypes, depth):
    """A row's result is the same bits in any batch, at any place, at any address."""
    hidden, weight, targets = head_of(torch, 700, 20_000, depth, dtypes)
    logits = hidden.float() @ weight.float().T
    order = torch.randperm(700, generator=torch.Generator().manual_seed(0)).cuda()
    odd = torch.empty(700, depth + 1, dtype=hidden.dtype, device="cuda")[:, 1:]
    odd.copy_(hidden)
    for run in (
        lambda rows, given: ops.linear_logprobs(given[rows], weight, targets[rows]),
        lambda rows, _: ops.token_logprobs(logits[rows], targets[rows]),
    ):
        whole = run(slice(None), hidden)
        for rows, given in [(order, hidden), (slice(5, 6), hidden), (slice(131, 650), hidden), (slice(None), odd)]:
            assert torch.equal(whole[rows], run(rows, given))


@pytest.mark.gpu
def test_memory_and_waiting_on_cuda(torch):
    """65,536 rows, of which one call takes at most 8 MB beyond its result, and does not wait for the device."""
    hidden, weight, targets = head_of(torch, 65_536, 30_000, 64, ("bfloat16", "bfloat16"))

    def run():
        return ops.linear_logprobs(hidden, weight, targets)

    run()  # compiles, which does wait
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    with nothing_waits(torch):
        found = run()
        ops.token_logprobs(hidden, targets % 64)
    taken = torch.cuda.max_memory_allocated() - before
    assert taken - found.nbytes <= 8_000_000


@pytest.mark.gpu
def test_many_logits_on_cuda(torch):
    """More than 2^31 logits: offsets of rows are of 64 bits."""
    n, vocabulary = 20_000, 151_936
    if torch.cuda.mem_get_info()[0] < 2.5 * n * vocabulary:
        pytest.skip("needs 8 GB of device memory")
    logits = torch.zeros(n, vocabulary, dtype=torch.float16, device="cuda")
    logits[-1, 77] = 10.0
    found = ops.token_logprobs(logits, torch.full((n,), 77, device="cuda"))
    np.testing.assert_allclose(found[:-1].cpu(), -np.log(vocabulary), atol=NATS)
    assert found[-1].item() == pytest.approx(10 - np.log(np.exp(10) + vocabulary - 1), abs=NATS)


@pytest.mark.gpu
def test_operations_on_cuda(torch):
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(n, 48, generator=generator) for n in (700, 300))
    logits, weight = torch.randn(700, 5003, generator=generator) * 4, torch.randn(5003, 48, generator=generator)
    targets = torch.randint(0, 5003, (700,), generator=generator)
    offsets = torch.tensor([0, 10, 11, 700])
    for dtype in (torch.float32, torch.float16, torch.bfloat16, torch.float64):
        low = [tensor.to(dtype) for tensor in (x, y, logits, weight)]
        high = [tensor.cuda() for tensor in low]
        calls = [
            (lambda a: ops.mean_direction(a[0]), 2e-7),
            (lambda a: ops.cosine_to(a[0], a[1]), 2e-5),
            (lambda a: ops.nearest(a[0], a[1])[0], 1e-6),
            (lambda a: ops.token_logprobs(a[2], targets.to(a[2].device)), 5e-6),
            (lambda a: ops.linear_logprobs(a[0], a[3], targets, softcap=20.0), 2e-5),
            (lambda a: ops.segment_means(a[2][:, 0], offsets.to(a[2].device)), 1e-6),
            (lambda a: ops.kmeans(a[0], 5).centroids, 1e-5),
        ]
        for call, tolerance in calls:
            found, expected = call(high), call(low)
            assert found.device.type == "cuda"
            assert found.dtype == expected.dtype
            np.testing.assert_allclose(found.cpu().numpy(), expected.numpy(), atol=tolerance)
        assert ops.expected_cosine(high[0], high[1]) == pytest.approx(ops.expected_cosine(low[0], low[1]), abs=1e-6)
    outside = ops.token_logprobs(logits.cuda(), torch.full((700,), 9999).cuda())
    assert bool(outside.isnan().all())
