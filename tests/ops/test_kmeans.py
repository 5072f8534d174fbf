"""k-means: every instruction set against the reference and scikit-learn, bits, ranges of values, and bad input."""

import numpy as np
import pytest
from clusters import blobs
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from dataprophet import _core, ops
from dataprophet.errors import DataProphetError
from dataprophet.ops import reference

ISAS = _core.available_isas()
SHAPES = [(1, 1, 1), (4, 3, 4), (50, 1, 4), (63, 17, 2), (300, 7, 6), (1000, 33, 11), (500, 768, 17), (70, 4097, 3)]


def core_kmeans(x, k, *, seed=0, init=None, max_iter=100, tol=1e-4, threads=1, isa=""):
    centroids, labels = np.full((k, x.shape[1]), np.nan, np.float32), np.full(len(x), -7)
    draws = reference.kmeans_draws(k, seed)
    inertia, n_iter, bad = _core.kmeans(x, init, draws, centroids, labels, max_iter, tol, threads, isa)
    assert bad == (0, 0, -1)
    return reference.KMeans(centroids, labels, inertia, n_iter)


def assert_same(found, expected, rtol=1e-5):
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert found.n_iter == expected.n_iter
    assert found.inertia == pytest.approx(expected.inertia, rel=rtol, abs=1e-12)
    size = np.abs(expected.centroids).max()
    np.testing.assert_allclose(found.centroids, expected.centroids, rtol=0, atol=2e-6 * max(size, 1e-30))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(("n", "d", "k"), SHAPES)
def test_every_instruction_set(isa, dtype, n, d, k):
    torch = pytest.importorskip("torch")
    x = torch.tensor(blobs(n, d, k)).to(getattr(torch, dtype))
    wide = x.float().numpy()
    assert_same(core_kmeans(x, k, seed=3, isa=isa), reference.kmeans(wide, k, seed=3))
    start = wide[:k].astype(float)
    assert_same(core_kmeans(x, k, init=start, isa=isa), reference.kmeans(wide, k, init=start))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("n", "d", "k"), [(3000, 16, 100), (400, 1600, 60)])
def test_many_centroids(isa, n, d, k):
    x = blobs(n, d, k, spread=2.0)
    assert_same(core_kmeans(x, k, seed=1, isa=isa), reference.kmeans(x, k, seed=1))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("n", "d", "k"), [(5000, 130, 10), (2000, 33, 5), (9000, 7, 3), (70, 3, 2)])
def test_bits_do_not_depend_on_threads(isa, n, d, k):
    x = blobs(n, d, 2 * k)
    results = set()
    for threads in (1, 2, 3, 8, 64):
        found = core_kmeans(x, k, seed=2, threads=threads, isa=isa)
        results.add(found.centroids.tobytes() + found.labels.tobytes() + np.float64(found.inertia).tobytes())
    assert len(results) == 1


@pytest.mark.parametrize("max_iter", [0, 1, 2, 7])
def test_iterations_are_those_of_the_reference(max_iter):
    x = blobs(1500, 40, 9)
    for tol in (0.0, 1e-4, 1e-2, 1e9):
        options = {"seed": 5, "max_iter": max_iter, "tol": tol}
        assert_same(core_kmeans(x, 9, **options), reference.kmeans(x, 9, **options))


@pytest.mark.parametrize("seed", range(12))
def test_seeds_are_those_of_the_reference(seed):
    x = blobs(700, 24, 40)
    options = {"seed": seed, "max_iter": 0}
    found, expected = core_kmeans(x, 12, **options), reference.kmeans(x, 12, **options)
    np.testing.assert_allclose(found.centroids, expected.centroids, atol=1e-6)
    seeds = {int(np.flatnonzero((np.abs(x - c) < 1e-5).all(axis=1))[0]) for c in found.centroids}
    assert len(seeds) == 12


@pytest.mark.parametrize(("n", "d", "k"), [(300, 7, 3), (1000, 33, 10), (50, 1, 4), (2100, 140, 5)])
def test_from_the_same_start_equals_scikit_learn(n, d, k):
    cluster = pytest.importorskip("sklearn.cluster")
    x = blobs(n, d, k)
    found = ops.kmeans(x, k, init=x[:k])
    peer = cluster.KMeans(k, init=x[:k].astype(float), n_init=1, max_iter=100, tol=1e-4).fit(x.astype(float))
    assert found.inertia == pytest.approx(peer.inertia_, rel=1e-5)
    assert found.centroids.dtype == np.float32
    assert found.labels.dtype == np.int64
    assert found.n_iter <= 100


