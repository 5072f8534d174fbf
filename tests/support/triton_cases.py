"""Triton kernels in the interpreter, on CPU tensors: run as a program with TRITON_INTERPRET=1 by test_kernels.py.

The interpreter multiplies bfloat16 wrongly, so that products are of float16 and float32 here.
"""

import itertools
import warnings

import numpy as np
import torch
from dataprophet.kernels import configurations, euclidean_silhouettes, linear_sweep
from dataprophet.kernels.linear_logprobs import linear_logprobs
from dataprophet.kernels.logprob_parts import logprob_parts
from dataprophet.kernels.merge_logprobs import merge_logprobs
from dataprophet.kernels.segment_means import segment_means
from dataprophet.kernels.token_logprobs import token_logprobs
from scipy.special import log_softmax

from dataprophet.ops import backend, reference, torch_ops

INF, NAN = float("inf"), float("nan")
HEADS = [
    {},
    {"scale": 0.25},
    {"softcap": 5.0},
    {"bias": True, "softcap": 30.0, "scale": -2.0},
]


def exact(logits, targets, bias=None, softcap=None, scale=1.0):
    """Log-probabilities in float64, of logits before bias, scale and softcap."""
    z = np.asarray(logits, float)
    z = (z if bias is None else z + bias.double().numpy()) * scale
    z = z if softcap is None else softcap * np.tanh(z / softcap)
    with np.errstate(invalid="ignore"):
        return log_softmax(z, axis=1)[np.arange(len(z)), targets]


def check(found, expected, atol=5e-6):
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, atol=atol, rtol=1e-6)


def with_bias(head, vocabulary):
    return head | {"bias": torch.linspace(-2, 2, vocabulary)} if head.get("bias") else head


def check_token_logprobs() -> None:
    generator = torch.Generator().manual_seed(0)
    for n, vocabulary in [(1, 1), (3, 17), (4, 4096), (3, 4097), (2, 9001)]:
        for dtype, head in itertools.product((torch.float32, torch.float16, torch.bfloat16), HEADS):
            wide = torch.randn(n, vocabulary + 3, generator=generator).mul(6).to(dtype)
            logits = wide[:, :vocabulary]  # rows with a stride
            targets = torch.randint(0, vocabulary, (n,), generator=generator)
            given = with_bias(head, vocabulary)
            found = token_logprobs(logits, targets, **given)
            check(found, exact(logits.double(), targets.numpy(), **given))
            columns = logits.T.contiguous().T
            assert torch.equal(token_logprobs(columns, targets.int(), **given), found)
            backwards = token_logprobs(logits.flip(0), targets.flip(0), **given)
            assert torch.equal(backwards.flip(0), found)
    assert token_logprobs(torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64)).shape == (0,)


def check_infinities() -> None:
    logits = torch.tensor([[0, -INF, 1], [0, -INF, 1], [-INF] * 3, [0, INF, 1], [0, NAN, 1], [0, 1, 2], [0, 1, 2]])
    targets = torch.tensor([0, 1, 0, 0, 0, 3, -1])
    expected = [-np.log(1 + np.e), -INF, NAN, NAN, NAN, NAN, NAN]
    found = token_logprobs(logits, targets)
    # The same logits from a head: hidden picks a column.
    head = linear_logprobs(torch.eye(7), logits.T.nan_to_num(NAN, 1e38, -1e38).contiguous(), targets)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-6)
    # NaN in a weight spoils the token for every row; minus infinity comes by the bias.
    assert bool(head.isnan().all())
    bias = torch.tensor([0.0, -INF, 1.0])
    hidden, weight = torch.zeros(5, 8), torch.zeros(3, 8)
    hidden[3, 0], hidden[4, 0] = INF, NAN
    targets = torch.tensor([0, 1, 3, 0, 0])
    found = linear_logprobs(hidden, weight, targets, bias=bias)
    np.testing.assert_allclose(found.numpy(), [-np.log(1 + np.e), -INF, NAN, NAN, NAN], rtol=1e-6)
    assert bool(linear_logprobs(hidden, weight, targets, bias=torch.full((3,), -INF)).isnan().all())
    late = torch.zeros(2, 5000)
    late[0, :4096], late[1, 4500] = -INF, NAN
    found = token_logprobs(late, torch.tensor([4999, 0])).numpy()
    np.testing.assert_allclose(found, [-np.log(904), NAN], rtol=1e-6)


