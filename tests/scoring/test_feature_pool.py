"""Pools of precomputed features: every format gives the same scores, in parts, and kept embeddings are such a pool."""

from __future__ import annotations

import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save_file
from sample_features import make_features, take

import dataprophet as dp
from dataprophet.cli import main
from dataprophet.data.index import CELL_ROWS
from dataprophet.errors import DataError, DataProphetError
from dataprophet.features.features import FIELDS, Features
from dataprophet.profiling.build import profile
from dataprophet.profiling.profile import Profile
from dataprophet.scoring.sources.opener import open_feature_pool
from dataprophet.scoring.targets import Targets
from dataprophet.selection import Settings, select_pool

FORMATS = ["npy", "ids.txt", "npz", "compressed", "safetensors", "parquet", "list", "arrow", "stream"]
N = 2 * CELL_ROWS + 100


def features_of(n=N, prefix="s") -> Features:
    made = make_features(n, 8, seed=n, text_only=0.2, prefix=prefix)
    made.embeddings = {name: rows.astype(np.float16) for name, rows in made.embeddings.items()}
    return made


def write(features: Features, path, kind: str):
    """Write features in a format; returns the path to open."""
    columns = {"nll": features.nll, "n_tokens": features.n_tokens, "image_present": features.present["image"]}
    arrays = {**columns, **features.embeddings}
    if kind in ("npy", "ids.txt"):
        path.mkdir()
        for name, values in arrays.items():
            np.save(path / f"{name}.npy", values)
        if kind == "npy":
            np.save(path / "id.npy", np.array(features.ids))
        else:
            (path / "ids.txt").write_text("\n".join(features.ids) + "\n")
        return path
    suffix = {"compressed": "npz", "list": "parquet", "stream": "arrow"}.get(kind, kind)
    path = path.with_name(f"{path.name}.{suffix}")
    if suffix == "npz":
        (np.savez if kind == "npz" else np.savez_compressed)(path, id=np.array(features.ids), **arrays)
    elif suffix == "safetensors":
        save_file(arrays, path, {"id": json.dumps(features.ids)})
    else:
        vectors = {
            name: pa.array(list(rows), pa.list_(pa.float16()))
            if kind == "list"
            else pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])
            for name, rows in features.embeddings.items()
        }
        table = pa.table({"id": features.ids, **columns, **vectors})
        if suffix == "parquet":
            pq.write_table(table, path, row_group_size=1500)
        else:
            with (pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream)(str(path), table.schema) as out:
                out.write_table(table, max_chunksize=700)
    return path


def read(pool, ranges):
    """Features of ranges of cells of the first file, as one."""
    index = pool.index(0)
    parts = [part for first, last in ranges for part in pool.read_features(index, first, last)]
    assert all((places == np.arange(len(features.ids))).all() for _, places, features in parts)
    assert sum(len(columns.id) for columns, _, _ in parts) == sum(len(features.ids) for _, _, features in parts)
    return Features(
        [name for _, _, features in parts for name in features.ids],
        np.concatenate([features.nll for _, _, features in parts]),
        {name: np.concatenate([np.array(part[2].embeddings[name]) for part in parts]) for name in FIELDS},
        {"image": np.concatenate([part[2].present["image"] for part in parts])},
        np.concatenate([part[2].n_tokens for part in parts]),
    )


@pytest.fixture(scope="module")
def targets(tmp_path_factory):
    return [profile(make_features(60, 8, seed=seed), "m", name=f"t{seed}", clusters=3) for seed in (1, 2)]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("ranges", [[(0, 3)], [(2, 3), (0, 1), (1, 2)], [(1, 3)]])
def test_every_format_gives_the_features_in_cells(tmp_path, kind, ranges):
    features = features_of()
    pool = open_feature_pool(write(features, tmp_path / "pool", kind))
    found = read(pool, ranges)
    rows = [row for first, last in ranges for row in range(first * CELL_ROWS, min(last * CELL_ROWS, N))]
    expected = take(features, rows)
    assert found.ids == expected.ids
    assert found.nll.tolist() == expected.nll.tolist()
    assert found.n_tokens.tolist() == expected.n_tokens.tolist()
    assert found.present["image"].tolist() == expected.present["image"].tolist()
    for name in FIELDS:
        assert found.embeddings[name].dtype == np.float16
        np.testing.assert_array_equal(found.embeddings[name], expected.embeddings[name])


