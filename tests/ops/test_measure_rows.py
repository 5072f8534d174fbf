"""measure_rows: accuracy, exact sums, the same bits whatever is beside a row and for any threads, and bad input."""

from __future__ import annotations

import numpy as np
import pytest

from dataprophet import _core, ops
from dataprophet.errors import DataProphetError
from dataprophet.ops import reference
from dataprophet.ops.reference import SUM_UNIT

SHAPES = [(1, 1), (3, 5), (64, 16), (513, 768), (1000, 33), (2, 4097), (300, 1536)]
DTYPES = ["float32", "float16", "bfloat16"]


def rows_of(n, d, dtype="float32", seed=0):
    torch = pytest.importorskip("torch")
    drawn = np.random.default_rng(seed).standard_normal((n, d)) + 0.1
    return torch.tensor(drawn).to(getattr(torch, dtype))


def groups_of(n, count=5, seed=0):
    return np.random.default_rng(seed).integers(-1, count, n)


def measured(x, directions, groups, count, threads=1, isa=""):
    n, d = x.shape
    found = np.empty((n, len(directions)), np.float32), np.empty(n), np.empty((count, d))
    _core.measure_rows(x, directions, np.asarray(groups, np.int64), *found, threads, isa)
    return found


@pytest.mark.parametrize("isa", _core.available_isas())
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_every_instruction_set(isa, dtype, n, d):
    x, groups = rows_of(n, d, dtype), groups_of(n)
    for targets in (0, 1, 14, 19):
        directions = rows_of(targets, d, seed=1).numpy() / np.float32(d**0.5)
        cosines, lengths, sums = measured(x, directions, groups, 5, 2, isa)
        expected = reference.measure_rows(x.double().numpy(), directions, groups, 5)
        np.testing.assert_allclose(cosines, expected.cosines, rtol=0, atol=2e-6)
        np.testing.assert_allclose(lengths, expected.lengths, rtol=3e-7)
        # each of the rows of a group is off by half a unit, and by the rounding of its length
        np.testing.assert_allclose(sums, expected.sums, rtol=0, atol=n * (SUM_UNIT + 1.5e-7 * min(1, 6 / d**0.5)))
        assert (sums / SUM_UNIT == np.rint(sums / SUM_UNIT)).all()


@pytest.mark.parametrize("isa", _core.available_isas())
@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_do_not_depend_on_threads_order_or_parts(isa, dtype):
    n, d = 1500, 777
    x, groups = rows_of(n, d, dtype), groups_of(n)
    directions = rows_of(9, d, seed=1).numpy()
    cosines, lengths, sums = measured(x, directions, groups, 5, 1, isa)
    for threads in (2, 3, 8):
        for found, first in zip(
            measured(x, directions, groups, 5, threads, isa), (cosines, lengths, sums), strict=True
        ):
            assert found.tobytes() == first.tobytes()
    order = np.random.default_rng(1).permutation(n)
    total = np.zeros_like(sums)
    for part in np.split(order, [1, 8, 300, 1499]):
        some = measured(x[part], directions, groups[part], 5, 2, isa)
        assert some[0].tobytes() == cosines[part].tobytes()
        assert some[1].tobytes() == lengths[part].tobytes()
        total += some[2]
    assert total.tobytes() == sums.tobytes()


