"""The pages of docs/ and the notebooks: what they show runs, their commands parse, and the files they name exist."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from documents import DOCS, DOCUMENTS, FENCE, ROOT, blocks, commands, links, run

from dataprophet import open_dataset, open_scores
from dataprophet.cli import build_parser

TUTORIAL = ROOT / "docs" / "tutorial.md"
_WORKED = "howto/own-data.md howto/mixture.md howto/own-model.md howto/family.md run.md report.md"
WORKED = [ROOT / "docs" / name for name in _WORKED.split()]  # with the files of the tutorial
ALONE = [ROOT / "docs" / name for name in ("howto/selector.md", "selector.md")]
SHELL = [ROOT / "docs" / "howto" / name for name in ("pool.md", "cluster.md")]
NOTEBOOKS = sorted(ROOT.glob("notebooks/*.ipynb"))


@pytest.fixture(scope="module")
def tutorial(tmp_path_factory):
    """The folder in which the tutorial ran, and what it printed."""
    folder = tmp_path_factory.mktemp("tutorial")
    with contextlib.chdir(folder):
        return folder, run(TUTORIAL)


def test_the_tutorial_shows_what_it_prints(tutorial):
    shown = [block for block in blocks(TUTORIAL.read_text(encoding="utf-8"), "text") if "," not in block.split()[0]]
    assert len(shown) == 3
    assert not [block for block in shown if block not in tutorial[1]]


@pytest.mark.parametrize("page", WORKED, ids=lambda page: page.name)
def test_a_page_runs_with_the_files_of_the_tutorial(page, tutorial, monkeypatch):
    monkeypatch.chdir(tutorial[0])
    run(page)


@pytest.mark.parametrize("page", ALONE, ids=lambda page: f"{page.parent.name}-{page.name}")
def test_a_page_runs_alone(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(page)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("SOAK"), reason="takes minutes: make soak")
def test_the_commands_for_pools_run_as_they_stand(tutorial):
    """In the folder of the tutorial, in order, with the shell and the programs of this Python."""
    script = "set -e\n" + "\n".join(body for page in SHELL for body in blocks(page.read_text(encoding="utf-8"), "bash"))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    folder, env = tutorial[0], {**os.environ, "PATH": path}
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "the same to the byte" in done.stdout
    first, *others = (open_scores(folder / name) for name in ("scores", "again", "ray-scores"))
    assert all(other.complete and other.profile == first.profile for other in others)
    assert len({other.digest() for other in (first, *others)}) == 1
    assert len(list(open_dataset(folder / "best").rows())) == 500


def test_every_command_of_a_page_runs():
    """On that page, or with the same words on another one. docs/commands.md shows how commands look."""
    pages = {page: commands(page.read_text(encoding="utf-8")) for page in DOCS if page.name != "commands.md"}
    done = [words for page in (TUTORIAL, *WORKED, *ALONE, *SHELL) for words in pages[page]]
    done += [["demo", "--out", "demo-output"], ["bench"]]  # by tests/demo and tests/cli
    done += [words for words in pages[ROOT / "docs" / "metric.md"] if "weights.json" in words]  # by tests/metric
    assert [(page.name, words) for page, many in pages.items() for words in many if words not in done] == []


def test_every_page_with_python_runs():
    with_python = {page for page in DOCS if blocks(page.read_text(encoding="utf-8"), "python")}
    assert with_python <= {
        TUTORIAL,
        *WORKED,
        *ALONE,
        ROOT / "docs" / "python.md",
    }  # that one by tests/test_python_page.py


CALLS = [(page.name, words) for page in DOCS for words in commands(page.read_text(encoding="utf-8"))]


@pytest.mark.parametrize(("page", "words"), CALLS, ids=[f"{page}: {shlex.join(words)}" for page, words in CALLS])
def test_commands_parse(page, words, capsys):
    status = 0
    try:
        build_parser().parse_args(words)
    except SystemExit as end:
        status = end.code
    assert not status, f"{page}: dataprophet {shlex.join(words)}: {capsys.readouterr().err}"


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_what_is_indented_is_no_command_of_ours(page):
    """It would run nowhere: only commands that install, those of make, and object stores that are not here stand so."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    shown = re.findall(
        r"^    (dataprophet (?!doctor|bench|.*s3://)\S.*|import .*|from \S+ import .*)$", text, re.MULTILINE
    )
    assert shown == []


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_links_lead_to_files(page):
    missing = [link for link in links(page.read_text(encoding="utf-8")) if not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_lines_of_documents_have_at_most_120_characters(page):
    long = [number for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1) if len(line) > 120]
    assert not long


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_a_notebook_runs(notebook, tmp_path, monkeypatch):
    """Its cells in order, in one namespace, as a kernel runs them."""
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "__main__"}
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert not [cell["outputs"] for cell in cells if cell["cell_type"] == "code" and cell["outputs"]]
    for number, body in enumerate(code, 1):
        exec(compile(body, f"{notebook.name}, cell {number}", "exec"), namespace)
