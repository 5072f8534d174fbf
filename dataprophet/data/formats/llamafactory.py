"""LLaMA-Factory: a folder with ``dataset_info.json``, which names the data files, their columns and their tags."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dataprophet.data.files.text import opened
from dataprophet.data.formats.base import Options, first_of
from dataprophet.data.formats.chat import read_messages
from dataprophet.data.formats.swift import query_messages, text_cell
from dataprophet.data.rows import BadRow, Row, make_conversation
from dataprophet.data.sample import Conversation
from dataprophet.errors import DataError

INFO = "dataset_info.json"
_ROLE_TAGS = {"user_tag": "human", "assistant_tag": "gpt", "system_tag": "system"}
_ROLE_OF_TAG = {"user_tag": "user", "assistant_tag": "assistant", "system_tag": "system"}


@dataclass(frozen=True)
class Entry:
    """One dataset of the info file."""

    name: str
    path: str
    parse: Callable[[Row, str, int, Options], Conversation]


def read_info(folder: str, subset: str | None) -> Entry:
    """The entry called ``subset``, or the only one.

    Raises:
        DataError: the info file is damaged, the name is not in it, or its data is not a local file.
    """
    path = os.path.join(folder, INFO)
    info = load_info(path)
    if subset is None and len(info) != 1:
        raise DataError(
            f"{len(info)} datasets are listed",
            where=path,
            fix=f"add ::NAME to the path; names: {', '.join(sorted(info))}",
        )
    name = next(iter(info)) if subset is None else subset
    entry = info.get(name)
    if not isinstance(entry, dict):
        raise DataError(f"no dataset {name!r}", where=path, fix=f"choose from {', '.join(sorted(info))}")
    file_name = entry.get("file_name")
    if not isinstance(file_name, str) or not file_name:
        raise DataError(
            f"dataset {name!r} names no local file",
            where=path,
            fix="set its file_name to a file beside dataset_info.json",
        )
    columns, tags = entry.get("columns") or {}, entry.get("tags") or {}
    if not isinstance(columns, dict) or not isinstance(tags, dict):
        raise DataError(
            f"columns and tags of {name!r} must be objects", where=path, fix="see LLaMA-Factory's data/README"
        )
    formatting = entry.get("formatting", "alpaca")
    if formatting == "sharegpt":
        return Entry(name, os.path.join(folder, file_name), _sharegpt(columns, tags))
    if formatting == "alpaca":
        return Entry(name, os.path.join(folder, file_name), _alpaca(columns))
    raise DataError(f"formatting {formatting!r} of {name!r} is unknown", where=path, fix="use sharegpt or alpaca")


def load_info(path: str) -> dict[str, Any]:
    """The info file as a dictionary. Raises DataError when it is not one."""
    with opened(path) as file:
        data = file.read()
    try:
        info = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DataError(f"bad JSON ({error})", where=path, fix="repair the file") from error
    if not isinstance(info, dict) or not info:
        raise DataError("lists no dataset", where=path, fix='write {"name": {"file_name": ...}}')
    return info


def _sharegpt(columns: Mapping[str, str], tags: Mapping[str, str]) -> Callable[[Row, str, int, Options], Conversation]:
    messages_column = columns.get("messages", "conversations")
    role_key, content_key = tags.get("role_tag", "from"), tags.get("content_tag", "value")
    roles = {tags.get(tag, word): _ROLE_OF_TAG[tag] for tag, word in _ROLE_TAGS.items()}

    def parse(row: Row, file: str, number: int, options: Options) -> Conversation:
        if row.get(messages_column) is None:
            raise BadRow("bad_row", f"no column {messages_column!r}", "correct columns in dataset_info.json")
        chat = read_messages(row[messages_column], role_key, content_key, roles)
        return _finish(row, columns, chat, file, number=number, options=options)

    return parse


def _alpaca(columns: Mapping[str, str]) -> Callable[[Row, str, int, Options], Conversation]:
    def parse(row: Row, file: str, number: int, options: Options) -> Conversation:
        prompt = text_cell(row.get(columns.get("prompt", "instruction")), "the prompt")
        query = text_cell(row.get(columns.get("query", "input")), "the query")
        response = text_cell(row.get(columns.get("response", "output")), "the response")
        history = row.get(columns["history"]) if "history" in columns else None
        question = "\n".join(text for text in (prompt, query) if text)
        return _finish(
            row, columns, (query_messages(history, question, response), []), file, number=number, options=options
        )

    return parse


def _finish(
    row: Row,
    columns: Mapping[str, str],
    chat: tuple[list[tuple[str, str]], list[Any]],
    file: str,
    *,
    number: int,
    options: Options,
) -> Conversation:
    messages, inline = chat
    if "system" in columns and row.get(columns["system"]):
        messages.insert(0, ("system", text_cell(row[columns["system"]], "system")))
    place = f"{file} row {number}"
    images = row.get(columns["images"]) if "images" in columns else None
    sources = options.policy.sources(images, place) + options.policy.sources(inline, place)
    return make_conversation(first_of(row, "id"), sources, messages, file, number)