def check_huge_and_tied() -> None:
    for offset in (0.0, 1e4, 1e6, -2e38):
        logits = torch.full((2, 700), offset)
        targets = torch.tensor([0, 699])
        check(token_logprobs(logits, targets), np.full(2, -np.log(700)))
        check(linear_logprobs(torch.full((2, 1), offset), torch.ones(700, 1), targets), np.full(2, -np.log(700)))
    # Far from all others, the target is certain, and never more than that.
    hidden, weight = torch.full((3, 40), 1.7), torch.randn(3000, 40, generator=torch.Generator().manual_seed(0))
    weight[1234] = 100.0
    found = linear_logprobs(hidden, weight, torch.tensor([1234, 0, 1234]))
    assert found[0] == found[2] == 0.0
    np.testing.assert_allclose(found[1], hidden[0].double() @ (weight[0] - weight[1234]).double(), rtol=1e-6)


def head_of(n, vocabulary, depth, dtype, generator):
    hidden, weight = torch.randn(n, depth, generator=generator), torch.randn(vocabulary, depth, generator=generator)
    return hidden.to(dtype), weight.to(dtype), torch.randint(0, vocabulary, (n,), generator=generator)


def check_linear_logprobs() -> None:
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, 1, 8), (1, 300, 1), (5, 1003, 24), (130, 600, 40)]
    cases = list(itertools.product(shapes, (torch.float32, torch.float16)))
    cases.append(((3, 33_500, 17), torch.float16))  # of more tiles than the most splits can share out evenly
    for (n, vocabulary, depth), dtype in cases:
        hidden, weight, targets = head_of(n, vocabulary, depth, dtype, generator)
        logits = hidden.double().numpy() @ weight.double().numpy().T
        for head in HEADS if vocabulary < 2000 else HEADS[-1:]:
            given = with_bias(head, vocabulary)
            expected = exact(logits, targets.numpy(), **given)
            check(linear_logprobs(hidden, weight, targets, **given), expected, atol=1e-5)
        strided = linear_logprobs(hidden.T.contiguous().T, weight.T.contiguous().T, targets.int(), **given)
        np.testing.assert_allclose(strided.numpy(), expected, atol=1e-5)
    none = torch.zeros(0, dtype=torch.int64)
    assert linear_logprobs(torch.zeros(0, 3), torch.zeros(5, 3), none).shape == (0,)
    flat = linear_logprobs(torch.zeros(2, 0), torch.zeros(5, 0), torch.tensor([0, 4]))
    np.testing.assert_allclose(flat.numpy(), -np.log(5), rtol=1e-6)
    assert bool(linear_logprobs(torch.zeros(2, 3), torch.zeros(0, 3), torch.tensor([0, 4])).isnan().all())


def check_dtypes_that_differ() -> None:
    """Both are widened: the result is that of the very values."""
    dtypes = (torch.float32, torch.float16, torch.bfloat16)
    for first, second in itertools.permutations(dtypes, 2):
        hidden, weight, targets = head_of(20, 1500, 40, torch.float32, torch.Generator().manual_seed(0))
        hidden, weight = hidden.to(first), weight.to(second)
        expected = exact(hidden.double().numpy() @ weight.double().numpy().T, targets.numpy())
        check(linear_logprobs(hidden, weight, targets), expected, atol=1e-5)


