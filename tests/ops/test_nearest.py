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


def outliers(n, d, seed):
    """Rows with a few elements that are far larger than the others: rounded to bytes, little is left of these."""
    x = drawn(n, d, "spread", seed)
    x[:, ::97] *= 30.0
    return x


KINDS = {
    "spread": lambda n, d, seed: drawn(n, d, "spread", seed),
    "outliers": outliers,
    "half of the rows have outliers": lambda n, d, seed: np.where(
        np.arange(n)[:, None] % 2, outliers(n, d, seed), drawn(n, d, "spread", seed)
    ),
    "sparse": lambda n, d, seed: drawn(n, d, "spread", seed) * (np.arange(n * d).reshape(n, d) % 23 == 0),
    "one element each": lambda n, d, seed: np.eye(d, dtype=np.float32)[np.random.default_rng(seed).integers(d, size=n)],
    "nearly equal": lambda n, d, seed: drawn(1, d, "spread", 9) + np.float32(1e-3) * drawn(n, d, "spread", seed),
    "equal": lambda n, d, seed: np.repeat(drawn(1, d, "spread", 9), n, axis=0),
}


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "m", "d"), [(470, 1100, 128), (450, 700, 385), (20, 3000, 1537)])
def test_rows_that_bytes_hold_badly(isa, kind, n, m, d):
    """A first look takes rows rounded to 8 bits. What is found knows nothing of that, ties included."""
    x, y = KINDS[kind](n, d, 1), KINDS[kind](m, d, 2)
    y[m // 2 :: 7] = y[: len(y[m // 2 :: 7])]
    cosine, index = nearest(x, y, isa=isa)
    expected, place = reference.nearest(x.astype(float), y.astype(float))
    np.testing.assert_allclose(cosine, expected, rtol=0, atol=COSINE)
    if kind in ("spread", "outliers", "half of the rows have outliers", "nearly equal"):
        np.testing.assert_array_equal(y[index], y[place])  # the reference rounds, and may take the copy
        assert (index <= place).all()
    else:  # many pairs are equal but for the last digit of a double
        chosen = (x.astype(float) * y[index]).sum(1) / np.linalg.norm(x.astype(float), axis=1)
        np.testing.assert_allclose(chosen / np.linalg.norm(y[index].astype(float), axis=1), expected, atol=COSINE)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("d", "mean"), [(6_001, 0.94), (32_769, 0.82)])
def test_lengths_around_the_mean_are_sums_of_many_columns(isa, d, mean):
    """Rounded in fp32, they are off by more than the cosines of the best rows differ."""
    x = np.full((448, d), -mean / np.sqrt(d - 1), np.float32)
    x[:, -1] = np.sqrt(1 - mean**2)
    y = np.full((200, d), 1 / np.sqrt(d), np.float32)
    y[:, -1] = np.linspace(-1.5e-5, 1.5e-5, 200)
    cosine, index = nearest(x, y, isa=isa)
    assert (index == 199).all()
    np.testing.assert_allclose(cosine, reference.nearest(x[:1], y)[0][0], rtol=0, atol=COSINE)


@pytest.mark.parametrize("isa", ISAS)
def test_a_row_that_packing_spoils_is_found_among_others(isa):
    x, y = drawn(448, 768, "spread"), drawn(1500, 768, "spread", 1)
    x[17, 5], x[18, 700], y[1234] = 100.0, 1e6, x[17]
    cosine, index = nearest(x, y, isa=isa)
    expected, place = reference.nearest(x.astype(float), y.astype(float))
    np.testing.assert_allclose(cosine, expected, rtol=0, atol=COSINE)
    np.testing.assert_array_equal(index, place)


@pytest.mark.parametrize("isa", ISAS)
def test_more_columns_than_sums_of_bytes_hold(isa):
    x, y = np.ones((3, 70_000), np.float32), np.ones((40, 70_000), np.float32)
    x[:, ::3] = -1.0
    y[7, ::3], y[8, 1:] = -1.0, 0.5
    cosine, index = nearest(x, y, isa=isa)
    assert index.tolist() == [7, 7, 7]
    np.testing.assert_allclose(cosine, 1.0, atol=COSINE)


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
