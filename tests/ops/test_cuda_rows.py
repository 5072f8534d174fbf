"""The CUDA kernels of measure_rows and average_directions on the emulator: accuracy, exact sums, bits, bad rows."""

from __future__ import annotations

import cuda_emulated
import numpy as np
import pytest

from dataprophet.ops import directions as operations
from dataprophet.ops import reference
from dataprophet.ops.reference import SUM_UNIT

torch = pytest.importorskip("torch")
import cuda_device  # noqa: E402 (needs torch)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(cuda_emulated.compiler() is None, reason="there is no C++ compiler"),
]

DTYPES = ["float32", "float16", "bfloat16"]
SHAPES = [(1, 1), (3, 5), (70, 16), (130, 72), (37, 331), (5, 1032)]


def rows_of(n, d, dtype="float32", seed=0):
    drawn = (np.random.default_rng(seed).standard_normal((n, d)) + 0.1).astype(np.float32)
    return drawn.astype(pytest.importorskip("ml_dtypes").bfloat16 if dtype == "bfloat16" else dtype)


def groups_of(n, count=5, seed=0):
    return np.random.default_rng(seed).integers(-1, count, n)


def measured(emulated, x, directions, groups, count):
    cosines, lengths, sums = emulated.measure_rows(x, directions, groups, count)
    return cosines, lengths, sums * SUM_UNIT


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_measure_rows(emulated, dtype, n, d):
    """The bounds of the CPU's own tests, in tests/ops/test_measure_rows.py."""
    x, groups = rows_of(n, d, dtype), groups_of(n)
    for targets in (0, 3, 18):
        directions = rows_of(targets, d, seed=1) / np.float32(d**0.5)
        cosines, lengths, sums = measured(emulated, x, directions, groups, 5)
        expected = reference.measure_rows(x.astype(np.float64), directions, groups, 5)
        np.testing.assert_allclose(cosines, expected.cosines, rtol=0, atol=2e-6)
        np.testing.assert_allclose(lengths, expected.lengths, rtol=3e-7)
        np.testing.assert_allclose(sums, expected.sums, rtol=0, atol=n * (SUM_UNIT + 1.5e-7 * min(1, 6 / d**0.5)))


@pytest.mark.parametrize(("dtype", "d"), [("float32", 132), ("float16", 131)])
def test_parts_add_up_to_the_bit_and_rows_depend_on_nothing_beside_them(emulated, dtype, d):
    n = 150
    x, groups, directions = rows_of(n, d, dtype), groups_of(n), rows_of(3, d, seed=1)
    whole = measured(emulated, x, directions, groups, 5)
    order = np.random.default_rng(1).permutation(n)
    total = np.zeros_like(whole[2])
    for part, threads in zip(np.split(order, [1, 8, 90]), (0, 1, 5, 7), strict=True):
        emulated.order(threads)
        cosines, lengths, sums = measured(emulated, x[part], directions, groups[part], 5)
        assert cosines.tobytes() == whole[0][part].tobytes()
        assert lengths.tobytes() == whole[1][part].tobytes()
        total += sums
    emulated.order(0)
    assert total.tobytes() == whole[2].tobytes()


@pytest.mark.parametrize("sign", [1, -1])
def test_components_of_one_add_up_exactly(emulated, sign):
    x = np.zeros((4_001, 9), np.float32)
    x[:, 3] = sign * 7
    _, lengths, sums = measured(emulated, x, np.zeros((0, 9), np.float32), np.zeros(4_001, np.int64), 1)
    assert (lengths == 7).all()
    assert sums[0].tolist() == [0] * 3 + [sign * 4_001] + [0] * 5


