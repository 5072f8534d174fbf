"""Identity of scored pools: what was read is kept, a resume and a selection of other data are refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sample_files as files

import dataprophet as dp
from dataprophet.errors import DataProphetError
from dataprophet.selection import Settings, select_pool
from dataprophet.selection.verify import verify
from dataprophet.store.checksums import parse_document

pytest.importorskip("torch")

COLUMNS = {"question": "q", "answer": "label", "image": "pic"}
ROWS = 30


@pytest.fixture(scope="module")
def model() -> Any:
    return dp.load_model("demo")


def write(folder: Path, shade: int = 0) -> Path:
    """A pool of one file whose pictures lie in a folder of it."""
    (folder / "pictures").mkdir(parents=True)
    lines = []
    for i in range(ROWS):
        (folder / "pictures" / f"{i}.png").write_bytes(files.png((7 * i, shade, 5), (8, 8)))
        lines.append(json.dumps({"id": i, "q": f"{shade} {i}?", "label": f"{i % 5}", "pic": f"{i}.png"}) + "\n")
    (folder / "rows.jsonl").write_text("".join(lines))
    return folder / "rows.jsonl"


def reading(path: Path, **more: Any) -> dict[str, Any]:
    return {"columns": COLUMNS, "image_root": str(path.parent / "pictures"), **more}


@pytest.fixture(scope="module")
def pristine(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scored pool, and another one of the same shape."""
    folder = tmp_path_factory.mktemp("pristine")
    for name, shade in (("one", 0), ("two", 1)):
        path = write(folder / name, shade)
        target = dp.profile(dp.open_dataset(path, limit=20, **reading(path)), model, name="t", clusters=2)
        options = {"reading": reading(path), "name": name, "processes": 0}
        dp.score(path, [target], model, out=folder / f"scores-{name}", **options)
        target.save(folder / "t.profile")
    return folder


@pytest.fixture
def place(pristine: Path, tmp_path: Path) -> Iterator[Path]:
    """The same, at the place where it was scored: tests may change it."""
    shutil.copytree(pristine, tmp_path / "kept")
    yield pristine
    shutil.rmtree(pristine)
    shutil.copytree(tmp_path / "kept", pristine)


def scored_again(place: Path, model: Any, **reads: Any) -> dp.ScoredPool:
    path = place / "one" / "rows.jsonl"
    target = dp.open_scores(place / "scores-one").store.root + "/targets"
    (profile,) = Path(target).glob("*.profile")
    return dp.score(path, [profile], model, out=place / "scores-one", reading=reads, name="one", processes=0)


def test_a_scored_pool_keeps_what_was_read(pristine: Path, model: Any) -> None:
    scored, path = dp.open_scores(pristine / "scores-one"), pristine / "one" / "rows.jsonl"
    identity = scored.identity
    assert (identity.path, identity.lies, identity.format) == (str(path), str(path), "vqa")
    assert identity.reading == reading(path)
    assert identity.counts == {"rows": ROWS, "good": ROWS, "with_images": ROWS, "images": ROWS, "turns": ROWS}
    assert scored.summary["identity"] == identity.to_json()
    assert scored.profile.identity == (identity,)
    assert scored.profile.model_name == "demo"
    again = dp.profile(dp.open_dataset(path, **reading(path)), model)
    assert again.identity == (identity,)


@pytest.mark.parametrize(
    ("reads", "says"),
    [
        ({"columns": {**COLUMNS, "question": "label"}}, "with --columns question=q .*, and is given with --columns"),
        (
            {"columns": {"question": "q", "answer": "label"}},
            "with .* image=pic, and is given with --columns question=q answer=label;",
        ),
        ({"image_root": None}, "with --image-root .*pictures, and is given without --image-root"),
        ({"allow_outside": True}, "without --allow-outside, and is given with --allow-outside"),
        ({"max_pixels": 99}, "without --max-pixels, and is given with --max-pixels 99"),
    ],
)
def test_other_reading_options_are_refused_on_resume(reads: Any, says: str, pristine: Path, model: Any) -> None:
    path = pristine / "one" / "rows.jsonl"
    assert scored_again(pristine, model, **reading(path)).complete
    with pytest.raises(DataProphetError, match=f"scores-one: was scored {says}") as caught:
        scored_again(pristine, model, **{**reading(path), **reads})
    assert "repeat the earlier options, or choose another --out" in str(caught.value)


