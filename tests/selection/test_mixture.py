"""Mixtures: exact budgets, sampling without replacement, manifests, and nothing half-written."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from dataprophet.cli import main
from dataprophet.data import Dataset, open_dataset
from dataprophet.data.identity.census import Census
from dataprophet.data.identity.compare import identity_of
from dataprophet.errors import BudgetError, DataError, DataProphetError, MetricError
from dataprophet.metric.matrix import TransferMatrix
from dataprophet.selection.mixture import Mixture, mix

Image = pytest.importorskip("PIL.Image")

SIZES = {"a": 40, "b": 25, "c": 9}
SCORES = TransferMatrix(
    list(SIZES),
    ["t"],
    np.array([[2.0], [1.0], [0.5]]),
    {"question_similarity": np.array([[1.0], [0.5], [0.25]]), "diversity": np.full((3, 1), 2.0)},
)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name, size in SIZES.items():
        (tmp_path / name).mkdir()
        rows = []
        for i in range(size):
            Image.new("RGB", (4, 4), (i, ord(name), 7)).save(tmp_path / name / f"{i}.png")
            talk = [{"from": "human", "value": f"<image>\nhow many {i}?"}, {"from": "gpt", "value": f"{i} in {name}"}]
            rows.append({"id": i, "image": f"{i}.png", "conversations": talk})
        (tmp_path / name / f"{name}.json").write_text(json.dumps(rows))
    return tmp_path


def datasets(folder: Path) -> dict[str, Dataset]:
    return {name: open_dataset(folder / name / f"{name}.json") for name in SIZES}


def tree(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def taken(mixture: Mixture) -> dict[str, int]:
    return {share.name: share.taken for share in mixture.shares}


@pytest.mark.parametrize("format", ["llava", "llamafactory", "swift", "webdataset"])
def test_rows_are_as_many_as_the_budget_and_read_back(folders: Path, format: str) -> None:
    mixture = mix(SCORES, "t", 28, datasets(folders), folders / "out", format=format)
    assert taken(mixture) == {"a": 16, "b": 8, "c": 4}
    back = list(open_dataset(folders / "out"))
    assert len(back) == 28
    ids = [sample.id for sample in back]
    assert len(set(ids)) == 28  # without replacement
    assert Counter(name.split("/")[0] for name in ids) == {"a": 16, "b": 8, "c": 4}
    for sample in back:
        source, number = sample.id.split("/")
        assert sample.answer == f"{number} in {source}"
        assert sample.images[0].getpixel((0, 0)) == (int(number), ord(source), 7)
    assert ids != sorted(ids)  # sources are mixed, not one after the other


def test_manifest_tells_everything(folders: Path) -> None:
    mixture = mix(SCORES, "t", 28, datasets(folders), folders / "out", seed=5)
    manifest = json.loads((folders / "out" / "manifest.json").read_text())
    assert (manifest["target"], manifest["budget"], manifest["seed"], manifest["rows"]) == ("t", 28, 5, 28)
    assert [source["name"] for source in manifest["sources"]] == ["a", "b", "c"]
    first = manifest["sources"][0]
    assert first["score"] == 2.0
    assert first["factors"] == {"question_similarity": 1.0, "diversity": 2.0}
    assert (first["available"], first["taken"]) == (40, 16)
    assert first["path"] == "../a/a.json"
    assert first["fingerprint"] == datasets(folders)["a"].fingerprint()
    written = [sample.id for sample in open_dataset(folders / "out")]
    assert manifest["ids"] == written
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((folders / "out" / name).read_bytes()).hexdigest() == digest
    assert dict(mixture.files) == manifest["files"]


def test_the_seed_and_only_the_seed_changes_the_rows(folders: Path) -> None:
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        mix(SCORES, "t", 28, datasets(folders), folders / name, seed=seed)
    assert tree(folders / "one") == tree(folders / "two")
    assert tree(folders / "one") != tree(folders / "three")
    rows = json.loads((folders / "a" / "a.json").read_text())
    (folders / "a" / "a.json").write_text(json.dumps(rows[::-1]))
    mix(SCORES, "t", 28, datasets(folders), folders / "four")
    data = "mixture-t.json"
    assert (folders / "one" / data).read_bytes() == (folders / "four" / data).read_bytes()


def test_larger_budgets_contain_smaller_ones(folders: Path) -> None:
    ids = []
    for budget in (14, 28):
        mix(SCORES, "t", budget, datasets(folders), folders / str(budget), format="ids")
        ids.append(set((folders / str(budget) / "mixture-t.txt").read_text().split()))
    assert ids[0] < ids[1]


def test_capacity_and_minimum_bind(folders: Path) -> None:
    mixture = mix(SCORES, "t", 60, datasets(folders), folders / "out", capacity=[30, 99, 99], minimum=5)
    assert taken(mixture) == {"a": 30, "b": 21, "c": 9}  # c holds no more than 9 rows
    assert sum(taken(mixture).values()) == 60


def test_rows_whose_image_fails_give_their_place_to_the_next(folders: Path) -> None:
    for number in range(0, 40, 2):
        (folders / "a" / f"{number}.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    with pytest.raises(DataProphetError, match=r"a: \d+ of 40 rows .* more than 5% \(\d+ undecodable_image\)"):
        mix(SCORES, "t", 28, datasets(folders), folders / "out")
    assert not (folders / "out").exists()
    mixture = mix(SCORES, "t", 28, datasets(folders), folders / "out", max_bad=0.5)
    assert taken(mixture) == {"a": 16, "b": 8, "c": 4}
    share = mixture.shares[0]
    assert share.left_out["undecodable_image"] > 0
    numbers = [int(s.id.split("/")[1]) for s in open_dataset(folders / "out") if s.id.startswith("a/")]
    assert len(numbers) == 16
    assert all(number % 2 for number in numbers)
    # a has 20 good rows left: others make up for it
    again = mix(SCORES, "t", 45, datasets(folders), folders / "more", max_bad=0.5)
    assert sum(taken(again).values()) == 45
    assert taken(again)["a"] == 20


def test_rows_that_change_meanwhile_stop_it(folders: Path) -> None:
    """They could be used when they were counted; to look for them again and again helps nobody."""

    def rename(read: int) -> None:
        if read == sum(SIZES.values()):  # all are counted
            path = folders / "a" / "a.json"
            path.write_text(json.dumps([{**row, "id": f"new {row['id']}"} for row in json.loads(path.read_text())]))

    with pytest.raises(DataError, match=r"source 'a': 16 rows could be used when they were counted, and cannot now"):
        mix(SCORES, "t", 28, datasets(folders), folders / "out", progress=rename)
    assert not (folders / "out").exists()


def test_rows_that_cannot_be_read_do_not_count(folders: Path) -> None:
    (folders / "c" / "3.png").unlink()
    with pytest.raises(DataProphetError, match=r"c: 1 of 9 rows cannot be used, more than 5% \(1 missing_image\)"):
        mix(SCORES, "t", 28, datasets(folders), folders / "out")
    assert not (folders / "out").exists()
    mixture = mix(SCORES, "t", 28, datasets(folders), folders / "out", max_bad=0.2)
    share = next(share for share in mixture.shares if share.name == "c")
    assert (share.available, share.left_out) == (8, {"missing_image": 1})
    assert (share.tally.rows, share.tally.with_images) == (9, 8)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"budget": 75}, BudgetError, "75"),
        ({"budget": 28, "minimum": 10}, BudgetError, "minimum"),
        ({"capacity": [1, 2]}, BudgetError, "2 capacities for 3 sources"),
        ({"target": "x"}, MetricError, "no target 'x'"),
        ({"format": "yaml"}, DataProphetError, "yaml"),
        ({"datasets": {"a": None}}, MetricError, "no dataset for source 'b'"),
    ],
)
def test_bad_calls_write_nothing(folders: Path, change, error, message: str) -> None:  # type: ignore[no-untyped-def]
    options = {"scores": SCORES, "target": "t", "budget": 28, "datasets": datasets(folders), "out": folders / "out"}
    before = set(folders.iterdir())
    with pytest.raises(error, match=message) as caught:
        mix(**{**options, **change})
    assert "\n" not in str(caught.value)
    assert set(folders.iterdir()) == before


def test_scores_that_are_not_defined_are_refused(folders: Path) -> None:
    bad = TransferMatrix(list(SIZES), ["t"], np.array([[2.0], [np.nan], [0.5]]))
    with pytest.raises(MetricError, match="score of 'b' for 't' is not defined"):
        mix(bad, "t", 28, datasets(folders), folders / "out")


def test_an_existing_folder_is_replaced_only_when_asked_and_ours(folders: Path) -> None:
    mix(SCORES, "t", 14, datasets(folders), folders / "out")
    before = tree(folders / "out")
    with pytest.raises(DataProphetError, match="already exists"):
        mix(SCORES, "t", 28, datasets(folders), folders / "out")
    assert tree(folders / "out") == before
    mix(SCORES, "t", 28, datasets(folders), folders / "out", overwrite=True)
    assert len(list(open_dataset(folders / "out"))) == 28
    (folders / "mine").mkdir()
    (folders / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(DataProphetError, match=r"holds no manifest\.json"):
        mix(SCORES, "t", 28, datasets(folders), folders / "mine", overwrite=True)
    assert (folders / "mine" / "thesis.tex").read_text() == "years of work"


def test_sources_beyond_the_limits_of_noise_give_no_rows(folders: Path, capsys: pytest.CaptureFixture[str]) -> None:
    perplexity = np.array([[1.5], [2.0], [5000.0]])
    factors = {"question_similarity": np.array([[1.0], [0.5], [0.25]]), "source_perplexity": perplexity}
    scores = TransferMatrix(list(SIZES), ["t"], factors["question_similarity"] * perplexity, factors)
    scores.answer_tokens = np.array([4.0, 2.0, 9.0])
    plain = mix(scores, "t", 20, datasets(folders), folders / "plain")
    assert taken(plain)["c"] == 9  # all it has: the perplexity decides
    some = {name: each for name, each in datasets(folders).items() if name != "c"}  # one left out needs no dataset
    for number, limits in enumerate(({"max_nll": 1.0}, {"nll_quantiles": (0.0, 0.6)})):
        mixture = mix(scores, "t", 20, some, folders / f"out{number}", capacity=[14, 40, 0], **limits)
        assert (taken(mixture), mixture.left_out) == ({"a": 12, "b": 8}, ["c"])
        manifest = json.loads((folders / f"out{number}" / "manifest.json").read_text())
        assert manifest["left_out"] == ["c"]
        assert {name: manifest[name] for name in limits} == {
            name: list(v) if isinstance(v, tuple) else v for name, v in limits.items()
        }
    mixture = mix(scores, "t", 15, datasets(folders), folders / "tokens", min_answer_tokens=4, without=["PPL(s)"])
    assert (taken(mixture), mixture.left_out) == ({"a": 12, "c": 3}, ["b"])
    scores.to_csv(folders / "scores.csv")
    words = ["mix", str(folders / "scores.csv"), "--target", "t", "--budget", "20", "--out", str(folders / "cli")]
    words += [
        "--dataset",
        *(f"{name}={folders / name / name}.json" for name in "ab"),
        "--max-nll",
        "1",
        "--without",
        "PPL(s)",
    ]
    assert main(words) == 0
    assert "left out as noise: c" in capsys.readouterr().out
    manifest = json.loads((folders / "cli" / "manifest.json").read_text())
    assert (manifest["without"], manifest["max_nll"]) == (["PPL(s)"], 1.0)
    words = ["rank", str(folders / "scores.csv"), "--target", "t"]
    assert main(words) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("! ")]
    assert [line[:40] for line in lines] == ["! PPL of 'c' is 5,000: the model does no"]
    assert main([*words, "--max-nll", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [entry["source"] for entry in told["sources"]] == ["a", "b"]
    assert told["remarks"] == []
    assert main([*words, "--nll-quantiles", "0.9", "0.1"]) == 1
    assert "give LOW and HIGH" in capsys.readouterr().err


def test_sources_in_memory_give_the_rows_of_files(folders: Path) -> None:
    of_files = mix(SCORES, "t", 30, datasets(folders), folders / "one")
    held = {}
    for name in SIZES:
        rows = json.loads((folders / name / f"{name}.json").read_text())
        held[name] = open_dataset(rows, name=name, image_root=folders / name)
        assert identity_of(held[name], Census()) == ()  # it cannot be found again: nothing is compared with it
    assert taken(mix(SCORES, "t", 30, held, folders / "two")) == taken(of_files)
    one, two = (json.loads((folders / name / "manifest.json").read_text()) for name in ("one", "two"))
    assert one["ids"] == two["ids"]
    assert one["files"] == two["files"]
    assert {source["path"] for source in two["sources"]} == {""}
    assert len({source["fingerprint"] for source in two["sources"]}) == 3
