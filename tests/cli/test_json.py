"""``--json``: every command that there is prints one JSON document, and nothing else, on standard output."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import pytest
import sample_features

from dataprophet.cli import main, parser
from dataprophet.metric.matrix import TransferMatrix

# how each command is called on the files of `folder`, in this order
CALLS = {
    "doctor": "",
    "bench": "--rows 64 --columns 4 --rounds 1",
    "completion": "bash",
    "validate": "a.jsonl",
    "profile": "a.npz --features --model x --clusters 2 --out a.profile",
    "matrix": "--source a.profile --target a.profile --out one.csv",
    "rank": "one.csv --target a",
    "evaluate": "--published",
    "mix": "scores.csv --target t --budget 4 --dataset a=a.jsonl --out mixture",
    "plan": "a.npz --features --seconds 0.1",
    "score": "a.npz --features --model x --target a.profile --processes 0 --out scores",
    "run": "--source a=a.npz --target t=b.npz --features --model x --clusters 2 --out results",
    "init": "a.jsonl --target t=b.jsonl --out recipe.yaml",
    "calibrate": "weighed.csv gains.csv --out weights.json",
    "report": "one.csv --out report.html",
    "check": "scores",
    "select": "scores --target a --budget 3 --format ids --out best",
}
LONG = {"demo"}  # 20 s; how it prints is looked at below, as of all


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("json")
    for seed, name in enumerate("ab"):
        made = sample_features.make_features(80, seed=seed)
        np.savez(path / f"{name}.npz", id=made.ids, nll=made.nll, n_tokens=made.n_tokens, **made.embeddings)
    rows = [json.dumps({"id": f"s{i}", "question": f"q{i}", "answer": "a"}) for i in range(80)]
    (path / "a.jsonl").write_text("\n".join(rows))
    (path / "b.jsonl").write_text("\n".join(rows[:40]))
    (path / "scores.csv").write_text("source\\target,t\na,1\n")
    factor = np.array([[1.0, 2, 3], [2, 1, 5]])
    TransferMatrix(["a", "b"], list("xyz"), factor, {"diversity": factor}).to_csv(path / "weighed.csv")
    (path / "gains.csv").write_text("source\\target,x,y,z\na,1,2,3\nb,2,1,4\n")
    return path


@pytest.mark.parametrize("command", CALLS)
def test_json_is_all_that_is_printed(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert main([command, *CALLS[command].split(), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)


def test_no_command_is_forgotten() -> None:
    """A new command stands in CALLS, and prints what it found through ``output``, which knows --json."""
    assert CALLS.keys() | LONG == parser._COMMANDS.keys()
    for command in parser._COMMANDS:
        source = Path(parser.__file__).with_name(f"{command}.py").read_text(encoding="utf-8")
        calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
        named = [(call.func.id, call) for call in calls if isinstance(call.func, ast.Name)]
        assert any(name == "output" for name, _ in named), command
        for name, call in named:
            assert name != "print" or any(keyword.arg == "file" for keyword in call.keywords), command