def test_bfloat16_and_wide_floats(tmp_path):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file as save_tensors

    rows = make_features(20, 8).embeddings["question"].astype(ml_dtypes.bfloat16).astype(np.float32)
    answers = rows.astype(np.float64)
    save_tensors(
        {"nll": torch.ones(20), "question": torch.tensor(rows).bfloat16(), "answer": torch.tensor(answers)},
        tmp_path / "f.safetensors",
    )
    pool = open_feature_pool(tmp_path / "f.safetensors")
    ((_, _, found),) = pool.read_features(pool.index(0), 0, 1)
    for name in ("question", "answer"):
        assert found.embeddings[name].dtype == np.float32
        np.testing.assert_array_equal(found.embeddings[name], rows)
    assert found.ids[:2] == ["1", "2"]


def test_a_folder_of_shards(tmp_path, targets):
    first, second = features_of(), features_of(50, "r")
    (tmp_path / "pool").mkdir()
    write(first, tmp_path / "pool" / "a", "npy")
    write(second, tmp_path / "pool" / "b", "safetensors")
    pool = open_feature_pool(tmp_path / "pool")
    indices = [pool.index(number) for number in range(2)]
    assert [(index.name, index.rows) for index in indices] == [("a", N), ("b.safetensors", 50)]
    scored = dp.score(tmp_path / "pool", targets, "m", features=True, out=tmp_path / "out", name="p")
    assert scored.n_samples == N + 50
    table = scored.read()
    assert table["id"].to_pylist() == first.ids + second.ids
    assert set(table["status"].to_pylist()) == {"ok"}
    expected = profile([first, second], "m", name="p", clusters=10)
    assert scored.profile.nll_sum.tolist() == expected.nll_sum.tolist()
    assert all((scored.profile.field_sum[name] == expected.field_sum[name]).all() for name in FIELDS)
    values = np.concatenate([Targets.of(targets).score(part).values for part in (first, second)])
    for number, target in enumerate(targets):
        np.testing.assert_array_equal(table[f"M:{target.name}"].to_numpy(), values[:, number])


@pytest.mark.parametrize("shard_rows", [1024, 1 << 20])
@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_the_size_of_shards_changes_no_bit(tmp_path, targets, kind, shard_rows):
    path = write(features_of(), tmp_path / "pool", kind)
    whole = dp.score(path, targets, "m", features=True, out=tmp_path / "whole")
    parts = dp.score(path, targets, "m", features=True, out=tmp_path / "parts", shard_rows=shard_rows)
    assert parts.digest() == whole.digest()
    assert parts.profile == whole.profile


def test_a_pool_with_more_rows_than_its_sketch_keeps(tmp_path, targets):
    """Shards keep what the pool's sketch may need, which it then holds to the bit; or fewer, where most are bad."""
    features = make_features(4000, 8)
    small = [profile(make_features(60, 8, seed=i), "m", name=f"s{i}", sketch_size=100) for i in range(2)]
    path = write(features, tmp_path / "pool", "npy")
    scored = dp.score(path, small, "m", features=True, out=tmp_path / "out", name="p", shard_rows=1024)
    assert scored.profile.sketch == profile(features, "m", name="p", sketch_size=100).sketch
    assert scored.summary["short_sketch"] is None
    held = [len(Profile.load(part).sketch) for part in (tmp_path / "out" / "data").glob("*.profile")]
    assert len(held) == 4
    assert 100 < sum(held) < 400
    features.nll[100:] = np.nan
    path = write(features, tmp_path / "bad", "npy")
    options = {"name": "p", "shard_rows": 1024, "max_bad": 1.0}
    scored = dp.score(path, small, "m", features=True, out=tmp_path / "bad-out", **options)
    kept, wanted = scored.summary["short_sketch"]
    assert 0 < kept < wanted == 100
    assert len(scored.profile.sketch) == kept


def test_rows_without_ids_are_numbered_within_their_file(tmp_path):
    for name in "ab":
        np.savez(tmp_path / f"{name}.npz", nll=np.ones(3), question=np.eye(3))
    pool = open_feature_pool(tmp_path)
    ((_, _, found),) = pool.read_features(pool.index(1), 0, 1)
    assert found.ids == ["b.npz:1", "b.npz:2", "b.npz:3"]


def test_bad_rows_are_left_out_with_their_reason(tmp_path, targets):
    features = features_of(30)
    features.nll[3] = np.nan
    features.embeddings["answer"][5] = 0
    features.embeddings["question"][7, 2] = np.inf
    path = write(features, tmp_path / "pool", "npy")
    with pytest.raises(DataError, match=r"3 of 30 rows cannot be used, more than 5% \(3 bad_features\)"):
        dp.score(path, targets, "m", features=True, out=tmp_path / "out")
    scored = dp.score(path, targets, "m", features=True, out=tmp_path / "out", max_bad=0.2)
    status, detail = (scored.read([name])[name].to_pylist() for name in ("status", "detail"))
    assert {row for row in range(30) if status[row] != "ok"} == {3, 5, 7}
    assert detail[7] == "question embedding is not finite"
    assert scored.n_samples == 27


