"""token_logprobs, linear_logprobs and segment_means against SciPy in float64, and bad input."""

import itertools

import numpy as np
import pytest
from scipy.special import entr, log_softmax, logsumexp

from dataprophet import ops
from dataprophet.errors import DataProphetError

# fp32 accumulation. Inputs are widened exactly, so the input's dtype does not matter.
TOKEN, LINEAR = 5e-6, 1e-5


def problem(n, vocabulary, depth=24, seed=0):
    rng = np.random.default_rng(seed)
    hidden, weight = rng.standard_normal((n, depth)), rng.standard_normal((vocabulary, depth))
    return hidden.astype(np.float32), weight.astype(np.float32), rng.integers(0, vocabulary, n)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize(("n", "vocabulary"), [(1, 1), (5, 1000), (300, 257), (3, 9001)])
def test_token_logprobs(dtype, n, vocabulary):
    torch = pytest.importorskip("torch")
    _, _, targets = problem(n, vocabulary)
    logits = torch.randn(n, vocabulary, generator=torch.Generator().manual_seed(0)).mul(5).to(getattr(torch, dtype))
    expected = log_softmax(logits.double().numpy(), axis=1)[np.arange(n), targets]
    found = ops.token_logprobs(logits, targets)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, atol=TOKEN)
    array = logits.numpy() if dtype != "bfloat16" else logits.float().numpy()
    plain = ops.token_logprobs(array, targets.astype(np.uint32))
    assert plain.dtype == np.float32
    np.testing.assert_allclose(plain, expected, rtol=1e-6, atol=1e-7)


def test_infinite_logits():
    torch = pytest.importorskip("torch")
    logits = np.array([[0, -np.inf, 1], [0, -np.inf, 1], [-np.inf] * 3, [0, np.inf, 1], [0, np.nan, 1]], np.float32)
    targets = np.array([0, 1, 0, 0, 0])
    expected = [-np.log(1 + np.e), -np.inf, np.nan, np.nan, np.nan]
    np.testing.assert_allclose(ops.token_logprobs(logits, targets), expected, rtol=1e-6)
    np.testing.assert_allclose(ops.token_logprobs(torch.tensor(logits), targets).numpy(), expected, rtol=1e-6)