def test_plus_plus_is_no_worse_than_scikit_learn():
    cluster = pytest.importorskip("sklearn.cluster")
    x = blobs(1500, 20, 30, spread=1.5)
    ours = [ops.kmeans(x, 10, seed=seed).inertia for seed in range(20)]
    theirs = [cluster.KMeans(10, n_init=1, random_state=seed).fit(x).inertia_ for seed in range(20)]
    assert np.mean(ours) <= np.mean(theirs) * 1.01


def test_separate_blobs_are_found():
    cluster = pytest.importorskip("sklearn.cluster")
    x = blobs(2000, 16, 8, spread=20.0)
    found = ops.kmeans(x, 8, seed=3)
    best = cluster.KMeans(8, n_init=5, random_state=0).fit(x.astype(float)).inertia_
    assert found.inertia <= best * 1.0001
    shift = ((x - found.centroids[found.labels]) ** 2).sum()
    assert found.inertia == pytest.approx(float(shift), rel=1e-5)


def test_a_seed_gives_the_same_bits():
    x = blobs(500, 20, 6)
    first, again, other = ops.kmeans(x, 6, seed=1), ops.kmeans(x.copy(), 6, seed=1), ops.kmeans(x, 6, seed=2)
    assert first.centroids.tobytes() == again.centroids.tobytes()
    assert first.inertia == again.inertia
    assert not np.array_equal(first.labels, other.labels)


@pytest.mark.parametrize("isa", ISAS)
def test_shifted_and_near_collinear_rows(isa):
    x = blobs(800, 50, 5, spread=2.0)
    shifted = x + np.float32(1000)
    collinear = np.ones(50, np.float32) * 30 + x * np.float32(1e-3)
    for rows in (shifted, collinear):
        assert_same(core_kmeans(rows, 5, seed=4, isa=isa), reference.kmeans(rows, 5, seed=4))


@pytest.mark.parametrize("isa", ISAS)
def test_clusters_much_closer_than_others(isa):
    """Two pairs of clusters, far apart; within a pair the scores differ by less than fp32 can tell."""
    rng = np.random.default_rng(0)
    base = np.repeat(rng.standard_normal((2, 64)), 2, axis=0)
    base[1::2, 0] += 2e-3
    labels = np.arange(400) % 4
    x = (base[labels] + 1e-4 * rng.standard_normal((400, 64))).astype(np.float32)
    found = core_kmeans(x, 4, init=base, isa=isa)
    np.testing.assert_array_equal(found.labels, labels)
    assert found.inertia == pytest.approx(reference.kmeans(x, 4, init=base).inertia, rel=1e-3)


