"""Rows whose id occurs before are kept under their place; only equal ones are left out."""

import json
import os
import tarfile
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sample_files as files

from dataprophet.data import Conversation, open_dataset
from dataprophet.data import ids as module
from dataprophet.data.ids import KnownIds
from dataprophet.data.sample import Turn


def told(path: Path) -> list[str]:
    return [row.id if isinstance(row, Conversation) else f"{row.code} {row.row}" for row in open_dataset(path).rows()]


def test_repeated_ids_over_files_in_folders(tmp_path: Path) -> None:
    row = {"id": "a", "query": "Q", "response": "A"}
    for name in ("one/x", "two/x"):
        (tmp_path / name).parent.mkdir()
        files.dump(tmp_path / f"{name}.jsonl", [row, {**row, "response": name}, {**row, "response": name}])
    assert told(tmp_path) == [
        *("a", "a@one/x:2", "duplicate_row 3"),
        *("duplicate_row 1", "a@two/x:2", "duplicate_row 3"),
    ]


def test_ids_that_look_like_qualified_ones(tmp_path: Path) -> None:
    rows = [
        {"id": id, "query": f"Q{number}", "response": "A"} for number, id in enumerate(["a", "a@x:3", "a", "a@x:3"])
    ]
    assert told(files.dump(tmp_path / "x.jsonl", rows)) == ["a", "a@x:3", "bad_id 3", "a@x:3@x:4"]


@pytest.mark.parametrize("suffix", [".parquet", ".tar"])
def test_only_equal_images_make_rows_equal(suffix: str, tmp_path: Path) -> None:
    pictures = [files.RED, files.BLUE, files.RED, files.BLUE[:-1], files.BLUE]
    texts = [{"id": "a", "question": "Q", "answer": "A"} for _ in pictures]
    path = tmp_path / f"x{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist([{**t, "image": p} for t, p in zip(texts, pictures, strict=True)]), path)
    else:
        with tarfile.open(path, "w") as tar:
            for number, (text, picture) in enumerate(zip(texts, pictures, strict=True)):
                files.add_member(tar, f"{number}.json", json.dumps(text).encode())
                files.add_member(tar, f"{number}.png", picture)
    assert told(path) == ["a", "a@x:2", "duplicate_row 3", "a@x:4", "duplicate_row 5"]


def test_millions_take_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LATEST", 200)
    turns = [(Turn("Q", str(answer)),) for answer in range(3)]

    def settled(known: KnownIds) -> list[str]:
        rows = (Conversation(str(n // 3), (), turns[n % 3], "x.json", n + 1) for n in range(6_000))
        return [known.settled(row).id for row in rows]

    tracemalloc.start()
    known = KnownIds()
    ids = settled(known)
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(set(ids)) == 6_000
    assert [ids[0], ids[1], ids[-1]] == ["0", "0@x:2", "1999@x:6000"]
    assert kept < 6_000 * 40 + sum(map(len, ids)) + 80 * 6_000 + 200_000  # of which the list of ids itself is most
    again = [type(known.settled(Conversation("7", (), turns[n], "x.json", 99))).__name__ for n in range(3)]
    assert again == ["Problem"] * 3


def test_ids_of_files_whose_names_are_no_text_can_be_written(tmp_path: Path) -> None:
    talk = [{"from": "human", "value": "Q?"}, {"from": "gpt", "value": "A"}]
    rows = [{"conversations": talk}, *({"id": "x", "conversations": [talk[0], {**talk[1], "value": v}]} for v in "BC")]
    with open(os.path.join(os.fsencode(tmp_path), b"\xff\n.jsonl"), "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    assert [sample.id for sample in open_dataset(tmp_path)] == ["\\udcff\\n:1", "x", "x@\\udcff\\n:3"]
