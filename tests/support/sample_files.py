"""Writes the same four rows in every format that DataProphet reads."""

from __future__ import annotations

import base64
import csv
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from dataprophet.data import Conversation, Dataset
from dataprophet.data.images.sources import BytesImage
from dataprophet.data.sample import Turn


def png(color: tuple[int, int, int] = (200, 30, 30), size: tuple[int, int] = (6, 4)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, color).save(buffer, "PNG")
    return buffer.getvalue()


RED, GREEN, BLUE = png(), png((20, 180, 40)), png((10, 20, 220), (5, 9))
NAMES = {"red.png": RED, "green.png": GREEN, "blue.png": BLUE}

EXPORTED = (
    Conversation("a", (BytesImage(RED),), (Turn("What?", "red", (0,)),)),
    Conversation("b", (BytesImage(RED), BytesImage(BLUE)), (Turn("x y", "z", (2, 3)), Turn("é", "漢"))),
    Conversation("c", (), (Turn("No image", "none"),)),
)
"""Rows to write: one image, two within a text and a turn without any, none."""


@dataclass(frozen=True)
class Row:
    """id as stored, image names, and (question, offsets, answer) turns."""

    id: int | str
    images: tuple[str, ...]
    turns: tuple[tuple[str, tuple[int, ...], str], ...]


SINGLE = Row(7, ("red.png",), (("What colour?", (0,), "red"),))
MULTI = Row("multi", ("green.png",), (("First?", (0,), "one"), ("Second, 漢字 é?", (), "zwei ß")))
PAIR = Row("pair", ("red.png", "blue.png"), (("Compare\nwith this.", (0, 8), "They differ."),))
TEXT = Row("text", (), (("No image here?", (), "None."),))
ROWS = (SINGLE, MULTI, PAIR, TEXT)


def marked(question: str, offsets: tuple[int, ...]) -> str:
    """Markers written by hand, each on a line of its own."""
    out, done = "", 0
    for offset in offsets:
        out += question[done:offset] + "<image>\n"
        done = offset
    return out + question[done:]


def chat(row: Row, role: str, content: str, user: str, assistant: str) -> list[dict[str, str]]:
    out = []
    for question, offsets, answer in row.turns:
        out += [{role: user, content: marked(question, offsets)}, {role: assistant, content: answer}]
    return out


def write_images(folder: Path) -> None:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for name, data in NAMES.items():
        (folder / "images" / name).write_bytes(data)


def dump(path: Path, rows: list[Any]) -> Path:
    """A JSON or JSONL file, by its suffix."""
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    text = "\n".join(lines) + "\n" if path.suffix == ".jsonl" else "[" + ",\n".join(lines) + "]"
    path.write_text(text, encoding="utf-8")
    return path


def llava_row(row: Row) -> dict[str, Any]:
    names = [f"images/{name}" for name in row.images]
    image = {} if not names else {"image": names[0] if len(names) == 1 else names}
    return {"id": row.id, **image, "conversations": chat(row, "from", "value", "human", "gpt"), "model": "x"}


def write_llava(folder: Path) -> Path:
    write_images(folder)
    return dump(folder / "data.json", [llava_row(row) for row in ROWS])


def write_llava_lines(folder: Path) -> Path:
    write_images(folder)
    return dump(folder / "data.jsonl", [llava_row(row) for row in ROWS])


def swift_row(row: Row) -> dict[str, Any]:
    images = [f"images/{name}" for name in row.images]
    return {"id": row.id, "messages": chat(row, "role", "content", "user", "assistant"), "images": images}


def write_swift(folder: Path) -> Path:
    write_images(folder)
    return dump(folder / "data.jsonl", [swift_row(row) for row in ROWS])


