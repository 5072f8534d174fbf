"""``run`` with the demo's model: what the single commands give, from one command, and nothing twice."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import dataprophet as dp
from dataprophet.running.output import SCORES
from dataprophet.scoring.cache import CACHE

pytest.importorskip("torch")

Run = Callable[..., tuple[int, str, str]]


def contents(folder: Path) -> dict[str, bytes]:
    """All files of the results but the cache."""
    files = (path for path in folder.rglob("*") if path.is_file() and CACHE not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from dataprophet.demo.datasets import write_datasets

    folder = tmp_path_factory.mktemp("drawn")
    write_datasets(folder / "data", n_source=60, n_target=40)
    return folder


def test_rows_without_images_are_told_before_their_pass(drawn: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(drawn)
    rows = [{"question": f"How many are {number} and {number}?", "answer": str(2 * number)} for number in range(40)]
    Path("sums.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["--source", "sums.jsonl", "data/colours", "--target", "data/count-bench/count-bench.parquet"]
    status, out, err = run("run", *words, "--model", "demo", "--out", "text")
    assert (status, out) == (1, "")
    assert "profiled count-bench" in err
    assert "profiled sums" not in err
    fix = "leave it out, or compare without images (--fields question,answer)"
    assert err.splitlines()[-1] == (
        f"dataprophet: error: --source: sums.jsonl: no row has an image, so its similarity is undefined; {fix}"
    )
    status, out, err = run("run", *words, "--model", "demo", "--out", "words", "--fields", "question,answer")
    assert status == 0, err
    assert "ISim" not in out


def test_one_command_gives_what_the_single_commands_give_and_a_second_run_computes_nothing(
    drawn: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(drawn)
    sources = ["data/counting/counting.json", "sign=data/signs/signs.parquet", "data/colours"]
    targets = ["data/count-bench/count-bench.parquet", "data/chart-bench/chart-bench.tsv"]
    words = ["--source", *sources, "--target", *targets, "--model", "demo", "--budget", "90", "--format", "swift"]
    status, out, err = run("run", *words, "--out", "out", "--capacity", "colours=5", "--json")
    assert status == 0, err
    told = json.loads(out)
    assert [sum(share["taken"] for share in shares) for shares in told["mixtures"].values()] == [90, 90]
    assert next(each["taken"] for each in told["mixtures"]["count-bench"] if each["name"] == "colours") == 5
    first = contents(drawn / "out")
    document = json.loads(first["run.json"])
    assert document["model"]["name"] == "demo"
    assert set(document["mixtures"]) == {"count-bench", "chart-bench"}
    kept = {name for name in first if name.startswith(("profiles", "scores", "rankings"))}
    assert set(document["files"]) == kept
    # the single commands, on the same data
    status, _, _ = run("profile", sources[0], "--model", "demo", "--name", "counting", "--out", "c.profile")
    assert dp.Profile.load("c.profile") == dp.Profile.load("out/profiles/counting.profile")
    profiles = [[f"out/profiles/{name}.profile" for name in names] for names in (told["profiles"], told["rankings"])]
    own = [name for name in profiles[0] if name not in profiles[1]]
    run("matrix", "--source", *own, "--target", *profiles[1], "--out", "m.csv")
    assert Path("m.csv").read_bytes() == first[SCORES]
    assert Path("m.factors.csv").read_bytes() == first["scores.factors.csv"]
    mixed = ["mix", "out/scores.csv", "--target", "count-bench", "--budget", "90", "--format", "swift", "--out", "mix"]
    assert run(*mixed, "--capacity", "colours=5")[0] == 0  # it knows the datasets
    data_file = "mixture-count-bench.jsonl"
    assert Path("mix", data_file).read_bytes() == first[f"mixtures/count-bench/{data_file}"]
    # again, in each of three ways
    monkeypatch.setattr("dataprophet.scoring.model_origin.open_model", None)
    monkeypatch.setattr("dataprophet.selection.mixture.write_rows", None)
    status, _, err = run("run", "out/recipe.yaml")
    assert status == 0, err
    assert err.count("unchanged") == 5 + 2 + ("report.html" in first)
    assert contents(drawn / "out") == first
    entries = [{"path": sources[0]}, {"name": "sign", "path": "data/signs/signs.parquet"}]
    given = {"sources": [*entries, {"path": "data/colours", "capacity": 5}], "targets": targets, "model": "demo"}
    done = dp.run({**given, "budget": 90, "format": "swift", "out": "out", "processes": 0})
    assert done.mixtures["count-bench"].shares[0].taken == told["mixtures"]["count-bench"][0]["taken"]
    assert [dict(ranking) for ranking in done.rankings.values()] == [
        {each["source"]: each["score"] for each in ranking} for ranking in told["rankings"].values()
    ]
    changed = {name for name, text in contents(drawn / "out").items() if text != first[name]}
    assert changed <= {"recipe.yaml", "report.html"}  # which say who works; no result depends on it
