"""Exact copies have cosine 1 on every path, whatever rounding to float16 did to their vectors."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
from scored_pools import row, write_pool, write_scores

from dataprophet import Features, Profile, ops
from dataprophet.features.features import FIELDS, cosines_between, measure, nearest_vectors, sketch_vectors
from dataprophet.scoring.embeddings import unit_embeddings
from dataprophet.scoring.targets import Targets
from dataprophet.selection import Settings, pick, select_pool

WIDTHS = [3, 8, 33, 768]


def drawn(n, d, seed=0):
    """Vectors of all lengths, some of them much alike."""
    rng = np.random.default_rng(seed)
    return ((rng.normal(size=(n, d)) + rng.normal(size=d)) * rng.lognormal(size=(n, 1))).astype(np.float32)


def features_of(vectors):
    """Samples whose three fields differ."""
    n = len(vectors["question"])
    return Features([f"s{i}" for i in range(n)], np.ones(n), vectors)


def z_of(vectors):
    given = measure(features_of(vectors), "x").fields
    return sketch_vectors(given, ",".join(FIELDS), np.arange(len(vectors["question"])), "x")[0]


def stored(vectors):
    """The fields as a scored folder keeps them: unit vectors in float16."""
    kept = unit_embeddings(measure(features_of(vectors), "x"), np.arange(len(vectors["question"])))
    return {name: kept[name] for name in FIELDS}


@pytest.mark.parametrize("d", WIDTHS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_nearest_copy_has_cosine_1(d, dtype):
    x = drawn(2000, d).astype(dtype)
    order = np.random.default_rng(1).permutation(len(x))
    cosine, index = ops.nearest(x, x[order])
    assert (cosine == 1).all()
    assert (cosine <= 1).all()
    if d > 3:  # in three dimensions others are as near
        np.testing.assert_array_equal(order[index], np.arange(len(x)))


@pytest.mark.parametrize("d", WIDTHS)
def test_vectors_rounded_once_and_twice_are_copies(d):
    vectors = {name: drawn(3000, d, seed) for seed, name in enumerate(FIELDS)}
    z, again = z_of(vectors), z_of(stored(vectors))
    cosine, index = nearest_vectors(again, z)
    sums = sum(part / np.linalg.norm(part, axis=1, keepdims=True) for part in vectors.values())
    clear = np.linalg.norm(sums, axis=1) > 0.3  # directions that nearly cancel leave little but rounding
    assert clear.mean() > (0.9 if d == 3 else 0.999)
    assert (cosine[clear] == 1).all()
    if d > 3:  # in three dimensions other vectors are as near
        np.testing.assert_array_equal(index[clear], np.flatnonzero(clear))
        others, _ = nearest_vectors(z[:1500], z[1500:])
        assert (others < 1).all()
    exact = z[:500].astype(np.float64) / np.linalg.norm(z[:500].astype(np.float64), axis=1, keepdims=True)
    found = cosines_between(z[:500])
    np.testing.assert_allclose(found, exact @ exact.T, atol=3e-6)
    assert (np.diag(found) == 1).all()
    assert found.max() == 1


@pytest.mark.parametrize("kept", [lambda v: v, stored, lambda v: {k: x.astype(np.float16) for k, x in v.items()}])
def test_copies_of_a_targets_samples_are_found(kept):
    vectors = {name: drawn(1200, 24, seed) for seed, name in enumerate(FIELDS)}
    target = Profile.empty("t", "m", clusters=2)
    target.update(features_of({name: part[:400] for name, part in vectors.items()}))
    near = Targets.of([target]).nearest(features_of(kept(vectors)))[:, 0]
    assert (near[:400] == 1).all()
    assert (near[400:] < 1).all()


@pytest.mark.parametrize("block", [64, 1024])
@pytest.mark.parametrize("diverse", [None, 0.1])
def test_a_selection_without_copies(tmp_path, monkeypatch, block, diverse):
    """Four copies of each of 150 rows, among others: the best of each is kept."""
    monkeypatch.setattr(pick, "_BLOCK", block)
    rng = np.random.default_rng(2)
    source = rng.integers(0, 150, 600)
    vectors = drawn(150, 12)[source]
    files = {"a.jsonl": [row(f"r{i:03d}") for i in range(600)]}
    keys = [("a.jsonl", i, 1) for i in range(600)]
    scores = dict(zip(keys, rng.uniform(0.1, 2, (600, 1)), strict=True))
    made = dict(zip(keys, vectors, strict=True))
    folder = write_scores(tmp_path / "scores", write_pool(tmp_path / "pool", files), scores, vectors=made)
    different = len(np.unique(source))
    settings = Settings(["t"], different, near_duplicates=1, diverse=diverse, candidates=8)
    select_pool(folder, settings, tmp_path / "out", format="ids")
    chosen = pq.read_table(tmp_path / "out" / "_selected.parquet").column("position").to_pylist()
    assert sorted(source[chosen]) == sorted(set(source))
    best = {s: max(np.flatnonzero(source == s), key=lambda place: scores[keys[place]][0]) for s in set(source)}
    assert set(chosen) == {int(place) for place in best.values()}
    dropped = pq.read_table(tmp_path / "out" / "_dropped.parquet").to_pylist()
    assert {entry["cosine"] for entry in dropped} == {1.0}


def test_a_selection_without_leaks(tmp_path):
    """From stored embeddings: 200 copies of 50 samples of the target."""
    rng = np.random.default_rng(3)
    samples = drawn(50, 10, 5)
    vectors = np.concatenate([samples[rng.integers(0, 50, 200)], drawn(100, 10, 6)])
    target = Profile.empty("t", "f", clusters=2, sketch_size=100, diversity_fields=["question"])
    target.update(Features([str(i) for i in range(50)], np.ones(50), {"question": samples}))
    files = {"a.jsonl": [row(f"r{i:03d}") for i in range(300)]}
    keys = [("a.jsonl", i, 1) for i in range(300)]
    scores = dict(zip(keys, rng.uniform(0.1, 2, (300, 1)), strict=True))
    made = dict(zip(keys, vectors, strict=True))
    pool = write_pool(tmp_path / "pool", files)
    folder = write_scores(tmp_path / "scores", pool, scores, vectors=made, profiles=[target])
    done = select_pool(folder, Settings(["t"], 100, leakage=1), tmp_path / "out", format="ids")
    chosen = pq.read_table(tmp_path / "out" / "_selected.parquet").column("position").to_pylist()
    assert chosen == list(range(200, 300))
    assert done.dropped["leakage"] == sum(
        scores[key][0] > min(scores[other][0] for other in keys[200:]) for key in keys[:200]
    )
