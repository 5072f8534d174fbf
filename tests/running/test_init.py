"""``init``: the recipe it writes runs as it stands, or asks what it could not settle."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from dataprophet.running.init import first_recipe
from dataprophet.running.reading import read_recipe

Image = pytest.importorskip("PIL.Image")

Run = Callable[..., tuple[int, str, str]]


def write_rows(path: Path, rows: int = 12, image: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    named = {"image": image} if image else {}
    lines = [json.dumps({"id": i, "question": f"What is {path} {i}?", "answer": str(i), **named}) for i in range(rows)]
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("a/train", "b/train", "bench"):
        write_rows(tmp_path / f"{name}.jsonl")
    return tmp_path


def test_a_settled_recipe_reads_as_the_data_is(data: Path, run: Run) -> None:
    words = ["a/train.jsonl", "b/train.jsonl", "--target", "it's: mine=bench.jsonl", "--model", "demo"]
    status, out, err = run("init", *words, "--budget", "20", "--out", "sub/r.yaml", "--json")
    assert status == 0, err
    assert json.loads(out) == {"out": "sub/r.yaml", "open": []}
    made = read_recipe("sub/r.yaml")
    assert [each.name for each in made.data.values()] == ["a-train", "b-train", "it's: mine"]
    assert [Path(each.path).resolve() for each in made.sources] == [data / "a/train.jsonl", data / "b/train.jsonl"]
    assert {each.format for each in made.sources} == {"vqa"}
    assert (made.model, made.budget) == ("demo", 20)
    text = Path("sub/r.yaml").read_text()
    assert "# 12 rows, 0 with images, 0 images, 12 turns" in text
    assert "# columns: id, question, answer\n" in text
    status, _, err = run("init", *words, "--out", "sub/r.yaml")
    assert status == 1
    assert "is there already; choose another --out, or --overwrite" in err
    assert Path("sub/r.yaml").read_text() == text


def test_questions_stay_open_until_they_are_answered(data: Path, run: Run) -> None:
    for split in ("train", "test"):
        write_rows(data / "hub" / f"{split}.jsonl")
    write_rows(data / "lost.jsonl", image="nowhere.png")
    status, out, _ = run("init", "hub", "lost.jsonl", "--target", "bench.jsonl")
    assert status == 0
    assert "open: hub: split: the folder holds the splits" in out
    assert "open: lost: image_root: the images of 12 of 12 rows are not there" in out
    text = Path("recipe.yaml").read_text()
    assert yaml.safe_load(text)["sources"][0]["split"] == "TODO"
    line = next(number for number, line in enumerate(text.splitlines(), 1) if "split: TODO" in line)
    status, _, err = run("run", "recipe.yaml")
    assert status == 1
    assert f"recipe.yaml line {line}, key 'sources.0.split': is still open (TODO); write a value" in err
    for old, new in (
        ("split: TODO", "split: train"),
        ("image_root: TODO", "image_root: hub"),
        ("model: TODO", "model: m"),
    ):
        text = text.replace(old, new)
    Path("recipe.yaml").write_text(text.replace("budget: TODO", "budget: 5"))
    assert read_recipe("recipe.yaml").sources[0].split == "train"


def test_a_folder_of_images_beside_the_data_is_found(data: Path) -> None:
    write_rows(data / "set" / "rows" / "x.jsonl", image="p.png")
    (data / "set" / "pictures").mkdir()
    Image.new("RGB", (8, 8)).save(data / "set" / "pictures" / "p.png")
    made = first_recipe(["set/rows/x.jsonl"], ["bench.jsonl"], "r.yaml", model="demo", budget=3)
    assert made.open == []
    Path("r.yaml").write_text(made.text)
    assert read_recipe("r.yaml").sources[0].image_root == ("set/pictures",)


def test_data_that_is_named_twice_is_told(data: Path, run: Run) -> None:
    link = data / "link.jsonl"
    link.symlink_to(data / "bench.jsonl")
    made = first_recipe(
        ["a/train.jsonl", "link.jsonl", "again=a/../a/train.jsonl", "bench=b/train.jsonl"],
        ["bench.jsonl"],
        "r.yaml",
        model="demo",
        budget=3,
    )
    both, name = "leave it out on one side, or choose another split", "the name 'bench' is that of b/train.jsonl, too"
    assert made.open == [
        f"again: source 'again' is source 'train', too; {both}",
        f"bench: {name}; give each its own name: NAME=PATH, or name: in a recipe",
        f"bench: target 'bench' is source 'link', too; {both}",
    ]
    assert f"    # TODO? target 'bench' is source 'link', too; {both}" in made.text.splitlines()


def test_what_is_not_there_is_an_error(data: Path, run: Run) -> None:
    status, _, err = run("init", "none.jsonl", "--target", "bench.jsonl")
    assert status == 1
    assert "none.jsonl: no such file or folder; check the path" in err
    assert not Path("recipe.yaml").exists()
