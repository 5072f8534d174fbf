"""Rows whose answers disagree with their neighbours', against a float64 loop, and what it catches."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest

from dataprophet import Features, Profile
from dataprophet.errors import BudgetError, DataProphetError
from dataprophet.scoring.score import score
from dataprophet.selection import Settings, inconsistent, select_pool
from dataprophet.selection.verify import verify

COUNT, TOPICS, D = 600, 30, 16


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """Topics with an answer each; a tenth of the rows has the answer of another topic, and a high score for it."""
    folder, rng = tmp_path_factory.mktemp("pool"), np.random.default_rng(0)
    topic = rng.integers(0, TOPICS, COUNT)
    bad = np.zeros(COUNT, bool)
    bad[rng.permutation(COUNT)[: COUNT // 10]] = True
    told = np.where(bad, (topic + rng.integers(1, TOPICS, COUNT)) % TOPICS, topic)
    centres = {name: rng.normal(size=(TOPICS, D)) + 0.5 for name in ("question", "answer", "image")}
    vectors = {
        name: (centres[name][told if name == "answer" else topic] + 0.3 * rng.normal(size=(COUNT, D))).astype(
            np.float32
        )
        for name in centres
    }
    present = rng.random(COUNT) < 0.9
    nll = np.where(bad, rng.uniform(3, 5, COUNT), rng.uniform(0, 1, COUNT))
    np.savez(folder / "f.npz", nll=nll, image_present=present, **vectors)
    target = Profile.empty("t", "enc", clusters=2)
    other = {name: (rng.normal(size=(40, D)) + 0.5).astype(np.float32) for name in vectors}
    target.update(Features([str(i) for i in range(40)], np.ones(40), other))
    options = {"features": True, "fields": ["question"], "threads": 1}
    score(folder / "f.npz", [target], "enc", out=folder / "scores", embeddings=True, **options)
    score(folder / "f.npz", [target], "enc", out=folder / "bare", **options)
    keys = unit(vectors["question"].astype(float)) + unit(vectors["image"].astype(float)) * present[:, None]
    return folder, bad, unit(keys), unit(vectors["answer"].astype(float)), target


def chosen(out):
    return pq.read_table(out / "_selected.parquet").column("position").to_pylist()


def test_answers_unlike_those_of_neighbours_are_left_out(pool, tmp_path):
    folder, bad, keys, answers, _ = pool
    plain = select_pool(folder / "scores", Settings(["t"], 60), tmp_path / "plain", format="ids")
    assert bad[chosen(tmp_path / "plain")].mean() > 0.9
    done = select_pool(folder / "scores", Settings(["t"], 60, drop_inconsistent=True), tmp_path / "out", format="ids")
    found = chosen(tmp_path / "out")
    assert bad[found].mean() < 0.1
    assert plain.lowest > done.lowest
    dropped = pq.read_table(tmp_path / "out" / "_dropped.parquet").to_pylist()
    assert {entry["reason"] for entry in dropped} == {"inconsistent"}
    table = pq.read_table(next((folder / "scores" / "data").glob("*.rows.parquet")))
    usable = np.array(table.column("M:t").is_valid())
    for place in [entry["position"] for entry in dropped] + found:
        others = np.flatnonzero(usable & (np.arange(COUNT) != place))
        near = others[np.argsort(-(keys[others] @ keys[place]), kind="stable")[:10]]
        group = answers[[place, *near]]
        agree = (group @ group.T).sum(1)
        no_more = int((agree[1:] <= agree[0]).sum())
        assert (no_more < 3) == (place not in found) or abs(np.sort(agree)[[2, 3]] - agree[0]).min() < 0.05
    assert verify(tmp_path / "out") == []


@pytest.mark.parametrize("rows", [7, 256])
def test_any_size_of_blocks_and_samples_gives_the_same(pool, tmp_path, monkeypatch, rows):
    folder = pool[0]
    monkeypatch.setattr(inconsistent, "_MOST", 300)  # every second row
    select_pool(folder / "scores", Settings(["t"], 50, drop_inconsistent=True), tmp_path / "a", format="ids")
    monkeypatch.setattr(inconsistent, "_ROWS", rows)
    select_pool(folder / "scores", Settings(["t"], 50, drop_inconsistent=True), tmp_path / "b", format="ids")
    assert chosen(tmp_path / "a") == chosen(tmp_path / "b")
    assert pool[1][chosen(tmp_path / "a")].mean() < 0.2


def test_equal_answers_agree(tmp_path):
    """Where all answers are the same, none disagrees; nor where there are too few neighbours."""
    rng = np.random.default_rng(1)
    for count in (5, 80):
        vectors = {name: (rng.normal(size=(count, D)) + 1).astype(np.float32) for name in ("question", "image")}
        same = np.tile(rng.normal(size=(1, D)).astype(np.float32), (count, 1))
        np.savez(tmp_path / f"f{count}.npz", nll=np.ones(count), answer=same, **vectors)
        target = Profile.empty("t", "enc", clusters=2)
        target.update(Features(["a", "b", "c"], np.ones(3), {name: part[:3] for name, part in vectors.items()}))
        out = tmp_path / f"scores{count}"
        score(tmp_path / f"f{count}.npz", [target], "enc", out=out, features=True, fields=["question"], embeddings=True)
        done = select_pool(out, Settings(["t"], count, drop_inconsistent=True), tmp_path / f"o{count}", format="ids")
        assert done.dropped == {}


def test_it_needs_embeddings_and_tells_what_is_short(pool, tmp_path):
    folder = pool[0]
    with pytest.raises(DataProphetError, match="no embeddings were kept"):
        select_pool(folder / "bare", Settings(["t"], 5, drop_inconsistent=True), tmp_path / "out", format="ids")
    with pytest.raises(BudgetError, match=r"left out: \d+ inconsistent"):
        select_pool(folder / "scores", Settings(["t"], 580, drop_inconsistent=True), tmp_path / "out", format="ids")