def check_configurations() -> None:
    """Every configuration of the tables gives the same, from hidden that is not aligned too."""
    generator = torch.Generator().manual_seed(0)
    hidden, weight, targets = head_of(150, 1500, 80, torch.float16, generator)
    odd = torch.zeros(150, 83, dtype=torch.float16)[:, 1:81]
    odd.copy_(hidden)
    expected = exact(hidden.double().numpy() @ weight.double().numpy().T, targets.numpy())
    table = {*configurations.DESCRIPTORS.values(), *configurations.POINTERS.values(), configurations.SCATTERED}
    for configuration in table:
        found = torch.empty(150)
        for given in (hidden, odd):
            linear_sweep.sweep(given, weight, targets, (found,), configuration=configuration)
            np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)

    def chosen(capability, sixteen_bit=True, regular=True, descriptors=True):
        return configurations.configuration(
            capability, sixteen_bit=sixteen_bit, regular=regular, descriptors=descriptors
        )

    assert chosen(90).descriptors
    assert chosen(103) == configurations.DESCRIPTORS[10]
    for other in (chosen(90, descriptors=False), chosen(86), chosen(120)):
        assert other == configurations.POINTERS[8]
    assert chosen(100, descriptors=False) == configurations.POINTERS[10]
    assert chosen(90, regular=False) == configurations.SCATTERED
    assert chosen(90, sixteen_bit=False) == configurations.WIDE[9]
    assert chosen(75, sixteen_bit=False) == configurations.WIDE[8]


def check_bits() -> None:
    """A row's result is the same bits in any batch, at any place, and however the rows are cut into chunks."""
    generator = torch.Generator().manual_seed(0)
    for dtype in (torch.float32, torch.float16):
        hidden, weight, targets = head_of(140, 700, 40, dtype, generator)
        # Exact products: the interpreter leaves them to NumPy, whose sums may depend on a row's place.
        hidden, weight = (hidden * 8).round() / 8, (weight * 8).round() / 8
        whole = linear_logprobs(hidden, weight, targets)
        order = torch.randperm(140, generator=generator)
        assert torch.equal(whole[order], linear_logprobs(hidden[order], weight, targets[order]))
        assert torch.equal(whole[121:131], linear_logprobs(hidden[121:131], weight, targets[121:131]))
    size, linear_sweep.WORKSPACE_BYTES = linear_sweep.WORKSPACE_BYTES, 1  # chunks of 2,048 rows
    targets = targets % 150
    found = linear_logprobs(hidden.repeat(15, 1), weight[:150], targets.repeat(15))
    assert torch.equal(found, linear_logprobs(hidden, weight[:150], targets).repeat(15))
    linear_sweep.WORKSPACE_BYTES = size


def check_parts() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden, weight, targets = head_of(40, 2100, 24, torch.float32, generator)
    bias = torch.linspace(-2, 2, 2100)
    whole = exact(hidden.double().numpy() @ weight.double().numpy().T, targets.numpy(), bias, 6.0, 0.5)
    cuts = [0, 700, 700, 1399, 2100]  # a shard may be empty
    parts = [
        logprob_parts(hidden, weight[a:b], targets, first=a, bias=bias[a:b], softcap=6.0, scale=0.5)
        for a, b in itertools.pairwise(cuts)
    ]
    np.testing.assert_allclose(merge_logprobs(parts).numpy(), whole, atol=1e-5)
    z = hidden.double() @ weight[:700].double().T + bias[:700].double()
    z = 6.0 * torch.tanh(0.5 * z / 6.0)
    found = parts[0].maximum.double() + parts[0].total.double().log()
    np.testing.assert_allclose(found, z.logsumexp(1), atol=1e-5)
    own = torch.where(targets < 700, z.gather(1, targets.clamp(max=699)[:, None])[:, 0], -INF)
    np.testing.assert_allclose(parts[0].target, own, atol=1e-5)
    assert bool((parts[1].maximum == -INF).all() & (parts[1].total == 0).all() & (parts[1].target == -INF).all())
    assert merge_logprobs([type(part)(*(field[:0] for field in part)) for part in parts]).shape == (0,)
    lost = [part._replace(target=torch.full((40,), -INF)) for part in parts]
    assert bool((merge_logprobs(lost) == -INF).all())


