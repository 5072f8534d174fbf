"""From `score` to `select` and back, with the demo model."""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
import pytest
from scored_pools import IMAGES, row, write_pool

import dataprophet as dp
from dataprophet.errors import DataProphetError
from dataprophet.selection import Settings, select_pool
from dataprophet.selection.verify import verify

pytest.importorskip("transformers", reason="the model extra is not installed")


def test_scores_become_selections(tmp_path):
    model, images = dp.load_model("demo"), sorted(IMAGES)
    files = {f"{n}.jsonl": [row(f"{n}{i}", turns=1 + i % 2, image=images[i % 3]) for i in range(8)] for n in "ab"}
    pool = write_pool(tmp_path / "pool", files)
    goal = write_pool(
        tmp_path / "goal", {"g.jsonl": [*files["a.jsonl"][:1], *(row(f"g{i}", image=images[i]) for i in range(3))]}
    )
    target = dp.profile(dp.open_dataset(goal), model, name="goal", clusters=2, sketch_size=50)
    scored = dp.score(pool, [target], model, out=tmp_path / "scores", embeddings=True)

    table = scored.read(["id", "file", "M:goal", "Nearest:goal"])
    values = table.column("M:goal").to_numpy()
    good = np.flatnonzero(~np.isnan(values))
    assert len(good) >= 12
    ids = table.column("id").to_pylist()
    asked = Settings(["goal"], len(good) // 2, unit="sample")
    select_pool(tmp_path / "scores", asked, tmp_path / "best", format="swift")
    chosen = good[dp.select(values[good], len(good) // 2, ids=[ids[place] for place in good])]
    expected = sorted(f"pool/{table.column('file')[int(place)].as_py()}/{ids[place]}" for place in chosen)
    assert sorted(sample.id for sample in dp.open_dataset(tmp_path / "best").rows()) == expected
    assert verify(tmp_path / "best") == []

    # a row of the benchmark itself is in the pool
    done = select_pool(tmp_path / "scores", Settings(["goal"], 3, leakage=0.999), tmp_path / "clean", format="ids")
    near = table.column("Nearest:goal").to_numpy()
    assert near[ids.index("a0")] >= 0.999
    assert "pool/a.jsonl/a0" not in (tmp_path / "clean" / "selection-goal.txt").read_text().split()
    assert set(done.dropped) <= {"leakage"}

    # the columns that scoring wrote say the same as the embeddings that it kept
    from dataprophet.selection.pools import open_candidates
    from dataprophet.selection.vectors import nearest_to_targets

    candidates = open_candidates(tmp_path / "scores", asked)
    for part in candidates.parts:
        each = np.arange(len(candidates.values(part)))
        stored = nearest_to_targets(candidates, candidates.details(part, each, nearest=True))
        computed = nearest_to_targets(candidates, candidates.details(part, each))
        np.testing.assert_allclose(computed, stored, atol=1e-3)

    # a further target, from the embeddings: the rows are still those of the pool
    target.name = "later"
    dp.score(tmp_path / "scores", [target], "demo", out=tmp_path / "more", features=True, name="pool")
    select_pool(tmp_path / "more", Settings(["later"], 5), tmp_path / "later", format="swift")
    select_pool(tmp_path / "scores", Settings(["goal"], 5), tmp_path / "first", format="swift")
    rows = [
        (tmp_path / out / f"selection-{name}.jsonl").read_bytes()
        for out, name in (("later", "later"), ("first", "goal"))
    ]
    assert rows[0] == rows[1]
    assert verify(tmp_path / "later") == []

    asked = Settings(["goal"], 2, near_duplicates=0.9999, diverse=0.3)
    done = select_pool(tmp_path / "scores", asked, tmp_path / "apart", format="huggingface")
    assert done.chosen == pq.read_table(tmp_path / "apart" / "_selected.parquet").num_rows == 2


def test_a_pool_of_features_gives_ids(tmp_path):
    rng = np.random.default_rng(0)
    rows = {name: rng.normal(0.3, 1, (50, 8)).astype(np.float16) for name in ("question", "answer", "image")}
    np.savez(tmp_path / "pool.npz", id=[f"x{i}" for i in range(50)], nll=rng.uniform(0.5, 2, 50), **rows)
    few = {name: part[:9].astype(np.float32) for name, part in rows.items()}
    target = dp.profile(dp.Features([f"t{i}" for i in range(9)], np.ones(9), few), "m", name="goal", clusters=2)
    scored = dp.score(tmp_path / "pool.npz", [target], "m", out=tmp_path / "scores", features=True, embeddings=True)
    values = scored.read(["M:goal"]).column("M:goal").to_numpy()
    asked = Settings(["goal"], 5, leakage=0.99)
    select_pool(tmp_path / "scores", asked, tmp_path / "out", format="ids")
    order = [place for place in np.argsort(-np.nan_to_num(values, nan=-1)) if place >= 9][:5]
    assert (tmp_path / "out" / "selection-goal.txt").read_text().split() == [
        f"pool/x{place}" for place in sorted(order)
    ]
    assert verify(tmp_path / "out") == []
    with pytest.raises(
        DataProphetError, match="was scored from features, so its rows are not at hand; use the format ids"
    ):
        select_pool(tmp_path / "scores", asked, tmp_path / "more", format="llava")