@pytest.mark.parametrize("offset", [0.0, 1e6, 3e38, -3e38])
def test_large_logits_lose_no_digits(offset):
    torch = pytest.importorskip("torch")
    logits = np.full((2, 3), offset, np.float32)
    for values in (logits, torch.tensor(logits)):
        np.testing.assert_allclose(np.asarray(ops.token_logprobs(values, [0, 2])), -np.log(3), rtol=1e-6)


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("edges", [[0, 9001], [0, 1, 4096, 4096, 9001]])
def test_parts_of_a_vocabulary(library, dtype, edges):
    as_array = np.asarray if library == "numpy" else pytest.importorskip("torch").as_tensor
    hidden, weight, targets = problem(300, 9001)
    hidden, weight, bias = hidden.astype(dtype), weight.astype(dtype), np.linspace(-2, 2, 9001).astype(dtype)
    targets[0], bias[targets[1]], bias[0] = 9000, -np.inf, -np.inf
    options = {"softcap": None, "scale": 1.5}
    shards = [
        ops.logprob_parts(
            as_array(hidden), as_array(weight[a:b]), as_array(targets), first=a, bias=as_array(bias[a:b]), **options
        )
        for a, b in itertools.pairwise(edges)
    ]
    logits = (hidden.astype(float) @ weight.astype(float).T + bias) * 1.5
    rows = np.arange(300)
    for (a, b), part in zip(itertools.pairwise(edges), shards, strict=True):
        maximum, total, target = (np.asarray(each) for each in part)
        assert {each.dtype for each in (maximum, total, target)} == {np.dtype(np.float32)}
        assert type(part.total) is type(as_array(hidden))
        inside = (targets >= a) & (targets < b)
        np.testing.assert_allclose(target, np.where(inside, logits[rows, targets], -np.inf), rtol=1e-6, atol=1e-5)
        if b > a:
            np.testing.assert_allclose(maximum, logits[:, a:b].max(axis=1), rtol=1e-6, atol=1e-5)
        with np.errstate(divide="ignore"):
            np.testing.assert_allclose(maximum + np.log(total), logsumexp(logits[:, a:b], axis=1), rtol=1e-6, atol=1e-5)
    expected = log_softmax(logits, axis=1)[rows, targets]
    for order in (shards, shards[::-1]):
        found = ops.merge_logprobs(order)
        assert type(found) is type(as_array(hidden))
        np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-6, atol=LINEAR)
    missing = ops.merge_logprobs([ops.logprob_parts(as_array(hidden), as_array(weight), as_array(targets + 9001))])
    assert np.isneginf(np.asarray(missing)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_plain_torch(dtype):
    """What serves CUDA without Triton, here on the CPU: the definitions, and NaN for targets out of range."""
    torch = pytest.importorskip("torch")
    from dataprophet.ops import reference, torch_ops

    hidden, weight, targets = (torch.as_tensor(each) for each in problem(70, 9001))
    hidden, weight = hidden.to(getattr(torch, dtype)), weight.to(getattr(torch, dtype))
    wide = [each.double().numpy() for each in (hidden, weight)]
    bias = torch.linspace(-2, 2, 9001, dtype=torch.float64)
    bias[:7] = -torch.inf
    logits = (hidden.double() @ weight.double().T).to(hidden.dtype)
    logits[3, 5], logits[4, 6], logits[5] = torch.nan, torch.inf, -torch.inf
    for options in ({}, {"bias": bias, "scale": 0.5}, {"softcap": 9.0}):
        plain = options | ({"bias": bias.numpy()} if "bias" in options else {})
        alone = torch_ops.linear_logprobs(hidden, weight, targets, **options)
        expected = reference.linear_logprobs(*wide, targets.numpy(), **plain)
        np.testing.assert_allclose(alone, expected, atol=2e-5, rtol=1e-7)
        found = torch_ops.token_logprobs(logits, targets, **options)
        expected = reference.token_logprobs(logits.double().numpy(), targets.numpy(), **plain)
        np.testing.assert_allclose(found, expected, atol=TOKEN, rtol=1e-7)
        shards = []
        for first, last in ((0, 4096), (4096, 4096), (4096, 9001)):
            part = {"bias": bias[first:last]} if "bias" in options else {}
            shards.append(torch_ops.logprob_parts(hidden, weight[first:last], targets, first=first, **(options | part)))
        np.testing.assert_allclose(torch_ops.merge_logprobs(shards), alone, atol=1e-5)
    targets[0], targets[1] = -1, 9001
    for found in (
        torch_ops.linear_logprobs(hidden, weight, targets),
        torch_ops.token_logprobs(logits, targets),
    ):
        assert found[:2].isnan().all()


def details_of(logits, targets):
    """Rank and entropy from full logits in float64; a probability of 0 adds nothing to the entropy."""
    found = log_softmax(logits, axis=1)
    own = logits[np.arange(len(targets)), targets][:, None]
    return (logits > own).sum(1), entr(np.exp(found)).sum(1)


@pytest.mark.parametrize("dtype", ["numpy", "float64", "float32", "bfloat16"])
@pytest.mark.parametrize(("bias", "softcap", "scale"), [(False, None, 1.0), (True, None, 0.5), (True, 9.0, 2.0)])
def test_details(dtype, bias, softcap, scale, monkeypatch):
    torch = pytest.importorskip("torch")
    from dataprophet.ops import torch_ops

    monkeypatch.setattr(torch_ops, "_ROWS", 64)  # 29 rows at a time
    hidden, weight, targets = problem(70, 9001)
    hidden, weight = (np.round(each * 8) / 8 for each in (hidden, weight))  # products are exact, and ranks with them
    shift = np.round(np.linspace(-2, 2, 9001) * 8) / 8
    logits = scale * (hidden.astype(float) @ weight.astype(float).T + (shift if bias else 0.0))
    targets[:9] = logits[:9].argmax(1)
    expected = details_of(logits if softcap is None else softcap * np.tanh(logits / softcap), targets)
    given = [hidden, weight, targets, shift]
    if dtype != "numpy":
        *floats, places, shift = (torch.as_tensor(each) for each in given)
        given = [*(each.to(getattr(torch, dtype)) for each in floats), places, shift.float()]
    options = {"bias": given[3] if bias else None, "softcap": softcap, "scale": scale}
    product = given[0] @ given[1].T if dtype in ("numpy", "float64") else given[0].float() @ given[1].float().T
    for found in (
        ops.linear_details(*given[:3], **options),
        ops.token_details(product, given[2], **options),
    ):
        assert type(found.rank) is type(found.entropy) is type(given[0])
        rank, entropy = (np.asarray(each) for each in found)
        assert (rank.dtype, entropy.dtype) == (np.int64, np.float32)
        np.testing.assert_allclose(entropy, expected[1], atol=2e-5, rtol=1e-5)
        assert (np.abs(rank - expected[0]) <= (0 if softcap is None else 2)).all()  # a cap makes equals of neighbours


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_details_of_equals_and_of_what_has_no_softmax(library):
    as_array = np.asarray if library == "numpy" else pytest.importorskip("torch").as_tensor
    inf = np.inf
    rows = [[1, 1, 0], [0, 1, 1], [0, -inf, -inf], [0, -inf, 1], [-inf] * 3, [0, inf, 1], [0, np.nan, 1], [900, 0, 0]]
    logits, targets = np.array(rows, np.float32), np.array([1, 0, 0, 1, 0, 0, 0, 0])
    rank, entropy = (np.asarray(each) for each in ops.token_details(as_array(logits), as_array(targets)))
    assert rank.tolist() == [0, 2, 0, 2, -1, -1, -1, 0]
    two, three = entr([1 / (1 + np.e), np.e / (1 + np.e)]).sum(), entr(np.exp(log_softmax([1, 1, 0]))).sum()
    np.testing.assert_allclose(entropy, [three, three, 0, two, *[np.nan] * 3, 0], rtol=1e-6)
    for bad, message in (([3] * 8, "targets"), ([0] * 7, "targets")):
        with pytest.raises(DataProphetError, match=message):
            ops.token_details(as_array(logits), as_array(np.array(bad)))


def test_no_rows():
    assert ops.token_logprobs(np.zeros((0, 5), np.float32), []).shape == (0,)
    with pytest.raises(DataProphetError, match="labels: expected at least 1 row"):
        ops.cluster_entropy([], 5)


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize(
    ("bias", "softcap", "scale"), [(False, None, 1.0), (True, None, 0.25), (False, 3.0, 1.0), (True, 30.0, 2.0)]
)
@pytest.mark.parametrize(("n", "vocabulary"), [(1, 1), (300, 4097), (3, 9001)])
def test_linear_logprobs(library, n, vocabulary, bias, softcap, scale):
    hidden, weight, targets = problem(n, vocabulary)
    extra = np.linspace(-2, 2, vocabulary).astype(np.float32) if bias else None
    logits = hidden.astype(float) @ weight.astype(float).T
    logits = (logits + (0.0 if extra is None else extra.astype(float))) * scale
    if softcap is not None:
        logits = np.tanh(logits / softcap) * softcap
    expected = log_softmax(logits, axis=1)[np.arange(n), targets]
    as_array = np.asarray if library == "numpy" else pytest.importorskip("torch").as_tensor
    arguments = (as_array(hidden), as_array(weight), as_array(targets))
    given = None if extra is None else as_array(extra)
    found = ops.linear_logprobs(*arguments, bias=given, softcap=softcap, scale=scale)
    assert type(found) is type(arguments[0])
    np.testing.assert_allclose(np.asarray(found), expected, atol=LINEAR)


def test_linear_logprobs_widens_half_precision():
    torch = pytest.importorskip("torch")
    hidden, weight, targets = problem(40, 3000)
    for dtype in (torch.bfloat16, torch.float16):
        low, head = torch.tensor(hidden).to(dtype), torch.tensor(weight).to(dtype)
        expected = log_softmax(low.double().numpy() @ head.double().numpy().T, axis=1)[np.arange(40), targets]
        np.testing.assert_allclose(ops.linear_logprobs(low, head, targets).numpy(), expected, atol=LINEAR)


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
def test_segment_means(dtype):
    values = np.random.default_rng(0).standard_normal(100).astype(dtype)
    offsets = np.array([0, 1, 40, 41, 100])
    expected = [values[a:b].astype(float).mean() for a, b in itertools.pairwise(offsets)]
    found = ops.segment_means(values, offsets)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-7)
    np.testing.assert_allclose(ops.segment_means(values, offsets[1:4].astype(np.int32)), expected[1:3], atol=1e-7)
    assert ops.segment_means(values, [0]).shape == (0,)


