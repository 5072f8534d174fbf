"""nearest: on every instruction set, against the float64 definition."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dataprophet import _core, ops
from dataprophet.errors import DataProphetError
from dataprophet.ops import reference

torch = pytest.importorskip("torch")

ISAS = _core.available_isas()
COSINE = 2e-7  # decided in double precision, rounded once


def nearest(x, y, threads=2, isa=""):
    cosine, index = np.empty(len(x), np.float32), np.empty(len(x), np.int64)
    assert _core.nearest(x, y, cosine, index, threads, isa) == ((0, 0, -1), (0, 0, -1))
    return cosine, index


def drawn(n, d, kind, seed=0):
    x = np.random.default_rng(seed).standard_normal((n, d))
    return (x if kind == "spread" else 0.05 * x + 1.0).astype(np.float32)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("d", [2, 3, 200])
def test_rows_of_few_elements(isa, d):
    """Where a few elements count, rounding them to bfloat16 moves a product by all that its bound allows."""
    rng = np.random.default_rng(0)
    x = np.zeros((1500, d), np.float32)
    x[:, : min(d, 3)] = rng.standard_normal((1500, min(d, 3))) + 0.5
    cosine, _ = nearest(x, x, isa=isa)
    assert (cosine == 1).all()
    cosine, _ = nearest(x[:700], x[700:], isa=isa)
    np.testing.assert_allclose(cosine, reference.nearest(x[:700], x[700:])[0], rtol=0, atol=COSINE)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("kind", ["spread", "narrow"])
@pytest.mark.parametrize(("n", "m", "d"), [(300, 500, 17), (1, 2000, 768), (900, 1, 33), (460, 500, 1601), (5, 70, 2)])
def test_every_instruction_set(isa, dtype, kind, n, m, d):
    x, y = (torch.tensor(drawn(rows, d, kind, rows)).to(getattr(torch, dtype)) for rows in (n, m))
    cosine, index = nearest(x, y, isa=isa)
    expected, place = reference.nearest(x.double().numpy(), y.double().numpy())
    np.testing.assert_allclose(cosine, expected, rtol=0, atol=COSINE)
    # few digits and few columns make rows whose directions are equal
    different = np.flatnonzero(index != place)
    np.testing.assert_allclose(
        reference.cosine_to(x[different].double(), y[index[different]].double()).diagonal()
        / np.linalg.norm(y[index[different]].double(), axis=1),
        expected[different],
        atol=COSINE,
    )
    assert len(different) == 0 or (dtype != "float32" and d < 20)


@pytest.mark.parametrize("isa", ISAS)
def test_bits_do_not_depend_on_threads_or_slabs(isa):
    x, y = drawn(1000, 8, "narrow"), drawn(40_000, 8, "narrow", 1)
    found = {b"".join(part.tobytes() for part in nearest(x, y, threads, isa)) for threads in (1, 2, 3, 8, 64)}
    assert len(found) == 1
    index = nearest(x, y, isa=isa)[1]
    np.testing.assert_array_equal(index, reference.nearest(x.astype(float), y.astype(float))[1])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("d", [3, 129])
def test_the_lowest_of_equal_rows(isa, d):
    y = np.tile(drawn(500, d, "spread"), (50, 1))  # copies 500 rows apart, in other panels and other jobs
    x = y[:500] * np.float32(2.0)
    cosine, index = nearest(x, y, isa=isa)
    np.testing.assert_array_equal(index, np.arange(500))
    np.testing.assert_allclose(cosine, 1.0, atol=COSINE)


@pytest.mark.parametrize("isa", ISAS)
def test_scales_at_the_ends_of_float32(isa):
    x, y = drawn(100, 150, "spread"), drawn(200, 150, "spread", 1)
    expected, place = reference.nearest(x, y)
    for left, right in ((1e37, 1e-37), (1e-38, 1e37), (1e-20, 1.0)):
        cosine, index = nearest((x * left).astype(np.float32), (y * right).astype(np.float32), isa=isa)
        np.testing.assert_allclose(cosine, expected, rtol=0, atol=2e-6)  # denormal elements have fewer digits
        np.testing.assert_array_equal(index, place)


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 5)), elements=st.floats(-2, 2, width=16)),
    hnp.arrays(np.float32, st.tuples(st.integers(1, 40), st.integers(1, 5)), elements=st.floats(-2, 2, width=16)),
)
def test_any_shape(x, y):
    x = np.c_[x, np.ones(len(x), np.float32)]
    y = np.c_[np.resize(y, (len(y), x.shape[1] - 1)), np.ones(len(y), np.float32)]
    cosine, index = ops.nearest(x, y)
    expected, _ = reference.nearest(x, y)
    np.testing.assert_allclose(cosine, expected, rtol=0, atol=COSINE)
    chosen = (x.astype(float) * y[index]).sum(1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y[index], axis=1)
    np.testing.assert_allclose(chosen, expected, rtol=0, atol=COSINE)


def test_dtypes_may_differ():
    x, y = torch.tensor(drawn(30, 20, "spread")), torch.tensor(drawn(40, 20, "spread", 1))
    cosine, index = ops.nearest(x, y.bfloat16())
    expected, place = reference.nearest(x.double().numpy(), y.bfloat16().double().numpy())
    assert isinstance(cosine, torch.Tensor)
    np.testing.assert_allclose(cosine, expected, rtol=0, atol=COSINE)
    np.testing.assert_array_equal(index, place)


def test_bad_rows_of_either_side_are_named():
    x, y = drawn(20, 4, "spread"), drawn(30, 4, "spread")
    y[[7, 9]] = 0.0
    with pytest.raises(DataProphetError, match=r"y: 2 rows without a direction \(2 all-zero\), the first is row 7"):
        ops.nearest(x, y)
    x[3, 1] = np.inf
    with pytest.raises(DataProphetError, match=r"x: 1 row without .* the first is row 3"):
        ops.nearest(x, y)