def test_rows_beyond_the_range_of_float32_squares(emulated):
    x = rows_of(40, 50)
    scaled = x * np.float32(10) ** np.resize(np.float32([-30, 0, 30]), (40, 1))
    plain, extreme = (
        measured(emulated, each, rows_of(3, 50, seed=1), np.zeros(40, np.int64), 1) for each in (x, scaled)
    )
    np.testing.assert_allclose(extreme[0], plain[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(extreme[2], plain[2], atol=40 * 1e-7)


def test_rows_without_a_direction_are_known_by_their_lengths(emulated):
    x, groups = rows_of(9, 20), np.zeros(9, np.int64)
    x[2], x[4, 7], x[5, 1], x[6] = 0, np.nan, np.inf, np.nan
    groups[6] = -1
    cosines, lengths, sums = measured(emulated, x, x[:1], groups, 1)
    assert lengths[2] == 0
    assert not np.isfinite(lengths[[4, 5, 6]]).any()
    bad = [2, 4, 5, 6]
    assert np.isnan(cosines).any(axis=1).nonzero()[0].tolist() == bad
    kept = measured(emulated, np.delete(x, bad, 0), x[:1], np.zeros(5, np.int64), 1)
    assert sums.tobytes() == kept[2].tobytes()


@pytest.fixture
def device(emulated, monkeypatch):
    return cuda_device.install(emulated, monkeypatch)


def test_what_lies_on_the_device_is_measured_there_and_alignment_changes_nothing(device):
    x, groups, targets = torch.tensor(rows_of(40, 24)), groups_of(40), rows_of(3, 24, seed=1)
    shifted = cuda_device.put(torch.zeros(40 * 24 + 1))[1:].view(40, 24)
    shifted[:] = x
    results = [operations.measure_rows(rows, targets, groups, 5) for rows in (cuda_device.put(x), shifted)]
    expected = operations.measure_rows(x, targets, groups, 5)
    assert all(isinstance(part, cuda_device.OnDevice) for part in results[0])
    for some, same, host in zip(*results, expected, strict=True):
        assert some.cpu().numpy().tobytes() == same.cpu().numpy().tobytes()
        np.testing.assert_allclose(some.cpu(), host, rtol=3e-7, atol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d"), [(5, 7), (60, 64), (20, 1000)])
def test_average_directions(device, dtype, n, d):
    fields = [rows_of(n, d, dtype, seed) for seed in range(3)]
    lengths = [np.linalg.norm(rows.astype(np.float64), axis=1) for rows in fields]
    for place, own in enumerate(lengths):
        own[place::4] = np.nan
        fields[place][place::4] = np.nan  # what lies there may be anything
    tensors = [cuda_device.put(torch.tensor(rows.astype(np.float32)).to(getattr(torch, dtype))) for rows in fields]
    chosen = np.random.default_rng(1).permutation(n)[: n // 2 + 1]
    z, norms = operations.average_directions(tensors, lengths, chosen)
    expected = reference.average_directions(fields, lengths, chosen)
    assert not device  # nothing has left it
    z, norms = z.cpu().numpy(), norms.cpu().numpy()
    np.testing.assert_allclose(z, expected[0].astype(np.float32), rtol=0, atol=6e-4)  # an ulp of float16
    assert (z == expected[0]).mean() > 0.99
    np.testing.assert_allclose(norms, expected[1], rtol=0, atol=2e-6)
    alone = [operations.average_directions(tensors, lengths, chosen[i : i + 1])[0].cpu() for i in range(len(chosen))]
    assert torch.cat(alone).numpy().tobytes() == z.tobytes()


def test_averages_of_rows_that_float32_cannot_scale_and_of_those_that_cancel(device):
    x, y = rows_of(30, 50), rows_of(30, 50, seed=1)
    power = np.resize([0, -37, 37], 30).astype(np.float64)
    scaled = (x.astype(np.float64) * 10 ** power[:, None]).astype(np.float32)
    own, other = (np.linalg.norm(rows.astype(np.float64), axis=1) for rows in (scaled, y))
    found = operations.average_directions([cuda_device.put(scaled), cuda_device.put(y)], [own, other], np.arange(30))
    expected = reference.average_directions([scaled, y], [own, other], np.arange(30))
    np.testing.assert_allclose(found[0].cpu().numpy(), expected[0].astype(np.float32), rtol=0, atol=6e-4)
    z, norms = operations.average_directions([cuda_device.put(y), cuda_device.put(-y)], [other, other], np.arange(30))
    assert (norms.cpu() < 1e-6).all()
    nothing = np.full(30, np.nan)
    z, norms = operations.average_directions([cuda_device.put(y * np.nan)], [nothing], np.arange(30))
    assert not norms.cpu().any()
    assert not z.cpu().any()
