"""Silhouettes: against scikit-learn, exact means, bits, and bad input. How good the estimate is: test_estimate.py."""

import os
import subprocess
import sys

import numpy as np
import pytest
from clusters import blobs
from hypothesis import given
from hypothesis import strategies as st

from dataprophet import ops
from dataprophet.errors import DataProphetError

sklearn_metrics = pytest.importorskip("sklearn.metrics")


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


@given(
    st.lists(st.sampled_from([-(2**63), -5, -1, 0, 2, 3, 2**40, 2**63 - 1]), min_size=6, max_size=12),
    st.integers(0, 2**16),
)
def test_only_which_labels_are_equal_counts(labels, seed):
    if not 2 <= len(set(labels)) < len(labels):
        labels = [0, 0, *labels[2:-1], 1]
    x = np.random.default_rng(seed).standard_normal((len(labels), 3)).astype(np.float32)
    plain = np.unique(labels, return_inverse=True)[1]
    expected = ops.silhouette_samples(x, plain)
    np.testing.assert_array_equal(ops.silhouette_samples(x, np.array(labels)), expected)
    shifted = (np.array(labels).astype(np.uint64) + np.uint64(2**63)).astype(np.uint64)
    np.testing.assert_array_equal(ops.silhouette_samples(x, shifted), expected)
    np.testing.assert_array_equal(ops.silhouette_samples(x, plain.astype(np.int8) - 100), expected)


def test_silhouette_of_equal_rows_and_singletons():
    x = np.ones((6, 3), np.float32)
    np.testing.assert_array_equal(ops.silhouette_samples(x, [0, 0, 0, 1, 1, 2]), np.zeros(6))
    x[5] = 9.0
    np.testing.assert_allclose(ops.silhouette_samples(x, [0, 0, 0, 0, 0, 1]), [1, 1, 1, 1, 1, 0])


def test_a_sample_of_all_rows_and_the_cheap_metrics_are_exact():
    x = blobs(700, 12, 5)
    labels = ops.kmeans(x, 5).labels
    exact = ops.silhouette_score(x, labels)
    for size in (700, 5000):
        assert ops.silhouette_score(x, labels, sample_size=size) == exact
    for metric in ("sqeuclidean", "cosine"):
        exact = ops.silhouette_score(x, labels, metric=metric)
        assert ops.silhouette_score(x, labels, metric=metric, sample_size=50) == exact
        assert exact.standard_error == 0.0


def test_bits_do_not_depend_on_threads():
    code = """
import hashlib, numpy as np
from dataprophet import ops
x = np.random.default_rng(0).standard_normal((1100, 515)).astype(np.float32)
labels = np.arange(1100) % 10
parts = [ops.silhouette_samples(x, labels, metric=metric) for metric in ("euclidean", "sqeuclidean", "cosine")]
for values in (x, x.astype(np.float16), x.astype(float)):
    parts += [np.array(ops.silhouette_score(values, labels, sample_size=m)) for m in (60, 800)]
print(hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest())
"""
    hashes = set()
    for threads in ("1", "2", "3"):
        names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "DATAPROPHET_THREADS")
        environment = {**os.environ, **dict.fromkeys(names, threads)}
        hashes.add(
            subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout
        )
    assert len(hashes) == 1


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float64"])
def test_torch_gives_what_numpy_gives(dtype):
    torch = pytest.importorskip("torch")
    x = torch.tensor(blobs(900, 8, 3)).to(getattr(torch, dtype))
    labels = torch.arange(900) % 3
    plain = x.double().numpy() if dtype == "float64" else x.float().numpy()
    scores = ops.silhouette_samples(x, labels)
    assert isinstance(scores, torch.Tensor)
    np.testing.assert_allclose(scores.numpy(), ops.silhouette_samples(plain, labels.numpy()), atol=3e-4)
    found = ops.silhouette_score(x, labels, sample_size=200, seed=1)
    expected = ops.silhouette_score(plain, labels.numpy(), sample_size=200, seed=1)
    assert found.mean == pytest.approx(expected.mean, abs=1e-4)
    assert found.standard_error == pytest.approx(expected.standard_error, rel=0.1)


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
        (lambda: ops.silhouette_samples(X[:0], LABELS[:0]), DataProphetError, "labels: expected 2 .* got 0 over 0"),
        (lambda: ops.silhouette_samples(X, LABELS * 0.5), TypeError, "labels: expected integers, got dtype float64"),
        (lambda: ops.silhouette_samples(X, LABELS, metric="l1"), DataProphetError, "metric: .* got 'l1'"),
        (lambda: ops.silhouette_samples(X * np.nan, LABELS), DataProphetError, "x: 10 rows .* the first is row 0"),
        (lambda: ops.silhouette_samples(X * 0, LABELS, metric="cosine"), DataProphetError, "x: 10 rows"),
        (lambda: ops.silhouette_score(X, LABELS, sample_size=1), DataProphetError, "sample_size: .* got 1"),
        (
            lambda: ops.silhouette_score(X * np.inf, LABELS, sample_size=4),
            DataProphetError,
            "x: 10 rows .* the first is row 0",
        ),
    ],
)
def test_bad_input(call, kind, message):
    with pytest.raises(kind, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
