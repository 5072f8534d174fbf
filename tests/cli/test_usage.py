"""Wrong usage, examples, closed streams: what holds for every command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dataprophet.cli import build_parser, main, parser
from dataprophet.metric.published import path as published_path

torch = pytest.importorskip("torch")
pytest.importorskip("altair")

Run = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize(
    "words",
    [
        ["mix", "s.csv", "--target", "t", "--budget", "-3", "--dataset", "a=b", "--out", "o"],
        ["mix", "s.csv", "--target", "t", "--budget", "many", "--dataset", "a=b", "--out", "o"],
        ["mix", "s.csv", "--target", "t", "--budget", "3", "--dataset", "a", "--out", "o"],
        ["evaluate", "a", "b", "--variant", "c"],
        ["profile", "x"],
        ["profile", "x", "--model", "demo", "--out", "o", "--seed", "-1"],
        ["plan", "x", "--model", "demo", "--threads", "0"],
        ["plan", "x", "--model", "demo", "--seconds", "nan"],
        ["bench", "--rounds", "0"],
        [],
    ],
)
def test_wrong_usage_exits_with_2(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


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
