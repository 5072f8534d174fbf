"""Rows to Parquet that ``datasets.load_dataset`` opens with decoded images: the split ``train``, in shards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataprophet.data.export.folder import Folder, checked_bytes
from dataprophet.data.export.text import messages_of, to_json
from dataprophet.data.sample import Conversation

SHARD_BYTES = 1 << 29
"""Bytes of images and text after which a new file is begun."""

GROUP_ROWS, GROUP_BYTES = 100, 1 << 25
"""Rows and bytes of a row group: what a reader of one row has to read."""

_TEXT = {"dtype": "string", "_type": "Value"}
_FEATURES = {"id": _TEXT, "messages": [{"role": _TEXT, "content": _TEXT}], "images": [{"_type": "Image"}]}
_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))),
        ("images", pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))),
    ],
    metadata={"huggingface": json.dumps({"info": {"features": _FEATURES}})},
)


def write_parquet(rows: Iterator[Conversation], folder: Folder, name: str) -> int:
    """Write ``train-00000-of-N.parquet`` and so on; the folder is opened by its path, so ``name`` is not used.

    Returns:
        Rows written.
    """
    count = shard = 0
    pending = next(rows, None)
    while pending is not None or shard == 0:
        with folder.create(_name(shard, 0)) as file, pq.ParquetWriter(file, _SCHEMA) as writer:
            shard_bytes = 0
            while pending is not None and shard_bytes < SHARD_BYTES:
                group: list[dict[str, Any]] = []
                group_bytes = 0
                while pending is not None and len(group) < GROUP_ROWS and group_bytes < GROUP_BYTES:
                    row, size = _row(pending, folder)
                    group.append(row)
                    group_bytes += size
                    pending = next(rows, None)
                writer.write_table(pa.Table.from_pylist(group, schema=_SCHEMA))
                shard_bytes += group_bytes
                count += len(group)
        shard += 1
    for number in range(shard):  # how many there are is known only now
        folder.rename(_name(number, 0), _name(number, shard))
    return count


def _row(row: Conversation, folder: Folder) -> tuple[dict[str, Any], int]:
    """A row as the schema has it, and its bytes."""
    images = []
    for source in row.sources:
        data, suffix = checked_bytes(source)
        folder.images += 1
        images.append({"bytes": data, "path": f"{hashlib.sha256(data).hexdigest()}{suffix}"})
    made = {"id": row.id, "messages": messages_of(row)}
    size = len(to_json(made)) + sum(len(image["bytes"]) for image in images)
    return {**made, "images": images}, size


def _name(shard: int, shards: int) -> str:
    return f"train-{shard:05d}-of-{shards:05d}.parquet"
