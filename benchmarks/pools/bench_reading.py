"""Rows a second of each reader of a dataset, beside the library that parses such a file and does nothing more.

Ours gives samples that are checked: columns and answers decided over all rows, ids, marks of images, turns. Pictures
are opened when they are asked for, and here nobody asks.
"""

from __future__ import annotations

import csv
import io
import json
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from harness import Bench, Way, options
from PIL import Image

import dataprophet as dp

WORDS = tuple("what colour is the large cube left of a small sphere behind that green thing".split())  # noqa: SIM905


def main() -> None:
    args = options(__doc__)
    bench = Bench("reading", args, rounds=3)
    rows = 500 if bench.quick else 10_000
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, (path, parse) in write(folder, rows).items():
            ours = Way("ours", lambda path=path: sum(1 for _ in dp.open_dataset(path)))
            bench.task(f"{name}, {rows:,} rows", [ours, Way("parsed alone", parse)], counts=[1], items=rows)
    bench.write()


def write(folder: Path, rows: int) -> dict[str, tuple[Path, Callable[[], object]]]:
    """A file of each kind: name -> its path and what only parses it."""
    rng = np.random.default_rng(0)
    questions = [" ".join(rng.choice(WORDS, 12)) + "?" for _ in range(rows)]
    answers = [" ".join(rng.choice(WORDS, 3)) for _ in range(rows)]
    pictures = []
    for _ in range(64):
        stream = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (24, 24, 3), np.uint8)).save(stream, "JPEG")
        pictures.append(stream.getvalue())
    (folder / "images").mkdir()
    for number, data in enumerate(pictures):
        (folder / "images" / f"{number}.jpg").write_bytes(data)
    names = [f"images/{number % 64}.jpg" for number in range(rows)]

    def llava(row: int) -> dict[str, object]:
        said = [("human", f"<image>\n{questions[row]}"), ("gpt", answers[row])]
        return {
            "id": str(row),
            "image": names[row],
            "conversations": [{"from": who, "value": text} for who, text in said],
        }

    def swift(row: int, images: bool) -> dict[str, object]:
        said = [("user", ("<image>" if images else "") + questions[row]), ("assistant", answers[row])]
        messages = [{"role": who, "content": text} for who, text in said]
        return {"messages": messages, **({"images": [names[row]]} if images else {})}

    path = {name: folder / name for name in ("llava.json", "swift.jsonl", "text.jsonl", "vqa.csv", "vqa.parquet")}
    path["llava.json"].write_text(json.dumps([llava(row) for row in range(rows)]))
    for name, images in (("swift.jsonl", True), ("text.jsonl", False)):
        path[name].write_text("".join(json.dumps(swift(row, images)) + "\n" for row in range(rows)))
    with path["vqa.csv"].open("w", newline="") as file:
        csv.writer(file).writerows([("image", "question", "answer"), *zip(names, questions, answers, strict=True)])
    images = [{"bytes": pictures[row % 64], "path": None} for row in range(rows)]
    pq.write_table(pa.table({"image": images, "question": questions, "answer": answers}), path["vqa.parquet"])
    path["web.tar"] = folder / "web.tar"
    with tarfile.open(path["web.tar"], "w") as tar:
        for row in range(rows):
            text = json.dumps({"question": questions[row], "answer": answers[row]}).encode()
            for suffix, data in (("jpg", pictures[row % 64]), ("json", text)):
                entry = tarfile.TarInfo(f"{row:08d}.{suffix}")
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))

    def lines(name: str) -> Callable[[], object]:
        return lambda: [json.loads(line) for line in path[name].open()]

    def members() -> object:
        with tarfile.open(path["web.tar"]) as file:
            return [file.extractfile(member).read() for member in file]

    return {
        "LLaVA JSON": (path["llava.json"], lambda: json.loads(path["llava.json"].read_bytes())),
        "ms-swift JSONL": (path["swift.jsonl"], lines("swift.jsonl")),
        "ms-swift JSONL, text alone": (path["text.jsonl"], lines("text.jsonl")),
        "VQA CSV": (path["vqa.csv"], lambda: list(csv.DictReader(path["vqa.csv"].open(newline="")))),
        "VQA Parquet, pictures inside": (path["vqa.parquet"], lambda: pq.read_table(path["vqa.parquet"]).to_pylist()),
        "WebDataset tar": (path["web.tar"], members),
    }


if __name__ == "__main__":
    main()