def check_dispatch() -> None:
    """The operations on CUDA call the kernels as they call plain torch, and get the same."""
    generator = torch.Generator().manual_seed(0)
    hidden, weight, targets = head_of(9, 700, 24, torch.float32, generator)
    options = {"bias": weight[:, 0], "softcap": 7.0, "scale": 0.5}
    for name, arguments, more in (
        ("token_logprobs", [hidden @ weight.T, targets], {}),
        ("linear_logprobs", [hidden, weight, targets], {}),
        ("logprob_parts", [hidden, weight, targets], {"first": 3}),
    ):
        way = backend.on_tokens(name, wide=False)
        assert way.__module__ == f"dataprophet.kernels.{name}"
        plain = backend.on_tokens(name, wide=True)
        assert plain.__module__ == "dataprophet.ops.torch_ops"
        found, expected = (call(*arguments, **options, **more) for call in (way, plain))
        assert type(found) is type(expected)
        several = isinstance(found, tuple)
        for mine, other in zip(found if several else [found], expected if several else [expected], strict=True):
            assert mine.dtype == other.dtype
            torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-6)
    merged = backend.on_tokens("merge_logprobs", wide=False)([found, found])
    torch.testing.assert_close(merged, torch_ops.merge_logprobs([found, found]), atol=1e-6, rtol=1e-6)


def check_segment_means() -> None:
    values = torch.randn(2000, generator=torch.Generator().manual_seed(0))
    offsets = torch.tensor([3, 4, 260, 600, 600, 2000])
    for given in (values, values.half()):
        found = segment_means(given, offsets).numpy()
        wide = given.double().numpy()
        for i, (start, stop) in enumerate(itertools.pairwise(offsets)):
            expected = wide[start:stop].mean() if stop > start else np.nan
            np.testing.assert_allclose(found[i], expected, atol=1e-6)
        assert np.array_equal(segment_means(given, offsets.int()).numpy(), found, equal_nan=True)
    assert segment_means(values, offsets[:1]).shape == (0,)


def check_silhouettes() -> None:
    """Of rows rounded to fp16: within a square of tiles and over several, tight clusters far apart, equal rows."""
    suits, side = euclidean_silhouettes.suits, euclidean_silhouettes.SIDE
    euclidean_silhouettes.SIDE = 512
    for sizes, d, spread in (([500, 250], 72, 1.0), ([512, 256, 256], 16, 1e4), ([256, 255, 1], 5, 1.0)):
        assert suits(90, np.array(sizes)) == (1 not in sizes)
        rng = np.random.default_rng(0)
        labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
        wide = rng.standard_normal((len(sizes), d))[labels] * spread + rng.standard_normal((len(labels), d)) + 3
        wide[labels == 1] = wide[labels == 1][0]  # all equal
        clusters = torch.from_numpy(labels).int()
        for dtype in (torch.float32, torch.bfloat16) if d == 72 else (torch.float16,):
            x = torch.from_numpy(wide).to(dtype)
            order = torch.argsort(clusters, stable=True)
            given = x, clusters, order, np.array(sizes)
            scores, means = euclidean_silhouettes.euclidean_silhouettes(*given)
            expected, distances = reference.silhouettes(x.double().numpy(), labels, "euclidean")
            np.testing.assert_allclose(scores.numpy(), expected, atol=2e-4 if d > 5 else 5e-4)
            np.testing.assert_allclose(means.numpy(), distances, rtol=2e-3)
            assert bool((means[clusters == 1, 0] == 0).all())
    euclidean_silhouettes.SIDE = side
    assert not suits(80, np.array([512, 512]))
    assert not suits(90, np.array([130, 130, 130]))


if __name__ == "__main__":
    # The interpreter computes as NumPy does, which tells of infinities and of rows beyond the last.
    warnings.simplefilter("ignore", RuntimeWarning)
    check_token_logprobs()
    check_infinities()
    check_huge_and_tied()
    check_linear_logprobs()
    check_dtypes_that_differ()
    check_configurations()
    check_bits()
    check_parts()
    check_dispatch()
    check_segment_means()
    check_silhouettes()
    print("fine")
