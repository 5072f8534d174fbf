"""Recipes: what is read, and each wrong usage as one line with place and fix."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from dataprophet.data import EXPORT_FORMATS
from dataprophet.errors import RecipeError
from dataprophet.running.check import names_of, split_name
from dataprophet.running.reading import read_recipe
from dataprophet.running.recipe import EXPORTS, Data, Recipe
from dataprophet.scoring.cache import CACHE

Run = Callable[..., tuple[int, str, str]]

GOOD = """\
sources:
  - a.npz
  - path: more/b.npz
    features: true
    name: 2024
targets: [{path: t.npz, features: true}]
out: out
model: clip
"""


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Features and rows of two sources and a target, in the folder that the process works in."""
    rng = np.random.default_rng(0)
    for number, name in enumerate(("a", "b", "t")):
        vectors = {field: rng.standard_normal((40, 5)) + 2 + number / 9 for field in ("question", "answer", "image")}
        np.savez(tmp_path / f"{name}.npz", nll=rng.random(40), **vectors)
        lines = [json.dumps({"question": f"What is {name} {i}?", "answer": str(i)}) for i in range(20)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe(**keys: Any) -> dict[str, Any]:
    made = {"sources": ["a.jsonl", "b.jsonl"], "targets": ["t.jsonl"], "out": "out", "model": "demo", "budget": 10}
    return {key: value for key, value in {**made, **keys}.items() if value is not None}


def test_a_recipe_is_read_as_its_fields_say(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(GOOD.replace("- a.npz", "- {path: a.npz, features: true}") + "max_bad: 1e-1\nbudget:\n")
    made = read_recipe(path)
    assert [each.name for each in made.sources] == ["a", "2024"]
    assert made.sources[1].path == str(tmp_path / "more" / "b.npz")  # the file's paths begin at its folder
    assert made.out == str(tmp_path / "out")
    assert (made.max_bad, made.budget, made.model) == (0.1, None, "clip")
    assert made.place("sources.1.name") == f"{path} line 5, key 'sources.1.name'"
    (tmp_path / "clip").mkdir()  # a folder now
    assert read_recipe(path).model == str(tmp_path / "clip")
    more = read_recipe(path, {"out": "elsewhere", "level": "0.9", "max_bad": "20%"}, place=lambda key: f"--{key}")
    assert (more.out, more.level, more.max_bad, more.place("level")) == ("elsewhere", 0.9, 0.2, "--level")


def test_what_is_written_down_reads_back(tmp_path: Path) -> None:
    given = recipe(processor={"max_pixels": 512, "size.longest_edge": None}, nll_quantiles=[0.1, 0.9], without="ISim")
    given["sources"] = [{"path": "a.jsonl", "columns": {"question": "q"}, "image_root": "x", "limit": 3}]
    made = read_recipe(given)
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(made.moved(lambda path: str(Path(path).absolute())).to_dict()))
    again = read_recipe(tmp_path / "r.yaml")
    assert again == made.moved(lambda path: str(Path(path).absolute()))
    assert again.processor == {"max_pixels": 512, "size.longest_edge": None}
    assert again.sources[0].image_root == (str(Path("x").absolute()),)


def test_names_come_from_paths_and_from_folders_where_those_are_alike() -> None:
    paths = ["x/train.json", "y/train.json", "z/", "hf:org/set", "folder::part", "s3://b/c.tar"]
    names = ["x-train", "y-train", "z", "set", "part", "c"]
    assert names_of([Data(path) for path in paths]) == names
    assert split_name("name=a/b=c.json") == ("name", "a/b=c.json")
    assert split_name("a/b=c.json") == ("", "a/b=c.json")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("out: out", "ouput: out", "line 7: unknown key 'ouput'; did you mean 'out'?"),
        ("    name: 2024", "    colums: {}", "line 5, key 'sources.1': unknown key 'colums'; did you mean 'columns'?"),
        ("out: out", "", "r.yaml line 1: 'out' is missing; add it: folder of the results"),
        ("model: clip", "model: [clip]", "line 8, key 'model': is a list, not a text; write a text"),
        ("model: clip", "budget: many", "line 8, key 'budget': is 'many', not a whole number; write a whole number"),
        ("model: clip", "budget: 0", "line 8, key 'budget': is 0; use a number 1 or more"),
        ("model: clip", "budget: TODO", "line 8, key 'budget': is still open (TODO)"),
        ("model: clip", "level: 1", "line 8, key 'level': is 1; use a number below 1"),
        ("model: clip", "temperature: .inf", "key 'temperature': is '.inf', not a number"),
        ("model: clip", "format: lava", "line 8, key 'format': cannot be 'lava'; did you mean"),
        ("model: clip", "fields: [picture]", "key 'fields.0': cannot be 'picture'; use question, answer, image"),
        ("model: clip", "sketch_size: most", "key 'sketch_size': is 'most', not a whole number or all"),
        ("model: clip", "compile: perhaps", "key 'compile': is 'perhaps', not true or false"),
        ("model: clip", "nll_quantiles: [0.1]", "key 'nll_quantiles': has 1 numbers; give two"),
        ("model: clip", "processor: &a {b: *a}", "line 8, key 'processor.b': is no plain value; write a text"),
        ("model: clip", "processor: {b: 2026-01-01}", "line 8, key 'processor.b': is no plain value; write a text"),
        ("model: clip", "out: again", "line 8: key 'out' is given twice; give it once"),
        ("model: clip", "model: 'clip", "r.yaml line 9: is no YAML ("),
        ("more/b.npz\n    features: true", "more/b", "features do not compare with datasets"),
        ("features: true\n    name: 2024", "name: t\n    features: true", "b.npz, too; give each its own name"),
        ("more/b.npz", "t.npz", "target 't' is source '2024', too; leave it out on one side"),
        ("name: 2024", "name: ../x", "the name '../x' cannot be that of a file"),
        ("targets: [{path: t.npz, features: true}]", "targets: []", "key 'targets': there are no targets"),
        ("targets: [{path: t.npz, features: true}]", "targets: [[t]]", "key 'targets.0': is a list, not keys"),
        ("    name: 2024", "    limit: 5", "key 'sources.1.limit': limit says how the rows of a dataset are read"),
        ("    name: 2024", "    split: dev", "key 'sources.1.split': split says how the rows of a dataset are read"),
        ("model: clip", "budget: 5", "line 2, key 'sources.0': holds features, and a mixture is made of rows"),
    ],
)
def test_wrong_recipes_name_line_key_and_fix(tmp_path: Path, run: Run, old: str, new: str, message: str) -> None:
    path = tmp_path / "r.yaml"
    good = GOOD.replace("- a.npz", "- {path: a.npz, features: true}")
    assert old in good
    path.write_text(good.replace(old, new, 1))
    status, out, err = run("run", path)
    assert (status, out) == (1, "")
    assert message in err
    assert len(err.splitlines()) == 1
    assert "; " in err
    assert str(path) in err
    assert [each.name for each in tmp_path.iterdir()] == ["r.yaml"]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"sources": ["a.jsonl", "none.jsonl"]}, "recipe key 'sources.1': none.jsonl: no such file or folder"),
        ({"sources": ["a.npz"]}, "a.npz is a file of features, and a dataset was expected; say features: true"),
        ({"budget": 41}, "recipe key 'budget': budget is 41, and the sources hold 40 usable rows (a 20, b 20)"),
        ({"minimum": 6}, "recipe key 'minimum': the minimums sum to 12, above the budget 10"),
        ({"targets": ["copy.jsonl"]}, "target 'copy' holds the data of source 'a': the files are the same"),
        ({"without": "luck"}, "recipe key 'without': there is no factor 'luck'; the factors are QSim"),
        ({"nll_quantiles": [0.9, 0.1]}, "recipe key 'nll_quantiles': it is 0.9, 0.1"),
        ({"out": "a.jsonl"}, "recipe key 'out': a.jsonl is a file; choose another folder"),
        ({"out": "full"}, "recipe key 'out': full holds 'x', which no run wrote; choose another folder"),
        ({"targets": ["bad.jsonl"]}, "recipe key 'targets.0': bad: 2 of 20 rows cannot be used, more than 5%"),
        ({"model": None}, "recipe: 'model' is missing; add it"),
        ({"sources": ["x/s.jsonl", "x-s=b.jsonl", "y/s.jsonl"]}, "the name 'x-s' is that of x/s.jsonl, too"),
    ],
)
def test_what_cannot_be_done_is_told_before_the_model_loads(
    data: Path, monkeypatch: pytest.MonkeyPatch, keys: dict[str, Any], message: str
) -> None:
    import dataprophet as dp

    for name in ("full", "x", "y"):
        Path(name).mkdir()
    Path("full", "x").write_text("mine")
    Path("copy.jsonl").write_text(Path("a.jsonl").read_text())
    Path("bad.jsonl").write_text("\n".join(["{", "{", *Path("b.jsonl").read_text().splitlines()[2:]]))
    monkeypatch.setattr("dataprophet.scoring.model_origin.open_model", None)
    with pytest.raises(RecipeError, match=re.escape(message)) as caught:
        dp.run(recipe(**keys))
    assert "\n" not in str(caught.value)
    assert "; " in str(caught.value)
    left = {path.name for path in Path("out").iterdir()} if Path("out").exists() else set()
    assert left <= {CACHE}  # what was read of the other datasets need not be read again
    assert Path("full", "x").read_text() == "mine"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "t.jsonl", "--out", "o"], "--source: 'sources' is missing"),
        (["--source", "a.jsonl", "--target", "t.jsonl", "--out", "o"], "dataprophet run: 'model' is missing"),
        (["--source", "a.jsonl", "--target", "t.jsonl", "--budget", "x"], "--budget: is 'x', not a whole number"),
        (["--source", "s=a.jsonl", "s=b.jsonl"], "--target: 'targets' is missing"),
        (["none.yaml"], "none.yaml: cannot be read"),
        (["a.jsonl", "--out", "o"], "a.jsonl line 2: is no YAML (expected"),
        (["notes.txt", "--out", "o"], "notes.txt line 1: is 'my notes', not keys with values; write KEY: VALUE"),
        (["none.yaml", "--limit", "3"], "--limit: is for --source and --target"),
        (["--source", "a.jsonl", "--target", "t.jsonl", "--capacity", "t=3"], "--capacity: 't' is not a source"),
        (["--source", "a.jsonl", "--target", "t.jsonl", "--rows", "q=x"], "--rows: 'q' is not a source"),
    ],
)
def test_options_are_named_as_they_are_typed(data: Path, run: Run, words: list[str], message: str) -> None:
    Path("notes.txt").write_text("my notes")
    status, out, err = run("run", *words)
    assert (status, out) == (1, "")
    assert message in err
    assert len(err.splitlines()) == 1


