"""The NumPy reference against SciPy, scikit-learn and loops over pairs, in float64."""

import numpy as np
import pytest
from scipy import spatial, special, stats

from dataprophet.errors import DataProphetError
from dataprophet.ops import reference
from dataprophet.ops.reference.products import exact_dots, product


@pytest.fixture
def x():
    return np.random.default_rng(0).standard_normal((211, 19)) + 0.2


@pytest.mark.parametrize(
    ("n", "d", "m"),
    [(1, 1, 1), (1, 300, 5), (5, 300, 1), (2049, 7, 3), (300, 129, 70), (0, 4, 90), (3, 0, 2), (205, 9, 10)],
)
def test_product(n, d, m):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((n, d)), rng.standard_normal((d, m))
    np.testing.assert_allclose(product(a, b), a @ b, atol=1e-12)


@pytest.mark.parametrize(("n", "d", "m"), [(13, 129, 7), (33, 768, 5), (9, 4096, 3), (70, 300, 67)])
def test_exact_dots_do_not_depend_on_their_neighbours(n, d, m):
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((n, d)), rng.standard_normal((m, d)) + 0.2
    a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b))
    found = exact_dots(a, b)
    wide = a.astype(np.longdouble) @ b.astype(np.longdouble).T
    np.testing.assert_allclose(found, wide.astype(float), rtol=0, atol=d**0.5 * 2**-46)
    for _ in range(5):
        rows, columns = rng.permutation(n)[:5], rng.permutation(m)[:3]
        np.testing.assert_array_equal(exact_dots(a[rows], b[columns]), found[np.ix_(rows, columns)])
    np.testing.assert_array_equal(exact_dots(b[:1], a[:1])[0], found[:1, 0])


def test_directions(x):
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    np.testing.assert_allclose(reference.mean_direction(x), unit.mean(axis=0), rtol=1e-13, atol=1e-16)
    pairs = 1.0 - spatial.distance.cdist(x, x[:50], "cosine")
    assert reference.expected_cosine(x, x[:50]) == pytest.approx(pairs.mean(), abs=1e-14)
    np.testing.assert_allclose(reference.cosine_to(x, unit[:50]), pairs, atol=1e-7)
    cosine, index = reference.nearest(x, x[:50])
    np.testing.assert_array_equal(index, pairs.argmax(axis=1))
    np.testing.assert_allclose(cosine, pairs.max(axis=1), atol=1e-7)
    x[100], x[30, 2] = 0.0, np.inf
    with pytest.raises(
        DataProphetError, match=r"x: 2 rows .* \(1 all-zero, 1 with NaN or infinity\), the first is row 30"
    ):
        reference.mean_direction(x)


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean", "cosine"])
def test_silhouettes_by_their_definition(x, metric):
    labels = np.random.default_rng(1).integers(0, 4, len(x))
    labels[7] = 9
    distance = spatial.distance.cdist(x, x, metric)
    expected = np.zeros(len(x))
    for i, own in enumerate(labels):
        others = labels == own
        others[i] = False
        if others.any():
            a = distance[i, others].mean()
            b = min(distance[i, labels == other].mean() for other in set(labels) - {own})
            expected[i] = (b - a) / max(a, b)
    np.testing.assert_allclose(reference.silhouette_samples(x, labels, metric=metric), expected, atol=1e-7)


@pytest.mark.parametrize("exponent", [-1000, -400, 400, 1000])
def test_silhouettes_of_huge_and_tiny_rows(x, exponent):
    labels = np.arange(len(x)) % 5
    scaled = np.ldexp(x, exponent)
    for metric in ("euclidean", "sqeuclidean"):
        expected, means = reference.silhouettes(x, labels, metric)
        found, scaled_means = reference.silhouettes(scaled, labels, metric)
        np.testing.assert_allclose(found, expected, atol=1e-12)
        if metric == "euclidean":
            np.testing.assert_allclose(np.ldexp(scaled_means, -exponent), means, rtol=1e-9)


def test_silhouettes_span_several_tiles():
    metrics = pytest.importorskip("sklearn.metrics")
    x = np.random.default_rng(0).standard_normal((2500, 3))
    labels = np.random.default_rng(1).integers(0, 6, 2500)
    np.testing.assert_allclose(
        reference.silhouette_samples(x, labels), metrics.silhouette_samples(x, labels), atol=1e-7
    )
    rows = np.sort(np.random.default_rng(5).choice(2500, 1200, replace=False))
    scores, means = reference.silhouettes(x, labels, "euclidean", rows)
    inside, outside = means.T
    np.testing.assert_allclose(scores, metrics.silhouette_samples(x, labels)[rows], atol=1e-12)
    np.testing.assert_allclose(scores, (outside - inside) / np.maximum(inside, outside), atol=1e-15)


def test_kmeans_fixed_point(x):
    found = reference.kmeans(x, 5, seed=1, tol=0.0, max_iter=200)
    distance = spatial.distance.cdist(x, found.centroids, "sqeuclidean")
    np.testing.assert_array_equal(found.labels, distance.argmin(axis=1))
    means = [x[found.labels == k].mean(axis=0) for k in range(5)]
    np.testing.assert_allclose(found.centroids, means, atol=1e-6)
    assert found.inertia == pytest.approx(distance.min(axis=1).sum(), rel=1e-6)


def test_entropy():
    labels = np.array([0, 0, 1, 3, 3, 3])
    expected = stats.entropy([2, 1, 3]) / np.log(5)
    assert reference.cluster_entropy(labels, 5) == pytest.approx(expected, abs=1e-15)


def test_tokens(x):
    rng = np.random.default_rng(2)
    weight, targets = rng.standard_normal((5000, 19)), rng.integers(0, 5000, len(x))
    logits = x @ weight.T
    rows = np.arange(len(x))
    expected = special.log_softmax(logits, axis=1)[rows, targets]
    np.testing.assert_allclose(reference.token_logprobs(logits, targets), expected, rtol=1e-7)
    np.testing.assert_allclose(reference.linear_logprobs(x, weight, targets), expected, rtol=2e-7)
    np.testing.assert_allclose(
        reference.segment_means(expected, np.array([0, 5, 211])), [expected[:5].mean(), expected[5:].mean()], rtol=1e-7
    )
