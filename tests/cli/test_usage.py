"""Wrong usage, examples, closed streams: what holds for every command."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dataprophet import open_dataset
from dataprophet.cli import build_parser, main, parser
from dataprophet.cli.typed import as_typed
from dataprophet.errors import DataError
from dataprophet.metric.published import path as published_path

torch = pytest.importorskip("torch")
pytest.importorskip("altair")

Run = Callable[..., tuple[int, str, str]]


def test_every_command_has_an_example_that_parses(capsys: pytest.CaptureFixture[str]) -> None:
    for command in parser._COMMANDS:
        with pytest.raises(SystemExit) as caught:
            main([command, "--help"])
        assert caught.value.code == 0
        example = " ".join(capsys.readouterr().out.split("example: ")[1].split())
        assert example.startswith(f"dataprophet {command}")
        build_parser().parse_args(example.split()[1:])


def test_the_installed_command_runs_without_torch_until_it_is_needed() -> None:
    script = "import sys; sys.modules['torch'] = None; from dataprophet.cli import main; sys.exit(main(sys.argv[1:]))"
    files = [str(published_path(name)) for name in ("metric_scores", "relative_improvement_percent")]
    command = [sys.executable, "-c", script, "evaluate", *files, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert round(json.loads(done.stdout)["tau_target"], 4) == 0.8641


@pytest.mark.parametrize("closed", ["1>&-", "2>&-", "0<&-"])
def test_a_closed_stream_is_no_crash(tmp_path: Path, closed: str) -> None:
    (tmp_path / "x.csv").write_text("question,answer\nq,a\n")
    script = "import sys; from dataprophet.cli import main; sys.exit(main(['validate', 'x.csv']))"
    command = ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, script]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_a_closed_pipe_is_no_crash() -> None:
    script = "import sys; from dataprophet.cli import main; sys.exit(main(['doctor']))"
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.close()
    _, err = process.communicate()
    assert b"Traceback" not in err


def spoken() -> Iterator[tuple[str, str]]:
    """Every text in the package that names an argument as ``name=``, and its place, f-strings without their values."""
    for path in sorted((Path(__file__).parents[2] / "dataprophet").rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        documented = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            text = node.value if isinstance(node, ast.Constant) and id(node) not in documented else None
            if isinstance(text, str) and " " in text and re.search(r"\b[a-z_]+=(?!=)", text):
                yield text, f"{path.name}:{node.lineno}"


PYTHON_ONLY = (
    "dataprophet.load_model(", "model=<label", "give cache=FOLDER", "use processes=0", "pass model=, or feed",
    "safe_serialization", "max_iter=", ", tol=", ", device=", ", dtype=", "reading= says", "keep_samples=True",
    ", low=", ", high=", ", resolved=", ' style="', "num_gpus=",
)  # fmt: skip
"""In messages about calls that no command makes, and in what objects print."""


def test_messages_name_options_on_the_command_line() -> None:
    options = {option for parts in parser._COMMANDS.values() for name, _ in parts[2:] for option in [name]}
    seen = 0
    for text, place in spoken():
        if place.startswith("arguments.py") or "image=" in text or any(part in text for part in PYTHON_ONLY):
            continue
        typed = as_typed(text)
        assert not re.search(r"(?<![\w-])(?!(?:question|answer)=)[a-z_]+=(?!=)", typed), f"{place}: {typed}"
        seen += typed != text
        for option in re.findall(r"--[a-z-]+", typed):
            assert option in options, f"{place}: {typed}"
    assert seen > 15


@pytest.mark.parametrize(
    ("text", "typed"),
    [
        ("allow more (max_bad=0.2)", "allow more (--max-bad 0.2)"),
        ("pass another template=", "pass another --template"),
        ("pass image_root=, or allow_outside=True if", "pass --image-root, or --allow-outside if"),
        ("load it with fused=False, which", "load it with --plain-head, which"),
        ("data/split=train/a.parquet: is empty", "data/split=train/a.parquet: is empty"),
        ("map question=q, or --processor max_pixels=4", "map question=q, or --processor max_pixels=4"),
    ],
)
def test_an_argument_becomes_its_option(text: str, typed: str) -> None:
    assert as_typed(text) == typed


def test_a_refusal_names_the_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.jsonl").write_text('{"image": "../a.png", "question": "q", "answer": "a"}\n' * 2)
    assert main(["validate", str(tmp_path / "x.jsonl"), "--json"]) == 1
    problem, *_ = json.loads(capsys.readouterr().out)["problems"]
    assert problem["fix"] == "pass --image-root, or --allow-outside if you trust the file"
    assert main(["validate", str(tmp_path / "x.jsonl")]) == 1
    assert problem["fix"] in capsys.readouterr().out
    with pytest.raises(DataError, match=r"pass image_root=, or allow_outside=True"):
        list(open_dataset(tmp_path / "x.jsonl", strict=True))
    words = ["profile", str(tmp_path / "x.jsonl"), "--model", "demo", "--out", str(tmp_path / "p")]
    assert main(words) == 1
    assert "allow a larger share (--max-bad 0.2)" in capsys.readouterr().err
    assert main([*words, "--max-bad", "1", "--device", "abacus"]) == 1
    assert "error: --device: unknown device 'abacus'" in capsys.readouterr().err


def test_the_page_of_commands_is_what_the_parser_says() -> None:
    """Else run ``make commands``."""
    commands = importlib.import_module("commands")  # of tools/
    assert commands.PAGE.read_text(encoding="utf-8") == commands.page()
    assert max(map(len, commands.page().splitlines())) <= 120
