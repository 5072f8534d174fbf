"""Diversity in one call: the parts that it is made of, in every library and dtype, and bad input."""

import numpy as np
import pytest
from clusters import blobs
from hypothesis import given
from hypothesis import strategies as st

from dataprophet import ops
from dataprophet.errors import DataProphetError
from dataprophet.ops import reference

X = blobs(600, 12, 5)


def test_it_is_kmeans_silhouette_and_entropy():
    found = ops.diversity(X, 5, seed=3)
    clusters = ops.kmeans(X, 5, seed=3)
    np.testing.assert_array_equal(found.labels, clusters.labels)
    np.testing.assert_array_equal(found.centroids, clusters.centroids)
    assert (found.inertia, found.n_iter) == (clusters.inertia, clusters.n_iter)
    np.testing.assert_array_equal(found.silhouettes, ops.silhouette_samples(X, clusters.labels))
    assert found.silhouette == pytest.approx(ops.silhouette_score(X, clusters.labels).mean, abs=1e-8)
    assert found.entropy == ops.cluster_entropy(clusters.labels, 5)
    assert found.value == found.silhouette + found.entropy
    assert found.standard_error == 0.0


def test_a_sample_gives_an_estimate_with_its_error():
    whole, found = ops.diversity(X, 5, seed=3), ops.diversity(X, 5, seed=3, sample_size=200)
    estimate = ops.silhouette_score(X, whole.labels, sample_size=200, seed=3)
    assert (found.silhouette, found.standard_error) == estimate
    assert found.silhouettes is None
    assert found.value == found.silhouette + whole.entropy
    np.testing.assert_array_equal(found.labels, whole.labels)
    assert abs(found.silhouette - whole.silhouette) < 4 * found.standard_error
    assert 0.0 < found.standard_error < whole.silhouettes.std() / 200**0.5
    all_rows = ops.diversity(X, 5, seed=3, sample_size=600)
    assert all_rows.silhouette == whole.silhouette
    assert all_rows.silhouettes is not None


@pytest.mark.parametrize("sample_size", [None, 150])
def test_it_equals_the_reference(sample_size):
    x = X.astype(np.float64)
    expected = ops.diversity(x, 5, seed=1, sample_size=sample_size)
    if sample_size is None:
        assert expected.value == pytest.approx(reference.diversity(x, 5, seed=1).value, abs=1e-12)
    for dtype, tolerance in ((np.float32, 1e-6), (np.float16, 2e-3)):
        found = ops.diversity(X.astype(dtype), 5, seed=1, sample_size=sample_size)
        assert found.value == pytest.approx(expected.value, abs=tolerance)
        assert found.inertia == pytest.approx(expected.inertia, rel=max(1e-5, tolerance))


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
@pytest.mark.parametrize("sample_size", [None, 150])
def test_torch_gives_what_numpy_gives(dtype, sample_size):
    torch = pytest.importorskip("torch")
    x = torch.tensor(X).to(getattr(torch, dtype))
    found = ops.diversity(x, 5, seed=1, sample_size=sample_size)
    plain = x.numpy() if dtype != "bfloat16" else x.float().numpy()
    expected = ops.diversity(plain, 5, seed=1, sample_size=sample_size)
    assert found.labels.dtype == torch.int64
    assert found.centroids.dtype == torch.float32
    assert isinstance(found.silhouettes, torch.Tensor) == (sample_size is None)
    np.testing.assert_array_equal(found.labels.numpy(), expected.labels)
    assert found.value == pytest.approx(expected.value, abs=2e-4)


@given(st.integers(2, 6), st.integers(0, 50), st.integers(0, 2**16))
def test_value_lies_between_its_bounds(k, extra, seed):
    rows = np.rint(np.random.default_rng(seed).standard_normal((k + 1 + extra, 2))).astype(np.float32)
    found = ops.diversity(rows, k, seed=seed)
    assert -1.0 <= found.silhouette <= 1.0
    assert 0.0 < found.entropy <= 1.0
    assert np.bincount(found.labels, minlength=k).min() > 0
    assert ops.diversity(rows, k, seed=seed).value == found.value


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.diversity(X, 1), "k: expected 2 <= k <= n - 1 for 600 rows, got 1"),
        (lambda: ops.diversity(X[:5], 5), "k: expected 2 <= k <= n - 1 for 5 rows, got 5"),
        (lambda: ops.diversity(X[:0], 2), "k: expected 2 <= k <= n - 1 for 0 rows, got 2"),
        (lambda: ops.diversity(X, 5, sample_size=1), "sample_size: expected at least 2, got 1"),
        (lambda: ops.diversity(X, 5, max_iter=-1), "max_iter=-1"),
        (lambda: ops.diversity(X * np.nan, 5), "x: 600 rows without .* the first is row 0"),
        (lambda: ops.diversity(X[0], 5), "x: expected 2 dimensions"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(DataProphetError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