def write_llamafactory(folder: Path) -> Path:
    write_images(folder)
    dump(folder / "mllm.json", [swift_row(row) for row in ROWS])
    dump(folder / "plain.json", [llava_row(row) for row in ROWS])
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}
    columns = {"messages": "messages", "images": "images"}
    info = {
        "mllm": {"file_name": "mllm.json", "formatting": "sharegpt", "columns": columns, "tags": tags},
        "plain": {"file_name": "plain.json", "formatting": "sharegpt", "columns": {"images": "image"}},
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return folder


def finevision_table() -> pa.Table:
    """Images as structs of bytes and path. Ids have to be of one type in a table."""
    return pa.table(
        {
            "id": [str(row.id) for row in ROWS],
            "images": [[{"bytes": NAMES[name], "path": None} for name in row.images] for row in ROWS],
            "texts": [
                [{"user": marked(question, offsets), "assistant": answer} for question, offsets, answer in row.turns]
                for row in ROWS
            ],
            "source": ["x"] * len(ROWS),
        }
    )


def write_finevision(folder: Path) -> Path:
    pq.write_table(finevision_table(), folder / "data.parquet", row_group_size=2)
    return folder / "data.parquet"


def write_webdataset(folder: Path) -> Path:
    path = folder / "data.tar"
    with tarfile.open(path, "w") as tar:
        for index, row in enumerate(ROWS):
            talk = {"id": row.id, "conversations": chat(row, "from", "value", "human", "gpt")}
            add_member(tar, f"{index:06d}.json", json.dumps(talk).encode())
            for number, name in enumerate(row.images):
                add_member(tar, f"{index:06d}.{number}.png" if len(row.images) > 1 else f"{index:06d}.png", NAMES[name])
    return path


def add_member(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def write_saved(folder: Path) -> Path:
    """What ``datasets`` writes with ``save_to_disk``, as Arrow streams and a state file."""
    table = finevision_table()
    out = folder / "saved"
    out.mkdir()
    for shard in range(2):
        path = out / f"data-0000{shard}-of-00002.arrow"
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table.slice(2 * shard, 2), max_chunksize=1)
    files = [{"filename": f"data-0000{shard}-of-00002.arrow"} for shard in range(2)]
    (out / "state.json").write_text(json.dumps({"_data_files": files, "_split": "train"}))
    (out / "dataset_info.json").write_text("{}")
    return out


CHAT_WRITERS: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "llava": ("llava", write_llava),
    "llava lines": ("llava", write_llava_lines),
    "swift": ("swift", write_swift),
    "llamafactory": ("llamafactory", write_llamafactory),
    "finevision": ("finevision", write_finevision),
    "webdataset": ("webdataset", write_webdataset),
    "huggingface": ("huggingface", write_saved),
}
"""Formats that hold all of ROWS."""

# Single-turn questions for the formats of columns: image, question, options, answer as stored, answer as read.
QUESTIONS = (
    ("red.png", "Which colour?", ["green", "red"], "B", "red"),
    (None, "One plus one?", None, "2", "2"),
    ("blue.png", "Which letter?", ["x", "y", "z"], "C", "z"),
)
LETTERED = ("Which colour?\nA. green\nB. red", "One plus one?", "Which letter?\nA. x\nB. y\nC. z")


def write_vqa(folder: Path, suffix: str) -> Path:
    path = folder / f"data{suffix}"
    rows = [
        {
            "question_id": index,
            "image": image and (NAMES[image] if suffix == ".parquet" else f"images/{image}"),
            "question": question,
            "choices": choices,
            "answer": str(answer),
        }
        for index, (image, question, choices, answer, _) in enumerate(QUESTIONS)
    ]
    write_images(folder)
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif suffix in {".csv", ".tsv"}:
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="," if suffix == ".csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
    else:
        dump(path, rows)
    return path


def write_vlmeval(folder: Path) -> Path:
    path = folder / "data.tsv"
    names = ["index", "image", "question", "A", "B", "C", "D", "answer", "hint"]
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, names, delimiter="\t")
        writer.writeheader()
        code = {name: base64.b64encode(data).decode() for name, data in NAMES.items()}
        writer.writerow(
            {"index": 0, "image": code["red.png"], "question": "Which?", "A": "x", "B": 'a "q"', "answer": "B"}
        )
        writer.writerow({"index": 1, "image": "0", "question": "Same image?", "answer": "['yes', 'yes', 'no']"})
        pair = str([code["red.png"], code["blue.png"]])
        writer.writerow({"index": 2, "image": pair, "question": "Two\nlines", "hint": "Look.", "answer": "[3, 5]"})
    return path


def good(dataset: Dataset) -> list[Conversation]:
    """Rows of a dataset that must hold no bad one."""
    rows = list(dataset.rows())
    assert all(isinstance(row, Conversation) for row in rows), [str(row) for row in rows]
    return rows  # type: ignore[return-value]
