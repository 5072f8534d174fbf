"""`dataprophet select`: its options, its report, and the verification of what it wrote."""

from __future__ import annotations

import json

import pytest
from scored_pools import IMAGES, row, write_pool, write_scores

from dataprophet.cli import main
from dataprophet.selection import Settings, select_pool
from dataprophet.selection.verify import verify


@pytest.fixture
def scores(tmp_path):
    files = {
        f"{name}.jsonl": [row(f"{name}{i}", image=("red.png" if i % 2 else "blue.png")) for i in range(9)]
        for name in "ab"
    }
    values = {(file, i, 1): [1.0 + i % 5 + (file == "b.jsonl"), 2.0 + i % 3] for file in files for i in range(9)}
    return write_scores(tmp_path / "scores", write_pool(tmp_path / "pool", files), values, targets=("t", "u"))


def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_writes_and_reports(scores, tmp_path, capsys):
    out = tmp_path / "out"
    assert run("select", scores, "--target", "t", "--budget", 5, "--format", "swift", "--out", out) == 0
    text = capsys.readouterr().out
    assert "selection for t" in text
    assert f"5 rows -> {out}" in text
    assert len((out / "selection-t.jsonl").read_text().splitlines()) == 5


def test_every_option_reaches_the_selection(scores, tmp_path, capsys):
    arguments = ["select", scores, "--target", "t", "u", "--budget", 6, "--out", tmp_path / "out", "--json"]
    more = ["--combine", "worst", "--unit", "sample", "--quota", "a.jsonl=4", "--max-share", 0.7, "--min-score", 0.1]
    assert run(*arguments, *more, "--pool", f"pool={tmp_path / 'pool'}", "--no-decode") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["sources"] == {"a.jsonl": 4, "b.jsonl": 2}
    assert printed["settings"]["combine"] == "worst"
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["settings"] == printed["settings"]
    assert (manifest["decode"], manifest["pools"][0]["path"]) == (False, "../pool")
    quota = ["--combine", "quota", "--target-quota", "t=4", "u=2", "--overwrite"]
    assert run(*arguments, *quota) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["target_quotas"] == {"t": 4, "u": 2}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--target", "t", "--budget", "5"], "--out: is missing"),
        (["--target", "t", "--out", "OUT"], "--budget: is missing"),
        (["--budget", "5", "--out", "OUT"], "--target: is missing"),
        (["--target", "t", "--budget", "99", "--out", "OUT"], "99 rows asked, 18 can be chosen"),
        (["--target", "t", "--budget", "5", "--quota", "a=x", "--out", "OUT"], "'x' is not a number of rows"),
        (["--target", "t", "--budget", "5", "--quota", "a=1", "a=2", "--out", "OUT"], "'a' is given twice"),
        (["--target", "t", "t", "--budget", "5", "--out", "OUT"], "error: --target: no target, or one given twice"),
        (["--verify", "OUT"], "DIR: is not for --verify"),
    ],
)
def test_errors_take_one_line(scores, tmp_path, capsys, arguments, says):
    given = [str(tmp_path / "out") if text == "OUT" else text for text in arguments]
    assert run("select", scores, *given) == 1
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_what_is_no_selection_is_not_verified(tmp_path, capsys):
    assert run("select", "--verify", tmp_path / "out") == 1
    assert "cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("format", ["llava", "webdataset", "huggingface", "ids"])
def test_a_selection_verifies_to_the_byte(scores, tmp_path, capsys, format):
    out = tmp_path / "sub" / "out"
    select_pool(scores, Settings(["t", "u"], 7, combine="quota"), out, format=format)
    assert verify(out) == []
    assert run("select", "--verify", out) == 0
    assert "the same to the byte" in capsys.readouterr().out
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_all_folders_together_may_move(scores, tmp_path):
    select_pool(scores, Settings(["t"], 7), tmp_path / "out", pools={"pool": str(tmp_path / "pool")})
    other = tmp_path.with_name(f"{tmp_path.name}-moved")
    tmp_path.rename(other)
    assert verify(other / "out") == []
    other.rename(tmp_path)


def change(path, data=None):
    path.write_bytes(path.read_bytes() + b" " if data is None else data)


def edit(path):
    path.write_bytes(path.read_bytes().replace(b"question 0", b"QUESTION 0"))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda out, _: change(out / "selection-t.json"), "selection-t.json: has changed since it was written"),
        (lambda out, _: (out / "selection-t.json").unlink(), "selection-t.json: is missing"),
        (lambda out, _: change(next((out / "images").rglob("*.png"))), ".png: has changed since it was written"),
        (lambda _, pool: change(pool / "a.jsonl", b"[]"), "cannot be made again"),
        (lambda _, pool: edit(pool / "a.jsonl"), "has changed since it was scored"),
        (lambda _, pool: change(pool / "blue.png", IMAGES["green.png"]), "comes out differently"),
    ],
)
def test_what_differs_is_said(scores, tmp_path, capsys, damage, says):
    out = tmp_path / "out"
    select_pool(scores, Settings(["t"], 5), out)
    if "more" in says:
        (out / "more.json").touch()
    damage(out, tmp_path / "pool")
    assert run("select", "--verify", out) == 1
    printed = capsys.readouterr()
    assert says in printed.err
    assert "differences" in printed.out or "; " in printed.err


def test_other_scores_differ(scores, tmp_path, capsys):
    select_pool(scores, Settings(["t"], 5), tmp_path / "out", format="ids")
    scores.rename(tmp_path / "before")
    write_scores(scores, tmp_path / "pool", {("a.jsonl", i, 1): [1.0 + i, 1.0] for i in range(9)}, targets=("t", "u"))
    assert run("select", "--verify", tmp_path / "out", "--json") == 1
    found = json.loads(capsys.readouterr().out)["differences"]
    assert "pool pool: not the same scores as then" in found
    assert "selection-t.txt: comes out differently when the selection is made again" in found
