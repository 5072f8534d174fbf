"""Silhouettes of the compiled core, on every instruction set, against the float64 definition."""

import numpy as np
import pytest

from dataprophet import _core, ops
from dataprophet.ops import reference

torch = pytest.importorskip("torch")

ISAS = _core.available_isas()
# Largest error of a row's silhouette, by dtype: that of fp32 sums, or on AMX that of two bfloat16 for each element.
TOLERANCE = {"float32": 2e-6, "float16": 1e-5, "bfloat16": 1e-5}


def silhouettes(x, labels, metric="euclidean", rows=None, threads=2, isa=""):
    scores, means = np.empty(len(labels) if rows is None else len(rows)), np.empty((len(labels), 2))
    means = means[: len(scores)]
    bad = _core.silhouettes(x, labels, int(labels.max()) + 1, metric, rows, scores, means, threads, isa)
    assert bad == (0, 0, -1)
    return scores, means


def clustered(n, d, k, noise=1.0, shift=0.0, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n)
    labels[:k] = np.arange(k)
    x = rng.standard_normal((k, d))[labels] + noise * rng.standard_normal((n, d)) + shift
    return x.astype(np.float32), labels.astype(np.int32)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize(
    ("n", "d", "k"), [(700, 17, 3), (900, 768, 10), (300, 5, 60), (1500, 33, 500), (50, 1, 4), (400, 1601, 5)]
)
def test_every_instruction_set(isa, dtype, n, d, k):
    x, labels = clustered(n, d, k)
    x = torch.tensor(x).to(getattr(torch, dtype))
    exact = x.double().numpy()
    rows = np.sort(np.random.default_rng(1).choice(n, 40, replace=False))
    for metric in ("euclidean", "sqeuclidean") if d == 1 else ("euclidean", "sqeuclidean", "cosine"):
        expected = reference.silhouette_samples(exact, labels, metric=metric).astype(float)
        tolerance = TOLERANCE[dtype] if metric == "euclidean" else 5e-7
        scores, _ = silhouettes(x, labels, metric, isa=isa)
        np.testing.assert_allclose(scores, expected, rtol=0, atol=tolerance)
        picked, _ = silhouettes(x, labels, metric, rows, isa=isa)
        np.testing.assert_allclose(picked, expected[rows], rtol=0, atol=tolerance)


@pytest.mark.parametrize("isa", ISAS)
def test_mean_distances(isa):
    x, labels = clustered(300, 40, 4)
    distances = np.linalg.norm(x[:, None].astype(float) - x[None].astype(float), axis=2)
    sums = np.stack([distances[:, labels == c].sum(1) for c in range(4)], axis=1)
    sizes = np.bincount(labels).astype(float)
    own = labels[:, None] == np.arange(4)
    inside, outside = (sums / (sizes - 1))[own], np.where(own, np.inf, sums / sizes).min(1)
    for factor in (1.0, 2.0**-40, 3e20):  # a common factor changes no silhouette and scales the means
        _, means = silhouettes((x * np.float32(factor)).astype(np.float32), labels, isa=isa)
        np.testing.assert_allclose(means, np.stack([inside, outside], 1) * factor, rtol=1e-6)
        _, means = silhouettes((x * np.float32(factor)).astype(np.float32), labels, "sqeuclidean", isa=isa)
        squares = np.stack([(distances**2)[:, labels == c].sum(1) for c in range(4)], axis=1)
        np.testing.assert_allclose(means[:, 0], (squares / (sizes - 1))[own] * factor**2, rtol=1e-6)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("noise", "shift"), [(1e-3, 0.0), (1e-3, 10.0), (1e-2, -300.0)])
@pytest.mark.parametrize(("n", "d", "k"), [(600, 200, 4), (400, 30, 90)])
def test_tight_and_shifted_clusters(isa, noise, shift, n, d, k):
    x, labels = clustered(n, d, k, noise, shift)
    for dtype in (torch.float32, torch.float16):
        rows = torch.tensor(x).to(dtype)
        for metric in ("euclidean", "sqeuclidean", "cosine"):
            expected = reference.silhouette_samples(rows.double().numpy(), labels, metric=metric)
            scores, _ = silhouettes(rows, labels, metric, isa=isa)
            np.testing.assert_allclose(scores, expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["near-collinear", "shifted by 100", "times 1e6"])
