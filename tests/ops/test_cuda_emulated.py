"""The CUDA kernels on the CPU, by an emulator of threads, shared memory and tensor cores, against the reference."""

import cuda_emulated
import numpy as np
import pytest

from dataprophet.ops import reference

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(cuda_emulated.compiler() is None, reason="there is no C++ compiler"),
]

DTYPES = ["float32", "float16", "bfloat16"]
# Relative error of a mean, and absolute one of a cosine: fp32 sums.
MEAN, COSINE = 2e-7, 1e-6
# Euclidean silhouettes are those of rows rounded to fp16; the others of fp32 sums. Inertia is relative.
SILHOUETTE = {"euclidean": 2e-4, "sqeuclidean": 2e-6, "cosine": 2e-6}
INERTIA = 1e-6
ORDERS = [0, 1, 5]


def cast(x, dtype):
    if dtype == "bfloat16":
        return x.astype(pytest.importorskip("ml_dtypes").bfloat16)
    return x.astype(dtype)


def random_rows(n, d, dtype="float32", seed=0):
    return cast(np.random.default_rng(seed).standard_normal((n, d)) + 0.1, dtype)


def blobs(n, d, k, dtype="float32", seed=0, spread=2.0):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % k
    rng.shuffle(labels)
    return cast(rng.standard_normal((k, d))[labels] * spread + rng.standard_normal((n, d)), dtype), labels


def wide(x):
    return x.astype(np.float64)


def relative(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


# One row, odd widths, whole packs, one, two and four packs a thread, rows that no block holds in registers.
SHAPES = [
    (1, 1),
    (3, 5),
    (65, 16),
    (301, 72),
    (1000, 33),
    (9, 301),
    (5, 1001),
    (5, 2056),
    (4, 4104),
    (3, 8200),
    (2, 4100),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d"), SHAPES)
def test_mean_direction(emulated, dtype, n, d):
    x = random_rows(n, d, dtype)
    found, bad = emulated.mean_direction(x)
    assert bad == (0, 0, -1)
    assert relative(found, reference.mean_direction(wide(x))) <= MEAN


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d"), [(1, 1), (3, 5), (65, 16), (101, 72), (37, 331), (5, 1032)])
def test_cosine_to(emulated, dtype, n, d):
    x = random_rows(n, d, dtype)
    for targets in (1, 14, 35):
        directions = random_rows(targets, d, seed=1)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        found, bad = emulated.cosine_to(x, directions)
        assert bad == (0, 0, -1)
        np.testing.assert_allclose(found, reference.cosine_to(wide(x), directions), rtol=0, atol=COSINE)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "m", "d"), [(1, 1, 1), (3, 7, 5), (129, 260, 72), (40, 150, 331)])
def test_nearest(emulated, dtype, n, m, d):
    x, y = random_rows(n, d, dtype), random_rows(m, d, dtype, seed=1)
    cosine, index, *bad = emulated.nearest(x, y)
    assert bad == [(0, 0, -1)] * 2
    expected, best = reference.nearest(wide(x), wide(y))
    np.testing.assert_allclose(cosine, expected, rtol=0, atol=COSINE)
    if d > 1:
        np.testing.assert_array_equal(index, best)


def test_nearest_takes_the_lowest_of_equals(emulated):
    y = np.tile(random_rows(50, 24), (6, 1))
    assert (emulated.nearest(y[:50], y)[1] == np.arange(50)).all()
    assert (emulated.nearest(y[:50] * 4, y * 2)[1] == np.arange(50)).all()
    # near-collinear rows: cosines differ in their sixth digit
    near = np.ones((100, 768), np.float32) + random_rows(100, 768, seed=2) * np.float32(1e-3)
    cosine, *_ = emulated.nearest(near[:60], near)
    np.testing.assert_allclose(cosine, 1.0, rtol=0, atol=COSINE)
    best = reference.nearest(near[:60], near[60:])[0]
    cosine, *_ = emulated.nearest(near[:60], near[60:])
    np.testing.assert_allclose(cosine, best, rtol=0, atol=COSINE)


