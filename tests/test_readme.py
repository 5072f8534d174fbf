"""README.md: its Python runs, its commands parse, and the files it names exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from dataprophet import open_dataset, open_scores
from dataprophet.cli import build_parser

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
FENCE = re.compile(r"^```([^\n]*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(text, *languages):
    return [body for language, body in FENCE.findall(text) if language.strip() in languages]


def commands(text):
    """Return the words of every `dataprophet` call in the shell blocks. In console blocks other lines are output."""
    shell = [line for body in blocks(text, "bash", "sh") for line in body.replace("\\\n", " ").splitlines()]
    shell += [
        line.removeprefix("$ ")
        for body in blocks(text, "console")
        for line in body.replace("\\\n", " ").splitlines()
        if line.startswith("$ ")
    ]
    found = []
    for line in shell:
        words = shlex.split(line, comments=True)
        if words[:1] == ["dataprophet"]:
            ends = [i for i, word in enumerate(words) if word in {"|", ">", "&&", ";"}]
            found.append(words[1 : ends[0] if ends else None])
    return found


def tree_paths(text):
    """Return the paths that the annotated file tree names: the plain block in which csrc/ starts a line.

    Four columns of indentation a level, drawn with spaces or with lines; two spaces or a # end the names.
    """
    paths = []
    for body in blocks(text, "", "text"):
        if not re.search(r"^(?:[├└]── )?csrc/", body, re.MULTILINE):
            continue
        folders = []
        for line in filter(str.strip, body.splitlines()):
            bare = re.sub(r"^[│├└─ ]*", "", line)
            names = re.split(r"\s{2,}|\s+#", bare)[0].split()
            folders = folders[: (len(line) - len(bare)) // 4]
            paths += ["/".join([*folders, name]) for name in names]
            folders.append(names[-1].rstrip("/"))
    return paths


EXAMPLE = r"""
```python
x = 1
```
```bash
make demo
dataprophet rank scores.csv \
    --target "a b"   # comment
```
```console
$ dataprophet doctor | head
dataprophet is output
```
```
csrc/         the core
├── cpu/      kernels
dataprophet/
    ops.py matrix.py   two files
    data/
        sample.py
Makefile
```
"""


def test_what_the_parts_of_a_readme_are():
    assert blocks(EXAMPLE, "python") == ["x = 1\n"]
    assert commands(EXAMPLE) == [["rank", "scores.csv", "--target", "a b"], ["doctor"]]
    assert tree_paths(EXAMPLE) == [
        "csrc/",
        "csrc/cpu/",
        "dataprophet/",
        "dataprophet/ops.py",
        "dataprophet/matrix.py",
        "dataprophet/data/",
        "dataprophet/data/sample.py",
        "Makefile",
    ]


def section(text, title):
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def test_the_commands_for_pools_run_as_they_stand(tmp_path):
    """In one folder, in order, with the shell and the programs of this Python."""
    parts = [section(README, title) for title in ("Score a pool", "Resume", "On a cluster")]
    script = "set -e\n" + "\n".join(body for part in parts for body in blocks(part, "bash"))
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "the same to the byte" in done.stdout
    first, *others = (open_scores(tmp_path / name) for name in ("scores", "again", "ray-scores"))
    assert all(other.complete and other.profile == first.profile for other in others)
    assert len({other.digest() for other in (first, *others)}) == 1
    assert len(list(open_dataset(tmp_path / "best").rows())) == 500


def test_python_blocks_run_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "readme"}
    for number, body in enumerate(blocks(README, "python"), 1):
        exec(compile(body, f"README.md, python block {number}", "exec"), namespace)


@pytest.mark.parametrize("words", commands(README) or [["--help"]], ids=shlex.join)
def test_commands_parse(words, capsys):
    status = 0
    try:
        build_parser().parse_args(words)
    except SystemExit as end:
        status = end.code
    assert not status, f"README.md: dataprophet {shlex.join(words)}: {capsys.readouterr().err}"


def test_paths_of_the_file_tree_and_of_links_exist():
    links = re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", README)
    paths = tree_paths(README) + links
    assert paths
    assert not [path for path in paths if not list(ROOT.glob(path.rstrip("/")))]


DOCUMENTS = [ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")] + sorted(ROOT.glob("docs/*.md"))


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.name)
def test_lines_of_documents_have_at_most_120_characters(page):
    long = [number for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1) if len(line) > 120]
    assert not long