def test_rows_that_bfloat16_cannot_hold_around_a_mean(isa, dtype, kind):
    x, labels = clustered(1200, 768, 10)
    x = {"near-collinear": x[:1] + np.float32(1e-3) * x, "shifted by 100": x + 100, "times 1e6": x * 1e6}[kind]
    rows = torch.tensor(x.astype(np.float32)).to(getattr(torch, dtype))
    expected = reference.silhouette_samples(rows.double().numpy(), labels)
    np.testing.assert_allclose(silhouettes(rows, labels, isa=isa)[0], expected, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("factor", [100.0, 1e4])
def test_a_far_row_takes_no_digits_from_the_others(isa, alone, factor):
    x, labels = clustered(900, 150, 3)
    x[7] *= np.float32(factor)
    labels[7] = 3 if alone else labels[7]
    expected = reference.silhouette_samples(x.astype(float), labels)
    np.testing.assert_allclose(silhouettes(x, labels, isa=isa)[0], expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("n", "d", "k"), [(2500, 130, 7), (500, 9, 200), (40, 3, 2)])
def test_bits_do_not_depend_on_threads(isa, n, d, k):
    x, labels = clustered(n, d, k)
    x = torch.tensor(x).bfloat16()
    rows = np.arange(0, n, 3)
    found = set()
    for threads in (1, 2, 3, 8, 64):
        parts = [
            array.tobytes()
            for metric in ("euclidean", "cosine")
            for some in (None, rows)
            for array in silhouettes(x, labels, metric, some, threads, isa)
        ]
        found.add(b"".join(parts))
    assert len(found) == 1


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("d", [7, 300])
def test_equal_rows_are_no_distance_apart(isa, d):
    x, labels = clustered(5, d, 5)
    x, labels = np.repeat(x, 30, axis=0) + np.float32(0.1), np.repeat(labels, 30)
    labels[0] = 5  # a copy of rows 1 to 29 in a cluster of its own
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        for rows in (None, np.arange(150)):
            scores, means = silhouettes(torch.tensor(x).to(dtype), labels.astype(np.int32), rows=rows, isa=isa)
            assert (means[30:, 0] == 0.0).all()  # within a cluster of copies
            assert (scores[30:] == 1.0).all()
            assert scores[0] == 0.0
            assert (means[1:30] == 0.0).all()  # b is the distance to row 0


@pytest.mark.parametrize("isa", ISAS)
def test_scales_at_the_ends_of_float32(isa):
    x, labels = clustered(200, 150, 3)
    expected = {
        metric: reference.silhouette_samples(x.astype(float), labels, metric=metric)
        for metric in ("euclidean", "cosine")
    }
    for factor in (1e37, 1e-37, 1e-42):  # squares overflow, underflow; the elements themselves are denormal
        y = (x.astype(float) * factor).astype(np.float32)
        tolerance = 2e-6 if factor != 1e-42 else 5e-3  # a denormal has few digits
        for metric, scores in expected.items():
            found, _ = silhouettes(y, labels, metric, isa=isa)
            np.testing.assert_allclose(found, scores, rtol=0, atol=tolerance)


def test_rows_that_cannot_be_scored_are_reported():
    x, labels = clustered(3000, 6, 3)
    x[2000], x[100, 3], x[2999] = 0.0, np.nan, -np.inf
    scores = np.full(3000, 7.0)
    assert _core.silhouettes(x, labels, 3, "euclidean", None, scores, None, 2) == (0, 2, 100)
    assert _core.silhouettes(x, labels, 3, "cosine", None, scores, None, 2) == (1, 2, 100)
    assert (scores == 7.0).all()


def test_core_refuses_what_it_cannot_read():
    x, labels = clustered(20, 4, 3)
    scores = np.empty(20)
    with pytest.raises(ValueError, match=r"a label lies outside \[0, k\)"):
        _core.silhouettes(x, labels, 2, "euclidean", None, scores, None)
    with pytest.raises(ValueError, match="labels must be a contiguous int32 array"):
        _core.silhouettes(x, labels.astype(np.int64), 3, "euclidean", None, scores, None)
    with pytest.raises(ValueError, match=r"a picked row lies outside \[0, n\)"):
        _core.silhouettes(x, labels, 3, "euclidean", np.array([3, 20]), np.empty(2), None)
    with pytest.raises(ValueError, match="metric must be"):
        _core.silhouettes(x, labels, 3, "l1", None, scores, None)
    with pytest.raises(ValueError, match="scores must be a contiguous float64"):
        _core.silhouettes(x, labels, 3, "euclidean", None, scores[:3], None)
    with pytest.raises(ValueError, match="means must be a contiguous float64"):
        _core.silhouettes(x, labels, 3, "euclidean", None, scores, np.empty((20, 3)))


def test_equal_distances_of_large_clusters_add_up() -> None:
    """Many additions of one number in fp32 round it the same way each time: their error would grow with the cluster."""
    values, rng = np.array([0.0, 0.3, 0.7], np.float32), np.random.default_rng(0)
    which = rng.choice(3, 30_000, p=[0.4, 0.4, 0.2])
    points = np.stack([values, values * np.float32(0.37)], axis=1)
    distances = np.linalg.norm(points[:, None].astype(np.float64) - points[None], axis=2)
    counts = np.bincount(which).astype(np.float64)
    near, far = distances[:2, :2] @ counts[:2] / (counts[:2].sum() - 1), distances[:2, 2]
    expected = [*((far - near) / np.maximum(far, near)), 1.0]
    found = ops.silhouette_samples(points[which], (which == 2).astype(np.int64))
    np.testing.assert_allclose(found, np.array(expected)[which], atol=5e-7)
