"""Selection by embeddings: near-duplicates, leakage, diversity, against float64 loops over all candidates."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scored_pools import row, write_pool, write_scores

from dataprophet.errors import BudgetError
from dataprophet.selection import Settings, pick, select_pool
from dataprophet.selection.diverse import Chosen, Greedy

COUNT = 300


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def pool(folder, *, turns=1, nearest=False, embeddings=True, cells=8, seed=0):
    """Rows in clusters, so that many are near-duplicates; their scores and vectors."""
    rng = np.random.default_rng(seed)
    files = {"a.jsonl": [row(f"r{i:03d}", turns=turns) for i in range(COUNT)]}
    keys = [("a.jsonl", i, turn) for i in range(COUNT) for turn in range(1, turns + 1)]
    centres = unit(rng.normal(size=(40, 8)))
    vectors = unit(centres[rng.integers(0, 40, len(keys))] + 0.1 * rng.normal(size=(len(keys), 8)))
    vectors = vectors.astype(np.float16).astype(np.float64)
    scores = rng.uniform(0.1, 2.0, len(keys)).astype(np.float32)
    # the targets' samples are the first three axes
    padded = np.abs(unit(vectors))[:, :3]
    write_scores(
        folder / "scores",
        write_pool(folder / "pool", files),
        {key: [score] for key, score in zip(keys, scores, strict=True)},
        vectors=dict(zip(keys, vectors, strict=True)) if embeddings else None,
        nearest={key: [value] for key, value in zip(keys, padded.max(1), strict=True)} if nearest else None,
        cells=cells,
    )
    return folder / "scores", scores.astype(np.float64), vectors


def positions(out):
    return pq.read_table(out / "_selected.parquet").column("position").to_pylist()


def dropped(out):
    return pq.read_table(out / "_dropped.parquet").to_pylist()


@pytest.mark.parametrize("block", [7, 1024])
def test_near_duplicates_give_way_to_the_next_best(tmp_path, monkeypatch, block):
    monkeypatch.setattr(pick, "_BLOCK", block)
    scores, values, vectors = pool(tmp_path)
    select_pool(scores, Settings(["t"], 60, near_duplicates=0.9), tmp_path / "out", format="ids")
    kept, gone = [], {}
    cosines = unit(vectors) @ unit(vectors).T
    for place in np.argsort(-values):
        near = max(kept, key=lambda other: cosines[place, other], default=None)
        if near is not None and cosines[place, near] >= 0.9:
            gone[int(place)] = near
        else:
            kept.append(int(place))
        if len(kept) == 60:
            break
    assert positions(tmp_path / "out") == sorted(kept)
    found = {entry["position"]: entry for entry in dropped(tmp_path / "out")}
    assert found.keys() == gone.keys()
    for place, entry in found.items():
        assert entry["reason"] == "near_duplicate"
        assert entry["of"] == f"pool/r{gone[place]:03d}"
        assert entry["cosine"] == pytest.approx(cosines[place, gone[place]], abs=2e-3)


def test_near_duplicates_of_conversations_go_by_the_mean_of_their_turns(tmp_path):
    scores, values, vectors = pool(tmp_path, turns=2)
    select_pool(scores, Settings(["t"], 60, near_duplicates=0.9), tmp_path / "out", format="ids")
    z = unit(unit(vectors).reshape(COUNT, 2, 8).sum(1))
    kept = []
    for place in np.argsort(-values.reshape(COUNT, 2).mean(1)):
        if not kept or (z[kept] @ z[place]).max() < 0.9:
            kept.append(int(place))
    assert positions(tmp_path / "out") == sorted(kept[:60])


def test_too_few_are_left_without_near_duplicates(tmp_path):
    scores, _, _ = pool(tmp_path)
    with pytest.raises(BudgetError, match=r"200 rows asked, \d+ can be chosen of 300 .*left out: \d+ near_duplicate"):
        select_pool(scores, Settings(["t"], 200, near_duplicates=0.9), tmp_path / "out", format="ids")


def test_leaks_are_left_out_and_listed(tmp_path):
    scores, values, vectors = pool(tmp_path, nearest=True, embeddings=False)
    select_pool(scores, Settings(["t"], 50, leakage=0.6), tmp_path / "out", format="ids")
    near = np.abs(unit(vectors))[:, :3].max(1)
    order = np.argsort(-values)
    kept = [int(place) for place in order if near[place] < 0.6][:50]
    assert positions(tmp_path / "out") == sorted(kept)
    last = values[kept[-1]]
    leaks = {int(place) for place in order if near[place] >= 0.6 and values[place] > last}
    assert {entry["position"] for entry in dropped(tmp_path / "out")} == leaks
    assert {entry["reason"] for entry in dropped(tmp_path / "out")} == {"leakage"}


def test_leakage_from_stored_embeddings(tmp_path):
    folder = tmp_path / "pool"
    write_pool(folder, {"a.jsonl": [row(f"r{i}") for i in range(4)]})
    keys = [("a.jsonl", i, 1) for i in range(4)]
    vectors = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0.1], [1, 1, 1]], float)
    scores = write_scores(
        tmp_path / "scores",
        folder,
        {key: [4.0 - place] for place, key in enumerate(keys)},
        vectors=dict(zip(keys, vectors, strict=True)),
    )
    done = select_pool(scores, Settings(["t"], 2, leakage=0.9), tmp_path / "out", format="ids")
    assert positions(tmp_path / "out") == [1, 3]
    assert done.dropped == {"leakage": 2}


def diversity(vectors, chosen):
    """Mean cosine distance of the chosen to the nearest other."""
    z = unit(vectors[chosen])
    return 1 - (z @ z.T - 3 * np.eye(len(z))).max(1).mean()


def test_diverse_choice_is_more_diverse_and_scores_less(tmp_path):
    scores, values, vectors = pool(tmp_path)
    found = {}
    for weight in (None, 0.0, 0.5, 0.9):
        out = tmp_path / f"out{weight}"
        select_pool(scores, Settings(["t"], 40, diverse=weight), out, format="ids")
        found[weight] = positions(out)
    assert found[0.0] == found[None]
    spread = [diversity(vectors, found[weight]) for weight in (0.0, 0.5, 0.9)]
    assert spread[0] < spread[1] < spread[2]
    assert values[found[0.0]].mean() > values[found[0.5]].mean() > values[found[0.9]].mean()


@given(st.integers(1, 30), st.floats(0, 1), st.integers(0, 2**31))
def test_lazy_greedy_is_greedy(count, weight, seed):
    rng = np.random.default_rng(seed)
    scores = np.sort(rng.uniform(0.1, 3, count))[::-1].copy()
    z = unit(rng.normal(size=(count, 4))).astype(np.float16)
    usable = rng.random(count) < 0.9
    chosen = Chosen()
    greedy = Greedy(scores, z, usable, weight, chosen)
    order = []
    while (offer := greedy.next()) is not None:
        order.append(offer[0])
        if usable[offer[0]]:
            chosen.add(z[offer[0]], offer[0])
    assert sorted(order) == list(range(count))
    exact = unit(z.astype(np.float64))
    for place, taken in enumerate(order):  # each choice is the best, up to rounding, of what was left
        before = [other for other in order[:place] if usable[other]]

        def gain(candidate, before=before):
            near = (exact[before] @ exact[candidate]).max() if before and usable[candidate] else 0.0
            return (1 - weight) * scores[candidate] / scores[0] - weight * max(near, 0.0)

        assert gain(taken) >= max(gain(other) for other in order[place:]) - 1e-5
