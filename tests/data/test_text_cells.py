"""Conversations, images and lists that a column holds as text: CSV exports, and text columns of Parquet and JSONL."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sample_files as files

from dataprophet.data import Conversation, open_dataset
from dataprophet.data.formats.literals import literal, unpacked
from dataprophet.errors import DataError

RED, BLUE = "images/red.png", "images/blue.png"
QUESTION, ANSWER = '<image>\nWhat\'s {it}, ["x"] 猫 } {?', "say 'a' \\frac array([1, 2])\n} {"
USER, BOT = {"role": "user", "content": QUESTION}, {"role": "assistant", "content": ANSWER}
PARTS = [{"type": "image", "image": RED}, {"type": "text", "text": QUESTION.removeprefix("<image>\n")}]
CHATS: dict[str, dict[str, Any]] = {
    "llava": {"image": RED, "conversations": [{"from": "human", "value": QUESTION}, {"from": "gpt", "value": ANSWER}]},
    "swift": {"images": [RED], "messages": [USER, BOT]},
    "parts": {"messages": [{"role": "user", "content": PARTS}, BOT]},
    "finevision": {"images": [RED], "texts": [{"user": QUESTION, "assistant": ANSWER}]},
    "verl": {"images": [RED], "prompt": [USER], "reward_model": {"style": "rule", "ground_truth": ANSWER}},
    "history": {"images": [RED], "query": "And?", "response": "no", "history": [[QUESTION, ANSWER]]},
}


def as_numpy(value: Any) -> str:
    """As pandas writes a column of arrays of objects: without commas between them."""
    if isinstance(value, dict) or not isinstance(value[0], dict):
        return repr(value)
    held = np.empty(len(value), object)
    held[:] = value
    return str(held)


WRITERS: dict[str, Callable[[Any], str]] = {"json": json.dumps, "python": repr, "numpy": as_numpy}


def dump(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".csv":
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        files.dump(path, rows)
    return path


def write_stream(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".jsonl"])
@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("chat", CHATS)
def test_a_conversation_as_text_is_the_conversation(chat: str, writer: str, suffix: str, tmp_path: Path) -> None:
    files.write_images(tmp_path)
    row = CHATS[chat]
    text = {name: value if isinstance(value, str) else WRITERS[writer](value) for name, value in row.items()}
    (expected,) = open_dataset(files.dump(tmp_path / "plain.jsonl", [row])).rows()
    (found,) = open_dataset(dump(tmp_path / f"a{suffix}", [text])).rows()
    assert isinstance(expected, Conversation)
    assert isinstance(found, Conversation)
    assert (found.turns, found.sources) == (expected.turns, expected.sources)
    assert (found.turns[0].question, found.turns[0].answer, len(found.sources)) == (QUESTION[8:], ANSWER, 1)


def test_images_as_text(tmp_path: Path) -> None:
    files.write_images(tmp_path)
    read, named = {"bytes": files.RED, "path": None}, {"bytes": None, "path": RED}
    cells = [repr(read), repr(files.RED), repr(named), json.dumps([RED, BLUE]), repr([read, named]), RED]
    rows = [{"image": cell, "question": "Q", "answer": "A"} for cell in cells]
    found = list(open_dataset(dump(tmp_path / "a.csv", rows)).rows())
    sizes = [[image.load().size for image in row.sources] for row in found if isinstance(row, Conversation)]
    red, blue = (6, 4), (5, 9)
    assert sizes == [[red], [red], [red], [red, blue], [red, red], [red]]
    numbered = {"image_1": repr(read), "image_2": BLUE, "question": "Is <image 2> like <image 1>?", "answer": "no"}
    (sample,) = open_dataset(dump(tmp_path / "b.csv", [numbered]))
    assert [image.size for image in sample.images] == [blue, red]
    (tmp_path / "[1] b'x'.png").write_bytes(files.BLUE)  # a name, and no list
    (sample,) = open_dataset(dump(tmp_path / "c.csv", [{**rows[0], "image": "[1] b'x'.png"}]))
    assert sample.images[0].size == blue


def test_text_that_is_no_list_stays_text(tmp_path: Path) -> None:
    cut = json.dumps(CHATS["swift"]["messages"])[:-9]
    rows = [{"messages": json.dumps([{**USER, "content": "Q"}, BOT])}, {"messages": cut}, {"messages": "[1, 2]"}]
    good, *bad = open_dataset(dump(tmp_path / "a.csv", rows)).rows()
    assert isinstance(good, Conversation)
    assert [str(row).partition(": ")[2] for row in bad] == [
        "the messages are a str, not a list; write a list of objects",
        "message 1 is a int, not an object; write an object",
    ]
    row = {"question": "[1, 2]?", "answer": '{"a": 1}', "hint": "[3]"}
    (sample,) = open_dataset(dump(tmp_path / "b.csv", [row]))
    assert (sample.question, sample.answer) == ("[3]\n[1, 2]?", '{"a": 1}')


def test_what_a_text_stands_for() -> None:
    assert literal("[{'a': 'x} {y'}\n {'a': 2}]") == [{"a": "x} {y"}, {"a": 2}]
    for text in ("[1, 2", "[__import__('os').getcwd()]", "{'a': 1} {'b': 2}", "b'x' 'y'", "[" * 100_000, "b'", "3"):
        assert unpacked(text) == text


@pytest.mark.parametrize(
    ("suffix", "header", "fix"),
    [(".csv", "image;question;answer", "commas"), (".csv", "a\tb", "name it .tsv"), (".tsv", "a,b", "tabs")],
)
def test_a_header_of_another_delimiter_is_told(suffix: str, header: str, fix: str, tmp_path: Path) -> None:
    (tmp_path / f"a{suffix}").write_text(f"{header}\n1\n")
    with pytest.raises(DataError, match=r"is one column, and holds .*; separate columns by .*" + fix):
        open_dataset(tmp_path / f"a{suffix}")


def test_parts_that_became_text_or_lost_theirs_are_refused() -> None:
    lost = [{"type": "text", "content": "Q"}, {"type": "text", "text": "really?"}]
    for content, says in ((json.dumps(PARTS), "a list of parts that was made text"), (lost, "has no 'text'")):
        rows = [{"messages": [{"role": "user", "content": content}, BOT]}]
        (problem,) = open_dataset(rows).rows()
        assert says in str(problem)
    layout = json.dumps([{"type": "text", "text": "Title"}])  # of a page, as an answer tells it
    talk = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": layout}]
    (sample,) = open_dataset([{"messages": talk}])
    assert sample.answer == layout


def test_a_table_without_a_column_that_is_read_is_no_empty_one(tmp_path: Path) -> None:
    dump(tmp_path / "a.parquet", [{"question": "Q", "answer": "A"}])
    dump(tmp_path / "b.parquet", [{"prompt_text": "Q", "reply": "A"}])
    with pytest.raises(DataError, match=r"b.parquet: none of its columns is read: prompt_text, reply; map its columns"):
        list(open_dataset(tmp_path))
    twice = pa.table([["Q"], ["A"], ["B"]], names=["question", "answer", "answer"])
    for name, write in (("c.parquet", pq.write_table), ("c.arrow", write_stream)):
        write(twice, tmp_path / name)
        with pytest.raises(DataError, match=f"{name}: two columns are named 'answer'; give each its own name"):
            open_dataset(tmp_path / name)


def test_columns_that_a_dataset_names_itself_are_read(tmp_path: Path) -> None:
    files.write_images(tmp_path)
    talk, images = CHATS["llava"]["conversations"], [RED]
    dump(tmp_path / "a.csv", [{"talk": json.dumps(talk), "pics": json.dumps(images), "left_image": RED}])
    entry = {"file_name": "a.csv", "formatting": "sharegpt", "columns": {"messages": "talk", "images": "pics"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps({"x": entry}))
    dataset = open_dataset(tmp_path)
    (sample,) = dataset
    assert (sample.answer, len(sample.images)) == (ANSWER, 1)
    assert [warning.split()[0] for warning in dataset.told().warnings] == ["'left_image'"]


def test_columns_of_conversations_are_not_read_beside_a_question(tmp_path: Path) -> None:
    row = {"question": "Q", "answer": "A", "prompt": "P", "query": "Q?", "system": "S"}
    path = dump(tmp_path / "a.csv", [row])
    (line,) = (line for line in open_dataset(path).told().guesses if line.startswith("columns"))
    assert line == "columns: question, answer; not read: prompt, query, system (--columns FIELD=COLUMN)"
    (line,) = (line for line in open_dataset(path, columns={"question": "query"}).told().guesses if "columns:" in line)
    assert "not read: prompt, system" in line
    (sample,) = open_dataset([{"texts": [{"user": "Q", "assistant": "A"}], "system": "S"}])
    assert sample.question == "S\n\nQ"
