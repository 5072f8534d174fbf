"""Rows to LLaVA, LLaMA-Factory, ms-swift, WebDataset, Parquet (Hugging Face, TRL, verl) or a list of ids.

For mixtures and selections. It knows nothing of how the rows were chosen.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Any

from dataprophet.data.export.folder import Export, Folder, checked_bytes
from dataprophet.data.export.parquet import write_huggingface, write_trl, write_verl
from dataprophet.data.export.place import output_folder
from dataprophet.data.export.text import messages_of, to_json
from dataprophet.data.formats.plugins import Extensible
from dataprophet.data.ids import KnownIds, exportable
from dataprophet.data.sample import Conversation
from dataprophet.errors import DataError, require

SHARD_ROWS = 10_000
SHARD_BYTES = 1 << 30
_INFO = "dataset_info.json"


def write_rows(
    conversations: Iterable[Conversation],
    out_dir: str | os.PathLike[str],
    format: str,
    *,
    name: str,
    overwrite: bool = False,
    manifest: Mapping[str, Any] | None = None,
    beside: Mapping[str, Callable[[IO[bytes]], None]] | None = None,
) -> Export:
    """Write rows, in the order given, to a new folder that a trainer reads and ``open_dataset`` reads back.

    Images are copied byte for byte (PNG for images in memory) under the hash of their bytes; equal input gives equal
    bytes. The folder appears under its name only when all of it is written.

    Args:
        conversations: the rows; ids must differ.
        out_dir: folder to create. Image paths inside its files are relative to it.
        format: one of ``EXPORT_FORMATS``.
        name: stem of the data file, and the dataset's name.
        overwrite: replace a folder that holds a manifest.
        manifest: more entries for ``manifest.json``, beside format, row count and file hashes.
        beside: more files: name -> what writes it, once all rows are written.

    Raises:
        DataError: unknown format, two rows of one id, an image that cannot be read, text that the format cannot
            hold, or an output folder that is not empty. Nothing is left behind.
    """
    target = os.fspath(out_dir)
    if format not in EXPORT_FORMATS:
        raise DataError(f"unknown export format {format!r}", where=target, fix=f"use {', '.join(EXPORT_FORMATS)}")
    usable = name and name == os.path.basename(name) and not name.startswith(".") and name.isprintable()
    require(usable, f"{name!r} is not a usable name", target, "use letters, digits, - and _")
    with output_folder(target, overwrite=overwrite) as path:
        folder = Folder(os.fspath(path))
        rows = EXPORT_FORMATS[format](_checked(conversations), folder, name)
        for extra, write in (beside or {}).items():
            with folder.create(extra) as file:
                write(file)
        folder.write_manifest({**(manifest or {}), "format": format, "name": name, "rows": rows})
    return Export(target, format, rows, folder.images, dict(folder.files))


def _llava(rows: Iterator[Conversation], folder: Folder, name: str) -> int:
    def entry(row: Conversation) -> dict[str, Any]:
        images = [folder.add_image(source) for source in row.sources]
        image = {"image": images[0] if len(images) == 1 else images} if images else {}
        return {"id": row.id, **image, "conversations": messages_of(row, "from", "value", "human", "gpt")}

    return _json_list(map(entry, rows), folder, name)


def _llamafactory(rows: Iterator[Conversation], folder: Folder, name: str) -> int:
    count = _json_list((_chat_row(row, folder, messages_of(row)) for row in rows), folder, name)
    entry = {
        "file_name": f"{name}.json",
        "formatting": "sharegpt",
        "columns": {"messages": "messages", "images": "images"},
        "tags": {f"{word}_tag": word for word in ("role", "content", "user", "assistant", "system")},
    }
    with folder.create(_INFO) as file:
        file.write(json.dumps({name: entry}, ensure_ascii=False, indent=2).encode() + b"\n")
    return count


def _swift(rows: Iterator[Conversation], folder: Folder, name: str) -> int:
    made = (to_json({**row.extra, **_chat_row(row, folder, messages_of(row, loss=True))}) for row in rows)
    return _lines(made, folder, f"{name}.jsonl")


def _ids(rows: Iterator[Conversation], folder: Folder, name: str) -> int:
    return _lines((row.id.encode() for row in rows), folder, f"{name}.txt")


def _lines(lines: Iterator[bytes], folder: Folder, name: str) -> int:
    count = 0
    with folder.create(name) as file:
        for line in lines:
            file.write(line + b"\n")
            count += 1
    return count


def _webdataset(rows: Iterator[Conversation], folder: Folder, name: str) -> int:
    count = shard = 0
    pending = next(rows, None)
    while pending is not None or shard == 0:
        with (
            folder.create(f"{name}-{shard:06d}.tar") as file,
            tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            in_shard = 0
            while pending is not None and in_shard < SHARD_ROWS and file.tell() < SHARD_BYTES:
                _add_row(tar, f"{count:09d}", pending, folder)
                in_shard += 1
                count += 1
                pending = next(rows, None)
        shard += 1
    return count


def _add_row(tar: tarfile.TarFile, key: str, row: Conversation, folder: Folder) -> None:
    _add(tar, f"{key}.json", to_json({**row.extra, "id": row.id, "messages": messages_of(row, loss=True)}))
    for index, source in enumerate(row.sources):
        data, suffix = checked_bytes(source)
        folder.images += 1
        _add(tar, f"{key}{suffix}" if len(row.sources) == 1 else f"{key}.{index}{suffix}", data)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # owner, mode and time are TarInfo's constants: equal rows give equal bytes
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _json_list(entries: Iterator[dict[str, Any]], folder: Folder, name: str) -> int:
    count = 0
    with folder.create(f"{name}.json") as file:
        for count, entry in enumerate(entries, 1):
            file.write((b"[\n" if count == 1 else b",\n") + to_json(entry))
        file.write(b"\n]\n" if count else b"[]\n")
    return count


def _chat_row(row: Conversation, folder: Folder, messages: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": row.id, "messages": messages, "images": [folder.add_image(source) for source in row.sources]}


def _checked(conversations: Iterable[Conversation]) -> Iterator[Conversation]:
    ids = KnownIds()
    for row in conversations:
        wrong = "" if exportable(row.id) else "cannot be written"
        wrong = "occurs twice" if ids.repeated(row) else wrong
        require(not wrong, f"id {row.id!r} {wrong}", row.place, "put the dataset's name before the id, in plain text")
        yield row


EXPORT_FORMATS: Extensible[Callable[[Iterator[Conversation], Folder, str], int]] = Extensible(
    {
        **{"llava": _llava, "llamafactory": _llamafactory, "swift": _swift, "webdataset": _webdataset},
        **{"huggingface": write_huggingface, "trl": write_trl, "verl": write_verl, "ids": _ids},
    },
    group="dataprophet.exports",
    fits=callable,
    what="function of rows, folder and name",
)
"""Formats that ``write_rows`` writes, each with what writes rows to a folder and returns how many they were."""
