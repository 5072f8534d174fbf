"""mean_direction, expected_cosine, cosine_to and nearest: accuracy, inputs of every kind, bits, and bad input."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dataprophet import _core, ops
from dataprophet.errors import DataProphetError
from dataprophet.ops import reference

SHAPES = [(1, 1), (3, 5), (64, 16), (513, 768), (1000, 33), (2, 4097)]
# Float16 and bfloat16 are widened exactly: all round only in fp32 sums, never in the inputs.
MEAN, COSINE = 2e-7, 1e-6


def bfloat16(x):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    return x.astype(ml_dtypes.bfloat16)


def random_rows(n, d, seed=0):
    return (np.random.default_rng(seed).standard_normal((n, d)) + 0.1).astype(np.float32)


def truth(x):
    x = np.asarray(x, np.float64)
    x = x / np.abs(x).max(axis=1, keepdims=True)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def relative(found, expected):
    return np.linalg.norm(np.asarray(found) - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("isa", _core.available_isas())
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_every_instruction_set(isa, dtype, n, d):
    torch = pytest.importorskip("torch")
    x = torch.tensor(random_rows(n, d)).to(getattr(torch, dtype))
    u = truth(x.float().numpy())
    mean = np.empty(d)
    assert _core.mean_direction(x, mean, 2, isa) == (0, 0, -1)
    assert relative(mean, u.mean(axis=0)) <= MEAN
    for targets in (1, 16, 19):
        directions = random_rows(targets, d, seed=1)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        out = np.empty((n, targets), np.float32)
        assert _core.cosine_to(x, directions, out, 2, isa) == (0, 0, -1)
        np.testing.assert_allclose(out, u @ directions.astype(float).T, rtol=0, atol=COSINE)


@pytest.mark.parametrize("isa", _core.available_isas())
@pytest.mark.parametrize(("n", "d"), [(5000, 700), (1000, 33), (70, 3)])
def test_bits_do_not_depend_on_threads(isa, n, d):
    x, directions = random_rows(n, d), random_rows(17, d, seed=1)
    results = set()
    for threads in (1, 2, 3, 8, 64):
        mean, cosine = np.empty(d), np.empty((n, 17), np.float32)
        _core.mean_direction(x, mean, threads, isa)
        _core.cosine_to(x, directions, cosine, threads, isa)
        results.add(mean.tobytes() + cosine.tobytes())
    assert len(results) == 1


@pytest.mark.parametrize("isa", _core.available_isas())
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_directions_keep_all_their_digits(isa, dtype):
    torch = pytest.importorskip("torch")
    x = torch.zeros(96, 80, dtype=getattr(torch, dtype))
    at = np.arange(96) % 80
    x[np.arange(96), at] = torch.tensor(np.where(np.arange(96) % 2, -0.5, 3.0)).to(x.dtype)
    directions = random_rows(35, 80, seed=1) * np.float32(10) ** np.arange(-17, 18, dtype=np.float32)[:, None]
    out = np.empty((96, 35), np.float32)
    assert _core.cosine_to(x, directions, out, 1, isa) == (0, 0, -1)
    expected = directions.T[at] * np.where(np.arange(96) % 2, -1, 1)[:, None]
    np.testing.assert_allclose(out, expected, rtol=2e-7)


@pytest.mark.parametrize("isa", _core.available_isas())
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_rows_out_of_range_among_others(isa, dtype):
    torch = pytest.importorskip("torch")
    x = torch.tensor(random_rows(300, 70)).to(getattr(torch, dtype))
    tiny, huge = (1e-6, 1e3) if dtype == "float16" else (1e-35, 1e35)
    x[5::29] *= tiny
    x[7::31] *= huge
    u = truth(x.double().numpy())
    mean, out = np.empty(70), np.empty((300, 2), np.float32)
    directions = np.eye(70, dtype=np.float32)[:2]
    assert _core.mean_direction(x, mean, 1, isa) == (0, 0, -1)
    assert relative(mean, u.mean(axis=0)) <= MEAN
    assert _core.cosine_to(x, directions, out, 1, isa) == (0, 0, -1)
    np.testing.assert_allclose(out, u[:, :2], rtol=0, atol=COSINE)
    x[[200, 40]] = 0.0
    x[250, 3], x[60, 69], x[61, 0] = float("nan"), float("inf"), float("-inf")
    good = np.setdiff1d(np.arange(300), [200, 40, 250, 60, 61])
    assert _core.mean_direction(x, mean, 1, isa) == (2, 3, 40)
    assert relative(mean, u[good].mean(axis=0)) <= MEAN
    assert _core.cosine_to(x, directions, out, 1, isa) == (2, 3, 40)
    np.testing.assert_allclose(out[good], u[good, :2], rtol=0, atol=COSINE)


def test_instruction_set_is_chosen_by_the_environment():
    code = "from dataprophet import ops; print(ops.core_info()['isa'])"
    for isa in [*_core.available_isas(), "sse9"]:
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "DATAPROPHET_ISA": isa},
            capture_output=True,
            text=True,
            check=False,
        )
        if isa == "sse9":
            assert done.returncode != 0
            assert "DATAPROPHET_ISA is 'sse9', but this machine has: " in done.stderr.splitlines()[-1]
        else:
            assert done.stdout.strip() == isa


def test_threads_are_chosen_by_the_environment(monkeypatch):
    monkeypatch.setenv("DATAPROPHET_THREADS", "3")
    assert ops.core_info()["threads"] == 3
    monkeypatch.setenv("DATAPROPHET_THREADS", "many")
    with pytest.raises(DataProphetError, match="DATAPROPHET_THREADS: expected a positive integer, got 'many'"):
        ops.mean_direction(random_rows(2, 2))


def views(x):
    buffer = np.zeros(x.nbytes + 1, np.uint8)
    unaligned = buffer[1:].view(np.float32).reshape(x.shape)
    unaligned[:] = x
    readonly = x.copy()
    readonly.flags.writeable = False
    packed = np.zeros(len(x), [("pad", "u1"), ("row", np.float32, x.shape[1])])  # strides that are no whole elements
    packed["row"] = x
    yield from (x[::2], x[::-1], x[:, 3:20], x[:, ::2], x[:, ::-1], x.T, np.asfortranarray(x), unaligned, readonly)
    yield from (packed["row"], x.astype(">f4"), x.astype(np.float64), x.tolist(), np.broadcast_to(x[0], x.shape))


def test_views():
    x = random_rows(60, 24)
    for view in views(x):
        u = truth(view)
        bound = 2 * MEAN if np.shape(view)[0] > 1 and (u == u[0]).all() else MEAN  # equal rows round the same way
        assert relative(ops.mean_direction(view), u.mean(axis=0)) <= bound
        directions = random_rows(3, u.shape[1], seed=1)[:, ::-1]
        np.testing.assert_allclose(ops.cosine_to(view, directions), u @ directions.astype(float).T, atol=3e-6)


def test_torch_tensors():
    torch = pytest.importorskip("torch")
    x = torch.tensor(random_rows(50, 30))
    negative = torch.view_as_complex(x.reshape(50, 15, 2)).conj().imag  # has torch's negative bit set
    assert negative.is_neg()
    grad = x.clone().requires_grad_()
    for tensor in (x, x.T, x[::3], x[:, ::2], x[:, 1:], negative, grad, torch.nn.Parameter(x), x.double(), x.half()):
        u = truth(tensor.detach().resolve_neg().numpy())
        mean = ops.mean_direction(tensor)
        assert isinstance(mean, torch.Tensor)
        assert mean.dtype == torch.float64
        assert relative(mean.numpy(), u.mean(axis=0)) <= MEAN
        cosine = ops.cosine_to(tensor, np.eye(u.shape[1], dtype=np.float32)[:2])
        assert cosine.dtype == torch.float32
        np.testing.assert_allclose(cosine.numpy(), u[:, :2], atol=COSINE)
        assert ops.expected_cosine(tensor, tensor) == pytest.approx((u @ u.T).mean(), abs=1e-6)


def test_bfloat16_of_numpy():
    x = bfloat16(random_rows(40, 12))
    u = truth(x.astype(np.float64))
    assert relative(ops.mean_direction(x), u.mean(axis=0)) <= MEAN
    assert isinstance(ops.cosine_to(x, x), np.ndarray)
    assert (ops.nearest(x, x)[1] == np.arange(40)).all()


def test_dlpack_of_another_library():
    class Foreign:
        """An array that only speaks DLPack, in its unversioned form."""

        def __init__(self, array):
            self.array = array

        def __dlpack__(self):
            return self.array.__dlpack__()

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    x = random_rows(20, 6)
    out = np.empty(6)
    assert _core.mean_direction(Foreign(x), out) == (0, 0, -1)
    np.testing.assert_array_equal(out, ops.mean_direction(x))
    assert _core.mean_direction(memoryview(x), out) == (0, 0, -1)


def test_huge_and_tiny_rows():
    x = random_rows(30, 20)
    scales = np.array([1e30, 1e-30, 1e-42, 1.0, 1e18, 1e-18], np.float64)[np.arange(30) % 6]
    scaled = (x.astype(np.float64) * scales[:, None]).astype(np.float32)
    u = truth(scaled)
    assert relative(ops.mean_direction(scaled), u.mean(axis=0)) <= MEAN
    np.testing.assert_allclose(ops.cosine_to(scaled, np.eye(20, dtype=np.float32)), u, atol=COSINE)
    assert relative(ops.mean_direction(x.astype(float) * 1e300), truth(x).mean(axis=0)) <= 1e-12


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 12), st.integers(1, 9)), elements=st.floats(-8, 8, width=32)),
    hnp.arrays(np.float32, st.tuples(st.integers(1, 12), st.just(4)), elements=st.floats(0.125, 8, width=32)),
)
def test_expected_cosine_is_the_mean_over_all_pairs(x, y):
    x = np.c_[x, np.ones(len(x), np.float32)]
    y = np.resize(y, (len(y), x.shape[1]))
    brute = (truth(x) @ truth(y).T).mean()
    assert ops.expected_cosine(x, y) == pytest.approx(brute, abs=1e-6)
    assert reference.expected_cosine(x, y) == pytest.approx(brute, abs=1e-12)


def test_nearest():
    x, y = random_rows(300, 20), random_rows(77, 20, seed=1)
    cosine = truth(x) @ truth(y).T
    value, index = ops.nearest(x, y)
    assert (value.dtype, index.dtype) == (np.float32, np.int64)
    np.testing.assert_array_equal(index, cosine.argmax(axis=1))
    np.testing.assert_allclose(value, cosine.max(axis=1), atol=COSINE)
    twice = np.concatenate([y, y])
    np.testing.assert_array_equal(ops.nearest(x, twice)[1], index)  # the lowest among equals


def test_no_rows():
    assert ops.cosine_to(np.zeros((0, 4), np.float32), np.ones((2, 4), np.float32)).shape == (0, 2)
    assert ops.cosine_to(random_rows(20, 4), np.ones((0, 4), np.float32)).shape == (20, 0)
    with pytest.raises(DataProphetError, match="row 9"):  # no directions, yet a row without one is still an error
        ops.cosine_to(np.where(np.arange(20)[:, None] == 9, 0, random_rows(20, 4)), np.ones((0, 4), np.float32))
    value, index = ops.nearest(np.zeros((0, 4), np.float32), np.ones((2, 4), np.float32))
    assert value.shape == index.shape == (0,)


ONES = np.ones((5, 4), np.float32)


def spoiled(**rows):
    x = random_rows(5000, 4)
    for value, places in rows.items():
        x[places] = float(value)
    return x


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: ops.mean_direction(ONES.astype(int)), TypeError, "x: expected float32.* got dtype int64"),
        (lambda: ops.mean_direction(ONES.astype(complex)), TypeError, "x: .* got dtype complex128"),
        (lambda: ops.mean_direction(ONES > 0), TypeError, "x: .* got dtype bool"),
        (lambda: ops.mean_direction("rows"), TypeError, "x: "),
        (lambda: ops.mean_direction(None), TypeError, "x: expected an array, got NoneType"),
        (lambda: ops.mean_direction([[1.0], [1.0, 2.0]]), TypeError, "x: expected an array, got list"),
        (lambda: ops.mean_direction(ONES[0]), DataProphetError, r"x: expected 2 dimensions, got shape \(4,\)"),
        (lambda: ops.mean_direction(ONES[:0]), DataProphetError, r"x: expected at least 1 row, got shape \(0, 4\)"),
        (lambda: ops.mean_direction(ONES[:, :0]), DataProphetError, "x: 5 rows without a direction"),
        (lambda: ops.expected_cosine(ONES, ONES[:, :3]), DataProphetError, "y: expected 4 columns as in x"),
        (lambda: ops.expected_cosine(ONES, 0 * ONES), DataProphetError, "y: 5 rows .* the first is row 0"),
        (lambda: ops.cosine_to(ONES, ONES[:, :3]), DataProphetError, "directions: expected 4 columns"),
        (lambda: ops.cosine_to(ONES, ONES * np.inf), DataProphetError, "directions: row 0 is not finite"),
        (lambda: ops.nearest(ONES, ONES[:0]), DataProphetError, "y: expected at least 1 row"),
        (
            lambda: ops.mean_direction(spoiled(nan=[4000], inf=[900, 4999], **{"0": [901]})),
            DataProphetError,
            r"x: 4 rows without a direction \(1 all-zero, 3 with NaN or infinity\), the first is row 900;",
        ),
        (lambda: ops.cosine_to(spoiled(nan=[7]), ONES), DataProphetError, "x: 1 row without .* the first is row 7"),
        (lambda: ops.nearest(spoiled(nan=[7]), ONES), DataProphetError, "x: 1 row without .* the first is row 7"),
        (lambda: ops.mean_direction(spoiled(nan=[2500]).astype(float)), DataProphetError, "the first is row 2500"),
    ],
)
def test_bad_input(call, kind, message):
    with pytest.raises(kind, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_core_refuses_what_it_cannot_write():
    out = np.empty(4)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        _core.mean_direction(ONES, out)
    with pytest.raises(ValueError, match="out must be a contiguous float64 array"):
        _core.mean_direction(ONES, np.empty(3))
    with pytest.raises(ValueError, match="unit stride"):
        _core.mean_direction(ONES[:, ::2], np.empty(2))
    with pytest.raises(ValueError, match="isa is 'mmx', but this machine has"):
        _core.mean_direction(ONES, np.empty(4), 1, "mmx")