@pytest.mark.parametrize("dtype", DTYPES)
def test_strided_and_unaligned_rows(emulated, dtype):
    base = random_rows(64, 49, dtype)
    raw = np.zeros(base.size + 1, base.dtype)
    unaligned = raw[1:].reshape(base.shape)
    unaligned[:] = base
    for x in (base[::2], base[:, 1:33], base[:, 8:24], unaligned, base[:1, ::1], np.broadcast_to(base[0], base.shape)):
        directions = random_rows(3, x.shape[1], seed=1)
        assert relative(emulated.mean_direction(x)[0], reference.mean_direction(wide(x))) <= MEAN
        expected = reference.cosine_to(wide(x), directions)
        np.testing.assert_allclose(emulated.cosine_to(x, directions)[0], expected, rtol=0, atol=2e-5)
        cosine = emulated.nearest(x, np.ascontiguousarray(x[::-1]))[0]
        np.testing.assert_allclose(cosine, 1.0, rtol=0, atol=COSINE)


@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1e20, 3e37])
def test_rows_out_of_the_range_of_squares(emulated, scale):
    x = (random_rows(40, 24).astype(np.float64) * np.where(np.arange(40) % 3 == 0, scale, 1.0)[:, None]).astype(
        np.float32
    )
    x[0] = np.float32(scale)
    directions = random_rows(3, 24, seed=1)
    assert relative(emulated.mean_direction(x)[0], reference.mean_direction(x)) <= MEAN
    np.testing.assert_allclose(emulated.cosine_to(x, directions)[0], reference.cosine_to(x, directions), atol=3e-6)
    assert (emulated.nearest(x, x)[1] == np.arange(40)).all()
    labels = np.arange(40) % 3
    expected = reference.silhouette_samples(x, labels, metric="cosine")
    np.testing.assert_allclose(emulated.silhouettes(x, labels, "cosine")[0], expected, atol=2e-6)


@pytest.mark.parametrize("d", [24, 33, 4100])
def test_bad_rows_are_counted(emulated, d):
    x = random_rows(30, d)
    x[7], x[11, 3], x[29, 0] = 0.0, np.nan, -np.inf
    directions = random_rows(18, d, seed=1)
    assert emulated.mean_direction(x)[1] == (1, 2, 7)
    cosine, bad = emulated.cosine_to(x, directions)
    assert bad == (1, 2, 7)
    assert (cosine[[7, 11, 29]] == 0.0).all()
    assert np.isfinite(cosine).all()
    assert emulated.nearest(x, x[12:20])[2:] == ((1, 2, 7), (0, 0, -1))
    labels = np.arange(30) % 4
    assert emulated.silhouettes(x, labels, "cosine")[2] == (1, 2, 7)
    for metric in ("euclidean", "sqeuclidean"):
        assert emulated.silhouettes(x, labels, metric)[2] == (0, 2, 11)
    assert emulated.kmeans(x, 3, init=x[:3], max_iter=2)[4] == (0, 2, 11)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d", "k"), [(300, 7, 3), (700, 40, 10), (50, 1, 4), (260, 33, 35), (90, 8, 1)])
def test_kmeans(emulated, dtype, n, d, k):
    x, _ = blobs(n, d, min(k, 7), dtype)
    draws = reference.kmeans_draws(k, 3)
    for init in (None, wide(x[:k])):
        centroids, labels, inertia, n_iter, bad = emulated.kmeans(x, k, draws=draws, init=init)
        expected = reference.kmeans(wide(x), k, seed=3, init=init)
        assert bad == (0, 0, -1)
        assert n_iter == expected.n_iter
        assert inertia == pytest.approx(expected.inertia, rel=INERTIA)
        np.testing.assert_array_equal(labels, expected.labels)
        np.testing.assert_allclose(centroids, expected.centroids, rtol=0, atol=2e-6)


def test_kmeans_of_shifted_tight_huge_and_tiny_data(emulated):
    x, _ = blobs(400, 12, 5, spread=50.0)
    for scale, offset in ((1.0, 300.0), (1e18, 0.0), (1e-30, 0.0), (1e-3, 1.0)):
        moved = (x * np.float32(scale) + np.float32(offset)).astype(np.float32)
        _, labels, inertia, n_iter, _ = emulated.kmeans(moved, 5, draws=reference.kmeans_draws(5, 0))
        expected = reference.kmeans(moved, 5, seed=0)
        np.testing.assert_array_equal(labels, expected.labels)
        assert inertia == pytest.approx(expected.inertia, rel=1e-5)
        assert n_iter == expected.n_iter