@pytest.mark.parametrize("scale", [1e37, 1e25, 1e19, 1e-20, 1e-36, 1e-41])
def test_huge_and_tiny_values(scale):
    x = (blobs(400, 12, 4, spread=3.0).astype(np.float64) * scale).astype(np.float32)
    plain = x.astype(np.float64) / scale
    expected = reference.kmeans(plain, 4, seed=1)
    found = ops.kmeans(x, 4, seed=1)
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert found.inertia / scale / scale == pytest.approx(expected.inertia, rel=1e-5)
    np.testing.assert_allclose(found.centroids / scale, expected.centroids, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("isa", ISAS)
def test_no_cluster_is_empty(isa):
    x = np.zeros((20, 3), np.float32)
    x[:4] = np.eye(4, 3)
    for start in (None, np.full((6, 3), 100.0), np.zeros((6, 3)), np.full((6, 3), 1e300)):
        found = core_kmeans(x, 6, init=start, isa=isa)
        assert (np.bincount(found.labels, minlength=6) > 0).all()
    assert core_kmeans(x, 6, seed=1, isa=isa).inertia == pytest.approx(0, abs=1e-12)  # four rows differ
    assert core_kmeans(x, 1, isa=isa).inertia == pytest.approx(((x - x.mean(axis=0)) ** 2).sum(), rel=1e-6)
    assert core_kmeans(x[:4], 4, isa=isa).inertia == 0.0


def test_an_empty_cluster_takes_the_farthest_row():
    x = np.array([[0.0], [1.0], [10.0], [-10.0], [-1.0]], np.float32)
    found = ops.kmeans(x, 3, init=[[0.0], [500.0], [900.0]], max_iter=0)
    np.testing.assert_array_equal(found.labels, [0, 0, 1, 2, 0])  # equally far: the lowest row first
    assert_same(found, reference.kmeans(x, 3, init=np.array([[0.0], [500.0], [900.0]]), max_iter=0))


def test_ties_go_to_the_lowest_index():
    x = np.array([[0.0, 0.0], [2.0, 0.0], [1.0, 0.0], [1.0, 5.0]], np.float32)
    found = ops.kmeans(x, 2, init=x[:2], max_iter=0)
    np.testing.assert_array_equal(found.labels, [0, 1, 0, 0])
    np.testing.assert_array_equal(ops.kmeans(np.ones((9, 4), np.float32), 1).labels, np.zeros(9))


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 40), st.integers(1, 20)), elements=st.integers(-4, 4)),
    st.integers(1, 40),
    st.integers(0, 3),
)
def test_any_shape_with_ties_and_repeats(x, k, seed):
    k = min(k, len(x))
    found = ops.kmeans(x, k, seed=seed)
    assert (np.bincount(found.labels, minlength=k) > 0).all()
    nearest = ((x[:, None].astype(float) - found.centroids[None]) ** 2).sum(axis=2)
    own = np.take_along_axis(nearest, found.labels[:, None], axis=1)[:, 0]
    assert found.inertia == pytest.approx(own.sum(), rel=1e-5, abs=1e-6)
    assert found.inertia <= ((x - x.mean(axis=0, dtype=float)) ** 2).sum() * (1 + 1e-5) + 1e-6
    start = ops.kmeans(x, k, init=x[:k], max_iter=0)
    distance = ((x[:, None].astype(float) - x[None, :k]) ** 2).sum(axis=2)
    if len(np.unique(x[:k], axis=0)) == k:  # then none is empty, and each row is with a nearest one
        own = np.take_along_axis(distance, start.labels[:, None], axis=1)[:, 0]
        np.testing.assert_allclose(own, distance.min(axis=1), atol=1e-4)


def test_views_and_libraries():
    x = blobs(120, 24, 3, spread=9.0)
    labels = ops.kmeans(x, 3).labels
    buffer = np.zeros(x.nbytes + 1, np.uint8)
    unaligned = buffer[1:].view(np.float32).reshape(x.shape)
    unaligned[:] = x
    readonly = x.copy()
    readonly.flags.writeable = False
    for view in (unaligned, readonly, np.asfortranarray(x), x.tolist(), np.repeat(x, 2, axis=1)[:, ::2]):
        np.testing.assert_array_equal(ops.kmeans(view, 3).labels, labels)
    np.testing.assert_array_equal(ops.kmeans(x[::-1], 3, init=x[:3]).labels[::-1], ops.kmeans(x, 3, init=x[:3]).labels)
    torch = pytest.importorskip("torch")
    found = ops.kmeans(torch.tensor(x, requires_grad=True), 3)
    assert found.centroids.dtype == torch.float32
    assert found.labels.dtype == torch.int64
    np.testing.assert_array_equal(found.labels, labels)
    np.testing.assert_array_equal(ops.kmeans(x.astype(np.float64), 3).labels, labels)


def test_no_columns():
    found = ops.kmeans(np.zeros((5, 0), np.float32), 2)
    assert found.inertia == 0.0
    assert found.centroids.shape == (2, 0)
    assert (np.bincount(found.labels, minlength=2) > 0).all()


