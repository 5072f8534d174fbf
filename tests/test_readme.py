"""README.md: its Python runs, its commands parse and run, the files it names exist, and it is short."""

from __future__ import annotations

import re
import shlex

import pytest
from documents import README, ROOT, blocks, commands, links, section, tree_paths

from dataprophet.cli import build_parser

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


@pytest.mark.parametrize(
    ("title", "page"),
    [("Your own data", "tutorial.md"), ("One command", "tutorial.md"), ("Score a pool", "howto/pool.md")],
)
def test_the_commands_of_the_readme_are_those_of_a_page_that_runs(title, page):
    run = commands((ROOT / "docs" / page).read_text(encoding="utf-8"))
    own = commands(section(README, title))
    assert own
    assert not [words for words in own if words not in run]


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
    paths = tree_paths(README) + links(README)
    assert paths
    assert not [path for path in paths if not list(ROOT.glob(path.rstrip("/")))]


def test_the_picture_shows_the_table():
    """`tools/pictures.py` draws it anew where the demo has changed."""
    table = re.findall(r"^ *\d+ (\S+) +([\d.]+) ", section(README, "What it prints"), re.MULTILINE)
    picture = (ROOT / "docs" / "pictures" / "ranking.svg").read_text(encoding="utf-8")
    texts = re.findall(r"<text[^>]*>([^<]+)<", picture)
    assert len(table) > 1
    assert [(name, float(score)) for name, score in table if name not in texts] == []
    drawn = {float(text.split()[0]) for text in texts if re.match(r"[\d.]+(\s|$)", text)}
    assert {float(score) for _, score in table} <= drawn


def test_it_is_read_in_some_minutes():
    assert len(README.split()) < 1500
