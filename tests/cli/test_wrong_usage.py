"""Wrong usage: one line that says what is wrong, where, and what to do; never the whole usage, never a traceback."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from dataprophet.cli import main, parser

NONE, SHARE = "an integer of 0 or more", "a share from 0 to 1, such as 0.2 or 20%"
PROFILE, MIX = "profile x --model demo --out o", "mix s.csv --target chart --budget 3 --out o"
SELECT, SCORE = "select x --target t --budget 3 --out o", "score p --model demo --out o"
RANK = "rank scores.csv --target ChartQA"
NOT_ROWS = "says how the rows of a dataset are read, and --features are not read so; leave it out"

# what is typed, and what is said behind "dataprophet " and the command, if one is known; status 2
WRONG = {
    "": "missing COMMAND; write it as in: dataprophet demo",
    "rnk scores.csv": "no command 'rnk'; did you mean rank?",
    "Scores": "no command 'Scores'; did you mean score?",
    "frobnicate": "no command 'frobnicate'; choose among demo, doctor",
    "--versoin": "no option --versoin; did you mean --version?",
    "--json rank": "--json stands before the command; write it behind",
    "rank": f"missing SCORES and --target; write it as in: dataprophet {RANK}",
    "rank s.csv": f"missing --target; write it as in: dataprophet {RANK}",
    "rank s.csv --targt t": "no option --targt; did you mean --target?",
    "rank s.csv -target t": "no option -target; did you mean --target?",
    "rank s.csv --target": "--target: its value is missing; write --target T",
    "rank s.csv --target a b": "'b' is one argument too many; quote what holds spaces, or leave it out",
    "rank s.csv --target a --level 2": "--level: cannot be '2'; give a number between 0 and 1, such as 0.95",
    "rank s.csv --target a --level high": "--level: cannot be 'high'; give a number between 0 and 1, such as 0.95",
    "rank s.csv --target a --max-nll nan": "--max-nll: cannot be 'nan'; give a number",
    "rank s.csv --target a --nll-quantiles 0.1": "--nll-quantiles: its value is missing; write --nll-quantiles LOW",
    "rank s.csv --target a --nll-quantiles 0 7": "--nll-quantiles: cannot be '7'; give two numbers from 0 to 1",
    "rank s.csv --target a --json=yes": "--json: takes no value; write --json alone",
    "rank s.csv --target a --frobnicate": "no option --frobnicate; see dataprophet rank --help",
    "mix s.csv --target t --budget -3 --out o": f"--budget: cannot be '-3'; give {NONE}",
    "mix s.csv --target t --budget many --out o": f"--budget: cannot be 'many'; give {NONE}",
    f"{MIX} --dataset a": "--dataset: cannot be 'a'; write NAME=VALUE",
    f"{MIX} --format lava": "--format: cannot be 'lava'; did you mean llava?",
    f"{MIX} --format yaml": "--format: cannot be 'yaml'; choose among llava, llamafactory, swift, webdataset",
    f"{MIX} --format": "--format: its value is missing; write --format llava",
    f"{MIX} --max_bad 1": "no option --max_bad; did you mean --max-bad?",
    f"{MIX} --max-bad 3": f"--max-bad: cannot be '3'; give {SHARE}",
    f"{MIX} --minimum 1.5": f"--minimum: cannot be '1.5'; give {NONE}",
    f"{MIX} --m 3": "--m may be --minimum or --max-bad or --max-nll or --min-answer-tokens or --max-pixels; write one",
    "profile x": "missing --model and --out; write it as in: dataprophet profile chartqa.json --model OpenGVLab/",
    f"{PROFILE} --seed -1": f"--seed: cannot be '-1'; give {NONE}",
    f"{PROFILE} --sketch-size most": f"--sketch-size: cannot be 'most'; give {NONE}, or all",
    f"{PROFILE} --template a.txt": "--template: cannot be 'a.txt'; name a file that ends in .jinja",
    f"{PROFILE} --processor max_pixels": "--processor: cannot be 'max_pixels'; write NAME=VALUE",
    f"{PROFILE} --batch-tokens 0": "--batch-tokens: cannot be '0'; give an integer of 1 or more",
    "plan x --model demo --seconds nan": "--seconds: cannot be 'nan'; give a number of seconds, 0 or more",
    "plan x --model demo --threads 0": "--threads: cannot be '0'; give an integer of 1 or more",
    "bench --rounds 0": "--rounds: cannot be '0'; give an integer of 1 or more",
    "evaluate a b --variant c": "--variant: cannot be 'c'; choose among a, b",
    "matrix --source a --target b": "missing --out; write it as in: dataprophet matrix --source a.profile b.profile",
    "matrix --source --target b --out s.csv": "--source: its value is missing; write --source P",
    f"{SCORE} --shard-rows 0": "--shard-rows: cannot be '0'; give an integer of 1 or more",
    "plan x --model demo --shard-rows 0": "--shard-rows: cannot be '0'; give an integer of 1 or more",
    f"{SCORE} --engine rai": "--engine: cannot be 'rai'; did you mean ray?",
    f"{SELECT} --unit rows": "--unit: cannot be 'rows'; did you mean row?",
    f"{SELECT} --near-duplicates 95": "--near-duplicates: cannot be '95'; give a cosine from -1 to 1, such as 0.95",
    f"{SELECT} --diverse 2": "--diverse: cannot be '2'; give a number from 0 to 1",
    f"{SELECT} --max-share 120%": f"--max-share: cannot be '120%'; give {SHARE}",
    f"{SELECT} --min-score nan": "--min-score: cannot be 'nan'; give a number",
    f"{SELECT} --candidates 0": "--candidates: cannot be '0'; give an integer of 1 or more",
    "report x -o": "--out: its value is missing; write --out FILE",
    "report x": "missing -o/--out; write it as in: dataprophet report demo-output -o report.html",
    "report x -p y": "no option -p; did you mean --png?",
    "rank --help=yes": "--help: takes no value; write --help alone",
    "completion tcsh": "SHELL: cannot be 'tcsh'; choose among bash, zsh, fish",
}

# the same of what only shows once files are read: status 1
FOUND = {
    "rank scores.csv --target ChartQ": "no target 'ChartQ'; did you mean ChartQA?",
    "rank scores.csv --target chartqa": "no target 'chartqa'; did you mean ChartQA?",
    "rank scores.csv --target OCR": "no target 'OCR'; choose among ChartQA, DocVQA",
    f"{RANK} --without ISym": "no factor 'ISym'; there are none: read the matrix together with its .factors.csv file",
    "rank score.csv --target t": "score.csv: cannot be read (No such file or directory); give a CSV file of scores",
    "mix scores.csv --target DocVQA --budget 3 --out o --dataset talyqa=x": (
        "scores.csv: 'talyqa' is not a source; did you mean tallyqa?"
    ),
    "mix scores.csv --target DocVQA --budget 3 --out o": "--dataset: no dataset for source 'tallyqa'; add tallyqa=PATH",
    "validate x.jsonl --format lava": "x.jsonl: unknown format 'lava'; did you mean llava?",
    "validate x.jsonl --columns qestion=q": "x.jsonl: unknown column name 'qestion' in columns; did you mean question?",
    "validate y.jsonl": "y.jsonl: no such file or folder; check the path",
    "evaluate scores.csv": "needs two matrices; give PREDICTED and OBSERVED, or --published",
    "evaluate --published scores.csv scores.csv": (
        "--published: is of the paper's own matrices, and takes no files; leave the files out, or --published"
    ),
    "select --verify x --budget 3": (
        "--budget: is not for --verify, which makes the same selection again; leave it out, or --verify"
    ),
    "run scores.csv": (
        "scores.csv line 1: is 'source\\\\target,ChartQA,DocVQA tallyqa,1,2 gqa,2,1', not keys with values; "
        "write KEY: VALUE, or let `dataprophet init` write it; data is for --source"
    ),
    "run long.csv": (
        f"long.csv line 1: is '{'long, ' * 10}...', not keys with values; "
        "write KEY: VALUE, or let `dataprophet init` write it; data is for --source"
    ),
    "matrix --source scores.csv --target scores.csv --out s.csv": (
        "scores.csv: not a readable profile (Error while deserializing header: header too large); "
        "name a file that `dataprophet profile` made, or profile the dataset again"
    ),
    "check run": (
        "run: not a scored folder (it has no run.json of one); "
        "name the --out folder of `dataprophet score`, or a folder of a profile's cache"
    ),
    "score y.jsonl --model demo --out o": "y.jsonl: no such file or folder; check the path",
    "profile x.jsonl --model demo --out o --clusters 40": (
        "profile 'x': diversity needs more than 40 different samples, and there are 1; "
        "use more samples, or profile with fewer clusters (--clusters 2)"
    ),
    "run --source a=x.jsonl --target b=z.jsonl --model demo --out o --format parquet": (
        "--format: cannot be 'parquet'; use llava, llamafactory, swift, webdataset, huggingface, trl, verl, ids"
    ),
    "profile x.npz --features --model clip --out o --limit 5": f"--limit: {NOT_ROWS}, or cut the features file",
    "score x.npz --features --model clip --out o --columns question=q": f"--columns: {NOT_ROWS}",
    "plan x.npz --features --image-root .": f"--image-root: {NOT_ROWS}",
    "run x.jsonl --max-pixels 9": (
        "--max-pixels: is for --source and --target; say it in the recipe, beside the dataset's path"
    ),
    "run --source a=x.jsonl --target b=z.jsonl --model demo --out o --fields question,picture": (
        "--fields: cannot be 'picture'; use question, answer, image"
    ),
    "plan x.jsonl": "no model given; add --model, or --features for precomputed features",
    "select x": "--target: is missing; see dataprophet select --help",
}


def said(words: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The status, and the one line that was printed."""
    try:
        status = main(shlex.split(words))
    except SystemExit as end:
        status = int(end.code or 0)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.endswith("\n")
    assert err.count("\n") == 1, err
    assert "usage:" not in err
    assert "Traceback" not in err
    return status, err.rstrip()


@pytest.mark.parametrize("words", WRONG)
def test_wrong_usage_is_one_line(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, line = said(words, capsys)
    command = words.partition(" ")[0]
    program = f"dataprophet {command}" if command in parser._COMMANDS else "dataprophet"
    assert line.startswith(f"{program}: error: {WRONG[words]}")
    assert "; " in line  # what to do
    assert status == 2


@pytest.mark.parametrize("words", FOUND)
def test_wrong_names_in_files_are_one_line(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scores.csv").write_text("source\\target,ChartQA,DocVQA\ntallyqa,1,2\ngqa,2,1\n")
    (tmp_path / "x.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    (tmp_path / "long.csv").write_text("long, " * 1000)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text('{"format": "dataprophet-run-1"}\n')
    assert said(words, capsys) == (1, f"dataprophet: error: {FOUND[words]}")


def test_what_is_short_for_one_option_is_that_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scores.csv").write_text("source\\target,t\na,1\n")
    assert main(["rank", str(tmp_path / "scores.csv"), "--tar", "t"]) == 0
    assert "sources for t" in capsys.readouterr().out