@pytest.mark.parametrize(("column", "value"), [("nll", 1e308), ("nll", 1e30), ("nll", 701.0), ("n_tokens", -1)])
def test_one_extreme_number_costs_its_row_alone(tmp_path, targets, column, value):
    features = features_of(30)
    getattr(features, column)[3] = value
    path = write(features, tmp_path / "pool", "npz")
    scored = dp.score(path, targets, "m", features=True, out=tmp_path / "out")
    assert scored.statuses == {"ok": 29, "bad_features": 1}
    assert scored.read(["status"])["status"][3].as_py() == "bad_features"
    rest = take(features, [row for row in range(30) if row != 3])
    assert np.isfinite(scored.profile.perplexity)
    assert scored.profile.mean_nll == profile(rest, "m").mean_nll


@pytest.fixture(scope="module")
def kept(tmp_path_factory, targets):
    """A pool that was scored with embeddings, one row of it bad."""
    folder = tmp_path_factory.mktemp("kept")
    features = features_of()
    features.embeddings["answer"][5] = 0
    path = write(features, folder / "pool", "npz")
    return dp.score(path, targets[:1], "m", features=True, out=folder / "out", embeddings=True, shard_rows=1024)


@pytest.mark.parametrize("shard_rows", [1024, 8192])
def test_kept_embeddings_are_scored_for_another_target(tmp_path, kept, targets, shard_rows):
    again = dp.score(kept.folder, targets, "m", features=True, out=tmp_path / "out", shard_rows=shard_rows)
    before, after = kept.read(), again.read()
    for name in ("id", "file", "position", "row", "turn", "status", "detail", "answer_tokens", "mean_nll"):
        assert after[name].to_pylist() == before[name].to_pylist()
    assert again.statuses == {"ok": N - 1, "bad_features": 1}
    assert again.profile == kept.profile  # from the features themselves, not from float16
    for name in ("QSim:t1", "M:t1"):
        np.testing.assert_allclose(
            after[name].to_numpy(zero_copy_only=False), before[name].to_numpy(zero_copy_only=False), 2e-3, 2e-4
        )
    assert again.config.fingerprint == "m"


def test_kept_embeddings_know_their_model(tmp_path, kept, targets):
    other = profile(make_features(60, 8), "other", name="o", clusters=3)
    with pytest.raises(DataProphetError, match="model differs"):
        dp.score(kept.folder, [other], "other", features=True, out=tmp_path / "out")


def test_a_run_without_embeddings_is_no_pool(tmp_path, targets):
    path = write(features_of(30), tmp_path / "pool", "npy")
    dp.score(path, targets, "m", features=True, out=tmp_path / "out")
    with pytest.raises(DataProphetError, match="without embeddings=True"):
        open_feature_pool(tmp_path / "out")


def test_a_changed_file_is_noticed(tmp_path):
    path = write(features_of(30), tmp_path / "pool", "npy")
    pool = open_feature_pool(path)
    index = pool.index(0)
    np.save(path / "nll.npy", np.ones(30, np.float32))
    with pytest.raises(DataError, match="has changed since it was indexed"):
        next(pool.read_features(index, 0, 1))


def test_arrays_changed_in_place_are_scored_again(tmp_path, targets):
    """Nothing about their folder changes."""
    path = write(features_of(30), tmp_path / "pool", "npy")
    out = tmp_path / "out"
    before = dp.score(path, targets, "m", features=True, out=out).digest()
    np.save(path / "nll.npy", np.load(path / "nll.npy") * 2)
    again = dp.score(path, targets, "m", features=True, out=out)
    fresh = dp.score(path, targets, "m", features=True, out=tmp_path / "fresh")
    assert again.digest() == fresh.digest() != before
    assert again.profile == fresh.profile


def test_kept_embeddings_that_are_computed_anew_are_scored_again(tmp_path, targets):
    """Also where the data file changed before the last run that read the old embeddings."""
    path = write(features_of(30), tmp_path / "pool", "npz")
    kept, out = tmp_path / "kept", tmp_path / "out"
    dp.score(path, targets, "m", features=True, embeddings=True, out=kept)
    before = dp.score(kept, targets, features=True, out=out).digest()
    write(features_of(30, "other"), tmp_path / "pool", "npz")
    assert dp.score(kept, targets, features=True, out=out).digest() == before
    dp.score(path, targets, "m", features=True, embeddings=True, out=kept)
    again = dp.score(kept, targets, features=True, out=out)
    assert again.digest() == dp.score(kept, targets, features=True, out=tmp_path / "fresh").digest() != before


