"""Entropy of clusters, and what operations on clusters share: bits, results in torch, bad input."""

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
