"""Identity follows the data: what a profile was made of is known to `matrix` and `mix`, and other data is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sample_files import png

import dataprophet as dp
from dataprophet.cli import main
from dataprophet.profiling.profile import Profile

pytest.importorskip("torch")

ROWS = 40
COLUMNS = {"question": "q", "answer": "label", "image": "pic"}
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def model() -> Any:
    return dp.load_model("demo")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return status, out, err

    return call


def write(folder: Path, name: str, *, rows: int = ROWS, shade: int = 0) -> Path:
    """A table under names of its own; its pictures lie in ``pictures/NAME``, beside it."""
    pictures = folder / "pictures" / name
    pictures.mkdir(parents=True)
    lines = []
    for i in range(rows):
        (pictures / f"{i}.png").write_bytes(png((6 * i, shade, len(name)), (8, 8)))
        lines.append({"id": i, "q": f"{name} {i}?", "label": f"{name} {i % 5}", "pic": f"{i}.png"})
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / f"{name}.jsonl"


@pytest.fixture
def data(tmp_path: Path) -> dict[str, Path]:
    return {name: write(tmp_path / "data", name) for name in ("a", "b")}


def opened(path: Path, **options: Any) -> dp.Dataset:
    return dp.open_dataset(path, columns=COLUMNS, image_root=path.parent / "pictures" / path.stem, **options)


@pytest.fixture
def scores(data: dict[str, Path], model: Any, tmp_path: Path, run: Run) -> Path:
    """The matrix of both, as `matrix` writes it."""
    for name, path in data.items():
        dp.profile(opened(path), model, clusters=2).save(tmp_path / f"{name}.profile")
    return matrix(tmp_path, run)


def matrix(folder: Path, run: Run) -> Path:
    made = [folder / "a.profile", folder / "b.profile"]
    assert run("matrix", "--source", *made, "--target", made[1], "--out", folder / "scores.csv")[0] == 0
    return folder / "scores.csv"


def mixing(scores: Path, *words: object) -> list[object]:
    out = scores.parent / "mixed"
    return ["mix", scores, "--target", "b", "--budget", "20", "--overwrite", "--out", out, *words]


def refused(result: tuple[int, str, str]) -> str:
    status, out, err = result
    errors = [line for line in err.splitlines() if line.startswith("dataprophet: error: ")]
    assert (status, out, len(errors)) == (1, "", 1), err
    assert "Traceback" not in err
    return errors[0]


def test_what_was_read_is_kept_and_shown(data: dict[str, Path], tmp_path: Path, run: Run, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "data" / "pictures" / "a"
    words = ["profile", "data/a.jsonl", "--model", "demo", "--clusters", "2", "--out", "a.profile"]
    words += [
        "--columns",
        *(f"{ours}={theirs}" for ours, theirs in COLUMNS.items()),
        "--image-root",
        root.relative_to(tmp_path),
    ]
    status, out, _ = run(*words, "--limit", "15", "--json")
    assert status == 0
    printed = json.loads(out)
    (made,) = printed["identity"]
    assert (printed["model_name"], made["path"], made["lies"]) == ("demo", "data/a.jsonl", str(data["a"]))
    assert made["reading"] == {"columns": COLUMNS, "image_root": str(root), "limit": 15}
    assert made["counts"] == {"rows": 15, "good": 15, "with_images": 15, "images": 15, "turns": 15}
    assert made["files"] == {"a.jsonl": opened(data["a"]).index(0).digest}
    loaded = Profile.load("a.profile")
    assert [each.to_json() for each in loaded.identity] == [made]
    assert loaded.model_name == "demo"
    status, out, _ = run(*words, "--limit", "15")
    assert "read data/a.jsonl (vqa, --columns question=q answer=label image=pic --image-root" in out
    assert f"15 rows, 15 good, 15 with images, 15 images, 15 turns, digest {made['digest'][:12]}" in out


def test_both_ways_to_profile_see_the_same(data: dict[str, Path], model: Any, tmp_path: Path) -> None:
    lines = data["a"].read_text().splitlines()
    lines[3], lines[5] = "{", json.dumps({"id": 5, "q": "none?", "label": "no picture", "pic": None})
    lines[7] = json.dumps({**json.loads(lines[7]), "pic": "missing.png"})
    lines[9] = lines[8]  # an id that occurs again
    data["a"].write_text("\n".join(lines) + "\n")
    for limit in (None, 12):
        made = [
            dp.profile(opened(data["a"], limit=limit), model, clusters=2, max_bad=0.5, **more)
            for more in ({}, {"cache": tmp_path / "cache"})
        ]
        assert made[0].identity == made[1].identity
        (identity,) = made[0].identity
        assert identity.counts["rows"] == (limit + 3 if limit else ROWS)
        assert identity.counts["with_images"] == identity.counts["good"] - 1


def test_nothing_need_be_said_again(scores: Path, run: Run) -> None:
    status, out, _ = run(*mixing(scores, "--json"))
    assert status == 0
    assert sum(share["taken"] for share in json.loads(out)["sources"]) == 20
    rows = list(dp.open_dataset(scores.parent / "mixed"))
    assert len(rows) == 20
    for row in rows:
        source, number = row.id.split("/")
        assert (row.question, row.answer) == (f"{source} {number}?", f"{source} {int(number) % 5}")
        assert row.images[0].getpixel((0, 0)) == (6 * int(number), 0, 1)
    assert run(*mixing(scores, "--columns", "question=q", "--input-format", "vqa"))[0] == 0  # agrees


def test_paths_that_are_swapped_are_refused(scores: Path, data: dict[str, Path], run: Run) -> None:
    said = refused(run(*mixing(scores, "--dataset", f"a={data['b']}", f"b={data['a']}")))
    assert said == (
        f"dataprophet: error: source 'a': was profiled from {data['a']}, and {data['b']} holds other data: that of 'b';"
        " give the data that was profiled, or profile it anew"
    )


def test_data_that_cannot_be_read_so_is_named(scores: Path, data: dict[str, Path], run: Run) -> None:
    other = data["a"].parent / "other.jsonl"
    other.write_text(json.dumps({"question": "x?", "answer": "y"}) + "\n")
    said = refused(run(*mixing(scores, "--dataset", f"b={other}")))
    assert f"{other}: " in said
    assert f"(source 'b' was profiled from {data['b']})" in said
    assert said.endswith("; or give the data that was profiled (--dataset b=PATH)")


def test_a_file_that_has_changed_is_refused(scores: Path, data: dict[str, Path], run: Run) -> None:
    before = dp.open_dataset(data["b"], columns=COLUMNS).index(0).digest
    data["b"].write_text(data["b"].read_text().replace("b 3?", "c 3?"))
    now = dp.open_dataset(data["b"], columns=COLUMNS).index(0).digest
    said = refused(run(*mixing(scores)))
    assert f"source 'b': {data['b']} has changed since it was profiled (b.jsonl: digest {before[:12]}" in said
    assert now[:12] in said


@pytest.mark.parametrize("other", ["same", "other", "fewer", "edited", "gone"])
def test_images_have_to_be_the_same(other: str, scores: Path, data: dict[str, Path], run: Run) -> None:
    pictures = data["a"].parent / "pictures" / "a"
    root = pictures.parent / "elsewhere"
    shutil.copytree(pictures, root)
    for i in range(ROWS):
        if other == "other":  # as large as those
            (root / f"{i}.png").write_bytes(png((6 * i, 1, 1), (8, 8)))
        if other == "fewer" and i % 2:
            (root / f"{i}.png").unlink()
    if other == "edited":
        (pictures / "37.png").write_bytes(png((1, 2, 3), (9, 9)))
    if other == "gone":
        (pictures / "37.png").unlink()
    given = [] if other in ("edited", "gone") else ["--image-root", f"a:{root}"]
    result = run(*mixing(scores, *given))
    if other == "same":
        assert result[0] == 0
        return
    said = refused(result)
    assert "source 'a': " in said
    if other in ("fewer", "gone"):
        left = {"fewer": ROWS // 2, "gone": ROWS - 1}[other]
        assert (
            f"was profiled on 40 of 40 rows with 40 images, and {left} of 40 rows with {left} images can be read"
            in said
        )
        return
    places = str(pictures) if other == "edited" else f"{pictures} then, {root} now"
    assert f"its images are not those that it was profiled with (in {places})" in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--columns", "question=label"], "with --columns question=q, and is given with --columns question=label"),
        (["--columns", "a:image=thumb"], "with --columns image=pic, and is given with --columns image=thumb"),
        (["--input-format", "swift"], "with --format vqa, and is given with --format swift"),
        (["--split", "a:test"], "without --split, and is given with --split test"),
        (["--limit", "a:10"], "without --limit, and is given with --limit 10"),
        (["--limit", "many"], "--limit: 'many' is not a number of rows"),
    ],
)
def test_options_have_to_agree(words: list[str], says: str, scores: Path, run: Run) -> None:
    assert says in refused(run(*mixing(scores, *words)))


def test_a_folder_may_move(scores: Path, data: dict[str, Path], run: Run) -> None:
    there = scores.parent / "there"
    data["a"].parent.rename(there)
    said = refused(run(*mixing(scores)))
    assert f"its dataset {data['a']} is not at {data['a']} any more; say where it lies: --dataset a=PATH" in said
    moved = [f"{name}={there / path.name}" for name, path in data.items()]
    assert run(*mixing(scores, "--dataset", *moved))[0] == 0  # with the images, which lay beside
    (there / "pictures" / "a" / "3.png").write_bytes(png((9, 9, 9), (8, 8)))
    assert "its images are not those" in refused(run(*mixing(scores, "--dataset", *moved)))


def test_a_limit_is_kept(data: dict[str, Path], model: Any, tmp_path: Path, run: Run) -> None:
    for name, path in data.items():
        dp.profile(opened(path, limit=14), model, clusters=2).save(tmp_path / f"{name}.profile")
    scores = matrix(tmp_path, run)
    status, out, err = run(*mixing(scores, "--json"))
    assert status == 0
    assert [share["available"] for share in json.loads(out)["sources"]] == [14, 14]
    assert "source 'a': profiled on its first 14 good rows; add --limit a:all to mix all" in err
    status, out, err = run(*mixing(scores, "--limit", "a:all", "--json"))
    assert sorted(share["available"] for share in json.loads(out)["sources"]) == [14, ROWS]
    assert "with --limit 14, and is given with --limit 9" in refused(run(*mixing(scores, "--limit", "9")))
    (data["a"].parent / "pictures" / "a" / "2.png").write_bytes(png((9, 9, 9), (8, 8)))  # one of the first 14
    assert "its images are not those" in refused(run(*mixing(scores, "--limit", "all")))


def test_another_split_is_refused(model: Any, tmp_path: Path, run: Run) -> None:
    datasets = pytest.importorskip("datasets")
    parts = {
        split: datasets.Dataset.from_list([{"question": f"{split} {i}?", "answer": f"{i % 4}"} for i in range(30)])
        for split in ("train", "test")
    }
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "saved")
    for name, split in (("a", "train"), ("b", "test")):
        made = dp.profile(dp.open_dataset(tmp_path / "saved", split=split, name=name), model, clusters=2)
        made.save(tmp_path / f"{name}.profile")
    words = ["matrix", "--source", tmp_path / "a.profile", tmp_path / "b.profile", "--target", tmp_path / "b.profile"]
    assert run(*words, "--fields", "question,answer", "--out", tmp_path / "scores.csv")[0] == 0
    assert run(*mixing(tmp_path / "scores.csv"))[0] == 0
    assert {row.id.split("/")[0]: row.question.split()[0] for row in dp.open_dataset(tmp_path / "mixed")} == {
        "a": "train",
        "b": "test",
    }
    said = refused(run(*mixing(tmp_path / "scores.csv", "--split", "a:test")))
    assert "source 'a': was profiled with --split train, and is given with --split test" in said
    said = refused(run(*mixing(tmp_path / "scores.csv", "--split", "train")))
    assert "source 'b': was profiled with --split test, and is given with --split train" in said


def test_what_says_how_to_read_counts(model: Any, tmp_path: Path, run: Run) -> None:
    """The columns of a dataset_info.json, which is no data file."""
    (tmp_path / "data").mkdir()
    rows = [{"instruction": f"ask {i}", "output": f"say {i % 4}"} for i in range(30)]
    (tmp_path / "data" / "rows.json").write_text(json.dumps(rows))
    info = {"rows": {"file_name": "rows.json", "columns": {"prompt": "instruction", "response": "output"}}}
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps(info))
    for name in "ab":
        dp.profile(dp.open_dataset(tmp_path / "data", name=name), model, clusters=2).save(tmp_path / f"{name}.profile")
    words = ["matrix", "--source", tmp_path / "a.profile", tmp_path / "b.profile", "--target", tmp_path / "b.profile"]
    assert run(*words, "--fields", "question,answer", "--out", tmp_path / "scores.csv")[0] == 0
    assert run(*mixing(tmp_path / "scores.csv"))[0] == 0
    info["rows"]["columns"] = {"prompt": "output", "response": "instruction"}
    (tmp_path / "data" / "dataset_info.json").write_text(json.dumps(info))
    said = refused(run(*mixing(tmp_path / "scores.csv")))
    assert f"questions and answers of {tmp_path / 'data'} are read as others than those that were profiled" in said


def test_a_permission_is_given_each_time(model: Any, tmp_path: Path, run: Run) -> None:
    path = write(tmp_path / "data", "a")
    (tmp_path / "data" / "pictures").rename(tmp_path / "pictures")
    path.write_text(path.read_text().replace('"pic": "', f'"pic": "{tmp_path}/pictures/a/'))
    for name in "ab":
        made = dp.profile(dp.open_dataset(path, columns=COLUMNS, allow_outside=True, name=name), model, clusters=2)
        made.save(tmp_path / f"{name}.profile")
    said = refused(run(*mixing(matrix(tmp_path, run))))
    assert "was profiled on 40 of 40 rows with 40 images, and 0 of 40" in said
    assert said.endswith("; add --allow-outside")
    assert run(*mixing(tmp_path / "scores.csv", "--allow-outside"))[0] == 0


def test_profiles_of_parts_merge_with_what_they_read(model: Any, tmp_path: Path, run: Run) -> None:
    parts = tmp_path / "parts"
    lines = write(tmp_path / "data", "a").read_text().splitlines(keepends=True)
    shutil.copytree(tmp_path / "data" / "pictures" / "a", parts / "pictures")
    for name, some in (("x", lines[:25]), ("y", lines[25:])):
        (parts / f"{name}.jsonl").write_text("".join(some).replace('"pic": "', '"pic": "pictures/'))
    x, y, whole = (
        dp.profile(dp.open_dataset(path, columns=COLUMNS), model, name="a", clusters=2)
        for path in (parts / "x.jsonl", parts / "y.jsonl", parts)
    )
    both = x + y
    assert [each.path for each in both.identity] == [str(parts / "x.jsonl"), str(parts / "y.jsonl")]
    assert both.model_name == "demo"
    assert sum([x, y]).identity == both.identity
    unknown = Profile.load(_without_identity(y, tmp_path))
    assert (x + unknown).identity == ()  # half of it would pass for all
    both.save(tmp_path / "a.profile")
    other = dp.profile(dp.open_dataset(parts / "y.jsonl", columns=COLUMNS), model, name="b", clusters=2)
    other.save(tmp_path / "b.profile")
    scores = matrix(tmp_path, run)
    assert "its dataset" in refused(run(*mixing(scores)))  # two places are none
    assert run(*mixing(scores, "--dataset", f"a={parts}"))[0] == 0
    assert "source 'a': was profiled from" in refused(run(*mixing(scores, "--dataset", f"a={parts / 'x.jsonl'}")))
    assert whole.n_samples == both.n_samples


def _without_identity(profile: Profile, folder: Path) -> Path:
    profile.identity, kept = (), profile.identity
    profile.save(folder / "unknown.profile")
    profile.identity = kept
    return folder / "unknown.profile"


def test_where_data_lies_changes_no_number(data: dict[str, Path], model: Any, tmp_path: Path) -> None:
    shutil.copytree(data["a"].parent, tmp_path / "copy")
    one, two = (dp.profile(opened(path), model, clusters=2) for path in (data["a"], tmp_path / "copy" / "a.jsonl"))
    assert one.diversity == two.diversity
    assert one == two
    assert one.fingerprint == two.fingerprint
    assert one.identity != two.identity
    assert one.identity[0].digest == two.identity[0].digest
    assert dp.transfer_matrix([one], [two]).same.all()
    one.identity, two.identity = (), ()
    assert one.to_bytes() == two.to_bytes()


def test_a_matrix_that_does_not_know_is_told(scores: Path, data: dict[str, Path], run: Run) -> None:
    known = scores.with_suffix(".identity.json")
    known.write_text("{")
    assert "scores.identity.json: is damaged" in refused(run(*mixing(scores)))
    known.unlink()
    assert "no dataset for source 'a'; add a=PATH" in refused(run(*mixing(scores)))
    words = [f"--columns={ours}={theirs}" for ours, theirs in COLUMNS.items()]
    paths = [f"{name}={path}" for name, path in data.items()]
    roots = [f"{name}:{path.parent / 'pictures' / name}" for name, path in data.items()]
    status, _, err = run(*mixing(scores, *words, "--dataset", *paths, "--image-root", *roots))
    assert status == 0
    assert "source 'a': not compared with what was profiled (the matrix does not tell)" in err


def test_identities_of_other_scores_are_refused(scores: Path, data: dict[str, Path], tmp_path: Path, run: Run) -> None:
    other = tmp_path / "other" / "scores.csv"
    other.parent.mkdir()
    for name in ("scores.csv", "scores.factors.csv", "scores.identity.json"):
        shutil.copy(tmp_path / name, other.parent / name)
    assert run(*mixing(other))[0] == 0  # it may move as a whole
    text = other.read_text()
    other.write_text(text.replace("\n", "\r\n"))  # a program that saves the cells as they are
    assert run(*mixing(other))[0] == 0
    other.write_text(text.replace("\na,", "\nc,").replace("\nb,", "\na,").replace("\nc,", "\nb,"))
    (tmp_path / "other" / "scores.factors.csv").unlink()
    said = refused(run(*mixing(other)))
    assert "scores.identity.json: belongs to other scores than scores.csv holds; remove it, or make the matrix" in said


def test_a_matrix_tells_what_was_made_of_the_same_data(
    data: dict[str, Path], model: Any, tmp_path: Path, run: Run
) -> None:
    for name in "ab":
        dp.profile(opened(data["a"]), model, clusters=2, name=name).save(tmp_path / f"{name}.profile")
    made = [tmp_path / "a.profile", tmp_path / "b.profile"]
    words = ["matrix", "--source", made[0], "--target", made[1], "--out", tmp_path / "scores.csv", "--json"]
    status, out, err = run(*words)
    assert status == 0
    assert "source 'a' and target 'b' were made of the same data" in err
    assert json.loads(out)["identity"]["targets"]["b"][0]["lies"] == str(data["a"])


def test_models_are_named(data: dict[str, Path], tiny_model: Any, model: Any, tmp_path: Path, run: Run) -> None:
    dp.profile(opened(data["a"]), model, clusters=2).save(tmp_path / "a.profile")
    other = tiny_model("internvl")
    dp.profile(opened(data["b"], limit=20), other, clusters=2).save(tmp_path / "b.profile")
    words = ["matrix", "--source", tmp_path / "a.profile", "--target", tmp_path / "b.profile"]
    said = refused(run(*words, "--out", tmp_path / "scores.csv"))
    assert f"profile 'b': model differs from profile 'a' ({other.name} {other.fingerprint[:16]} against demo " in said
    assert model.fingerprint[:16] in said
