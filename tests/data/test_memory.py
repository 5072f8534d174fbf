"""Rows in memory: lists, pandas and Arrow tables, datasets of the datasets package."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sample_files import BLUE, GREEN, RED, good, write_images

from dataprophet.data import Dataset, open_dataset, validate, write_rows
from dataprophet.errors import DataError

ROWS = [
    {"id": 7, "image": RED, "question": "What colour?", "answer": "red"},
    {"id": "b", "image": GREEN, "question": "And <image> this?", "answer": "green"},
    {"id": "c", "image": None, "question": "No image?", "answer": "none"},
]


def as_pillow(data: bytes | None) -> Any:
    return data and Image.open(io.BytesIO(data))


def as_hub(rows: list[dict[str, Any]]) -> Any:
    datasets = pytest.importorskip("datasets")
    named = {name: [row[name] if name != "id" else str(row[name]) for row in rows] for name in rows[0]}
    return datasets.Dataset.from_dict(named).cast_column("image", datasets.Image())


class Stream:
    """Anything with the Arrow PyCapsule interface."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


def as_table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist([{**row, "id": str(row["id"])} for row in rows])


def as_frame(rows: list[dict[str, Any]]) -> Any:
    return pytest.importorskip("pandas").DataFrame(rows)


KINDS = {
    "list": lambda rows: rows,
    "tuple": tuple,
    "frame": as_frame,
    "indexed frame": lambda rows: as_frame(rows).set_index("id"),
    "frame of pillow": lambda rows: as_frame([{**row, "image": as_pillow(row["image"])} for row in rows]),
    "pillow": lambda rows: [{**row, "image": as_pillow(row["image"])} for row in rows],
    "structs": lambda rows: [{**row, "image": row["image"] and {"bytes": row["image"], "path": None}} for row in rows],
    "numpy": lambda rows: [{**row, "id": np.int64(7) if row["id"] == 7 else np.str_(row["id"])} for row in rows],
    "table": as_table,
    "stream": lambda rows: Stream(as_table(rows)),
    "hub": as_hub,
    "hub stream": lambda rows: as_hub(rows).to_iterable_dataset(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_those_of_a_file(kind: str, tmp_path: Path) -> None:
    pq.write_table(as_table(ROWS), tmp_path / "set.parquet")
    data = KINDS[kind](ROWS)
    dataset = open_dataset(data, name="set")
    expected = list(open_dataset(tmp_path / "set.parquet"))
    for _ in range(2):
        found = list(dataset)
        assert [(row.id, row.turns()) for row in found] == [(row.id, row.turns()) for row in expected]
        pixels = ([[image.tobytes() for image in row.images] for row in rows] for rows in (found, expected))
        assert next(pixels) == next(pixels)
    assert (dataset.name, dataset.path, dataset.format, dataset.arguments) == ("set", "", "vqa", {})
    assert any("columns: id, image, question, answer" in line for line in dataset.told().guesses)


def test_what_is_given_is_left_as_it_was() -> None:
    rows = [
        {"id": 1, "question": "Q", "choices": ["x", "y"], "answer": 1, "note": {"a": [1]}},
        {"id": 2, "question": "Q", "choices": ["x", "y"], "answer": 0, "note": {"a": [1]}},
    ]
    before = copy.deepcopy(rows)
    assert [row.answer for row in open_dataset(rows, answer_is="index0")] == ["y", "x"]
    assert rows == before


def test_chats_and_their_images(tmp_path: Path) -> None:
    write_images(tmp_path)
    content = [{"type": "image", "image": as_pillow(BLUE)}, {"type": "text", "text": "What?"}]
    chat = {"messages": [{"role": "user", "content": content}, {"role": "assistant", "content": "blue"}]}
    llava = [{"from": "human", "value": "<image>\nQ"}, {"from": "gpt", "value": "A"}]
    [sample] = open_dataset([chat])
    assert (sample.question, sample.answer, len(sample.images)) == ("What?", "blue", 1)
    rows = [{"id": "x", "image": Path("images/red.png"), "conversations": llava}]
    assert validate(open_dataset(rows)).counts == {"missing_image": 1}
    [row] = good(open_dataset(rows, image_root=tmp_path))
    assert row.sources[0].read_bytes() == RED
    absolute = [{**rows[0], "image": str(tmp_path / "images" / "red.png")}]
    assert validate(open_dataset(absolute)).counts == {"missing_image": 1}
    assert validate(open_dataset(absolute, allow_outside=True)).good == 1


def test_ids_places_and_limits() -> None:
    rows = [{"question": "Q", "answer": str(number)} for number in range(5)]
    dataset = open_dataset([*rows[:2], {"question": "Q"}, "text", {3: 4}, *rows[2:]], name="x.parquet", limit=4)
    assert [row.id for row in dataset] == ["x:1", "x:2", "x:6", "x:7"]
    assert [(problem.code, problem.file, problem.row) for problem in dataset.problems.first] == [
        ("empty_answer", "x", 3),
        ("bad_row", "x", 4),
        ("bad_row", "x", 5),
    ]
    with pytest.raises(DataError, match="x row 3"):
        list(open_dataset([*rows[:2], {"question": "Q"}], name="x", strict=True))
    again = [{"id": 1, "question": "Q", "answer": answer} for answer in "aab"]
    assert [row.id for row in open_dataset(again, name="set")] == ["1", "1@set:3"]


def test_classes_are_named_and_missing_values_are_missing() -> None:
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {"question": datasets.Value("string"), "answer": datasets.ClassLabel(names=["cat", "dog"])}
    )
    data = datasets.Dataset.from_dict({"question": ["Q", "R"], "answer": [1, 0]}, features=features)
    for each in (data, data.with_format("arrow")[:], data.with_format("torch")):
        dataset = open_dataset(each)
        assert [row.answer for row in dataset] == ["dog", "cat"]
        assert any("classes: answer" in line for line in dataset.told().guesses)
    frame = as_frame([{"question": "Q", "answer": 3, "image": None}, {"question": "Q"}])
    dataset = open_dataset(frame)
    assert [row.answer for row in dataset] == ["3"]  # and not 3.0, though pandas made it one
    assert dataset.problems.counts == {"empty_answer": 1}


def test_the_identity_of_rows_in_memory_is_their_content() -> None:
    marks = {open_dataset(KINDS[kind](ROWS), name="set").fingerprint() for kind in ("table", "stream", "hub")}
    other = open_dataset(as_table([*ROWS[:2], {**ROWS[2], "answer": "some"}])).fingerprint()
    assert len(marks) == 1
    assert other not in marks


def test_rows_in_memory_are_written_and_read_back(tmp_path: Path) -> None:
    write_rows(good(open_dataset(ROWS)), tmp_path / "out", "llava", name="set")
    back = good(open_dataset(tmp_path / "out"))
    assert [row.sources[0].read_bytes() for row in back if row.sources] == [RED, GREEN]


def refused(data: Any, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        open_dataset(data, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_no_dataset_is_refused_in_a_line() -> None:
    kinds = "a list of dicts, a pandas or Arrow table, or a datasets.Dataset"
    assert refused(3) == f"the dataset: what is given is of type int; give a path, {kinds}"
    assert "of type generator; give a path" in refused(row for row in ROWS)
    assert "of type dict; give a path" in refused({"question": ["Q"], "answer": ["A"]})
    assert "of type NoneType; give a path" in refused(None)
    assert "it holds no rows" in refused([])
    assert "row 1: the row is a str" in refused(["text"])
    assert "subset and split are of files" in refused(ROWS, split="train")
    assert "format 'webdataset' is one of files" in refused(ROWS, format="webdataset")
    assert "unknown format 'x'" in refused(ROWS, format="x")
    assert "format not recognised" in refused([{"prompt": "Q", "reply": "A"}])
    assert "no column 'q'" in refused(ROWS, columns={"question": "q"})
    assert "two columns are named 'question'" in refused(
        pa.table([["Q"], ["Q"], ["A"]], names=["question", "question", "answer"])
    )
    assert "the column 0 has no name" in refused(as_frame([("Q", "A")]))  # type: ignore[list-item]


def test_datasets_of_the_hub_that_cannot_be_read_as_they_are() -> None:
    datasets = pytest.importorskip("datasets")
    data = as_hub(ROWS)
    assert "give one of them: 'train', 'test'" in refused(datasets.DatasetDict({"train": data, "test": data}))
    assert "it has a transform" in refused(data.with_transform(lambda rows: rows))


def test_samples_are_a_dataset_as_before() -> None:
    samples = list(open_dataset(ROWS))
    assert [row.id for row in Dataset.from_samples("s", samples)] == ["7", "b", "c"]