def test_empty_problems():
    assert ops.token_logprobs(np.zeros((0, 5), np.float32), np.zeros(0, int)).shape == (0,)
    assert ops.linear_logprobs(np.zeros((0, 2), np.float32), np.ones((5, 2), np.float32), np.zeros(0, int)).shape == (
        0,
    )
    torch = pytest.importorskip("torch")
    none = torch.zeros(0, dtype=torch.int64)
    assert ops.token_logprobs(torch.zeros(0, 5), none).shape == (0,)
    assert ops.linear_logprobs(torch.zeros(0, 2), torch.ones(5, 2), none).shape == (0,)
    assert ops.segment_means(torch.zeros(0), [0]).shape == (0,)


LOGITS = np.zeros((4, 6), np.float32)
T = np.zeros(4, np.int64)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: ops.token_logprobs(LOGITS, T + 6), DataProphetError, r"targets: element 0 is 6, outside \[0, 6\)"),
        (lambda: ops.token_logprobs(LOGITS, T - 100), DataProphetError, "targets: element 0 is -100, outside"),
        (
            lambda: ops.token_logprobs(LOGITS, T[:3]),
            DataProphetError,
            "targets: expected 4 elements as logits has rows",
        ),
        (lambda: ops.token_logprobs(LOGITS, LOGITS[:, 0]), TypeError, "targets: expected integers, got dtype float32"),
        (lambda: ops.token_logprobs(LOGITS[0], T), DataProphetError, "logits: expected 2 dimensions"),
        (lambda: ops.token_logprobs(LOGITS[:, :0], T), DataProphetError, "targets: element 0 is 0, outside"),
        (
            lambda: ops.linear_logprobs(LOGITS, LOGITS[:, :5], T),
            DataProphetError,
            "weight: expected 6 columns as in hidden",
        ),
        (lambda: ops.linear_logprobs(LOGITS, LOGITS, T, bias=LOGITS[0]), DataProphetError, "bias: expected 4 elements"),
        (lambda: ops.token_logprobs(LOGITS, T, bias=LOGITS[0, :4]), DataProphetError, "bias: expected 6 elements"),
        (lambda: ops.token_logprobs(LOGITS, T, softcap=-1.0), DataProphetError, "softcap: expected a positive"),
        (lambda: ops.logprob_parts(LOGITS, LOGITS, T - 1), DataProphetError, "targets: element 0 is -1, outside"),
        (lambda: ops.merge_logprobs([]), DataProphetError, "parts: expected at least 1"),
        (
            lambda: ops.merge_logprobs([ops.logprob_parts(LOGITS[:n], LOGITS, T[:n]) for n in (4, 3)]),
            DataProphetError,
            "maximum: expected 4 elements as in the first part, got 3 in part 1",
        ),
        (lambda: ops.linear_logprobs(LOGITS, LOGITS, T, softcap=0.0), DataProphetError, "softcap: expected a positive"),
        (lambda: ops.linear_logprobs(LOGITS, LOGITS, T + 4), DataProphetError, "targets: element 0 is 4, outside"),
        (lambda: ops.segment_means(LOGITS[0], [0, 3, 3, 6]), DataProphetError, "offsets: segment 1 is empty"),
        (
            lambda: ops.segment_means(LOGITS[0], [0, 7]),
            DataProphetError,
            r"offsets: expected increasing offsets in \[0, 6\]",
        ),
        (lambda: ops.segment_means(LOGITS[0], [-1, 6]), DataProphetError, "offsets: expected increasing offsets"),
        (lambda: ops.segment_means(LOGITS[0], [0, 4, 2, 6]), DataProphetError, "offsets: expected increasing offsets"),
        (lambda: ops.segment_means(LOGITS[0], T[:0]), DataProphetError, "offsets: expected at least 1"),
        (lambda: ops.segment_means(LOGITS[0], [0.0, 6.0]), TypeError, "offsets: expected integers"),
    ],
)
def test_bad_input(call, kind, message):
    with pytest.raises(kind, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
