"""The estimated silhouette: its error against that of plain sampling, its intervals, and its edges.

All rows of a set are scored exactly once; the draws then only differ in the rows that they take.
"""

import numpy as np
import pytest
from clusters import blobs
from hypothesis import given
from hypothesis import strategies as st

from dataprophet import load_model, open_dataset, ops, profile
from dataprophet.ops import reference
from dataprophet.ops.reference.estimate import cells_of, draw, estimate, stratify
from dataprophet.ops.reference.variates import control_variates

DRAWS = 2000  # of which the share covered varies by half a percent


@pytest.fixture(scope="session")
def demo_vectors(tmp_path_factory):
    """z of 2,400 drawn samples under the demo model: four datasets of different tasks and styles."""
    pytest.importorskip("transformers")
    from dataprophet.demo.datasets import write_datasets

    drawn = write_datasets(tmp_path_factory.mktemp("demo") / "data", n_source=600, n_target=1)
    model = load_model("demo", device="cpu", dtype="float32")
    kept = [w for w in drawn.sources if w.spec.name in ("counting", "signs", "charts", "chats")]
    return np.concatenate([profile(open_dataset(w.path, name=w.spec.name), model).sketch.z for w in kept])


def synthetic(kind):
    rng = np.random.default_rng(5)
    n, d = 4000, 48
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
    """2,000 draws: RMSE that many times below plain sampling, 93 to 97% of the intervals hold the mean."""
    labels = ops.kmeans(x, 10, seed=1).labels
    scores = ops.silhouette_samples(x, labels).astype(float)
    n, exact = len(x), scores.mean()
    variates = control_variates(lambda rows: x[rows].astype(np.float32), labels, cells_of(sample_size), rng_of(0))
    strata = stratify(labels, sample_size)
    found = []
    for seed in range(DRAWS):
        rows = draw(strata, rng_of(seed))
        assert len(np.unique(rows)) == sample_size
        found.append(estimate(strata, variates, rows, scores[rows]))
    means, errors = np.array(found).T
    rmse = np.sqrt(np.mean((means - exact) ** 2))
    plain = scores.std(ddof=1) * np.sqrt((1 - sample_size / n) / sample_size)
    assert plain / rmse >= ratio
    assert 0.93 <= np.mean(np.abs(means - exact) <= 1.96 * errors) <= 0.97
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(rmse, rel=0.08)


def rng_of(seed):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("kind", ["overlapping", "very tight", "anisotropic, shifted", "a plane"])
def test_error_and_intervals_on_synthetic_sets(kind):
    check(synthetic(kind), 512, 30)


def test_error_and_intervals_on_embeddings_of_the_demo_model(demo_vectors):
    check(demo_vectors, 512, 30)


def test_the_operation_is_what_the_draws_show(demo_vectors):
    """Cells and sample from one seed, all the way through the operation."""
    labels = ops.kmeans(demo_vectors, 10, seed=1).labels
    scores = ops.silhouette_samples(demo_vectors, labels).astype(float)
    found = [ops.silhouette_score(demo_vectors, labels, sample_size=128, seed=seed) for seed in range(40)]
    means, errors = np.array(found).T
    assert (np.abs(means - scores.mean()) <= 1.96 * errors).sum() >= 34
    plain = scores.std() / 128**0.5
    assert np.sqrt(np.mean((means - scores.mean()) ** 2)) < plain / 15
    assert found[0] == ops.silhouette_score(demo_vectors, labels, sample_size=128, seed=0)


def test_cells_of_one_row_give_the_exact_silhouettes():
    x = blobs(300, 5, 4).astype(float)
    labels = np.arange(300) % 3
    variates = control_variates(lambda rows: x[rows], labels, 300, rng_of(0))
    scores, (inside, outside) = reference.silhouettes(x, labels, "euclidean")
    np.testing.assert_allclose(variates[:, 0], scores, atol=1e-7)
    np.testing.assert_allclose(variates[:, 2] / inside, variates[0, 2] / inside[0], rtol=1e-7)  # but for the scale
    np.testing.assert_allclose(variates[:, 3] / outside, variates[0, 3] / outside[0], rtol=1e-7)
    squared, _ = reference.silhouettes(x, labels, "sqeuclidean")
    ratio = (variates[:, 4] / variates[:, 5]) ** 2
    np.testing.assert_allclose(np.where(ratio < 1, 1 - ratio, 1 / ratio - 1), squared, atol=1e-9)


