"""The compiled log-probabilities of tokens on every instruction set: against SciPy in float64, and their bits."""

import itertools

import numpy as np
import pytest
from scipy.special import log_softmax, logsumexp

from dataprophet import _core, ops

torch = pytest.importorskip("torch")

ISAS = _core.available_isas()
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
PAIRS = list(itertools.product(DTYPES, DTYPES))
ALL = 2e-5  # nats: what fp32 accumulation may cost a token
# Products in fp32 of logits of a few units; logits that are given cost nothing but the sum.
LINEAR, GIVEN = 6e-6, 1e-6


@pytest.fixture(params=ISAS)
def isa(request, monkeypatch):
    monkeypatch.setenv("DATAPROPHET_ISA", request.param)
    return request.param


def drawn(n, vocabulary, depth, dtypes=(torch.float32, torch.float32), seed=0):
    """Hidden rows, a head that makes logits of about one unit of them, and targets."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(n, depth, generator=generator)
    weight = torch.randn(vocabulary, depth, generator=generator) * max(depth, 1) ** -0.5
    return hidden.to(dtypes[0]), weight.to(dtypes[1]), torch.randint(0, vocabulary, (n,), generator=generator)


def products(hidden, weight):
    return hidden.double().numpy() @ weight.double().numpy().T


def check(found, logits, targets, atol):
    expected = log_softmax(logits, axis=1)[np.arange(len(targets)), targets]
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=atol)


@pytest.mark.parametrize(("n", "vocabulary", "depth"), [(1, 1, 1), (5, 1031, 64), (33, 523, 257), (70, 2500, 100)])
@pytest.mark.parametrize("dtypes", PAIRS, ids=lambda pair: "-".join(str(each)[6:] for each in pair))
@pytest.mark.usefixtures("isa")
def test_linear_logprobs(n, vocabulary, depth, dtypes):
    hidden, weight, targets = drawn(n, vocabulary, depth, dtypes)
    check(ops.linear_logprobs(hidden, weight, targets), products(hidden, weight), targets, LINEAR)


@pytest.mark.usefixtures("isa")
def test_deep_heads():
    for dtypes in ((torch.float32, torch.float32), (torch.bfloat16, torch.bfloat16), (torch.float16, torch.float16)):
        hidden, weight, targets = drawn(9, 1200, 3584, dtypes)
        found = ops.linear_logprobs(hidden, weight * 4, targets)
        check(found, products(hidden, weight * 4), targets, ALL)


@pytest.mark.parametrize("vocabulary", [1, 15, 16, 17, 511, 513, 4099])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.usefixtures("isa")
def test_token_logprobs(dtype, vocabulary):
    generator = torch.Generator().manual_seed(1)
    wide = (torch.randn(40, vocabulary + 3, generator=generator) * 6).to(dtype)
    logits = wide[:, 1 : vocabulary + 1]  # rows with a stride, off any alignment
    targets = torch.randint(0, vocabulary, (40,), generator=generator)
    check(ops.token_logprobs(logits, targets), logits.double().numpy(), targets, GIVEN)
    bias = torch.randn(vocabulary, generator=generator)
    changed = np.tanh((logits.double() + bias).numpy() * 0.5 / 4.0) * 4.0
    found = ops.token_logprobs(logits, targets, bias=bias, scale=0.5, softcap=4.0)
    check(found, changed, targets, 2 * GIVEN)
    # Columns are copied first.
    assert torch.equal(ops.token_logprobs(logits.T.contiguous().T, targets, bias=bias, scale=0.5, softcap=4.0), found)


@pytest.mark.parametrize(
    ("bias", "softcap", "scale"), [(True, None, 1.0), (False, None, -0.25), (False, 5.0, 1.0), (True, 30.0, 12.0)]
)
@pytest.mark.usefixtures("isa")
def test_what_a_head_does_to_its_logits(bias, softcap, scale):
    hidden, weight, targets = drawn(37, 1500, 48)
    extra = torch.linspace(-3, 3, 1500) if bias else None
    logits = (products(hidden, weight) + (0.0 if extra is None else extra.double().numpy())) * scale
    if softcap is not None:
        logits = np.tanh(logits / softcap) * softcap
    found = ops.linear_logprobs(hidden, weight, targets, bias=extra, softcap=softcap, scale=scale)
    check(found, logits, targets, ALL)


@pytest.mark.usefixtures("isa")
def test_large_and_missing_logits():
    hidden, weight, targets = drawn(20, 2000, 32)
    for factor in (1e2, 1e4):  # of which fp32 holds fewer digits: the error is relative to the logits
        found = ops.linear_logprobs(hidden * factor, weight, targets)
        logits = products(hidden * factor, weight)
        expected = log_softmax(logits, axis=1)[np.arange(20), targets]
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 * factor)
    given = torch.randn(20, 2000, generator=torch.Generator().manual_seed(3)) * 1e4
    check(ops.token_logprobs(given, targets), given.double().numpy(), targets, 1e-3)
    bias = torch.zeros(2000)
    bias[::3], bias[targets[0]], bias[targets[1]] = -torch.inf, -torch.inf, 0.0  # tokens that are ruled out
    logits = products(hidden, weight) + bias.double().numpy()
    expected = log_softmax(logits, axis=1)
    for found in (
        ops.linear_logprobs(hidden, weight, targets, bias=bias),
        ops.token_logprobs(torch.tensor(logits).float(), targets),
    ):
        np.testing.assert_allclose(found, expected[np.arange(20), targets], rtol=1e-6, atol=LINEAR)
        assert found[0] == -torch.inf


@pytest.mark.usefixtures("isa")
def test_rows_without_a_softmax():
    """Each spoils itself alone."""
    nan, inf = torch.nan, torch.inf
    for at in (0, 700, 1999):
        logits = torch.randn(6, 2000, generator=torch.Generator().manual_seed(4))
        hidden, weight, targets = drawn(6, 2000, 40)
        plain = ops.linear_logprobs(hidden, weight, targets)
        given = ops.token_logprobs(logits, targets)
        logits[1, at], logits[2, at], logits[3], hidden[1, at % 40], hidden[2, at % 40] = nan, inf, -inf, nan, inf
        for found, before, bad in (
            (ops.token_logprobs(logits, targets), given, [1, 2, 3]),
            (ops.linear_logprobs(hidden, weight, targets), plain, [1, 2]),
        ):
            good = [i for i in range(6) if i not in bad]
            assert found[bad].isnan().all()
            assert torch.equal(found[good], before[good])
        ruled_out = ops.linear_logprobs(hidden, weight, targets, bias=torch.full((2000,), -inf))
        assert ruled_out.isnan().all()


def bits(results):
    return tuple(each.numpy().tobytes() for each in results)


@pytest.mark.parametrize("dtypes", [(torch.float32,) * 2, (torch.bfloat16,) * 2, (torch.float16, torch.float32)])
@pytest.mark.usefixtures("isa")
def test_bits_of_a_row_depend_on_nothing_else(monkeypatch, dtypes):
    hidden, weight, targets = drawn(600, 2111, 96, dtypes)
    bias = torch.linspace(-1, 1, 2111)
    logits = (hidden.float() @ weight.float().T).to(dtypes[0])

    def both(rows):
        yield ops.linear_logprobs(hidden[rows], weight, targets[rows], bias=bias, softcap=8.0)
        yield ops.token_logprobs(logits[rows], targets[rows], bias=bias, softcap=8.0)
        yield ops.linear_logprobs(hidden[rows], weight, targets[rows])
        yield from ops.logprob_parts(hidden[rows], weight, targets[rows])

    whole = list(both(slice(None)))
    for threads in (1, 2, 3, 8, 64):
        monkeypatch.setenv("DATAPROPHET_THREADS", str(threads))
        assert bits(both(slice(None))) == bits(whole)
    order = torch.randperm(600, generator=torch.Generator().manual_seed(5))
    assert bits(both(order)) == bits([each[order] for each in whole])
    for start, stop in ((0, 1), (31, 33), (7, 600), (599, 600)):
        assert bits(both(slice(start, stop))) == bits([each[start:stop] for each in whole])


@pytest.mark.parametrize("dtypes", [(torch.float32,) * 2, (torch.bfloat16,) * 2])
@pytest.mark.usefixtures("isa")
def test_parts_merge_to_the_whole(dtypes):
    hidden, weight, targets = drawn(70, 3001, 64, dtypes)
    logits = products(hidden, weight)
    shards = []
    for first, last in itertools.pairwise([0, 1, 1000, 1000, 3001]):
        part = ops.logprob_parts(hidden, weight[first:last], targets, first=first)
        shards.append(part)
        held = (targets >= first) & (targets < last)
        assert (part.target[~held] == -torch.inf).all()
        np.testing.assert_allclose(
            part.target[held], logits[held, targets[held]] if held.any() else [], rtol=1e-6, atol=LINEAR
        )
        found = part.maximum.double() + part.total.double().log()
        np.testing.assert_allclose(
            found, logsumexp(logits[:, first:last], axis=1) if last > first else -np.inf, atol=LINEAR
        )
    expected = log_softmax(logits, axis=1)[np.arange(70), targets]
    np.testing.assert_allclose(ops.merge_logprobs(shards), expected, atol=LINEAR)


@pytest.mark.usefixtures("isa")
def test_rows_with_any_stride():
    hidden, weight, targets = drawn(50, 900, 40)
    expected = ops.linear_logprobs(hidden, weight, targets)
    loose = torch.zeros(50, 2, 61)
    loose[:, 1, 7:47] = hidden
    assert torch.equal(ops.linear_logprobs(loose[:, 1, 7:47], weight, targets), expected)
    assert torch.equal(ops.linear_logprobs(hidden, weight.T.contiguous().T, targets), expected)
    array = hidden.numpy()[::-1]
    found = ops.linear_logprobs(array, weight.numpy(), targets.numpy()[::-1])
    np.testing.assert_array_equal(found[::-1], expected)
    same = ops.linear_logprobs(hidden[:1].expand(50, 40), weight, targets[:1].expand(50))
    assert (same == expected[0]).all()


def test_bad_arguments_of_the_core():
    x, out, at = np.zeros((3, 4), np.float32), np.empty(3, np.float32), np.zeros(3, np.int64)

    def tokens(**changed):
        given = {"logits": x, "targets": at, "bias": None, "softcap": 0.0, "scale": 1.0, "logprobs": out}
        _core.token_logprobs(**(given | changed))

    for message, changed in {
        r"targets must be in \[0, V\)": {"targets": at + 4},
        "targets must be a contiguous int64": {"targets": at[:2]},
        "bias must be a contiguous float32": {"bias": out},
        "softcap must not be negative": {"softcap": -1.0},
        "results must be contiguous": {"logprobs": at},
    }.items():
        with pytest.raises(ValueError, match=message):
            tokens(**changed)
    rest = (at, None, 0.0, 1.0, out)
    with pytest.raises(ValueError, match="the same columns"):
        _core.linear_logprobs(x, x[:, :3], *rest)
    with pytest.raises(ValueError, match=r"targets must be in \[0, V\)"):
        _core.linear_logprobs(x, x[:0], *rest)
