"""Samples by number, and divided over the workers of a torch DataLoader."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sample_files as files

from dataprophet.data import Dataset, Sample, open_dataset
from dataprophet.errors import DataError


def rows_of(count: int) -> list[dict[str, Any]]:
    """Rows of which some have the id of an earlier one, some are equal to it, some cannot be used; some have turns."""
    rows = []
    for number in range(count):
        turns = [{"from": "human", "value": f"Q{number}"}, {"from": "gpt", "value": f"A{number}"}]
        row: dict[str, Any] = {"id": f"r{number}", "conversations": turns * (1 + number % 3)}
        if number % 100 == 7:
            row["id"] = f"r{number - 5}"
        if number % 100 == 8:
            row = dict(rows[-8])
        if number % 100 == 9:
            row["conversations"] = turns[:1]
        rows.append(row)
    return rows


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    rows = rows_of(2600)
    for name, part in (("a", rows[:2300]), ("b", rows[2300:])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    return tmp_path


def same(dataset: Dataset) -> list[Sample]:
    """All samples, which those by number are."""
    expected = list(iter(dataset.__iter__()))
    assert len(dataset) == len(expected)
    assert [dataset[number] for number in range(len(expected))] == expected
    return expected


@pytest.mark.parametrize("case", files.CHAT_WRITERS)
def test_every_format_by_number(case: str, tmp_path: Path) -> None:
    dataset = open_dataset(files.CHAT_WRITERS[case][1](tmp_path), subset="mllm" if case == "llamafactory" else None)
    assert len(same(dataset)) == sum(len(row.turns) for row in files.ROWS)


def test_ids_over_cells_and_files(pool: Path) -> None:
    dataset = open_dataset(pool)
    found = same(dataset)
    assert sum("@" in sample.id for sample in found) > 26
    assert (dataset[-1], dataset[0]) == (found[-1], found[0])
    backwards = [dataset[number].id for number in range(len(found) - 1, -1, -97)]
    assert backwards == [sample.id for sample in found[::-97]]
    for limit in (0, 1, 1500, 10**6):
        same(open_dataset(pool, limit=limit))
    rows = [json.loads(line) for name in "ab" for line in (pool / f"{name}.jsonl").read_text().splitlines()]
    assert [sample.answer for sample in same(open_dataset(rows))] == [sample.answer for sample in found]
    same(Dataset.from_samples("kept", found))


def test_list_takes_a_dataset_as_any_iterable(pool: Path) -> None:
    dataset = open_dataset(pool, limit=30)
    assert list(dataset) == [*dataset] == list(dataset.__iter__())
    assert dataset.problems.counts == {"unanswered": 1, "duplicate_row": 1}
    dataset.limit = 3
    same(dataset)
    assert bool(open_dataset(pool, limit=0))


def test_what_is_no_number_is_told(pool: Path) -> None:
    dataset = open_dataset(pool, limit=3)
    with pytest.raises(IndexError, match="has 6 samples, and none of number 6"):
        dataset[6]
    with pytest.raises(DataError, match="no number of a sample") as caught:
        dataset["r1"]  # type: ignore[index]
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="row 9"):
        len(open_dataset(pool, strict=True, limit=2000))


def test_a_file_that_changed_is_not_read_by_number(pool: Path) -> None:
    dataset = open_dataset(pool / "a.jsonl")
    assert len(dataset) > 0
    text = (pool / "a.jsonl").read_text().replace('"A0"', '"Z0"')
    (pool / "a.jsonl").write_text(text)
    with pytest.raises(DataError, match="has changed since its samples were counted"):
        dataset[0]


def test_rows_that_come_in_order_alone_have_no_length(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [{"question": "Q", "answer": str(number)} for number in range(3)]
    dataset = open_dataset(datasets.Dataset.from_list(rows).to_iterable_dataset(), name="stream")
    for ask in (len, lambda it: it[0]):
        with pytest.raises(DataError, match="stream: its rows come in order alone; give a"):
            ask(dataset)
    assert [sample.answer for sample in list(dataset)] == ["0", "1", "2"]
    with pytest.raises(DataError, match="come in order alone; load it with the datasets package"):
        len(open_dataset("hf:no-one/nothing", split="train"))


def test_a_dataset_is_true_without_being_read(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text('{"question": "Q", "answer": "A"}\n')
    dataset = open_dataset(tmp_path / "empty.jsonl")
    (tmp_path / "empty.jsonl").unlink()
    assert dataset


def test_a_dataset_goes_to_another_process(pool: Path) -> None:
    dataset = open_dataset(pool, limit=20, name="mine")
    dataset.limit = 10
    table = pa.table({"question": ["Q"], "answer": ["A"]})
    for each in (dataset, open_dataset(table), Dataset.from_samples("s", list(dataset))):
        again = pickle.loads(pickle.dumps(each))
        assert (again.name, again.limit, list(again)) == (each.name, each.limit, list(each))


def ids(samples: list[Any]) -> list[str]:
    return [sample.id for sample in samples]


def size(sample: Sample) -> str:
    return f"{sample.id}: {sample.images[0].size}"


def test_workers_and_ranks_share_the_samples(pool: Path) -> None:
    data = pytest.importorskip("torch.utils.data")
    dataset = open_dataset(pool, limit=300)
    expected = ids(list(dataset))
    for workers in (0, 2):
        found: list[str] = []
        for rank in range(2):
            part = dataset.torch(rank=rank, world_size=2)
            loader = data.DataLoader(part, batch_size=16, num_workers=workers, collate_fn=ids)
            found += [name for batch in loader for name in batch]
        assert len(found) == len(expected)
        assert sorted(found) == sorted(expected)
    assert ids(list(dataset.torch(rank=1, world_size=3))) == expected[1::3]
    sampled = data.DataLoader(dataset, batch_size=16, num_workers=2, shuffle=True, collate_fn=ids)
    assert sorted(name for batch in sampled for name in batch) == sorted(expected)


def test_ranks_are_those_of_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    rows = [{"id": str(number), "question": "Q", "answer": "A"} for number in range(5)]
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert ids(list(open_dataset(rows).torch())) == ["1", "3"]
    assert ids(list(open_dataset(rows).torch(rank=0, world_size=1))) == list("01234")
    for wrong in ({"rank": 2, "world_size": 2}, {"rank": 0}, {"world_size": 2}):
        with pytest.raises(DataError, match=r"rank is .* and world_size"):
            open_dataset(rows).torch(**wrong)


def test_images_are_decoded_by_the_worker(tmp_path: Path) -> None:
    data = pytest.importorskip("torch.utils.data")
    table = pa.table({"image": [files.RED, files.BLUE], "question": ["Q"] * 2, "answer": ["A"] * 2})
    pq.write_table(table, tmp_path / "x.parquet")
    loader = data.DataLoader(open_dataset(tmp_path / "x.parquet").torch(size), batch_size=None, num_workers=2)
    assert sorted(loader) == ["x:1: (6, 4)", "x:2: (5, 9)"]