X = blobs(10, 3, 2)
BAD = np.where(np.arange(300)[:, None] % 150 == 70, np.nan, blobs(300, 3, 2)).astype(np.float32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.kmeans(X, 0), "k: expected 1 <= k <= 10 rows, got 0"),
        (lambda: ops.kmeans(X, 11), "k: expected 1 <= k <= 10 rows, got 11"),
        (lambda: ops.kmeans(X[:0], 1), "k: expected 1 <= k <= 0 rows, got 1"),
        (lambda: ops.kmeans(X[0], 1), r"x: expected 2 dimensions, got shape \(3,\)"),
        (lambda: ops.kmeans(X * np.nan, 2), "x: 10 rows without .* the first is row 0"),
        (lambda: ops.kmeans(BAD, 2), r"x: 2 rows without a direction \(2 with NaN or infinity\), the first is row 70"),
        (lambda: ops.kmeans(-BAD * np.float32(np.inf), 2), "x: 300 rows without .* the first is row 0"),
        (lambda: ops.kmeans(BAD.astype(np.float16), 2), "x: 2 rows without .* the first is row 70"),
        (lambda: ops.kmeans(BAD.astype(np.float64), 2), "x: 2 rows without .* the first is row 70"),
        (lambda: ops.kmeans(X, 2, init=X), "init: expected shape"),
        (lambda: ops.kmeans(X, 2, init=X[:2] * np.inf), "init: 2 rows"),
        (lambda: ops.kmeans(X, 2, max_iter=-1), "max_iter=-1"),
        (lambda: ops.kmeans(X, 2, tol=float("nan")), "tol=nan"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(DataProphetError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"init": X[:2]}, "init must be a contiguous float64"),
        ({"draws": np.zeros(4)}, "draws must be"),
        ({"draws": np.full(5, 1.0)}, r"draws must be in \[0, 1\)"),
        ({"centroids": np.zeros((2, 4), np.float32)}, "centroids must be"),
        ({"centroids": np.zeros((11, 3), np.float32)}, "k must be in"),
        ({"labels": np.zeros(10, np.int32)}, "labels must be"),
        ({"max_iter": -1}, "max_iter and tol"),
        ({"tol": float("nan")}, "max_iter and tol"),
    ],
)
def test_the_core_checks_its_arguments(changes, message):
    arguments = {
        "x": X,
        "init": None,
        "draws": np.zeros(5),
        "centroids": np.zeros((2, 3), np.float32),
        "labels": np.zeros(10, np.int64),
        "max_iter": 1,
        "tol": 0.0,
    }
    with pytest.raises(ValueError, match=message):
        _core.kmeans(**{**arguments, **changes})


REPEATS = [(5, 40, 10), (1, 30, 4), (3, 700, 8), (9, 1, 9), (2, 3, 5), (20, 60, 64)]


@pytest.mark.parametrize("isa", [*ISAS, "reference"])
@pytest.mark.parametrize(("distinct", "each", "k"), REPEATS)
@pytest.mark.parametrize("first", ["plus plus", "equal", "far", "some"])
def test_fewer_distinct_rows_than_clusters(isa, distinct, each, k, first):
    """Inertia 0 is possible, and reached; each row is with a nearest centroid, and no cluster is empty."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        own = rng.normal(size=(distinct, 8)) * rng.lognormal(size=(distinct, 1)) + 3 * (seed % 2)
        x = np.repeat(own.astype(np.float32), each, axis=0)[rng.permutation(distinct * each)]
        starts = {"plus plus": None, "equal": np.zeros((k, 8)), "far": rng.normal(size=(k, 8)) + 50}
        start = starts.get(first, rng.normal(size=(k, 8)))
        if isa == "reference":
            found = reference.kmeans(x, k, seed=seed, init=start)
        else:
            found = core_kmeans(x, k, seed=seed, init=start, isa=isa)
        scale = float((x.astype(float) ** 2).sum(1).max())
        squares = ((x[:, None].astype(float) - found.centroids.astype(float)) ** 2).sum(-1)
        assert found.inertia <= 1e-9 * scale * len(x)
        assert (squares[np.arange(len(x)), found.labels] <= squares.min(1) + 1e-9 * scale).all()
        assert (np.bincount(found.labels, minlength=k) > 0).all()
        assert found.n_iter < 100


def test_an_empty_cluster_that_moves_last_leaves_labels_of_the_nearest():
    """Starts that leave clusters empty: the labels are those of the nearest centroids all the same."""
    for seed in range(30):
        rng = np.random.default_rng(seed)
        x = blobs(60, 3, 4, spread=5.0)
        start = rng.normal(size=(6, 3)) * 40
        found = ops.kmeans(x, 6, init=start, tol=1e-2)
        squares = ((x[:, None].astype(float) - found.centroids.astype(float)) ** 2).sum(-1)
        assert (squares[np.arange(len(x)), found.labels] <= squares.min(1) + 1e-4).all()
        assert found.inertia == pytest.approx(squares.min(1).sum(), rel=1e-5)
        assert_same(found, reference.kmeans(x, 6, init=start, tol=1e-2))
