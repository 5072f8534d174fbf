"""Rows to Parquet that ``datasets.load_dataset`` opens with decoded images: the split ``train``, in shards.

``huggingface`` has messages of text with a mark for each image, ``trl`` messages of parts, as TRL's trainers of
vision models take them, and ``verl`` prompts with the answer beside them, for reinforcement learning.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataprophet.data.export.folder import Folder, checked_bytes
from dataprophet.data.export.text import messages_of, to_json
from dataprophet.data.sample import Conversation
from dataprophet.errors import require

SHARD_BYTES = 1 << 29
"""Bytes of images and text after which a new file is begun."""

GROUP_ROWS, GROUP_BYTES = 100, 1 << 25
"""Rows and bytes of a row group: what a reader of one row has to read."""

Made = Callable[[Conversation], dict[str, Any]]

_TEXT, _INTEGER = {"dtype": "string", "_type": "Value"}, {"dtype": "int64", "_type": "Value"}
_MESSAGES = [{"role": _TEXT, "content": _TEXT}]
_PARTS = [{"role": _TEXT, "content": [{"type": _TEXT, "text": _TEXT}]}]
_RULE = {"style": _TEXT, "ground_truth": _TEXT}
_TOLD = {"split": _TEXT, "index": _INTEGER, "question": _TEXT, "answer": _TEXT}


def write_huggingface(rows: Iterator[Conversation], folder: Folder, name: str) -> int:
    """``messages`` of texts with a mark for each image. ``name`` is not used: the folder is opened by its path."""
    return _write(rows, folder, {"messages": _MESSAGES}, lambda row: {"messages": messages_of(row)})


def write_trl(rows: Iterator[Conversation], folder: Folder, name: str) -> int:
    """``messages`` whose contents are parts of type image or text."""
    return _write(rows, folder, {"messages": _PARTS}, lambda row: {"messages": _in_parts(row)})


def write_verl(rows: Iterator[Conversation], folder: Folder, name: str) -> int:
    """``data_source``, ``prompt``, ``ability``, ``reward_model``, ``extra_info``: verl's columns.

    The last answer of a row is its ground truth, and the turns before are context. The source is what stands before
    the first slash of an id, as in a mixture, and else ``name``.
    """
    columns = {"data_source": _TEXT, "prompt": _MESSAGES, "ability": _TEXT, "reward_model": _RULE, "extra_info": _TOLD}
    count = -1

    def made(row: Conversation) -> dict[str, Any]:
        nonlocal count
        count += 1
        what = f"the last answer of row {row.id!r} is not trained on, so it is no ground truth"
        require(row.turns[-1].scored, what, row.place, "write swift or webdataset")
        *prompt, last = messages_of(row, loss=True)
        told = {"split": "train", "index": count, "question": prompt[-1]["content"]}
        source, slash, _ = row.id.partition("/")
        return {
            "data_source": source if slash else name,
            "prompt": [{"role": message["role"], "content": message["content"]} for message in prompt],
            "ability": "vqa",
            "reward_model": {"style": "rule", "ground_truth": last["content"]},
            "extra_info": {**told, "answer": last["content"]},
        }

    return _write(rows, folder, columns, made)


def _in_parts(row: Conversation) -> list[dict[str, Any]]:
    """The row's messages, whose texts are cut where their images stand."""

    def parts(text: str, offsets: Sequence[int]) -> Iterator[dict[str, Any]]:
        done = 0
        for offset in offsets:
            if offset > done:
                yield {"type": "text", "text": text[done:offset]}
            yield {"type": "image", "text": None}
            done = offset
        if done < len(text):
            yield {"type": "text", "text": text[done:]}

    cut = [each for turn in row.turns for each in ((turn.question, turn.image_offsets), (turn.answer, ()))]
    checked = zip(messages_of(row), cut, strict=True)
    return [{"role": message["role"], "content": list(parts(*each))} for message, each in checked]


def _write(rows: Iterator[Conversation], folder: Folder, columns: Mapping[str, Any], made: Made) -> int:
    """Write ``train-00000-of-N.parquet`` and so on: ``id``, these columns, ``images``. Returns rows written."""
    schema = _schema({"id": _TEXT, **columns, "images": [{"_type": "Image"}]})
    count = shard = 0
    pending = next(rows, None)
    while pending is not None or shard == 0:
        with folder.create(_name(shard, 0)) as file, pq.ParquetWriter(file, schema) as writer:
            shard_bytes = 0
            while pending is not None and shard_bytes < SHARD_BYTES:
                group: list[dict[str, Any]] = []
                group_bytes = 0
                while pending is not None and len(group) < GROUP_ROWS and group_bytes < GROUP_BYTES:
                    row = {"id": pending.id, **made(pending)}
                    images = _images(pending, folder)
                    group_bytes += len(to_json(row)) + sum(len(image["bytes"]) for image in images)
                    group.append({**row, "images": images})
                    pending = next(rows, None)
                writer.write_table(pa.Table.from_pylist(group, schema=schema))
                shard_bytes += group_bytes
                count += len(group)
        shard += 1
    for number in range(shard):  # how many there are is known only now
        folder.rename(_name(number, 0), _name(number, shard))
    return count


def _images(row: Conversation, folder: Folder) -> list[dict[str, Any]]:
    images = []
    for source in row.sources:
        data, suffix = checked_bytes(source)
        folder.images += 1
        images.append({"bytes": data, "path": f"{hashlib.sha256(data).hexdigest()}{suffix}"})
    return images


def _schema(features: Mapping[str, Any]) -> pa.Schema:
    """Arrow's types of the features that the ``datasets`` package is told."""
    known = {"string": pa.string(), "int64": pa.int64()}

    def arrow(feature: Any) -> pa.DataType:
        if isinstance(feature, list):
            return pa.list_(arrow(feature[0]))
        if feature.get("_type") == "Image":
            return pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        if feature.get("_type") == "Value":
            return known[feature["dtype"]]
        return pa.struct([(name, arrow(each)) for name, each in feature.items()])

    told = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema([(name, arrow(feature)) for name, feature in features.items()], metadata=told)


def _name(shard: int, shards: int) -> str:
    return f"train-{shard:05d}-of-{shards:05d}.parquet"