def test_the_profile_of_an_earlier_pool_is_not_that_of_this_one(tmp_path, targets):
    (tmp_path / "pool").mkdir()
    whole = write(features_of(40), tmp_path / "pool" / "a", "npz")
    write(features_of(30), tmp_path / "pool" / "b", "npz")
    out = tmp_path / "out"
    assert dp.score(tmp_path / "pool", targets, "m", features=True, out=out).profile.n_samples == 70
    damage(whole, "cut")
    scored = dp.score(tmp_path / "pool", targets, "m", features=True, out=out)
    assert not scored.complete
    assert scored.profile.n_samples == scored.n_samples == 30


@pytest.mark.parametrize("text", ["{", "{}", '{"files": [{}]}', '{"files": 3}'])
def test_a_damaged_list_of_files_is_made_anew(tmp_path, targets, text):
    path, out = write(features_of(30), tmp_path / "pool", "npz"), tmp_path / "out"
    before = dp.score(path, targets, "m", features=True, out=out).digest()
    (out / "files.json").write_text(text)
    assert dp.score(path, targets, "m", features=True, out=out).digest() == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"fields": ["question", "anwser"]}, "unknown field 'anwser'"),
        ({"fields": []}, "no field given"),
        ({"engine": "slurm"}, "use local or ray"),
        ({"processes": -1}, "use 0 or more"),
    ],
)
def test_what_no_run_can_have(tmp_path, targets, given, message):
    path = write(features_of(30), tmp_path / "pool", "npz")
    with pytest.raises(DataProphetError, match=message):
        dp.score(path, targets, "m", features=True, out=tmp_path / "out", **given)
    assert not (tmp_path / "out").exists()


def damage(path, kind):
    data = path.read_bytes()
    path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "text": b"not features"}[kind])


@pytest.mark.parametrize("kind", ["npz", "safetensors", "parquet", "arrow", "stream"])
@pytest.mark.parametrize("how", ["cut", "empty", "text"])
def test_damaged_files(tmp_path, targets, kind, how):
    (tmp_path / "pool").mkdir()
    damage(write(features_of(200), tmp_path / "pool" / "a", kind), how)
    write(features_of(30), tmp_path / "pool" / "b", "npy")
    scored = dp.score(tmp_path / "pool", targets, "m", features=True, out=tmp_path / "out")
    assert scored.n_samples == 30
    assert not scored.complete
    assert "cannot be read" in scored.files[0]["error"]
    assert repr(scored).endswith("30 samples for 2 targets, 1 files not read>")
    with pytest.raises(DataProphetError, match=r"0 shards and 1 files are not scored \(.*cannot be read"):
        select_pool(tmp_path / "out", Settings(scored.targets, 3), tmp_path / "best")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("nll"), "column 'nll' is missing"),
        (lambda c: c.update(colour=np.ones(5)), "unknown column 'colour'"),
        (lambda c: c.update(question=np.ones((4, 3))), "4 of question, 5 rows"),
        (lambda c: c.update(question=np.asfortranarray(np.ones((5, 3)))), "Fortran order"),
        (lambda c: c.update(nll=np.array([{}] * 5)), "cannot be read"),
    ],
)
def test_bad_files(tmp_path, change, message):
    columns = {"nll": np.ones(5), "question": np.ones((5, 3))}
    change(columns)
    np.savez(tmp_path / "f.npz", **columns)
    with pytest.raises(DataError, match=message):
        open_feature_pool(tmp_path / "f.npz").index(0)


def test_nothing_there(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        open_feature_pool(tmp_path / "absent")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"no features in the folder \(it holds notes\.txt\)"):
        open_feature_pool(tmp_path)


def test_what_is_no_file_among_the_features_is_listed(tmp_path, targets):
    (tmp_path / "pool").mkdir()
    write(features_of(30), tmp_path / "pool" / "a", "npz")
    (tmp_path / "pool" / "b.npz").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pool" / "c.npz")
    (tmp_path / "pool" / "d.npz").mkdir()
    scored = dp.score(tmp_path / "pool", targets, "m", features=True, out=tmp_path / "out")
    assert not scored.complete
    assert ["error" in file for file in scored.files] == [False, True, True, True]
    assert scored.statuses == {"ok": 30}
    arguments = ["score", tmp_path / "pool", "--features", "--model", "m", "--out", tmp_path / "out2"]
    assert main([str(text) for text in arguments]) == 1