def test_other_models_and_targets_are_named_on_resume(pristine: Path, tiny_model: Any, model: Any) -> None:
    path, out = pristine / "one" / "rows.jsonl", pristine / "scores-one"
    options: dict[str, Any] = {"reading": reading(path), "name": "one", "out": out, "processes": 0}
    other = tiny_model("internvl")
    target = dp.profile(dp.open_dataset(path, limit=20, **reading(path)), other, name="t", clusters=2)
    with pytest.raises(DataProphetError, match=rf"another model \(demo {model.fingerprint[:16]}, now {other.name} "):
        dp.score(path, [target], other, **options)
    with pytest.raises(DataProphetError, match=r"another targets \(t .{8}, now none\)"):
        dp.score(path, [], model, **options)


def chosen(place: Path, out: Path, **options: Any) -> list[str]:
    select_pool(place / "scores-one", Settings(["t"], 9), out, format="swift", **options)
    return [row.question for row in dp.open_dataset(out)]


def test_a_selection_is_of_what_was_scored(place: Path, tmp_path: Path) -> None:
    right = chosen(place, tmp_path / "right")
    assert {question.split()[0] for question in right} == {"0"}
    one, two = place / "one" / "rows.jsonl", place / "two" / "rows.jsonl"
    with pytest.raises(DataProphetError) as caught:
        chosen(place, tmp_path / "out", pools={"one": str(two)})
    assert str(caught.value) == (
        f"{two}: holds other data than that pool 'one' was scored from ({one}); "
        "give the data that was scored (--pool NAME=PATH), or score the pool again"
    )
    one.parent.rename(place / "moved")  # with the pictures, which are looked for beside it
    assert chosen(place, tmp_path / "moved", pools={"one": str(place / "moved" / "rows.jsonl")}) == right
    shutil.copy(place / "two" / "pictures" / "8.png", place / "moved" / "pictures" / "8.png")
    with pytest.raises(DataProphetError, match=r"images of rows 1 to 30 are not those that were scored \(in .*moved"):
        chosen(place, tmp_path / "out", pools={"one": str(place / "moved" / "rows.jsonl")})
    assert not (tmp_path / "out").exists()


def test_images_may_lie_elsewhere(place: Path, tmp_path: Path) -> None:
    right = chosen(place, tmp_path / "right")
    (place / "one" / "pictures").rename(place / "images")
    with pytest.raises(DataProphetError, match="one/pictures: --image-root is not a folder"):
        chosen(place, tmp_path / "out")
    assert chosen(place, tmp_path / "out", image_roots={"one": str(place / "images")}) == right
    assert verify(tmp_path / "out") == []
    with pytest.raises(DataProphetError, match="images of rows 1 to 30 are not those that were scored"):
        chosen(place, tmp_path / "more", image_roots={"one": str(place / "two" / "pictures")})
    with pytest.raises(DataProphetError, match="no pool 'two'; choose among one"):
        chosen(place, tmp_path / "more", image_roots={"two": str(place / "images")})


def test_a_picture_that_was_replaced_is_refused(place: Path, tmp_path: Path) -> None:
    chosen(place, tmp_path / "right")
    (place / "one" / "pictures" / "11.png").write_bytes(files.png((200, 200, 200), (8, 8)))
    with pytest.raises(DataProphetError, match="images of rows 1 to 30 are not those that were scored"):
        chosen(place, tmp_path / "out")


def test_a_folder_that_was_scored_before_identities_is_selected_from(place: Path, tmp_path: Path) -> None:
    """Markers without counts: nothing is compared but the files."""
    for marker in (place / "scores-one" / "commits").glob("*.json"):
        entries = parse_document(marker.read_bytes())
        del entries["counts"], entries["texts"], entries["images"]
        marker.write_text(json.dumps(entries))
    scored = dp.open_scores(place / "scores-one")
    assert (scored.identity.counts, scored.identity.images) == ({}, "")
    assert len(chosen(place, tmp_path / "out")) == 9
