"""``run``: one folder from datasets to mixtures, the same bytes however often it is stopped or asked for."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dataprophet as dp
from dataprophet.errors import RecipeError
from dataprophet.running.output import SCORES
from dataprophet.scoring.cache import CACHE

fcntl = pytest.importorskip("fcntl")

Run = Callable[..., tuple[int, str, str]]
KILLS = 3


def write_features(folder: Path) -> None:
    """Features of two sources and two targets, and the rows of the sources."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(("a", "b", "t", "u")):
        vectors = {field: rng.standard_normal((60, 5)) + 2 + number / 9 for field in ("question", "answer", "image")}
        np.savez(folder / f"{name}.npz", nll=rng.random(60) + number, **vectors)
        lines = [json.dumps({"question": f"What is {name} {i}?", "answer": str(i)}) for i in range(60)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))


def recipe(folder: Path, **keys: Any) -> dict[str, Any]:
    def entry(name: str, **more: str) -> dict[str, Any]:
        return {"path": os.path.relpath(folder / f"{name}.npz"), "features": True, **more}

    sources = [entry(name, rows=os.path.relpath(folder / f"{name}.jsonl")) for name in ("a", "b")]
    made = {
        "sources": sources,
        "targets": [entry("t"), entry("u")],
        "budget": 50,
        "out": os.path.relpath(folder / "out"),
    }
    return {key: value for key, value in {**made, **keys}.items() if value is not None}


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    write_features(folder)
    monkeypatch.chdir(tmp_path)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """All files of the results but the cache."""
    files = (path for path in folder.rglob("*") if path.is_file() and CACHE not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_features_need_no_model_and_folders_move_together(data: Path, tmp_path: Path) -> None:
    done = dp.run(recipe(data))
    first = contents(data / "out")
    assert {"recipe.yaml", "run.json", SCORES, "rankings.csv", "profiles/a.profile"} <= set(first)
    assert sum(share.taken for share in done.mixtures["u"].shares) == 50
    lines = (data / "out" / "rankings.csv").read_text().splitlines()
    assert lines[0] == "target,rank,source,score,low,high,resolved"
    assert len(lines) == 1 + 2 * 2
    data.rename(tmp_path / "elsewhere")
    again = dp.run("elsewhere/out/recipe.yaml")
    assert again.scores == done.scores
    assert contents(tmp_path / "elsewhere" / "out") == first
    shutil.rmtree("elsewhere/out")
    dp.run(recipe(tmp_path / "elsewhere", out=tmp_path / "elsewhere" / "out"))  # the same place as a whole path
    assert contents(tmp_path / "elsewhere" / "out") == first
    without = dp.run(recipe(tmp_path / "elsewhere", budget=None, out="plain", model="label"))
    assert not without.mixtures
    assert not Path("plain", "mixtures").exists()
    assert json.loads(Path("plain", "run.json").read_text())["model"] == {"name": "label", "fingerprint": "label"}


def test_the_folder_of_another_recipe_is_refused_by_key_or_replaced(data: Path, run: Run) -> None:
    dp.run(recipe(data))
    first = contents(data / "out")
    with pytest.raises(RecipeError, match="another recipe: budget was 50, is 40; choose another folder"):
        dp.run(recipe(data, budget=40))
    fewer = recipe(data, targets=recipe(data)["targets"][:1])
    with pytest.raises(RecipeError, match=r"targets was \['t', 'u'\], is \['t'\]"):
        dp.run(fewer)
    assert contents(data / "out") == first
    dp.run(recipe(data, processes=2, engine="local"))  # changes no result, and is no other recipe
    dp.run(fewer, overwrite=True)
    assert not (data / "out" / "mixtures" / "u").exists()
    assert not (data / "out" / "profiles" / "u.profile").exists()
    own = data / "recipe.yaml"
    own.write_text("sources: [{path: a.npz, features: true}]\ntargets: [{path: t.npz, features: true}]\nout: .\n")
    status, _, err = run("run", own)
    assert status == 1
    assert "which no run wrote" in err
    assert "out: ." in own.read_text()
    handle = os.open(data / "out", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    try:
        with pytest.raises(RecipeError, match="another run works in"):
            dp.run(fewer)
    finally:
        os.close(handle)


def test_what_fails_with_the_model_names_its_key_and_claims_no_folder(data: Path, run: Run) -> None:
    pytest.importorskip("torch")
    words = ["run", "--source", "data/a.jsonl", "--target", "data/t.jsonl", "--out", "out"]
    for more, message in (
        (["--model", "data"], "--model: "),
        (["--model", "demo", "--device", "gpu"], "--device: unknown device 'gpu'"),
        (["--model", "demo", "--dtype", "int3"], "unknown dtype 'int3'"),
    ):
        status, _, err = run(*words, *more)
        assert status == 1
        (last,) = (line for line in err.splitlines() if "error: " in line)
        assert message in last
        assert "; " in last


def test_reading_options_beside_features_are_for_their_rows(data: Path, run: Run) -> None:
    """Where a source has rows; they are refused where none has: test_recipe.py."""
    text = (data / "a.jsonl").read_text().replace('"question"', '"query"')
    (data / "q.jsonl").write_text(text)
    words = ["run", "--features", "--model", "clip", "--source", "data/a.npz", "--target", "data/t.npz"]
    words += ["--rows", "a=data/q.jsonl", "--columns", "question=query", "--limit", "30", "--budget", "20"]
    status, _, err = run(*words, "--max-pixels", "1000000", "--format", "swift", "--out", "out")
    assert status == 0, err
    assert len(list(dp.open_dataset("out/mixtures/t").rows())) == 20


def test_what_is_damaged_or_left_half_written_is_made_again(data: Path) -> None:
    lines: list[str] = []
    dp.run(recipe(data), tell=lines.append)
    first = contents(data / "out")
    out = data / "out"
    (out / ".scores.csv.1.part").write_text("half")
    (out / "mixtures" / ".t.abc.part").mkdir()
    (out / "mixtures" / "t" / "mixture-t.json").write_text("[]")
    (out / "scores.csv").unlink()
    (out / "run.json").write_text("{")
    (out / "report.html").write_text("<")
    dp.run(recipe(data))
    assert contents(out) == first
    assert not list(out.rglob(".*.part"))


def test_a_source_that_runs_out_is_told_and_temperature_evens_shares(data: Path) -> None:
    lines: list[str] = []
    done = dp.run(recipe(data, budget=110, temperature=0.2), tell=lines.append)
    shares = {share.name: share for share in done.mixtures["t"].shares}
    full = next(share for share in shares.values() if share.taken == 60)
    other = next(share for share in shares.values() if share is not full)
    assert full.wanted > 60
    assert other.taken == 50
    told = (
        f"source {full.name!r} runs out: all of its 60 rows are taken, and the {full.wanted - 60:,} more of its share"
    )
    assert any(told in line for line in lines)
    wanted = []
    for temperature in (0.2, 1, 1e6):
        made = dp.run(recipe(data, temperature=temperature), overwrite=True)
        wanted.append([share.taken for share in made.mixtures["t"].shares])
    assert wanted[2] == [25, 25]
    assert wanted[0][0] > wanted[1][0] > wanted[2][0]


@pytest.mark.slow
def test_kills_change_no_byte(data: Path, tmp_path: Path) -> None:
    dp.run(recipe(data))
    first = contents(data / "out")
    shutil.rmtree(data / "out")
    Path("r.json").write_text(json.dumps(recipe(data)))  # JSON is YAML
    words = [sys.executable, "-P", "-m", "dataprophet.cli", "run", "r.json"]
    chosen, killed = random.Random(0), 0
    while killed < KILLS:
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            for _ in range(chosen.randrange(12)):  # lines until the kill
                process.stderr.readline()
            time.sleep(chosen.random() / 20)
            process.send_signal(signal.SIGKILL)
            process.communicate()
        killed += 1
        if process.returncode == 0:
            shutil.rmtree(data / "out")
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert contents(data / "out") == first


def test_single_commands_take_names_and_temperatures_too(data: Path, run: Run) -> None:
    assert "mine: 60 rows" in run("validate", "mine=data/a.jsonl")[1]
    for name in ("a", "b", "t"):
        words = [f"{name}{name}=data/{name}.npz", "--features", "--model", "clip", "--out", f"{name}.profile"]
        status, out, err = run("profile", *words)
        assert status == 0, err
        assert out.startswith(f"{name}{name}: 60 samples")
    run("matrix", "--source", "a.profile", "b.profile", "--target", "t.profile", "--out", "m.csv")
    words = ["mix", "m.csv", "--target", "tt", "--dataset", "aa=data/a.jsonl", "bb=data/b.jsonl", "--budget", "110"]
    status, out, err = run(*words, "--temperature", "0.2", "--out", "sharp", "--json")
    assert status == 0, err
    assert {share["taken"] for share in json.loads(out)["sources"]} == {60, 50}
    assert "runs out: all of its 60 rows are taken" in err
    assert json.loads(Path("sharp", "manifest.json").read_text())["temperature"] == 0.2
    with pytest.raises(SystemExit):
        run(*words, "--temperature", "0", "--out", "none")
