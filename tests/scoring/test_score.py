"""`dataprophet.score`: rows and profile of a pool, the same bits however the work is divided, stopped and resumed."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import sample_files as files

import dataprophet as dp
from dataprophet.cli import build_parser, main
from dataprophet.cli.common import loading
from dataprophet.data.sample import Sample
from dataprophet.errors import DataError, DataProphetError, ProfileError
from dataprophet.features.features import FIELDS
from dataprophet.planning.plan import plan

ROWS = 2500  # three cells


@pytest.fixture(scope="module")
def model(tiny_model):
    return tiny_model("internvl")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two data files: questions about four pictures, among them bad rows of several kinds."""
    path = tmp_path_factory.mktemp("pool")
    files.write_images(path)
    names = ["images/red.png", "images/green.png", "images/blue.png"]
    (path / "images" / "broken.png").write_bytes(files.RED[:20])
    lines = []
    for i in range(ROWS):
        row = {"id": f"r{i}", "image": names[i % 3], "question": f"q{i % 40}?", "answer": f"a{i % 7}"}
        if i % 500 == 3:
            row["answer"] = ""
        if i % 700 == 5:
            row["image"] = "images/broken.png"
        if i % 900 == 7:
            del row["image"]
        lines.append("{" if i == 42 else json.dumps(row))
    (path / "a.jsonl").write_text("\n".join(lines[: ROWS - 300]) + "\n")
    (path / "b.jsonl").write_text("\n".join(lines[ROWS - 300 :]) + "\n")
    return path


@pytest.fixture(scope="module")
def targets(folder, model):
    """Two targets: the first rows of each file."""
    return [
        dp.profile(dp.open_dataset(folder / f"{name}.jsonl", limit=60, name=name), model, clusters=4, sketch_size=500)
        for name in ("a", "b")
    ]


@pytest.fixture(scope="module")
def scored(folder, model, targets, tmp_path_factory):
    return dp.score(folder, targets, model, out=tmp_path_factory.mktemp("scored") / "out", embeddings=True)


def same(a, b):
    assert a.digest() == b.digest()
    assert a.profile == b.profile
    assert a.statuses == b.statuses


def test_every_row_has_one_line_and_a_status(scored, folder):
    rows = scored.read().to_pylist()
    assert scored.complete
    assert scored.n_rows == ROWS == len(rows)
    places = [(row["file"], row["position"]) for row in rows]
    assert places == [("a.jsonl", i) for i in range(ROWS - 300)] + [("b.jsonl", i) for i in range(300)]
    assert [row["row"] for row in rows] == [row["position"] + 1 for row in rows]
    found = dict(scored.statuses)
    assert found == {"bad_json": 1, "empty_answer": 5, "decode_error": 4, "ok": ROWS - 10}
    assert scored.n_samples == ROWS - 10
    for row in rows:
        assert (row["detail"] is None) == (row["status"] == "ok") == (row["mean_nll"] is not None)
    assert dict(scored.unscored) == {"a": 3, "b": 3}  # no picture


def test_scores_are_the_formula(scored, folder, model, targets):
    """In float64, from the features of the samples themselves."""
    rows = {row["id"]: row for row in scored.read().to_pylist() if row["file"] == "a.jsonl"}
    dataset = dp.open_dataset(folder / "a.jsonl", limit=50)
    for features in model.features(list(dataset), on_problem=lambda problem: None):
        for i, name in enumerate(features.ids):
            row = rows[name]
            assert row["mean_nll"] == pytest.approx(features.nll[i], abs=1e-5)
            for target in targets:
                product = np.exp(features.nll[i]) / target.perplexity
                for field, label in zip(FIELDS, ("QSim", "ASim", "ISim"), strict=True):
                    if not features.present[field][i]:
                        assert row[f"{label}:{target.name}"] is None
                        product = np.nan
                        continue
                    vector = features.embeddings[field][i].astype(np.float64)
                    cosine = vector @ target.directions[field] / np.linalg.norm(vector)
                    assert row[f"{label}:{target.name}"] == pytest.approx(cosine, abs=1e-5)
                    product *= cosine
                if np.isfinite(product) and product > 0:
                    assert row[f"M:{target.name}"] == pytest.approx(product, rel=1e-4)
                else:
                    assert row[f"M:{target.name}"] is None


