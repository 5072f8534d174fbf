"""`profile` as a pass over a pool: killed and resumed, on several processes, from its cache: the same bytes."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fault_pools as faults
import numpy as np
import pytest
import sample_files as files

import dataprophet as dp
from dataprophet.cli import main
from dataprophet.errors import DataProphetError
from dataprophet.profiling.profile import Profile
from dataprophet.scoring.cache import CACHE

pytest.importorskip("transformers")

ROWS = 2200  # three cells
KILLS = 1  # and ten by benchmarks/endurance/profile_kills.py


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files about three pictures, with rows that cannot be used, and rows and ids that occur twice."""
    folder = tmp_path_factory.mktemp("pool")
    files.write_images(folder)
    (folder / "images" / "broken.png").write_bytes(files.RED[:20])
    names = ["images/red.png", "images/green.png", "images/blue.png"]
    lines: list[str] = []
    first: dict[str, Any] = {}
    for i in range(ROWS):
        row: dict[str, Any] = {"id": f"r{i}", "image": names[i % 3], "question": f"q{i % 40}?", "answer": f"a{i % 7}"}
        if i % 500 == 3:
            row["answer"] = ""
        if i % 700 == 5:
            row["image"] = "images/broken.png"
        if i % 600 == 11:
            row = {**row, "id": "r0"} if i % 1200 == 611 else {**row, **first}
        first = first or row
        lines.append("{" if i == 42 else json.dumps(row))
    (folder / "a.jsonl").write_text("\n".join(lines[: ROWS - 300]) + "\n")
    (folder / "b.jsonl").write_text("\n".join(lines[ROWS - 300 :]) + "\n")
    return folder


@pytest.fixture(scope="module")
def model() -> Any:
    return faults.demo_model()


