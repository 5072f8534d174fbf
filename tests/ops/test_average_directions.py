"""average_directions: what the sketch keeps of samples, against float64, for every instruction set and any choice."""

from __future__ import annotations

import numpy as np
import pytest

from dataprophet import _core
from dataprophet.ops import directions, reference

SHAPES = [(1, 1), (5, 7), (200, 64), (130, 1000), (70, 1536)]


def fields_of(n, d, dtype, count=3, seed=0):
    if dtype == "bfloat16":
        dtype = pytest.importorskip("ml_dtypes").bfloat16
    rng = np.random.default_rng(seed)
    fields = [(rng.standard_normal((n, d)) + 0.3).astype(dtype) for _ in range(count)]
    lengths = [np.linalg.norm(rows.astype(np.float64), axis=1) for rows in fields]
    for place, own in enumerate(lengths):
        own[place::4] = np.nan  # samples without the field, of which the first three lack one each
    return fields, lengths


def averaged(fields, lengths, chosen, threads=1, isa=""):
    scales = np.nan_to_num(1 / np.array(lengths))[:, chosen].astype(np.float32)
    z, norms = np.empty((len(chosen), fields[0].shape[1]), np.float16), np.empty(len(chosen), np.float32)
    arrays = [rows.view(np.uint16) if rows.dtype.name == "bfloat16" else rows for rows in fields]
    _core.average_directions(arrays, chosen, np.ascontiguousarray(scales), z, norms, threads, isa)
    return z, norms


@pytest.mark.parametrize("isa", _core.available_isas())
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_every_instruction_set(isa, dtype, n, d):
    fields, lengths = fields_of(n, d, dtype)
    chosen = np.random.default_rng(1).permutation(n)[: n // 2 + 1]
    z, norms = averaged(fields, lengths, chosen, 1, isa)
    expected = reference.average_directions(fields, lengths, chosen)
    np.testing.assert_allclose(z, expected[0].astype(np.float32), rtol=0, atol=6e-4)  # an ulp of float16
    assert (z == expected[0]).mean() > 0.99  # most are rounded from the same side
    np.testing.assert_allclose(norms, expected[1], rtol=0, atol=2e-6)
    for threads in (2, 5):
        again = averaged(fields, lengths, chosen, threads, isa)
        assert all(a.tobytes() == b.tobytes() for a, b in zip(again, (z, norms), strict=True))
    alone = [averaged(fields, lengths, chosen[i : i + 1], 1, isa)[0] for i in range(len(chosen))]
    assert np.concatenate(alone).tobytes() == z.tobytes()


@pytest.mark.parametrize("isa", _core.available_isas())
def test_halves_are_rounded_to_the_nearest_even(isa):
    """Components from 1 down to less than the smallest half, each beside a one, which keeps the length at 1."""
    values = np.concatenate([np.float32(2) ** -np.arange(0, 30), np.random.default_rng(0).random(4000, np.float32)])
    small = (values * np.float32(2) ** -np.resize(np.arange(2, 28), len(values))).astype(np.float32)
    rows = np.zeros((len(small), 40), np.float32)
    rows[:, 0], rows[:, 17], rows[:, 39] = 1, small, -small
    z, norms = averaged([rows], [np.ones(len(rows))], np.arange(len(rows)), 1, isa)
    scaled = rows * (np.float32(1) / norms)[:, None]
    assert z.tobytes() == scaled.astype(np.float16).tobytes()


def test_rows_that_cancel_and_rows_without_any_field():
    x = np.random.default_rng(0).standard_normal((4, 33)).astype(np.float32)
    lengths = np.linalg.norm(x, axis=1)
    z, norms = directions.average_directions([x, -x], [lengths, lengths], np.arange(4))
    assert (norms < 1e-6).all()
    nothing = np.full(4, np.nan)
    z, norms = directions.average_directions([np.full((4, 33), np.nan, np.float32)], [nothing], np.arange(4))
    assert not norms.any()
    assert not z.any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_that_float32_cannot_scale(dtype):
    """Rows of any length give what they give at length 1, whatever stands beside them."""
    (x, y), (own, other) = fields_of(60, 50, np.float32, count=2)
    power = np.resize([0, -38, 37], 60).astype(np.float64)
    scaled = (x.astype(np.float64) * 10 ** power[:, None]).astype(dtype)
    length = own * 10**power
    plain = directions.average_directions([x, y], [own, other], np.arange(60))
    extreme = directions.average_directions([scaled, y.astype(dtype)], [length, other], np.arange(60))
    close = 2e-2 if dtype == np.float32 else 6e-4  # subnormal numbers have few digits
    np.testing.assert_allclose(extreme[0].astype(np.float32), plain[0].astype(np.float32), rtol=0, atol=close)
    order = np.random.default_rng(2).permutation(60)
    shuffled = directions.average_directions([scaled, y.astype(dtype)], [length, other], order)
    assert shuffled[0].tobytes() == extreme[0][order].tobytes()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"chosen": np.array([0, 3])}, "no such row"),
        ({"chosen": np.array([-1, 0])}, "no such row"),
        ({"scales": np.ones((2, 2), np.float32)}, "scales must be"),
        ({"fields": [np.ones((3, 5), np.float32)]}, "same number of columns"),
        ({"out": np.empty((2, 4), np.float32)}, "out must be"),
        ({"norms": np.empty(3, np.float32)}, "norms must be"),
    ],
)
def test_the_core_refuses_what_does_not_fit(change, says):
    given = {
        "fields": [np.ones((3, 4), np.float32)],
        "chosen": np.array([0, 2]),
        "scales": np.ones((1, 2), np.float32),
        "out": np.empty((2, 4), np.float16),
        "norms": np.empty(2, np.float32),
        **change,
    }
    with pytest.raises(ValueError, match=says):
        _core.average_directions(*given.values())


def test_a_row_that_lacks_a_field_of_float64() -> None:
    x, y = rng_rows(), rng_rows().astype(np.float64)
    lengths = [np.linalg.norm(each.astype(np.float64), axis=1) for each in (x, y)]
    lengths[1][1] = np.nan
    z, norms = directions.average_directions([x, y], lengths, np.arange(len(x)))
    expected, known = directions.average_directions([x, y.astype(np.float32)], lengths, np.arange(len(x)))
    np.testing.assert_allclose(np.asarray(z, np.float32), np.asarray(expected, np.float32), atol=1e-3)
    np.testing.assert_allclose(norms, known, rtol=1e-5)


def rng_rows() -> np.ndarray:
    return np.random.default_rng(3).standard_normal((6, 16)).astype(np.float32)