def test_every_format_that_is_written_may_be_asked_for() -> None:
    assert list(EXPORTS) == list(EXPORT_FORMATS)


def test_the_documented_keys_are_those_of_the_recipe() -> None:
    text = (Path(__file__).parents[2] / "docs" / "run.md").read_text(encoding="utf-8")
    assert [line for line in text.splitlines() if line.startswith("| `")] == [
        row for kind in (Recipe, Data) for row in rows_of(kind)
    ]


def rows_of(kind: Any) -> list[str]:
    """Lines of the table of keys, types and defaults."""
    plain = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false"}
    made = []
    for each in fields(kind):
        if each.name == "places":
            continue
        hint = re.sub(r"tuple\[(\w+), \.\.\.\]", r"list of \1", str(each.type).replace(" | None", ""))
        hint = "name" if "choices" in each.metadata else hint
        hint = re.sub(r"Literal\[.*,.*\]", "name", hint).replace('Literal["all"]', "all")
        words = {**plain, "Data": "datasets", "Field": "fields", "dict[str, str]": "keys", "dict[str, Any]": "keys"}
        for word, name in words.items():
            hint = re.sub(rf"(?<![\w\[]){re.escape(word)}(?![\w\]])", name, hint)
        usual = " ".join(each.default) if isinstance(each.default, tuple) else each.default
        given = usual is not None and usual != "" and not isinstance(usual, type(MISSING))
        default = f"`{json.dumps(usual) if isinstance(usual, bool) else usual}`" if given else ""
        needed = isinstance(each.default, type(MISSING)) and isinstance(each.default_factory, type(MISSING))
        help = each.metadata["help"]
        made.append(
            f"| `{each.name}` | {hint.replace(' | ', ' or ')} | {'**needed**' if needed else default} | {help} |"
        )
    return made


PIECES = ["", ":", "- ", "\n", "{", "]", "&a ", "*a", "!!int ", "\t", "\x00", "? ", "~", "[]", "<<: *a"]


@settings(max_examples=200)
@given(data=st.data())
def test_any_text_is_a_recipe_or_an_error_on_one_line(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    text = GOOD
    for _ in range(data.draw(st.integers(1, 4))):
        start, cut = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 12))
        text = text[:start] + data.draw(st.sampled_from(PIECES)) + text[start + cut :]
    path, refused = tmp_path_factory.getbasetemp() / "fuzzed.yaml", None
    path.write_text(text)
    try:
        read_recipe(path, {"level": 0.9})
    except RecipeError as error:
        refused = error
    assert refused is None or ("\n" not in str(refused) and refused.fix and str(path) in refused.where)
