"""LLaMA-Factory: a folder with ``dataset_info.json``, which names the data files, their columns and their tags.

For ``dataset``, which opens such a folder. The rows are ShareGPT or Alpaca ones, under the names that the folder gives.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from dataprophet.data.files.rows import BadRow, Row, read_object
from dataprophet.data.formats.base import Format, Parsed
from dataprophet.data.formats.chat import query_messages, read_messages, text_cell, with_system
from dataprophet.errors import require

INFO = "dataset_info.json"
DESCRIPTION = "LLaMA-Factory folder with dataset_info.json (ShareGPT or Alpaca rows)"
_DEFAULTS = {"messages": "conversations", "prompt": "instruction", "query": "input", "response": "output"}
_COLUMNS = (*_DEFAULTS, "history", "system", "tools", "images", "videos", "audios", "chosen", "rejected", "kto_tag")
_TAGS = tuple(f"{word}_tag" for word in ("role", "content", "user", "assistant", "observation", "function", "system"))
_ROLES = {"user_tag": ("human", "user"), "assistant_tag": ("gpt", "assistant"), "system_tag": ("system", "system")}
"""Tag -> the word that stands for it by default, and the role."""


def read_info(folder: str, subset: str | None) -> tuple[str, str, Format]:
    """Name, data file and format of the dataset called ``subset``, or of the only one.

    Raises:
        DataError: the info file is damaged, the name is not in it, or its data is not a local file.
    """
    path = os.path.join(folder, INFO)
    info = read_object(path, "repair the file")
    require(info, "lists no dataset", path, 'write {"name": {"file_name": ...}}')
    names = ", ".join(sorted(info))
    known = subset is not None or len(info) == 1
    require(known, f"{len(info)} datasets are listed", path, f"add ::NAME to the path; names: {names}")
    name = next(iter(info)) if subset is None else subset
    entry: Any = info.get(name)
    require(isinstance(entry, dict), f"no dataset {name!r}", path, f"choose from {names}")
    file_name = entry.get("file_name")
    fix = f"set its file_name to a file beside {INFO}"
    require(file_name and isinstance(file_name, str), f"dataset {name!r} names no local file", path, fix)
    columns, tags = _names(entry, "columns", _COLUMNS, name, path), _names(entry, "tags", _TAGS, name, path)
    formatting = entry.get("formatting", "alpaca")
    what = f"formatting {formatting!r} of {name!r} is unknown"
    require(formatting in ("sharegpt", "alpaca"), what, path, "use sharegpt or alpaca")
    columns = {**_DEFAULTS, **columns}
    parse = _sharegpt(columns, tags) if formatting == "sharegpt" else _alpaca(columns)
    row_format = Format(DESCRIPTION, parse, lambda row, suffix: "", ids=("id",), columns=columns)
    return name, os.path.join(folder, file_name), row_format


def _names(entry: Any, key: str, known: Sequence[str], name: str, path: str) -> dict[str, str]:
    """Columns or tags of a dataset. Raises DataError for a key that LLaMA-Factory would pass over."""
    given = entry.get(key) or {}
    right = isinstance(given, dict) and all(isinstance(value, str | None) for value in given.values())
    require(right, f"{key} of {name!r} must be an object of names", path, "see LLaMA-Factory's data/README")
    unknown = next((word for word in given if word not in known), None)
    fix = f"write {next(iter(get_close_matches(str(unknown), known, 1)), ' or '.join(known))}"
    require(unknown is None, f"{key} of {name!r} have the key {unknown!r}, which is not read", path, fix)
    return {word: value for word, value in given.items() if value is not None}


def _sharegpt(columns: Mapping[str, str], tags: Mapping[str, str]) -> Callable[[Row], Parsed]:
    column = columns["messages"]
    role_key, content_key = tags.get("role_tag", "from"), tags.get("content_tag", "value")
    roles = {tags.get(tag, word): role for tag, (word, role) in _ROLES.items()}

    def parse(row: Row) -> Parsed:
        if row.get(column) is None:
            raise BadRow("bad_row", f"no column {column!r}", "correct columns in dataset_info.json")
        return _with_system(row, columns, *read_messages(row[column], role_key, content_key, roles))

    return parse


def _alpaca(columns: Mapping[str, str]) -> Callable[[Row], Parsed]:
    def parse(row: Row) -> Parsed:
        prompt = text_cell(row.get(columns["prompt"]), "the prompt")
        query = text_cell(row.get(columns["query"]), "the query")
        response = text_cell(row.get(columns["response"]), "the response")
        history = row.get(columns["history"]) if "history" in columns else None
        question = "\n".join(text for text in (prompt, query) if text)
        return _with_system(row, columns, query_messages(history, question, response), [])

    return parse


def _with_system(row: Row, columns: Mapping[str, str], messages: list[tuple[str, str]], inline: list[Any]) -> Parsed:
    messages = with_system(row.get(columns.get("system", "")), messages)
    return Parsed(messages, row.get(columns["images"]) if "images" in columns else None, inline)


def num_samples(folder: str, name: str) -> int | None:
    """How many rows of a dataset its entry asks for; None for all. Raises DataError for what is no such number."""
    path = os.path.join(folder, INFO)
    asked: int | None = read_object(path, "repair the file")[name].get("num_samples")
    what, fix = f"num_samples of {name!r} is {asked!r}", "give a number of rows, or null"
    require(asked is None or (isinstance(asked, int) and asked > 0), what, path, fix)
    return asked
