"""Rows for KTO, of which some answers are ones to avoid: they are refused, however the rows are kept."""

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sample_files as files

from dataprophet.data import Conversation, open_dataset

MESSAGES = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
TURNS = [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]
SHAPES: dict[str, dict[str, Any]] = {
    "messages": {"messages": MESSAGES},
    "conversations": {"conversations": TURNS},
    "texts": {"images": [], "texts": [{"user": "Q", "assistant": "A"}]},
    "query": {"query": "Q", "response": "A"},
}
LABELS = (True, False, None)


def read(data: Any, **options: Any) -> list[str]:
    """The answer of each row, or the code of its problem."""
    rows = open_dataset(data, **options).rows()
    return [row.turns[0].answer if isinstance(row, Conversation) else row.code for row in rows]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_reader_refuses_them(shape: str, tmp_path: Path) -> None:
    rows = [{**SHAPES[shape], "label": label} for label in LABELS]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "kto.parquet")
    with pa.OSFile(str(tmp_path / "kto.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    for name in ("kto.jsonl", "kto.json"):
        files.dump(tmp_path / name, rows)
    for name in ("kto.parquet", "kto.arrow", "kto.jsonl", "kto.json"):
        assert read(tmp_path / name) == ["A", "untrained", "A"], name
    assert read(rows) == read(table) == ["A", "untrained", "A"]


def test_a_table_of_text(tmp_path: Path) -> None:
    with open(tmp_path / "kto.csv", "w", newline="") as file:
        csv.writer(file).writerows([("query", "response", "label"), *(("Q", "A", str(label)) for label in LABELS)])
    assert read(tmp_path / "kto.csv") == ["A", "untrained", "A"]


def test_the_column_that_llamafactory_names(tmp_path: Path) -> None:
    rows = [{"messages": MESSAGES, "liked": label, "label": False} for label in LABELS]
    files.dump(tmp_path / "rows.json", rows)
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    entry = {"file_name": "rows.json", "formatting": "sharegpt", "tags": tags}
    info = {"kto": {**entry, "columns": {"messages": "messages", "kto_tag": "liked"}}}
    info["sft"] = {**entry, "columns": {"messages": "messages"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps(info))
    assert read(tmp_path, subset="kto") == ["A", "untrained", "A"]
    assert read(tmp_path, subset="sft") == ["A", "A", "A"]


def test_a_label_that_is_the_answer(tmp_path: Path) -> None:
    rows = [{"question": "Is it red?", "label": label} for label in (True, False)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    dataset = open_dataset(tmp_path / "a.parquet", columns={"answer": "label"})
    assert [sample.answer for sample in dataset] == ["yes", "no"]
    told = open_dataset([{"question": "Q", "answer": "A", "label": False}]).told().guesses
    assert any("not read: label" in line for line in told)