@pytest.mark.parametrize("isa", _core.available_isas())
def test_rows_beyond_the_range_of_float32_squares(isa):
    x = rows_of(40, 50).numpy()
    scaled = x * np.float32(10) ** np.resize(np.float32([-30, 0, 30]), (40, 1))
    directions = rows_of(3, 50, seed=1).numpy()
    plain, extreme = (measured(rows, directions, np.zeros(40), 1, 1, isa) for rows in (x, scaled))
    np.testing.assert_allclose(extreme[0], plain[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(extreme[2], plain[2], atol=40 * 1e-7)


@pytest.mark.parametrize("isa", _core.available_isas())
@pytest.mark.parametrize("sign", [1, -1])
def test_components_of_one_add_up_exactly(isa, sign):
    """Rows along an axis: whole numbers of 31 bits, of which two no longer fit into 32."""
    x = np.zeros((70_001, 17), np.float32)
    x[:, 3] = sign * 7
    sums = measured(x, np.zeros((0, 17), np.float32), np.zeros(70_001), 1, 2, isa)[2]
    assert sums[0].tolist() == [0] * 3 + [sign * 70_001] + [0] * 13


@pytest.mark.parametrize("isa", _core.available_isas())
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d"), [(140_000, 3), (1000, 1100)])
def test_sums_are_of_whole_numbers_to_the_last(isa, dtype, n, d):
    """More rows of a group, and more columns, than are added in 32 bits at a time."""
    x, groups = rows_of(n, d, dtype), np.minimum(groups_of(n, 40), 1)
    _, lengths, sums = measured(x, np.zeros((0, d), np.float32), groups, 2, 2, isa)
    scale = (1 / SUM_UNIT / np.nan_to_num(lengths, nan=1.0)).astype(np.float32)  # NaN: of no group
    whole = np.rint(x.float().numpy() * scale[:, None]).astype(np.int64)
    for group in range(2):
        assert (sums[group] / SUM_UNIT).tolist() == whole[groups == group].sum(0).tolist()


def test_rows_without_a_direction_are_known_by_their_lengths():
    x = rows_of(9, 20).numpy()
    x[2], x[4, 7], x[5, 1], x[6] = 0, np.nan, np.inf, np.nan
    groups = np.zeros(9, np.int64)
    groups[6] = -1
    cosines, lengths, sums = measured(x, x[:1], groups, 1)
    assert lengths[2] == 0
    assert not np.isfinite(lengths[[4, 5]]).any()
    bad = [2, 4, 5, 6]
    assert np.isnan(cosines).any(axis=1).nonzero()[0].tolist() == bad
    assert sums.tobytes() == measured(np.delete(x, bad, 0), x[:1], np.zeros(5), 1)[2].tobytes()
    with pytest.raises(DataProphetError, match=r"3 rows without a direction \(1 all-zero, 2 with NaN .* is row 2"):
        ops.measure_rows(x, x[:1], groups, 1)


@pytest.mark.parametrize("dtype", [*DTYPES, "float64"])
def test_arrays_of_torch_come_back_as_torch(dtype):
    torch = pytest.importorskip("torch")
    x, groups = rows_of(30, 12, dtype), groups_of(30)
    found = ops.measure_rows(x, rows_of(3, 12, seed=1), torch.tensor(groups), 5)
    expected = ops.measure_rows(x.double().numpy(), rows_of(3, 12, seed=1).numpy(), groups, 5)
    for some, all_of in zip(found, expected, strict=True):
        assert isinstance(some, torch.Tensor)
        np.testing.assert_allclose(some.numpy(), all_of, rtol=1e-6, atol=5e-6)


def test_gaps_and_reversed_rows():
    x = rows_of(40, 64).numpy()
    groups = groups_of(20)
    for view in (x[::2, ::2], x[::-2, 10:31], np.asfortranarray(x)[:20]):
        found = ops.measure_rows(view, view[:2], groups, 5)
        for some, same in zip(found, ops.measure_rows(view.copy(), view[:2], groups, 5), strict=True):
            assert some.tobytes() == same.tobytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"directions": np.ones((2, 4))}, "directions: expected 5 columns"),
        ({"directions": np.full((2, 5), np.nan)}, "directions: row 0 is not finite"),
        ({"groups": [0, 1]}, "groups: expected 3 elements"),
        ({"groups": [0, 1, 2]}, r"groups: element 2 is 2, outside \[-1, 2\)"),
        ({"groups": [0, -2, 1]}, "groups: element 1 is -2"),
        ({"x": np.ones(5)}, "x: expected 2 dimensions"),
    ],
)
def test_bad_input(change, message):
    given = {"x": np.ones((3, 5)), "directions": np.ones((2, 5)), "groups": [0, 1, -1], "count": 2, **change}
    with pytest.raises(DataProphetError, match=message):
        ops.measure_rows(**given)


def test_no_rows():
    found = ops.measure_rows(np.empty((0, 5), np.float32), np.ones((2, 5)), np.empty(0, np.int64), 3)
    assert [part.shape for part in found] == [(0, 2), (0,), (3, 5)]
    assert not found.sums.any()