def test_the_profile_is_that_of_the_dataset(scored, folder, model):
    """Up to rounding: `profile` makes other batches."""
    whole = dp.profile(dp.open_dataset(folder), model, clusters=4, sketch_size=500)
    mine = scored.profile
    assert mine.n_samples == whole.n_samples
    assert mine.count.tolist() == whole.count.tolist()
    assert mine.mean_nll == pytest.approx(whole.mean_nll, abs=1e-6)
    assert np.array_equal(mine.sketch.hashes, whole.sketch.hashes)
    for field in FIELDS:
        assert np.allclose(mine.directions[field], whole.directions[field], atol=1e-6)
    assert scored.merged_profile().problems.counts["decode_error"] == 4


def test_a_sample_of_the_target_is_nearest_to_itself(scored):
    rows = [row for row in scored.read().to_pylist() if row["status"] == "ok"]
    first = [row for row in rows if row["file"] == "a.jsonl" and row["position"] < 60]
    assert min(row["Nearest:a"] for row in first) > 0.999


@pytest.mark.parametrize("shard_rows", [1, 2048])
def test_the_size_of_shards_changes_no_bit(shard_rows, scored, folder, model, targets, tmp_path):
    told = []
    out = tmp_path / "out"
    other = dp.score(folder, targets, model, out=out, shard_rows=shard_rows, progress=lambda *rows: told.append(rows))
    assert len(other.shards) == {1: 4, 2048: 3}[shard_rows]
    assert sorted(told) == told
    assert len(set(told)) == 5  # the start, and each cell: also within a shard
    assert told[-1] == (other.n_rows, other.n_rows)
    assert not (out / "tmp").exists()
    same(scored, other)


def test_a_run_that_stopped_goes_on(scored, folder, model, targets, tmp_path):
    class Stop(Exception):
        pass

    def stop(done, total):
        if done > 0:
            raise Stop

    out = tmp_path / "out"
    with pytest.raises(Stop):
        dp.score(folder, targets, model, out=out, shard_rows=1024, progress=stop)
    part = dp.open_scores(out)
    assert len(part.shards) == 1
    assert not part.complete
    kept = {shard.rows for shard in part.shards}
    whole = dp.score(folder, targets, model, out=out, shard_rows=1024)
    assert kept < {shard.rows for shard in whole.shards}
    same(scored, whole)


def test_embeddings_belong_to_the_rows(scored):
    from safetensors.numpy import load_file

    for shard in scored.shards:
        kept = load_file(shard.embeddings)
        rows = pq.read_table(shard.rows).to_pylist()
        assert [rows[line]["status"] for line in kept["row"]] == ["ok"] * len(kept["row"])
        for field in FIELDS:
            lengths = np.linalg.norm(kept[field].astype(np.float32), axis=1)
            assert np.allclose(lengths[kept[f"{field}_present"] == 1], 1, atol=1e-3)
            assert (lengths[kept[f"{field}_present"] == 0] == 0).all()


def test_another_configuration_is_refused(scored, folder, model, targets):
    with pytest.raises(DataProphetError, match="the folder was scored with another fields"):
        dp.score(folder, targets, model, out=scored.folder, fields=("question",), embeddings=True)
    with pytest.raises(DataProphetError, match="another targets"):
        dp.score(folder, targets[:1], model, out=scored.folder, embeddings=True)


