"""Arrays of more than 2^31 elements, which take little memory: each row is the one before it moved on by an element."""

import numpy as np
import pytest
import scipy.signal
import scipy.special

from dataprophet import ops


class Windows:
    """2^31 + 2,100,227 elements in 8 MB; what is true of them is found by convolution."""

    n, d = (1 << 21) + 3, 1025

    def __init__(self):
        self.values = (np.random.default_rng(3).standard_normal(self.n + self.d - 1) + 0.1).astype(np.float32)
        self.rows = np.lib.stride_tricks.sliding_window_view(self.values, self.d)
        assert self.rows.size > 1 << 31
        self.wide = self.values.astype(np.float64)
        squares = np.cumsum(np.append(0.0, self.wide**2))
        self.squares = squares[self.d :] - squares[: -self.d]  # of each row

    def dots(self, vector):
        """(n,) dot products of the rows with a vector."""
        return scipy.signal.fftconvolve(self.wide, np.asarray(vector, np.float64)[::-1], mode="valid")


@pytest.fixture(scope="module")
def windows():
    return Windows()


def test_directions_of_more_than_two_to_the_31_elements(windows):
    norms = np.sqrt(windows.squares)
    expected = scipy.signal.fftconvolve(windows.wide, 1 / norms[::-1], mode="valid") / windows.n
    found = ops.mean_direction(windows.rows)
    assert np.linalg.norm(found - expected) <= 2e-7 * np.linalg.norm(expected)
    last = windows.rows[-1:] / norms[-1].astype(np.float32)
    np.testing.assert_allclose(ops.cosine_to(windows.rows, last)[:, 0], windows.dots(last[0]) / norms, atol=1e-6)


def test_kmeans_of_more_than_two_to_the_31_elements(windows):
    found = ops.kmeans(windows.rows, 2, init=windows.rows[[0, -1]], max_iter=1)
    distances = np.stack(
        [windows.squares - 2 * windows.dots(c) + (c.astype(float) ** 2).sum() for c in found.centroids]
    )
    gap = distances[1] - distances[0]
    clear = np.abs(gap) > 1e-3
    np.testing.assert_array_equal(found.labels[clear], (gap < 0)[clear])
    assert found.inertia == pytest.approx(distances.min(axis=0).sum(), rel=1e-6)


def test_nearest_of_more_than_two_to_the_31_elements(windows):
    others = windows.rows[[5, -1, 5]]
    cosine, index = ops.nearest(windows.rows, others)
    lengths = np.linalg.norm(others.astype(np.float64), axis=1)
    expected = np.stack([windows.dots(other) for other in others[:2]]) / lengths[:2, None] / np.sqrt(windows.squares)
    np.testing.assert_allclose(cosine, expected.max(axis=0), atol=1e-6)
    clear = np.abs(expected[0] - expected[1]) > 1e-9
    np.testing.assert_array_equal(index[clear], expected.argmax(axis=0)[clear])


def test_silhouettes_of_more_than_two_to_the_31_elements(windows):
    labels = (windows.wide[: windows.n] > 0).astype(np.int32)
    means = np.empty((2, windows.n))
    for cluster in (0, 1):
        chosen = (labels == cluster).astype(np.float64)
        centre = scipy.signal.fftconvolve(windows.wide, chosen[::-1], mode="valid") / chosen.sum()
        spread = windows.squares @ chosen / chosen.sum()
        means[cluster] = windows.squares - 2 * windows.dots(centre) + spread
        means[cluster] *= np.where(labels == cluster, chosen.sum() / (chosen.sum() - 1), 1)
    inside, outside = np.where(labels, means[::-1], means)
    found = ops.silhouette_samples(windows.rows, labels, metric="sqeuclidean")
    np.testing.assert_allclose(found, (outside - inside) / np.maximum(outside, inside), atol=2e-6)


def test_logits_of_more_than_two_to_the_31_elements(windows):
    targets = np.arange(windows.n) % windows.d
    totals = np.cumsum(np.append(0.0, np.exp(windows.wide)))
    expected = windows.wide[np.arange(windows.n) + targets] - np.log(totals[windows.d :] - totals[: -windows.d])
    np.testing.assert_allclose(ops.token_logprobs(windows.rows, targets), expected, atol=2e-6)


def test_heads_of_more_than_two_to_the_31_elements(windows):
    hidden = np.random.default_rng(4).standard_normal((3, windows.d)).astype(np.float32) / np.float32(32)
    targets = np.array([0, windows.n // 2, windows.n - 1])
    found = ops.linear_logprobs(hidden, windows.rows, targets)
    for i, row in enumerate(hidden):
        logits = windows.dots(row)
        expected = logits[targets[i]] - scipy.special.logsumexp(logits)
        np.testing.assert_allclose(found[i], expected, atol=1e-5)
