"""Silhouettes and entropy: against scikit-learn, bits, and bad input."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprophet import ops
from dataprophet.errors import DataProphetError

sklearn_metrics = pytest.importorskip("sklearn.metrics")


def blobs(n, d, k, seed=0, spread=1.0):
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((k, d))[rng.integers(0, k, n)] * spread + rng.standard_normal((n, d))).astype(
        np.float32
    )


def test_bits_do_not_depend_on_blas_threads():
    code = """
import hashlib, numpy as np
from dataprophet import ops
x = np.random.default_rng(0).standard_normal((2049, 515)).astype(np.float32)
found = ops.kmeans(x, 10, max_iter=5)
scores = ops.silhouette_samples(x, found.labels), ops.silhouette_samples(x, found.labels, metric="cosine")
score = ops.silhouette_score(x, found.labels, sample_size=100)
parts = [found.centroids, found.labels, np.float64(found.inertia), *scores, np.array(score), *ops.nearest(x, x[::7])]
print(hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest())
"""
    hashes = set()
    for threads in ("1", "2", "3"):
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        hashes.add(
            subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout
        )
    assert len(hashes) == 1


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "cosine"])
@pytest.mark.parametrize(("n", "d", "k"), [(400, 9, 4), (1500, 40, 10), (6, 2, 5)])
def test_silhouettes_equal_scikit_learn(metric, n, d, k):
    x = blobs(n, d, k) + 5.0
    labels = np.arange(n) % k * 7 - 3  # any integers
    peer = sklearn_metrics.silhouette_samples(x.astype(float), labels, metric=metric)
    found = ops.silhouette_samples(x, labels, metric=metric)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, peer, atol=2e-6)
    score = ops.silhouette_score(x, labels, metric=metric)
    assert score.mean == pytest.approx(peer.mean(), abs=1e-7)
    assert score.standard_error == 0.0


def test_silhouette_of_equal_rows_and_singletons():
    x = np.ones((6, 3), np.float32)
    np.testing.assert_array_equal(ops.silhouette_samples(x, [0, 0, 0, 1, 1, 2]), np.zeros(6))
    x[5] = 9.0
    np.testing.assert_allclose(ops.silhouette_samples(x, [0, 0, 0, 0, 0, 1]), [1, 1, 1, 1, 1, 0])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_sampled_silhouette_is_exact_for_its_rows(metric):
    x = blobs(1300, 12, 5)
    labels = ops.kmeans(x, 5).labels
    exact = ops.silhouette_samples(x, labels, metric=metric).astype(float)
    rows = np.sort(np.random.default_rng(4).choice(1300, 200, replace=False))
    score = ops.silhouette_score(x, labels, metric=metric, sample_size=200, seed=4)
    assert score.mean == pytest.approx(exact[rows].mean(), abs=1e-6)
    expected = np.sqrt(exact[rows].var(ddof=1) / 200 * (1 - 200 / 1300))
    assert score.standard_error == pytest.approx(expected, abs=1e-6)
    assert ops.silhouette_score(x, labels, metric=metric, sample_size=5000).standard_error == 0.0


def test_sampled_silhouette_covers_the_exact_mean():
    x = blobs(800, 6, 4)
    labels = ops.kmeans(x, 4).labels
    exact = ops.silhouette_score(x, labels).mean
    scores = [ops.silhouette_score(x, labels, sample_size=100, seed=seed) for seed in range(40)]
    assert sum(abs(score.mean - exact) <= 2 * score.standard_error for score in scores) >= 34


@given(st.lists(st.integers(0, 6), min_size=1, max_size=40), st.integers(7, 12))
def test_cluster_entropy(labels, k):
    shares = np.bincount(labels) / len(labels)
    shares = shares[shares > 0]
    found = ops.cluster_entropy(np.array(labels), k)
    assert found == pytest.approx(-(shares * np.log(shares)).sum() / np.log(k), abs=1e-12)
    assert 0.0 <= found <= 1.0


def test_cluster_entropy_at_its_ends():
    assert ops.cluster_entropy(np.arange(30) % 10, 10) == pytest.approx(1.0, abs=1e-15)
    assert ops.cluster_entropy([4, 4, 4], 10) == 0.0
    assert ops.cluster_entropy([0, 0], 1) == 0.0


def test_results_come_back_in_torch():
    torch = pytest.importorskip("torch")
    x = torch.tensor(blobs(100, 8, 3))
    found = ops.kmeans(x, 3)
    assert found.centroids.dtype == torch.float32
    assert found.labels.dtype == torch.int64
    scores = ops.silhouette_samples(x.bfloat16(), found.labels)
    assert isinstance(scores, torch.Tensor)
    assert ops.cluster_entropy(found.labels, 3) > 0.5


X = blobs(10, 3, 2)
LABELS = np.arange(10) % 2


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: ops.silhouette_samples(X, LABELS[:9]), DataProphetError, "labels: expected 10 labels"),
        (
            lambda: ops.silhouette_samples(X, LABELS * 0),
            DataProphetError,
            "labels: expected 2 to n - 1 .* got 1 over 10",
        ),
        (lambda: ops.silhouette_samples(X, np.arange(10)), DataProphetError, "labels: expected 2 to n - 1 .* got 10"),
        (lambda: ops.silhouette_samples(X, LABELS * 0.5), TypeError, "labels: expected integers, got dtype float64"),
        (lambda: ops.silhouette_samples(X, LABELS, metric="l1"), DataProphetError, "metric: .* got 'l1'"),
        (lambda: ops.silhouette_samples(X * 0, LABELS, metric="cosine"), DataProphetError, "x: 10 rows"),
        (lambda: ops.silhouette_score(X, LABELS, sample_size=1), DataProphetError, "sample_size: .* got 1"),
        (lambda: ops.cluster_entropy([0, 3], 3), DataProphetError, "labels: element 1 is 3, outside"),
        (lambda: ops.cluster_entropy([0, -1], 3), DataProphetError, "labels: element 1 is -1, outside"),
        (lambda: ops.cluster_entropy(LABELS[:0], 3), DataProphetError, "labels: expected at least 1"),
        (lambda: ops.cluster_entropy(LABELS, 0), DataProphetError, "k: expected at least 1, got 0"),
    ],
)
def test_bad_input(call, kind, message):
    with pytest.raises(kind, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