@pytest.fixture(scope="module")
def whole(pool: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The profile that an undisturbed run writes."""
    out = tmp_path_factory.mktemp("whole") / "whole.profile"
    assert main(command(pool, out)) == 0
    return out.read_bytes()


def command(pool: Path, out: Path, *more: object) -> list[str]:
    return [str(word) for word in ("profile", pool, "--model", "demo", "--name", "x", "--out", out, *more)]


def begun(folder: Path, since: float) -> bool:
    """Whether a shard has been begun in the cache since then."""
    return any(path.stat().st_mtime >= since for path in folder.glob(f"{CACHE}/*/logs/*"))


def same(mine: Profile, other: Profile) -> bool:
    """The same profile, with the same rows left out."""
    log, its = mine.problems, other.problems
    return mine == other and (log.counts, log.first) == (its.counts, its.first)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2] if os.environ.get("SOAK") else [2])
def test_kills_change_no_bit(processes: int, pool: Path, whole: bytes, tmp_path: Path) -> None:
    out, chosen = tmp_path / "x.profile", random.Random(processes)
    words = [sys.executable, "-P", "-m", "dataprophet.cli", *command(pool, out, "--processes", processes)]
    for number in [*[signal.SIGKILL] * KILLS, signal.SIGINT, None]:
        started = time.time()
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            if number is not None:
                faults.wait_for(
                    lambda process=process, started=started: process.poll() is not None or begun(tmp_path, started), 300
                )
                time.sleep(chosen.random() * 2)
                process.send_signal(number)
            _, said = process.communicate(timeout=300)
            # Ctrl-C on the way out, when Python has given its handlers back, ends a process whose work is done
            ended = (0,) if number is None else (0, 130, -signal.SIGKILL, -signal.SIGINT)
            assert process.returncode in ended, said
            assert "Traceback" not in said
    assert out.read_bytes() == whole


def test_the_profile_is_that_of_one_pass_over_the_dataset(pool: Path, whole: bytes, model: Any, tmp_path: Path) -> None:
    (tmp_path / "whole").write_bytes(whole)
    plain = dp.profile(dp.open_dataset(pool), model, name="x")
    cached = dp.profile(dp.open_dataset(pool), model, name="x", cache=tmp_path / "cache")
    # batches follow cells of rows, and not windows of samples, so the last digits may differ
    assert (cached.count == plain.count).all()
    assert (cached.tokens == plain.tokens).all()
    assert cached.mean_nll == pytest.approx(plain.mean_nll, abs=1e-6)
    assert (cached.problems.counts, cached.problems.first) == (plain.problems.counts, plain.problems.first)
    assert cached.problems.counts["duplicate_row"] == 2
    assert Profile.load(tmp_path / "whole") == cached


@pytest.mark.parametrize("limit", [0, 30, 43, 1024, 1999])
def test_a_limit_counts_good_rows(limit: int, pool: Path, model: Any, tmp_path: Path) -> None:
    def made(**more: Any) -> Profile:
        return dp.profile(dp.open_dataset(pool, limit=limit), model, sketch_size=40, clusters=2, max_bad=1, **more)

    if limit == 0:
        with pytest.raises(DataProphetError, match="no sample could be used"):
            made(cache=tmp_path)
        return
    cached, plain = made(cache=tmp_path), made()
    assert (cached.n_samples, cached.n_tokens) == (plain.n_samples, plain.n_tokens)
    assert (cached.problems.counts, cached.problems.first) == (plain.problems.counts, plain.problems.first)
    if limit < 1000:  # one window, and one cell
        assert same(cached, plain)


@pytest.fixture
def small(pool: Path, tmp_path: Path) -> Path:
    """A small pool that a test may change."""
    folder = tmp_path / "small"
    shutil.copytree(pool, folder)
    for name in ("a", "b"):
        path = folder / f"{name}.jsonl"
        path.write_text("\n".join(path.read_text().splitlines()[20:90]) + "\n")
    return folder


def attempts(cache: Path) -> dict[str, str]:
    """Shards in a cache, and the attempt that made each."""
    return {path.name: json.loads(path.read_text())["attempt"] for path in cache.glob("*/commits/*.json")}


def test_what_has_not_changed_is_not_computed_again(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "x.profile"
    assert main(command(small, out)) == 0
    made, first = out.read_bytes(), attempts(tmp_path / CACHE)
    assert len(first) == 2
    capsys.readouterr()
    with monkeypatch.context() as patch:  # neither the rows are read again, nor the model loaded
        patch.setattr("dataprophet.scoring.scan._scan", None)
        patch.setattr("dataprophet.scoring.model_origin.open_model", None)
        started = time.monotonic()
        assert main(command(small, out, "--json")) == 0
        assert time.monotonic() - started < 2
    said = capsys.readouterr()
    (place,) = (path for path in (tmp_path / CACHE).iterdir() if path.is_dir())
    assert f"dataprophet: x: unchanged, profile from {place} (--fresh computes it anew)" in said.err
    assert json.loads(said.out)["left_out"]["bad_json"] == 1
    assert out.read_bytes() == made
    assert attempts(tmp_path / CACHE) == first
    assert main(command(small, out, "--fresh")) == 0
    assert out.read_bytes() == made
    assert not set(attempts(tmp_path / CACHE).values()) & set(first.values())
    assert main(command(small, out, "--cache", tmp_path / "other")) == 0
    assert len(attempts(tmp_path / "other")) == 2


def test_what_has_changed_is_computed_again(small: Path, model: Any, tmp_path: Path) -> None:
    cache = tmp_path / "cache"

    def made() -> tuple[Profile, dict[str, str]]:
        options: dict[str, Any] = {"sketch_size": 40, "clusters": 2, "cache": cache}
        found = dp.profile(dp.open_dataset(small), model, **options)
        assert same(
            found, dp.profile(dp.open_dataset(small), model, **{**options, "cache": tmp_path / "new"}, fresh=True)
        )
        return found, attempts(cache)

    first, before = made()
    line = {"id": "new", "image": "images/later.png", "question": "q?", "answer": "a"}
    with (small / "b.jsonl").open("a") as stream:
        stream.write(json.dumps(line) + "\n")
    second, after = made()  # the picture is not there
    assert second.problems.counts["missing_image"] == first.problems.counts["missing_image"] + 1
    assert len(after) == len(set(before.items()) & set(after.items())) + 1 == 2  # one file's shard is another
    shutil.copy(small / "images" / "red.png", small / "images" / "later.png")
    third, later = made()
    assert third.n_samples == first.n_samples + 1
    shutil.copy(small / "images" / "green.png", small / "images" / "later.png")
    os.utime(small / "images" / "later.png", (1, 1))
    fourth, last = made()
    assert fourth != third
    assert set(before.items()) & set(last.items()) == set(after.items()) & set(later.items())
    line["id"] = json.loads((small / "b.jsonl").read_text().splitlines()[0])["id"]
    with (small / "a.jsonl").open("a") as stream:
        stream.write(json.dumps(line) + "\n")
    fifth, renamed = made()  # a row of the other file has now an id that occurred before, and so another id
    assert fifth.n_samples == fourth.n_samples + 1
    assert fifth.problems.counts == fourth.problems.counts
    assert not set(last.items()) & set(renamed.items())


def test_a_changed_model_is_noticed(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dataprophet.scoring.cache import DEMO_FOLDER

    folder = tmp_path / "model"
    shutil.copytree(DEMO_FOLDER, folder)
    out = tmp_path / "x.profile"
    words = ["profile", str(small), "--model", str(folder), "--out", str(out)]
    assert main(words) == 0
    made, first = Profile.load(out), attempts(tmp_path / CACHE)
    os.utime(folder / "config.json", (1, 1))  # the same model: loaded to see so, and nothing is computed
    assert main(words) == 0
    assert attempts(tmp_path / CACHE) == first
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "made_by": "another"}))
    assert main(words) == 0
    assert Profile.load(out).model != made.model
    assert not set(attempts(tmp_path / CACHE)) & set(first)  # the earlier ones are removed
    assert "unchanged" in capsys.readouterr().err


def test_one_process_starts_no_other(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess, "Popen", refuse)
    assert main(command(small / "a.jsonl", tmp_path / "one", "--processes", "2")) == 0  # of one shard
    assert main(command(small, tmp_path / "two", "--processes", "1")) == 0


def test_a_dataset_without_files_is_said_to_be_profiled_at_once(model: Any, tmp_path: Path) -> None:
    samples = [dp.Sample(f"{i}", (), f"q{i}", f"a{i % 3}") for i in range(5)]
    dataset = dp.Dataset.from_samples("memory", samples)
    with pytest.raises(DataProphetError, match="only a dataset of files has a cache"):
        dp.profile(dataset, model, cache=tmp_path)
    with pytest.raises(DataProphetError, match="give cache=FOLDER"):
        dp.profile(dataset, model, fresh=True)
    with pytest.raises(DataProphetError, match="is no local folder"):
        dp.profile(dp.open_dataset(files.write_llava(tmp_path)), model, cache="s3://bucket/cache")


def test_a_score_without_targets_is_a_profile(small: Path, model: Any, tmp_path: Path) -> None:
    out = tmp_path / "scores"
    assert main(["score", str(small), "--model", "demo", "--out", str(out), "--processes", "0"]) == 0
    scored = dp.open_scores(out)
    assert scored.targets == []
    assert not [name for name in scored.read().column_names if ":" in name]
    assert scored.complete
    again = dp.score(small, [], model, out=tmp_path / "again")
    assert again.digest() == scored.digest()
    assert again.profile.n_samples == again.n_samples > 100
    assert again.profile.diversity > 0


def test_features_with_an_id_twice_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=(40, 8)) for name in ("question", "answer")} | {"nll": rng.random(40)}
    ids = np.array([f"s{i}" for i in range(40)])
    np.savez(tmp_path / "good.npz", id=ids, **columns)
    ids[31] = "s7"
    np.savez(tmp_path / "twice.npz", id=ids, **columns)
    for name, status in (("good", 0), ("twice", 1), ("twice", 1)):  # from the cache, too
        arguments = ["profile", str(tmp_path / f"{name}.npz"), "--features", "--model", "m"]
        assert main([*arguments, "--out", str(tmp_path / f"{name}.profile")]) == status
        assert ("id 's7' occurs twice; make the ids unique" in capsys.readouterr().err) == bool(status)
        assert (tmp_path / f"{name}.profile").exists() != bool(status)


def test_a_cache_leaves_the_files_of_others_alone(small: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / ".gitignore").write_text("build/\n")
    assert main(command(small / "a.jsonl", tmp_path / "x.profile", "--cache", tmp_path / "mine")) == 0
    assert (tmp_path / "mine" / ".gitignore").read_text() == "build/\n"
    assert main(command(small / "none.jsonl", tmp_path / "y.profile", "--cache", tmp_path / "empty")) == 1


@pytest.mark.parametrize("damaged", ["pool.profile", "commits", "rows.parquet", "run.json"])
def test_a_damaged_cache_is_computed_anew(damaged: str, small: Path, tmp_path: Path, capsys: Any) -> None:
    out = tmp_path / "a.profile"
    assert main(command(small / "a.jsonl", out)) == 0
    right = out.read_bytes()
    capsys.readouterr()
    found = [path for path in (tmp_path / CACHE).rglob("*") if path.is_file() and damaged in str(path)]
    for path in found:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert found
    assert main(command(small / "a.jsonl", out)) == 0
    assert "is damaged: what it held is computed anew" in capsys.readouterr().err
    assert out.read_bytes() == right


def test_a_dataset_info_that_changes_is_read_anew(model: Any, tmp_path: Path) -> None:
    rows = [
        {"a": [{"from": "human", "value": f"q{i}"}, {"from": "gpt", "value": "red"}],
         "b": [{"from": "human", "value": f"q{i}"}, {"from": "gpt", "value": f"blue {i}"}]}
        for i in range(20)
    ]  # fmt: skip
    (tmp_path / "data.json").write_text(json.dumps(rows))
    nlls = []
    for column in ("a", "b"):
        entry = {"file_name": "data.json", "formatting": "sharegpt", "columns": {"messages": column}}
        (tmp_path / "dataset_info.json").write_text(json.dumps({"x": entry}))
        nlls.append(dp.profile(dp.open_dataset(tmp_path), model, cache=tmp_path / "cache").mean_nll)
    assert nlls[0] != nlls[1]


def test_a_picture_that_comes_into_the_root_counts(model: Any, tmp_path: Path) -> None:
    for folder in ("data", "root"):
        (tmp_path / folder).mkdir()
    rows = [{"image": "p.png", "question": f"q{i}?", "answer": "red"} for i in range(20)]
    (tmp_path / "data" / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    directions = []
    for folder, colour in (("data", (200, 0, 0)), ("root", (0, 0, 200))):
        (tmp_path / folder / "p.png").write_bytes(files.png(colour))
        dataset = dp.open_dataset(tmp_path / "data" / "rows.jsonl", image_root=tmp_path / "root")
        directions.append(dp.profile(dataset, model, cache=tmp_path / "cache").directions["image"])
    assert (directions[0] != directions[1]).any()