@pytest.mark.parametrize("factor", [1e-36, 1e-20, 1.0, 1e20, 1e34])
def test_variates_do_not_depend_on_scale_or_place(factor):
    x = blobs(800, 6, 5)
    labels = ops.kmeans(x, 5).labels
    plain = control_variates(lambda rows: x[rows], labels, 8, rng_of(0))
    moved = ((x.astype(float) + 100.0) * factor).astype(np.float32)
    found = control_variates(lambda rows: moved[rows], labels, 8, rng_of(0))
    np.testing.assert_allclose(found[:, :2], plain[:, :2], atol=1e-3 if factor > 1e-30 else 2e-3)


def test_what_the_variates_explain_has_no_error():
    rng = rng_of(0)
    clusters = rng.integers(0, 5, 2000)
    variates = rng.standard_normal((2000, 3))
    scores = variates @ [0.3, -0.2, 0.1] + np.arange(5)[clusters]
    strata = stratify(clusters, 200)
    rows = draw(strata, rng)
    mean, error = estimate(strata, variates, rows, scores[rows])
    assert mean == pytest.approx(scores.mean(), abs=1e-12)
    assert error < 1e-12


@pytest.mark.parametrize("useless", [np.ones, lambda shape: np.full(shape, 1e8)])
def test_constant_and_repeated_variates_change_nothing(useless):
    rng = rng_of(0)
    clusters = rng.integers(0, 4, 3000)
    telling = rng.standard_normal((3000, 1))
    scores = telling[:, 0] + rng.standard_normal(3000)
    strata = stratify(clusters, 300)
    rows = draw(strata, rng)
    alone = estimate(strata, telling, rows, scores[rows])
    padded = np.concatenate([useless((3000, 2)), telling, telling * 3.0 + 5.0, telling], axis=1)
    assert estimate(strata, padded, rows, scores[rows]) == pytest.approx(alone, rel=1e-9)
    nothing = estimate(strata, useless((3000, 4)), rows, scores[rows])
    plain = scores[rows].std(ddof=1) / 300**0.5
    assert nothing[1] == pytest.approx(plain, rel=0.1)


def test_a_small_sample_is_the_plain_mean_and_its_error():
    scores = rng_of(0).random(400)
    strata = stratify(np.arange(400) % 40, 9)
    assert strata.sizes.tolist() == [400]
    rows = draw(strata, rng_of(1))
    mean, error = estimate(strata, scores[:, None], rows, scores[rows])
    assert mean == pytest.approx(scores[rows].mean())
    plain = scores[rows].std(ddof=1) / 3 * np.sqrt(1 - 9 / 400)
    assert error == pytest.approx(plain * np.sqrt(9 / 8))  # a jackknife's


def test_small_clusters_are_sampled_together_and_lone_rows_not_at_all():
    clusters = np.concatenate([np.zeros(5000), np.ones(3000), np.arange(2, 12).repeat(2), np.arange(12, 20)]).astype(
        int
    )
    strata = stratify(clusters, 320)
    assert strata.sizes.tolist() == [5000, 3000, 20]
    assert strata.drawn.sum() == 320
    assert strata.drawn[2] == 8
    assert (strata.of[clusters >= 12] == -1).all()
    rows = draw(strata, rng_of(0))
    np.testing.assert_array_equal(np.bincount(strata.of[rows]), strata.drawn)
    scores = np.where(clusters < 2, 0.5, 0.25)
    assert estimate(strata, np.zeros((len(clusters), 1)), rows, scores[rows])[1] == 0.0
    whole = stratify(np.concatenate([np.zeros(900), np.ones(5)]).astype(int), 100)
    assert whole.drawn.tolist() == [95, 5]  # a small cluster is scored whole


@given(st.integers(2, 60), st.integers(2, 30), st.integers(0, 2**20))
def test_any_sample_of_any_clusters_gives_an_estimate(sample_size, k, seed):
    rng = rng_of(seed)
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


def test_the_bias_of_a_small_sample_is_small():
    """Skewed scores, not linear in the variates: slopes from 60 rows bias the mean, by much less than it varies."""
    rng = rng_of(0)
    clusters = rng.integers(0, 3, 600)
    variates = rng.exponential(1.0, (600, 2))
    scores = variates[:, 0] + 0.2 * variates[:, 1] ** 2 + rng.standard_normal(600)
    strata = stratify(clusters, 60)
    found = []
    for seed in range(2000):
        rows = draw(strata, rng_of(seed))
        found.append(estimate(strata, variates, rows, scores[rows]))
    means, errors = np.array(found).T
    spread = means.std()
    assert abs(means.mean() - scores.mean()) < 0.15 * spread
    assert spread <= np.sqrt(np.mean(errors**2)) <= 1.25 * spread
