"""Writers of the demo's files, one for each format. Bytes depend on the rows only: no clock, no environment.

`datasets.py` and `pool.py` call them. They stay apart from the package's exports, so that readers are tested against
files as others write them.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataprophet.demo.questions import Question
from dataprophet.demo.scenes import Scene, draw


@dataclass(frozen=True, slots=True)
class Item:
    """One row: pictures, questions about them in order, and the options of the first question, if it has any."""

    id: str
    scenes: tuple[Scene, ...]
    questions: tuple[Question, ...]
    options: tuple[str, ...] = ()


def png(scene: Scene) -> bytes:
    """The picture of a scene as a PNG file."""
    buffer = io.BytesIO()
    draw(scene).save(buffer, "PNG")
    return buffer.getvalue()


def write_items(path: Path, name: str, format: str, items: Sequence[Item]) -> None:
    """Write a dataset in a format.

    Args:
        path: of the file, or, for LLaMA-Factory, of the folder.
        name: the dataset's.
        format: a key of ``_WRITERS``.
        items: its rows.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    _WRITERS[format](path, name, items)


def _llava(path: Path, name: str, items: Sequence[Item]) -> None:
    """LLaVA JSON and a folder of images. Ids are integers, as in some published files."""
    rows = []
    for index, item in enumerate(items):
        image = {"image": _save_pictures(path.parent, item)[0]} if item.scenes else {}
        turns = [{"from": "human" if role == "user" else "gpt", "value": text} for role, text in _turns(item, "\n")]
        rows.append({"id": index, **image, "conversations": turns})
    _write_json(path, rows)


def _llamafactory(path: Path, name: str, items: Sequence[Item]) -> None:
    """LLaMA-Factory ShareGPT: a folder with dataset_info.json, the rows and the images."""
    rows = [{"messages": _messages(item), "images": _save_pictures(path, item)} for item in items]
    info = {
        "file_name": f"{name}.json",
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "images": "images"},
        "tags": {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"},
    }
    _write_json(path / f"{name}.json", rows)
    _write_json(path / "dataset_info.json", {name: info})


def _swift(path: Path, name: str, items: Sequence[Item]) -> None:
    """ms-swift JSONL. Every fourth row holds its images as data addresses, the others as paths."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        for index, item in enumerate(items):
            row: dict[str, Any] = {"id": item.id, "messages": _messages(item)}
            if item.scenes and index % 4 == 0:
                row["images"] = [f"data:image/png;base64,{_base64(scene)}" for scene in item.scenes]
            elif item.scenes:
                row["images"] = _save_pictures(path.parent, item)
            stream.write(json.dumps(row) + "\n")


def _finevision(path: Path, name: str, items: Sequence[Item]) -> None:
    """FineVision Parquet: a list of images, a list of turns, and a column that no reader needs."""
    table = {
        "images": pa.array([_image_cells(item) for item in items]),
        "texts": pa.array([[{"user": q.question, "assistant": q.answer} for q in item.questions] for item in items]),
        "source": pa.array([name] * len(items)),
    }
    _write_parquet(path, table)


def _vqa(path: Path, name: str, items: Sequence[Item]) -> None:
    """Parquet with one question per row: question_id, image, question, answer."""
    _write_parquet(path, {**_vqa_columns(items), "answer": pa.array([item.questions[0].answer for item in items])})


def _vqa_answers(path: Path, name: str, items: Sequence[Item]) -> None:
    """Parquet with a list of answers from ten annotators, of whom one gave another answer now and then."""
    answers = []
    for index, item in enumerate(items):
        right = item.questions[0].answer
        other = items[index - 1].questions[0].answer
        answers.append([other if index % 3 == 0 and place == 7 else right for place in range(10)])
    _write_parquet(path, {**_vqa_columns(items), "answers": pa.array(answers)})


def _webdataset(path: Path, name: str, items: Sequence[Item]) -> None:
    """A tar file with ``<key>.png`` and ``<key>.json`` for each row."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for index, item in enumerate(items):
            question = item.questions[0]
            record = {"id": item.id, "question": question.question, "answer": question.answer}
            for suffix, content in (("png", png(item.scenes[0])), ("json", json.dumps(record).encode())):
                member = tarfile.TarInfo(f"{index:09d}.{suffix}")
                member.size, member.mode = len(content), 0o644
                archive.addfile(member, io.BytesIO(content))


def _vlmeval(path: Path, name: str, items: Sequence[Item]) -> None:
    """VLMEvalKit TSV: base64 images; with options in columns A to D the answer is the letter of the right one."""
    letters = "ABCD" if any(item.options for item in items) else ""
    with path.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, delimiter="\t", lineterminator="\n")
        table.writerow(["index", "image", "question", *letters, "answer"])
        for index, item in enumerate(items):
            question = item.questions[0]
            answer = letters[item.options.index(question.answer)] if letters else question.answer
            table.writerow([index, _base64(item.scenes[0]), question.question, *item.options, answer])


_WRITERS: dict[str, Callable[[Path, str, Sequence[Item]], None]] = {
    "llava": _llava,
    "llamafactory": _llamafactory,
    "swift": _swift,
    "finevision": _finevision,
    "vqa": _vqa,
    "vqa-answers": _vqa_answers,
    "webdataset": _webdataset,
    "vlmeval": _vlmeval,
}


def _turns(item: Item, separator: str = "") -> Iterator[tuple[str, str]]:
    marks = f"<image>{separator}" * len(item.scenes)
    for index, question in enumerate(item.questions):
        yield "user", question.question if index else f"{marks}{question.question}"
        yield "assistant", question.answer


def _messages(item: Item) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in _turns(item)]


def _base64(scene: Scene) -> str:
    return base64.b64encode(png(scene)).decode("ascii")


def _save_pictures(folder: Path, item: Item) -> list[str]:
    (folder / "images").mkdir(parents=True, exist_ok=True)
    names = [f"images/{item.id}-{index}.png" for index in range(len(item.scenes))]
    for name, scene in zip(names, item.scenes, strict=True):
        (folder / name).write_bytes(png(scene))
    return names


def _image_cells(item: Item) -> list[dict[str, Any]]:
    return [{"bytes": png(scene), "path": f"{item.id}-{index}.png"} for index, scene in enumerate(item.scenes)]


def _vqa_columns(items: Sequence[Item]) -> dict[str, pa.Array]:
    return {
        "question_id": pa.array([item.id for item in items]),
        "image": pa.array([_image_cells(item)[0] for item in items]),
        "question": pa.array([item.questions[0].question for item in items]),
    }


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8", newline="")


def _write_parquet(path: Path, columns: dict[str, pa.Array]) -> None:
    pq.write_table(pa.table(columns), path, compression="zstd", row_group_size=64)
