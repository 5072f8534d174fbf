"""Features on a GPU, where there is one: measured, averaged, profiled and scored there, without waiting."""

from __future__ import annotations

from dataclasses import replace

import cuda_waiting
import numpy as np
import pytest
from sample_features import make_features

import dataprophet as dp
from dataprophet import ops
from dataprophet.features.features import FIELDS
from dataprophet.ops import backend, directions, reference
from dataprophet.ops.arrays import Operand, fetched
from dataprophet.ops.reference import SUM_UNIT
from dataprophet.profiling.diversity import diversity_of
from dataprophet.profiling.profile import CLUSTERS
from dataprophet.scoring.targets import Targets

pytestmark = pytest.mark.gpu


@pytest.fixture
def torch():
    found = pytest.importorskip("torch")
    if not found.cuda.is_available():
        pytest.skip("no CUDA device")
    assert ops.cuda_info()["built"], ops.cuda_info()["reason"]
    return found


def rows_of(torch, n, d, dtype="float32", seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(n, d, generator=generator) + 0.1).to(getattr(torch, dtype)).cuda()


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(("n", "d"), [(64, 5), (3001, 72), (2000, 1536), (300, 8200)])
def test_measure_rows_and_average_directions_on_a_gpu(torch, dtype, n, d):
    x, groups = rows_of(torch, n, d, dtype), np.random.default_rng(0).integers(-1, 64, n)
    targets = rows_of(torch, 14, d, seed=1).cpu().numpy() / np.float32(d**0.5)
    expected = reference.measure_rows(x.double().cpu().numpy(), targets, groups, 64)
    first = ops.measure_rows(x, targets, groups, 64)
    cosines, lengths, sums = fetched(*first)
    np.testing.assert_allclose(cosines, expected.cosines, rtol=0, atol=2e-6)
    np.testing.assert_allclose(lengths, expected.lengths, rtol=3e-7)
    np.testing.assert_allclose(sums, expected.sums, rtol=0, atol=n * (SUM_UNIT + 1.5e-7 * min(1, 6 / d**0.5)))
    halves = [ops.measure_rows(x[part], targets, groups[part], 64).sums for part in (slice(0, 31), slice(31, None))]
    assert torch.equal(halves[0] + halves[1], first.sums)
    z, norms = directions.average_directions([x, x.flip(0)], [lengths, expected.lengths[::-1]], np.arange(0, n, 2))
    best = reference.average_directions([x.double().cpu().numpy(), x.flip(0).double().cpu().numpy()],
                                        [expected.lengths, expected.lengths[::-1]], np.arange(0, n, 2))  # fmt: skip
    np.testing.assert_allclose(z.cpu().float(), best[0].astype(np.float32), rtol=0, atol=6e-4)
    np.testing.assert_allclose(norms.cpu(), best[1], rtol=0, atol=2e-6)


def test_profiles_and_scores_on_a_gpu(torch, monkeypatch):
    features = make_features(3000, d=96, text_only=0.3)
    moved = replace(features, embeddings={name: torch.tensor(features.embeddings[name]).cuda() for name in FIELDS})
    targets = [dp.profile(make_features(200, d=96, seed=i + 1, prefix=f"t{i}-"), name=f"t{i}") for i in range(2)]
    its = Targets.of(targets)
    monkeypatch.setattr(backend, "_LIFTED", np.inf)  # what lies on the host is computed there
    expected, scores, nearest = dp.profile(features, name="s"), its.score(features), its.nearest(features)
    value = expected.diversity
    monkeypatch.setattr(backend, "_LIFTED", 0.0)  # and here on the device, however small it is
    with backend.watching() as computed:
        runs = [dp.profile(moved, name="s") for _ in range(2)]
        found, close = its.score(moved), its.nearest(moved)
        assert runs[0].diversity == runs[1].diversity
    assert {place for places in computed.values() for place in places} == {"cuda"}
    assert runs[0].to_bytes() == runs[1].to_bytes()
    assert diversity_of(expected.sketch, CLUSTERS, 0, where="s").value == pytest.approx(value, abs=1e-3)
    np.testing.assert_allclose(found.values, scores.values, rtol=2e-5)
    np.testing.assert_allclose(close, nearest, rtol=0, atol=1e-3)
    for name in FIELDS:
        np.testing.assert_allclose(runs[0].field_sum[name], expected.field_sum[name], rtol=0, atol=3000 * 2e-8)


def test_measuring_does_not_wait(torch):
    """While the stream sleeps, rows are measured and averaged: the calls return before it wakes."""
    x, groups, targets = rows_of(torch, 2000, 64), np.arange(2000) % 64, np.eye(3, 64, dtype=np.float32)
    rows, lengths = Operand(x, "x", "torch"), np.full(2000, 8.0)

    def enqueue():
        directions.measured(rows, targets, groups, 64)
        directions.average_directions([x], [lengths], np.arange(2000))

    enqueue()  # loads the kernels and takes pinned memory, which do wait
    enqueue()
    torch.cuda.synchronize()
    torch.cuda._sleep(2_000_000_000)
    asleep = torch.cuda.Event()
    asleep.record()
    with cuda_waiting.nothing_waits(torch):
        enqueue()
        assert not asleep.query()
    torch.cuda.synchronize()
