"""The estimated silhouette: its error against that of plain sampling, its intervals, and its edges.

All rows of a set are scored exactly once; the draws then only differ in the rows that they take.
"""

import numpy as np
import pytest
from clusters import blobs
from hypothesis import given
from hypothesis import strategies as st

from dataprophet import load_model, open_dataset, ops, profile
from dataprophet.ops.arrays import operand
from dataprophet.ops.clusters import silhouettes
from dataprophet.ops.estimate import estimated_mean

DRAWS = 1000  # of which the share covered varies by 0.7%


@pytest.fixture(scope="module")
def demo_vectors(tmp_path_factory):
    """z of 800 drawn samples under the demo model: four datasets of different tasks and styles."""
    pytest.importorskip("transformers")
    from dataprophet.demo.datasets import write_datasets

    drawn = write_datasets(tmp_path_factory.mktemp("demo") / "data", n_source=200, n_target=1)
    model = load_model("demo", device="cpu", dtype="float32")
    kept = [w for w in drawn.sources if w.spec.name in ("counting", "signs", "charts", "chats")]
    return np.concatenate([profile(open_dataset(w.path, name=w.spec.name), model).sketch.z for w in kept])


def synthetic(kind):
    rng = np.random.default_rng(5)
    n, d = 3000, 32
    match kind:
        case "overlapping":
            return blobs(n, d, 30)
        case "very tight":
            return blobs(n, d, 10, spread=10.0)
        case "anisotropic, shifted":
            return (blobs(n, d, 30) * np.geomspace(1.0, 0.02, d) @ rng.standard_normal((d, d)) + 9.0).astype(np.float32)
        case "a plane":
            return blobs(n, 2, 12, spread=3.0)


def check(x, sample_size, ratio):
    """1,000 draws: RMSE that many times below plain sampling, 93 to 97.5% of the intervals hold the mean."""
    labels = ops.kmeans(x, 10, seed=1).labels.astype(np.int32)
    scores = ops.silhouette_samples(x, labels).astype(float)
    squared = silhouettes(operand(x, "x", 2), labels, "sqeuclidean")[1]
    n, exact = len(x), scores.mean()
    found = [estimated_mean(labels, squared, sample_size, seed, lambda rows: scores[rows]) for seed in range(DRAWS)]
    assert found[7] == pytest.approx(ops.silhouette_score(x, labels, sample_size=sample_size, seed=7), abs=1e-6)
    means, errors = np.array(found).T
    rmse = np.sqrt(np.mean((means - exact) ** 2))
    plain = scores.std(ddof=1) * np.sqrt((1 - sample_size / n) / sample_size)
    assert plain / rmse >= ratio
    assert 0.93 <= np.mean(np.abs(means - exact) <= 1.96 * errors) <= 0.975
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(rmse, rel=0.1)


@pytest.mark.parametrize(
    ("kind", "ratio"), [("overlapping", 12), ("very tight", 200), ("anisotropic, shifted", 10), ("a plane", 10)]
)
def test_error_and_intervals_on_synthetic_sets(kind, ratio):
    check(synthetic(kind), 512, ratio)


def test_error_and_intervals_on_embeddings_of_the_demo_model(demo_vectors):
    check(demo_vectors, 256, 5)


def no_distances(n):
    return np.zeros((n, 2))


def test_what_the_clusters_explain_has_no_error():
    clusters = np.random.default_rng(0).integers(0, 5, 2000).astype(np.int32)
    scores = np.arange(5.0)[clusters]
    mean, error = estimated_mean(clusters, no_distances(2000), 200, 0, lambda rows: scores[rows])
    assert mean == pytest.approx(scores.mean(), abs=1e-12)
    assert error < 1e-12


def test_a_small_sample_is_the_plain_mean_and_its_error():
    scores = np.random.default_rng(0).random(400)
    drawn = []

    def score(rows):
        drawn[:] = rows
        return scores[rows]

    clusters = (np.arange(400) % 40).astype(np.int32)
    mean, error = estimated_mean(clusters, np.random.default_rng(1).random((400, 2)), 9, 1, score)
    assert drawn == sorted(set(drawn))
    assert mean == pytest.approx(scores[drawn].mean())
    plain = scores[drawn].std(ddof=1) / 3 * np.sqrt(1 - 9 / 400)
    assert error == pytest.approx(plain * np.sqrt(9 / 8))  # a jackknife's


def test_lone_rows_are_known_and_not_drawn():
    clusters = np.concatenate([np.zeros(5000), np.ones(3000), np.arange(2, 2002)]).astype(np.int32)
    drawn = []

    def score(rows):
        drawn[:] = rows
        return np.full(len(rows), 0.5)

    mean, error = estimated_mean(clusters, no_distances(10_000), 320, 0, score)
    assert max(drawn) < 8000
    assert (mean, error) == (pytest.approx(0.4), pytest.approx(0.0, abs=1e-15))
    assert estimated_mean(clusters, no_distances(10_000), 8000, 0, score) == (pytest.approx(0.4), 0.0)
    assert len(drawn) == 8000


@given(st.integers(2, 60), st.integers(2, 30), st.integers(0, 2**20))
def test_any_sample_of_any_clusters_gives_an_estimate(sample_size, k, seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(k + 1, 120))
    labels = np.concatenate([np.arange(k), rng.integers(0, k, n - k) ** 2 // k])
    x = np.rint(rng.standard_normal((n, 3))).astype(np.float32)  # many equal rows
    exact = ops.silhouette_score(x, labels)
    mean, error = ops.silhouette_score(x, labels, sample_size=sample_size, seed=seed)
    assert np.isfinite(mean)
    assert np.isfinite(error)
    assert error >= 0.0
    if sample_size >= n - (np.bincount(labels) == 1).sum():
        assert mean == pytest.approx(exact.mean, abs=1e-6)
        assert error == 0.0


@pytest.mark.parametrize("exponent", [-1000, -400, 0, 400, 1000])
def test_rows_of_any_size_give_an_estimate(exponent):
    """Where the squares of distances overflow or vanish they tell nothing, and the error says so."""
    x = blobs(600, 6, 5).astype(float)
    labels = ops.kmeans(x, 5).labels
    exact = ops.silhouette_score(x, labels).mean
    mean, error = ops.silhouette_score(np.ldexp(x, exponent), labels, sample_size=200)
    assert abs(mean - exact) < 3 * error
    assert error < 0.02


def test_the_bias_of_a_small_sample_is_small():
    """Skewed scores, not linear in the variates: slopes from 60 rows bias the mean, by much less than it varies."""
    rng = np.random.default_rng(0)
    clusters = rng.integers(0, 3, 600).astype(np.int32)
    squared = rng.exponential(1.0, (600, 2))
    scores = squared[:, 0] + 0.2 * squared[:, 1] ** 2 + rng.standard_normal(600)
    found = [estimated_mean(clusters, squared, 60, seed, lambda rows: scores[rows]) for seed in range(2000)]
    means, errors = np.array(found).T
    spread = means.std()
    assert abs(means.mean() - scores.mean()) < 0.15 * spread
    assert 0.95 * spread <= np.sqrt(np.mean(errors**2)) <= 1.3 * spread
