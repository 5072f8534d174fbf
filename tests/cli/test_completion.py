"""Shell completion: the scripts, and what bash makes of one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from dataprophet.cli import main, parser

ASK = """
source "$1"
COMP_WORDS=("${@:2}")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_shtab_dataprophet
echo "${COMPREPLY[@]}"
"""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_know_every_command(shell: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for command in parser._COMMANDS:
        assert command in script
    assert "near-duplicates" in script
    (tmp_path / "script").write_text(script)
    if shutil.which(shell):
        subprocess.run([shell, "-n", tmp_path / "script"], check=True)


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
@pytest.mark.parametrize(
    ("words", "offers"),
    [
        (["ra"], "rank"),
        (["rank", "--ta"], "--target"),
        (["mix", "--format", "ll"], "llava llamafactory"),
        (["validate", "da"], "data.jsonl"),
        (["mix", "s.csv", "--out", "da"], ""),  # folders only
    ],
)
def test_bash_completes(
    words: list[str], offers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["completion", "bash"]) == 0
    (tmp_path / "script").write_text(capsys.readouterr().out)
    (tmp_path / "data.jsonl").touch()
    command = ["bash", "-c", ASK, "bash", tmp_path / "script", "dataprophet", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == offers