@pytest.mark.parametrize(("distinct", "each", "k"), [(5, 40, 10), (1, 30, 4), (9, 20, 16)])
def test_kmeans_of_fewer_distinct_rows_than_clusters(emulated, distinct, each, k):
    rng = np.random.default_rng(distinct)
    x = np.repeat(rng.normal(size=(distinct, 8)).astype(np.float32), each, axis=0)[rng.permutation(distinct * each)]
    for start in (None, np.zeros((k, 8)), rng.normal(size=(k, 8)) + 50):
        centroids, labels, inertia, n_iter, _ = emulated.kmeans(x, k, draws=reference.kmeans_draws(k, 0), init=start)
        squares = ((wide(x)[:, None] - wide(centroids)) ** 2).sum(-1)
        assert inertia <= 1e-8 * len(x)
        assert (squares[np.arange(len(x)), labels] <= squares.min(1) + 1e-8).all()
        assert (np.bincount(labels, minlength=k) > 0).all()
        assert n_iter < 100


def test_kmeans_has_no_empty_cluster(emulated):
    x = np.zeros((20, 3), np.float32)
    x[:4] = np.eye(4, 3)
    for start in (None, np.full((6, 3), 100.0), np.zeros((6, 3))):
        found = emulated.kmeans(x, 6, draws=reference.kmeans_draws(6, 0), init=start)
        expected = reference.kmeans(x, 6, seed=0, init=start)
        assert (np.bincount(found[1], minlength=6) > 0).all()
        assert found[2] == pytest.approx(expected.inertia, abs=1e-6)
    assert emulated.kmeans(x[:4], 4, draws=reference.kmeans_draws(4, 0))[2] == 0.0
    assert emulated.kmeans(x, 2, init=x[:2], max_iter=0)[3] == 0