def test_details_are_columns_where_they_are_asked_for(folder, model, targets, tmp_path):
    plain = dp.score(folder / "b.jsonl", targets, model, out=tmp_path / "plain").read()
    told = dp.score(folder / "b.jsonl", targets, model, out=tmp_path / "told", details=True).read()
    assert told.drop_columns(["mean_rank", "mean_entropy"]).equals(plain)
    for row in told.to_pylist():
        assert (row["status"] == "ok") == (row["mean_rank"] is not None) == (row["mean_entropy"] is not None)
    assert 0 < max(row["mean_entropy"] or 0 for row in told.to_pylist()) < np.log(5000)
    with pytest.raises(DataProphetError, match=r"scored with another details \(true, now unset\)"):
        dp.score(folder / "b.jsonl", targets, model, out=tmp_path / "told")
    with pytest.raises(ProfileError, match="details: needs a model"):
        dp.score(tmp_path / "told", targets, out=tmp_path / "features", features=True, details=True)


def test_a_limit_is_refused_as_pools_are_whole(folder, model, tmp_path):
    rows = [{"instruction": f"Q{number}", "output": "A"} for number in range(9)]
    pool = tmp_path / "pool"
    pool.mkdir()
    (pool / "a.json").write_text(json.dumps(rows))
    (pool / "dataset_info.json").write_text(json.dumps({"a": {"file_name": "a.json", "num_samples": 4}}))
    says = r"has 9 rows, and 4 are asked for \(a limit, or num_samples\): a pool is read whole; take it away"
    with pytest.raises(DataError, match=says):
        dp.score(pool, [], model, out=tmp_path / "out")
    with pytest.raises(DataError, match=says):
        plan(dp.open_dataset(pool), model, rows=16)
    columns = {"question": "instruction", "answer": "output"}
    scored = dp.score(pool / "a.json", [], model, out=tmp_path / "out", reading={"limit": 9, "columns": columns})
    assert scored.n_rows == 9  # the limit takes nothing away


def test_targets_must_be_comparable_and_have_names_of_their_own(folder, model, targets, tmp_path):
    with pytest.raises(ProfileError, match="two targets are named 'a'"):
        dp.score(folder, [targets[0], targets[0]], model, out=tmp_path / "out")
    other = dp.profile([Sample("x", [], "q", "a")], model, name="x")
    with pytest.raises(ProfileError, match="differs from profile"):
        dp.score(folder, [targets[0], other], model, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_that_cannot_be_read_is_listed_and_the_rest_is_scored(folder, model, targets, tmp_path):
    pool = tmp_path / "pool"
    pool.mkdir()
    for name in ("a", "b"):
        files.write_vqa(tmp_path, ".parquet").rename(pool / f"{name}.parquet")
    data = (pool / "a.parquet").read_bytes()
    scored = dp.score(pool, targets, model, out=tmp_path / "whole")
    assert scored.complete
    (pool / "a.parquet").write_bytes(data[:-100])
    # detection looks at the first file, so the broken one is the last
    (pool / "a.parquet").rename(pool / "c.parquet")
    part = dp.score(pool, targets, model, out=tmp_path / "part")
    assert not part.complete
    assert [("error" in file, file["name"]) for file in part.files] == [(False, "b.parquet"), (True, "c.parquet")]
    assert part.n_rows == 3


def test_the_command(folder, targets, tmp_path, capsys, monkeypatch):
    for target in targets:
        target.save(tmp_path / f"{target.name}.profile")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").mkdir()  # no model: "demo" is the one that ships
    words = ["score", str(folder / "b.jsonl"), "--model", "demo", "--out", str(tmp_path / "out"), "--processes", "0"]
    assert main([*words, "--target", str(tmp_path / "a.profile")]) == 1
    assert "model differs from profile" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_zero_on_the_command_line_is_a_choice():
    words = ["score", "pool", "--target", "t", "--model", "demo", "--out", "out", "--workers", "0"]
    assert loading(build_parser().parse_args(words)) == {"workers": 0}
