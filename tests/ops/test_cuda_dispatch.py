"""dataprophet.ops over the CUDA operations, run by the emulator, on tensors of a device that the CPU plays."""

import cuda_emulated
import numpy as np
import pytest

from dataprophet import ops
from dataprophet.errors import DataProphetError
from dataprophet.ops import backend, cuda, reference
from dataprophet.ops.arrays import Operand

torch = pytest.importorskip("torch")
import cuda_device  # noqa: E402 (needs torch)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(cuda_emulated.compiler() is None, reason="there is no C++ compiler"),
]

DTYPES = ["float32", "float16", "bfloat16"]


@pytest.fixture(autouse=True)
def device(emulated, monkeypatch):
    return cuda_device.install(emulated, monkeypatch)


def rows_of(n, d, dtype="float32", seed=0, clusters=4):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(clusters, d, generator=generator)[torch.arange(n) % clusters] * 2
    return cuda_device.put((x + torch.randn(n, d, generator=generator)).to(getattr(torch, dtype)))


def host(x):
    return x.cpu().numpy()


def wide(x):
    return host(x.double())


@pytest.mark.parametrize("dtype", DTYPES)
def test_directions(dtype):
    x, y = rows_of(130, 40, dtype), rows_of(60, 40, dtype, seed=1)
    for given in (x, x[::2], x[:, 8:24], x.T.contiguous().T, x[:, ::2], x[0].expand(5, 40)):
        mean = ops.mean_direction(given)
        assert mean.dtype == torch.float64
        np.testing.assert_allclose(host(mean), reference.mean_direction(wide(given)), atol=1e-7)
    directions = y[:19, :].float() / 10
    for given in (directions, directions.double(), directions[::2], torch.cat([directions, directions])[1:4]):
        found = ops.cosine_to(x, given)
        assert found.dtype == torch.float32
        np.testing.assert_allclose(host(found), reference.cosine_to(wide(x), wide(given)), atol=2e-6)
    cosine, index = ops.nearest(x, y)
    expected, best = reference.nearest(wide(x), wide(y))
    np.testing.assert_allclose(host(cosine), expected, atol=1e-6)
    np.testing.assert_array_equal(host(index), best)
    assert ops.expected_cosine(x, y) == pytest.approx(reference.expected_cosine(wide(x), wide(y)), abs=1e-6)
    cosine, index = ops.nearest(x, rows_of(60, 40, "float32", seed=1))  # of another dtype
    np.testing.assert_allclose(host(cosine), expected, atol=2e-2)


@pytest.mark.parametrize("dtype", DTYPES)
def test_clusters(dtype):
    x = rows_of(150, 24, dtype)
    for init in (None, x[:4], wide(x[:4])):
        found = ops.kmeans(x, 4, seed=2, init=init)
        expected = reference.kmeans(wide(x), 4, seed=2, init=None if init is None else wide(x[:4]))
        np.testing.assert_array_equal(host(found.labels), expected.labels)
        assert found.inertia == pytest.approx(expected.inertia, rel=1e-6)
        assert found.n_iter == expected.n_iter
    labels = found.labels * 3 - 1
    for metric in cuda_emulated.METRICS:
        scores = ops.silhouette_samples(x, labels, metric=metric)
        assert scores.dtype == torch.float32
        expected = reference.silhouette_samples(wide(x), host(labels), metric=metric)
        np.testing.assert_allclose(host(scores), expected, atol=2e-4)
        assert ops.silhouette_score(x, labels, metric=metric).mean == pytest.approx(expected.mean(), abs=5e-5)
    estimate = ops.silhouette_score(x, labels, sample_size=60)
    exact = reference.silhouette_samples(wide(x), host(labels)).mean()
    assert abs(estimate.mean - exact) <= 5 * estimate.standard_error + 1e-4
    assert ops.cluster_entropy(found.labels, 5) == pytest.approx(reference.cluster_entropy(host(found.labels), 5))


def test_picked_rows_come_back_in_the_order_asked_for(emulated):
    x = rows_of(60, 8)
    clusters = np.random.default_rng(0).integers(0, 3, 60).astype(np.int32)
    every = cuda.silhouettes(Operand(x, "x", "torch"), clusters, "euclidean")
    picked = np.array([40, 3, 17, 59, 0])
    some = cuda.silhouettes(Operand(x, "x", "torch"), clusters, "euclidean", picked)
    for all_rows, chosen in zip(every, some, strict=True):
        np.testing.assert_allclose(chosen, all_rows[picked], atol=1e-6)
    np.testing.assert_allclose(every[1], reference.silhouettes(wide(x), clusters, "euclidean")[1], rtol=2e-3)


def test_bad_input_is_named():
    x = rows_of(30, 8)
    x[4], x[9, 1] = 0.0, float("nan")
    expected = r"2 rows without a direction \(1 all-zero, 1 with NaN or infinity\), the first is row 4"
    for call in (ops.mean_direction, lambda a: ops.cosine_to(a, a[:3]), lambda a: ops.nearest(a, a[10:])):
        with pytest.raises(DataProphetError, match=f"x: {expected}"):
            call(x)
    with pytest.raises(DataProphetError, match=f"y: {expected}"):
        ops.nearest(x[10:], x)
    for call in (lambda: ops.kmeans(x, 3), lambda: ops.silhouette_samples(x, torch.arange(30) % 3)):
        with pytest.raises(DataProphetError, match=r"1 row without a direction .* the first is row 9"):
            call()
    for label in (3, -1):
        with pytest.raises(DataProphetError, match=rf"labels: element 1 is {label}, outside \[0, 3\)"):
            ops.cluster_entropy(cuda_device.put(torch.tensor([0, label, 2])), 3)


def test_what_the_module_cannot_read_is_computed_on_the_cpu(monkeypatch):
    monkeypatch.setattr(backend, "cuda", None)
    x = rows_of(30, 8).double()
    with backend.watching() as computed:
        np.testing.assert_array_equal(host(ops.mean_direction(x)), reference.mean_direction(host(x)))
        assert ops.cosine_to(rows_of(5, 8), torch.zeros(0, 8)).shape == (5, 0)
        assert ops.cosine_to(rows_of(5, 8)[:0], torch.ones(2, 8)).shape == (0, 2)
    assert computed["mean_direction"] == {"reference, copied"}
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert ops.nearest(rows_of(5, 8), rows_of(5, 8))[1].tolist() == [0, 1, 2, 3, 4]