@pytest.mark.parametrize("metric", cuda_emulated.METRICS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d", "k"), [(40, 5, 4), (300, 72, 3), (261, 33, 100), (6, 2, 5)])
def test_silhouettes(emulated, metric, dtype, n, d, k):
    x, labels = blobs(n, d, k, dtype)
    expected = reference.silhouette_samples(wide(x), labels, metric=metric)
    found, _, bad = emulated.silhouettes(x, labels, metric)
    assert bad == (0, 0, -1)
    tolerance = SILHOUETTE[metric] * (2 if d == 2 else 1)  # the rounding of 2 numbers does not average out
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance)
    assert abs(found.mean() - expected.mean()) <= tolerance / 4
    rows = np.sort(np.random.default_rng(1).choice(n, n // 2, replace=False))
    some, means, _ = emulated.silhouettes(x, labels, metric, rows)
    np.testing.assert_allclose(some, found[rows], rtol=0, atol=1e-6)
    largest = means.max(axis=1)
    alone = np.bincount(labels)[labels[rows]] == 1
    ratio = np.where(alone, 0.0, (means[:, 1] - means[:, 0]) / np.where(largest > 0, largest, 1.0))
    np.testing.assert_allclose(some, ratio, rtol=0, atol=1e-12)


def distances(x, metric):
    x = wide(x)
    if metric == "cosine":
        x = x / np.linalg.norm(x, axis=1, keepdims=True)
        return 1.0 - x @ x.T
    squared = ((x[:, None] - x) ** 2).sum(axis=2)
    return squared if metric == "sqeuclidean" else np.sqrt(squared)


@pytest.mark.parametrize("metric", cuda_emulated.METRICS)
def test_mean_distances_are_in_units_of_the_data(emulated, metric):
    x, labels = blobs(90, 10, 3)
    x *= np.float32(1e3)
    _, means, _ = emulated.silhouettes(x, labels, metric)
    pairs = distances(x, metric)
    own = labels[:, None] == labels
    inside = np.where(own, pairs, 0.0).sum(axis=1) / (own.sum(axis=1) - 1)
    outside = np.min([pairs[:, labels == c].mean(axis=1) + np.where(labels == c, np.inf, 0) for c in range(3)], axis=0)
    np.testing.assert_allclose(means, np.stack([inside, outside], axis=1), rtol=3e-4)


def test_silhouettes_of_whole_and_of_mixed_tiles(emulated):
    """Clusters of several tiles: those within a cluster pair take another way than those on an edge."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [400, 130, 20])
    x = (rng.standard_normal((550, 24)) + labels[:, None]).astype(np.float32)
    expected = reference.silhouette_samples(x, labels)
    np.testing.assert_allclose(emulated.silhouettes(x, labels, "euclidean")[0], expected, rtol=0, atol=2e-4)
    rows = np.arange(0, 550, 2)
    some = emulated.silhouettes(x, labels, "euclidean", rows)[0]
    np.testing.assert_allclose(some, expected[rows], rtol=0, atol=2e-4)


@pytest.mark.parametrize(
    ("spread", "shift", "scale"), [(1e3, 0, 1), (1e4, 1e4, 1), (2, 1e3, 1), (2, 0, 1e18), (2, 0, 1e-30)]
)
def test_silhouettes_keep_their_digits(emulated, spread, shift, scale):
    """Tight clusters far apart, where distances inside one are far below the global size; shifted; huge; tiny."""
    x, labels = blobs(200, 16, 4, spread=spread)
    x = ((x + np.float32(shift)) * np.float32(scale)).astype(np.float32)
    pairs = distances(x.astype(np.float64) / scale, "euclidean")
    own = labels[:, None] == labels
    inside = np.where(own, pairs, 0.0).sum(axis=1) / (own.sum(axis=1) - 1)
    found, means, _ = emulated.silhouettes(x, labels, "euclidean")
    np.testing.assert_allclose(means[:, 0] / scale, inside, rtol=5e-4)
    for metric in ("sqeuclidean", "euclidean"):
        found = emulated.silhouettes(x, labels, metric)[0]
        expected = reference.silhouette_samples(x, labels, metric=metric)
        np.testing.assert_allclose(found, expected, rtol=0, atol=SILHOUETTE[metric])


@pytest.mark.parametrize("metric", cuda_emulated.METRICS)
def test_silhouettes_of_equal_rows_and_singletons(emulated, metric):
    for value in (1.0, 3.3, 1e-20):
        x = np.full((6, 3), value, np.float32)
        assert (emulated.silhouettes(x, np.array([0, 0, 0, 1, 1, 2]), metric)[0] == 0.0).all()
    x[5] = [9.0, -1.0, 1.0]
    np.testing.assert_allclose(emulated.silhouettes(x, np.array([0, 0, 0, 0, 0, 1]), metric)[0], [1, 1, 1, 1, 1, 0])
    x, labels = np.repeat(random_rows(5, 20), 40, axis=0), np.repeat(np.arange(5), 40)
    found, means, _ = emulated.silhouettes(x, labels, metric)
    np.testing.assert_allclose(found, 1.0, rtol=0, atol=0 if metric == "euclidean" else 1e-11)
    np.testing.assert_allclose(means[:, 0], 0.0, rtol=0, atol=0 if metric == "euclidean" else 1e-11)


def test_near_collinear_rows(emulated):
    rng = np.random.default_rng(0)
    labels = np.arange(150) % 3
    x = (1.0 + 1e-3 * (rng.standard_normal((3, 32))[labels] + rng.standard_normal((150, 32)))).astype(np.float32)
    for metric in cuda_emulated.METRICS:
        expected = reference.silhouette_samples(x, labels, metric=metric)
        found = emulated.silhouettes(x, labels, metric)[0]
        np.testing.assert_allclose(found, expected, rtol=0, atol=max(SILHOUETTE[metric], 2e-5))


@pytest.mark.parametrize(("n", "k"), [(1, 1), (5000, 10), (5000, 4000), (9000, 5000)])
def test_cluster_counts(emulated, n, k):
    labels = np.random.default_rng(0).integers(0, k, n)
    np.testing.assert_array_equal(emulated.cluster_counts(labels, k), [*np.bincount(labels, minlength=k), 0])
    labels[0] = k
    labels[-1] = -1
    assert emulated.cluster_counts(labels, k)[k] == (2 if n > 1 else 1)


def test_bits_do_not_depend_on_the_order_of_threads_and_blocks(emulated):
    x, labels = blobs(400, 40, 6)
    y = random_rows(150, 40, seed=1)
    found = set()
    for order in ORDERS:
        emulated.order(order)
        results = [*emulated.mean_direction(x), *emulated.cosine_to(x, y[:5]), *emulated.nearest(x, y)]
        results += emulated.kmeans(x, 6, draws=reference.kmeans_draws(6, 0), max_iter=3)
        for metric in cuda_emulated.METRICS:
            results += emulated.silhouettes(x, labels, metric)
        results.append(emulated.cluster_counts(labels, 6))
        found.add(b"".join(np.asarray(result).tobytes() for result in results))
    emulated.order(0)
    assert len(found) == 1
