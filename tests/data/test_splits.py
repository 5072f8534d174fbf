"""Folders as the hub's tools leave them: splits are asked for, and nothing is mixed silently."""

import gzip
import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sample_files as files

from dataprophet.data import open_dataset
from dataprophet.errors import DataError


def table(path: Path, text: str, rows: int = 2, **columns: list[object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"question": [text] * rows, "answer": ["A"] * rows, **columns}), path)


def questions(path: Path, **options: object) -> list[str]:
    return [sample.question for sample in open_dataset(path, **options)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "below", ["data/{}-00000-of-00001.parquet", "{}/0000.parquet", "{}.parquet", "my_{}_v2.parquet"]
)
def test_splits_are_asked_for(below: str, tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        table(tmp_path / below.format(split), split)
    with pytest.raises(DataError, match=r"splits .*; choose one \(split=\)") as error:
        open_dataset(tmp_path)
    assert all(split in str(error.value) for split in ("train", "validation", "test"))
    assert questions(tmp_path, split="train") == ["train"] * 2
    assert questions(tmp_path, split="val") == questions(tmp_path, split="validation") == ["val"] * 2
    with pytest.raises(DataError, match="no split 'extra'"):
        open_dataset(tmp_path, split="extra")


def test_a_split_beside_files_that_tell_none(tmp_path: Path) -> None:
    table(tmp_path / "train.parquet", "train")
    table(tmp_path / "testdev.parquet", "testdev")
    with pytest.raises(DataError, match=r"the split train and files that tell none, such as testdev\.parquet"):
        open_dataset(tmp_path)
    assert questions(tmp_path, split="train") == ["train"] * 2


def test_one_split_and_files_without_one(tmp_path: Path) -> None:
    table(tmp_path / "data" / "a.parquet", "a")
    table(tmp_path / "data" / "b.parquet", "b")
    table(tmp_path / ".cache" / "huggingface" / "test.parquet", "hidden")
    assert questions(tmp_path) == ["a", "a", "b", "b"]
    with pytest.raises(DataError, match="names tell no split"):
        open_dataset(tmp_path, split="train")
    with pytest.raises(DataError, match="a file has no splits"):
        open_dataset(tmp_path / "data" / "a.parquet", split="train")


def test_compressed_files_are_not_passed_over(tmp_path: Path) -> None:
    row = json.dumps({"question": "Q", "answer": "A"}).encode()
    for name in ("a.jsonl.gz", "a.csv.zst", "images.zip"):
        (tmp_path / name).write_bytes(gzip.compress(row))
    with pytest.raises(DataError, match=r"a\.jsonl\.gz: a compressed file is not read.*; unpack it first"):
        open_dataset(tmp_path / "a.jsonl.gz")
    with pytest.raises(DataError, match=r"a\.csv\.zst is compressed, and would not be read; unpack it first"):
        open_dataset(tmp_path)
    (tmp_path / "a.csv.zst").unlink()
    (tmp_path / "b.jsonl").write_bytes(row)
    with pytest.raises(DataError, match=r"a\.jsonl\.gz is compressed"):
        open_dataset(tmp_path)
    (tmp_path / "a.jsonl").write_bytes(row)  # unpacked beside it
    assert questions(tmp_path) == ["Q", "Q"]


CARD = """---
license: mit
configs:
- config_name: default
  data_files:
  - split: train
    path: data/part-*
  - split: test
    path: [held/*.parquet]
- config_name: small
  data_files: small/*.parquet
dataset_info:
- config_name: small
  features:
  - name: question
    dtype: string
  - name: label
    dtype:
      class_label:
        names:
          '0': cat
          '1': dog
---
# About
"""


def test_the_card_of_a_repository_says_what_its_files_are(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(CARD)
    table(tmp_path / "data" / "part-1.parquet", "one")
    table(tmp_path / "data" / "part-2.parquet", "two")
    table(tmp_path / "held" / "x.parquet", "held")
    table(tmp_path / "small" / "x.parquet", "small", label=[1, 0])
    with pytest.raises(DataError, match="splits train and test"):
        open_dataset(tmp_path)
    assert questions(tmp_path, split="train") == ["one", "one", "two", "two"]
    assert questions(tmp_path, split="test") == ["held", "held"]
    small = open_dataset(tmp_path, subset="small", columns={"answer": "label"})
    assert [sample.answer for sample in small] == ["dog", "cat"]
    with pytest.raises(DataError, match=r"no configuration 'big'.*subset="):
        open_dataset(tmp_path, subset="big")


def test_num_samples(tmp_path: Path) -> None:
    rows = [{"instruction": f"Q{number}", "output": "A"} for number in range(9)]
    files.dump(tmp_path / "a.json", rows)
    (tmp_path / "dataset_info.json").write_text(json.dumps({"a": {"file_name": "a.json", "num_samples": 4}}))
    dataset = open_dataset(tmp_path)
    assert len(list(dataset)) == 4
    assert any("num_samples: the first 4 rows" in line for line in dataset.told().guesses)
    (tmp_path / "dataset_info.json").write_text(json.dumps({"a": {"file_name": "a.json", "num_samples": "all"}}))
    with pytest.raises(DataError, match="num_samples of 'a' is 'all'"):
        open_dataset(tmp_path)


def test_the_cache_of_the_hub_is_links(tmp_path: Path) -> None:
    base = tmp_path / "datasets--me--set"
    snapshot = base / "snapshots" / "abc"
    for folder in (base / "blobs", snapshot / "images", base / "refs"):
        folder.mkdir(parents=True)
    (base / "refs" / "main").write_text("abc")
    (base / "snapshots" / "old").mkdir()
    row = json.dumps([{"id": "1", "image": "images/a.png", "question": "Q", "answer": "A"}]).encode()
    for name, data in (("train.json", row), ("images/a.png", files.RED)):
        blob = base / "blobs" / f"hash-{name.replace('/', '-')}"
        blob.write_bytes(data)
        os.symlink(os.path.relpath(blob, (snapshot / name).parent), snapshot / name)
    for path in (base, snapshot, snapshot / "train.json"):
        (row_read,) = open_dataset(path).rows()
        assert row_read.sources[0].read_bytes() == files.RED  # type: ignore[union-attr]
    (tmp_path / "secret.png").write_bytes(files.RED)
    (snapshot / "images" / "b.png").symlink_to(tmp_path / "secret.png")
    (base / "blobs" / "hash-train.json").write_bytes(row.replace(b"a.png", b"b.png"))
    (problem,) = open_dataset(snapshot).rows()
    assert problem.code == "outside_root"  # type: ignore[union-attr]


@pytest.mark.parametrize("odd", ["a.jsonl", "z.jsonl"])  # before and behind the file that says what the format is
def test_what_is_no_file_among_the_files_is_told(tmp_path: Path, odd: str) -> None:
    talk = [{"from": "human", "value": "Q?"}, {"from": "gpt", "value": "A"}]
    (tmp_path / "m.jsonl").write_text(json.dumps({"id": "1", "conversations": talk}))
    for make, says in (
        (lambda path: path.symlink_to("nowhere"), "cannot be read"),
        (os.mkfifo, "is not a regular file"),
        (lambda path: path.mkdir(), "cannot be read"),
        (lambda path: path.symlink_to("/dev/zero"), "is not a regular file"),
    ):
        path = tmp_path / odd
        make(path)
        dataset = open_dataset(tmp_path)
        assert len(dataset.files) == 2
        assert dataset.format == "llava"
        with pytest.raises(DataError, match=says) as error:
            dataset.index(dataset.files.index(str(path)))
        assert str(path) in str(error.value)
        path.rmdir() if path.is_dir() else path.unlink()
