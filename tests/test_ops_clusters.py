"""k-means and entropy: against scikit-learn, bits, and bad input."""

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

sklearn_cluster = pytest.importorskip("sklearn.cluster")


@pytest.mark.parametrize(("n", "d", "k"), [(300, 7, 3), (1000, 33, 10), (50, 1, 4), (2100, 140, 5)])
def test_kmeans_from_the_same_start_equals_scikit_learn(n, d, k):
    x = blobs(n, d, k)
    found = ops.kmeans(x, k, init=x[:k])
    peer = sklearn_cluster.KMeans(k, init=x[:k].astype(float), n_init=1, max_iter=100, tol=1e-4).fit(x.astype(float))
    assert found.inertia == pytest.approx(peer.inertia_, rel=1e-5)
    assert found.centroids.dtype == np.float32
    assert found.labels.dtype == np.int64
    assert found.n_iter <= 100


def test_kmeans_plus_plus_finds_separate_blobs():
    x = blobs(2000, 16, 8, spread=20.0)
    found = ops.kmeans(x, 8, seed=3)
    best = sklearn_cluster.KMeans(8, n_init=5, random_state=0).fit(x.astype(float)).inertia_
    assert found.inertia <= best * 1.0001
    shift = ((x - found.centroids[found.labels]) ** 2).sum()
    assert found.inertia == pytest.approx(float(shift), rel=1e-5)


def test_kmeans_seed_gives_the_same_bits():
    x = blobs(500, 20, 6)
    first, again, other = ops.kmeans(x, 6, seed=1), ops.kmeans(x.copy(), 6, seed=1), ops.kmeans(x, 6, seed=2)
    assert first.centroids.tobytes() == again.centroids.tobytes()
    assert first.inertia == again.inertia
    assert not np.array_equal(first.labels, other.labels)


def test_bits_do_not_depend_on_blas_threads():
    code = """
import hashlib, numpy as np
from dataprophet import ops
x = np.random.default_rng(0).standard_normal((2049, 515)).astype(np.float32)
found = ops.kmeans(x, 10, max_iter=5)
parts = [found.centroids, found.labels, np.float64(found.inertia), *ops.nearest(x, x[::7])]
print(hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest())
"""
    hashes = set()
    for threads in ("1", "2", "3"):
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": threads, "OMP_NUM_THREADS": threads}
        hashes.add(
            subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout
        )
    assert len(hashes) == 1


def test_kmeans_has_no_empty_cluster():
    x = np.zeros((20, 3), np.float32)
    x[:4] = np.eye(4, 3)
    for start in (None, np.full((6, 3), 100.0, np.float32), np.zeros((6, 3), np.float32)):
        labels = ops.kmeans(x, 6, init=start).labels
        assert (np.bincount(labels, minlength=6) > 0).all()
    assert ops.kmeans(x, 1).inertia == pytest.approx(((x - x.mean(axis=0)) ** 2).sum(), rel=1e-6)
    assert ops.kmeans(x[:4], 4).inertia == 0.0


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
    assert ops.cluster_entropy(found.labels, 3) > 0.5


X = blobs(10, 3, 2)
LABELS = np.arange(10) % 2


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: ops.kmeans(X, 0), DataProphetError, "k: expected 1 <= k <= 10 rows, got 0"),
        (lambda: ops.kmeans(X, 11), DataProphetError, "k: expected 1 <= k <= 10 rows, got 11"),
        (lambda: ops.kmeans(X * np.nan, 2), DataProphetError, "x: 10 rows without .* the first is row 0"),
        (lambda: ops.kmeans(X, 2, init=X), DataProphetError, "init: expected shape"),
        (lambda: ops.kmeans(X, 2, init=X[:2] * np.inf), DataProphetError, "init: 2 rows"),
        (lambda: ops.kmeans(X, 2, max_iter=-1), DataProphetError, "max_iter=-1"),
        (lambda: ops.kmeans(X, 2, tol=float("nan")), DataProphetError, "tol=nan"),
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
