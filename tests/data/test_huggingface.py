"""Hugging Face datasets: saved to disk, by name, as image folders."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import sample_files as files
from sample_files import good

from dataprophet.data import open_dataset
from dataprophet.errors import DataError


def test_saved_splits(tmp_path: Path) -> None:
    saved = files.write_saved(tmp_path)
    both = tmp_path / "both"
    for split in ("train", "test"):
        shutil.copytree(saved, both / split)
    (both / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert len(good(open_dataset(both, split="test"))) == 4
    with pytest.raises(DataError, match=r"several splits.*train, test"):
        open_dataset(both)
    with pytest.raises(DataError, match=r"no split 'dev'.*train, test"):
        open_dataset(both, split="dev")


def test_saved_by_the_datasets_package(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the datasets package is not installed")
    from PIL import Image

    images = [Image.new("RGB", (4, 4), (value, 0, 0)) for value in (9, 99)]
    data = datasets.Dataset.from_dict(
        {"image": images, "question": ["Q0", "Q1"], "answer": ["a", "b"]},
        features=datasets.Features(
            {"image": datasets.Image(), "question": datasets.Value("string"), "answer": datasets.Value("string")}
        ),
    )
    data.select([1, 0]).save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": data}).save_to_disk(tmp_path / "dict")
    rows = list(open_dataset(tmp_path / "one"))
    assert [(row.question, row.images[0].getpixel((0, 0))) for row in rows] == [("Q1", (99, 0, 0)), ("Q0", (9, 0, 0))]
    assert [row.answer for row in open_dataset(tmp_path / "dict")] == ["a", "b"]


def test_by_name_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("datasets", reason="the datasets package is not installed")
    with pytest.raises(DataError, match="hf:no-one/nothing: no split chosen"):
        list(open_dataset("hf:no-one/nothing"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(DataError, match=r"hf:no-one/nothing: cannot be loaded.*save it to disk") as caught:
        list(open_dataset("hf:no-one/nothing", split="train"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("limit", [None, 3])
def test_loaded_through_the_datasets_package(
    limit: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets", reason="the datasets package is not installed")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    features = datasets.Features(
        {
            "id": datasets.Value("string"),
            "images": datasets.List(datasets.Image()),
            "texts": datasets.List({"user": datasets.Value("string"), "assistant": datasets.Value("string")}),
        }
    )
    table = files.finevision_table().drop_columns(["source"])
    (tmp_path / "repo").mkdir()
    datasets.Dataset(table.cast(features.arrow_schema)).cast(features).to_parquet(tmp_path / "repo" / "train.parquet")
    dataset = open_dataset(f"hf:{tmp_path / 'repo'}", split="train", limit=limit)
    rows = good(dataset)
    assert dataset.format == "huggingface"
    for row, expected in zip(rows, files.ROWS[:limit], strict=True):
        assert row.id == str(expected.id)
        assert [(turn.question, turn.image_offsets, turn.answer) for turn in row.turns] == list(expected.turns)
        assert [source.read_bytes() for source in row.sources] == [files.NAMES[name] for name in expected.images]


def test_image_folder_through_the_datasets_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets", reason="the datasets package is not installed")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for label, data in (("green", files.GREEN), ("red", files.RED)):
        (tmp_path / "repo" / "train" / label).mkdir(parents=True)
        (tmp_path / "repo" / "train" / label / "a.png").write_bytes(data)
    columns = {"question": "=Which class?", "answer": "label"}
    rows = good(open_dataset(f"hf:{tmp_path / 'repo'}", split="train", columns=columns))
    assert [(row.turns[0].answer, row.sources[0].read_bytes()) for row in rows] == [
        ("green", files.GREEN),
        ("red", files.RED),
    ]
