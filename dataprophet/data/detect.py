"""Which format a dataset is in: from its name and its first rows, with the reasons when none fits."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from itertools import islice
from typing import Any

from dataprophet.data.files.arrow import arrow_columns
from dataprophet.data.formats.base import SUFFIXES, Options, read_rows
from dataprophet.data.formats.huggingface import is_saved
from dataprophet.data.formats.llamafactory import INFO
from dataprophet.data.remote import is_dir, is_file, is_url, names_in
from dataprophet.data.rows import BadRow, Row
from dataprophet.errors import DataError

FORMATS: dict[str, str] = {
    "llava": "LLaVA JSON or JSONL: id, image, conversations of from/value",
    "llamafactory": "LLaMA-Factory folder with dataset_info.json (ShareGPT or Alpaca rows)",
    "swift": "ms-swift JSONL: messages of role/content and images, or query/response/history",
    "finevision": "FineVision or the_cauldron Parquet: images and texts of user/assistant",
    "vqa": "plain columns in Parquet, JSON, JSONL, CSV or TSV: image, question, answer or answers, options",
    "webdataset": "WebDataset tar shards: images with .json or .txt",
    "vlmeval": "VLMEvalKit TSV: index, image in base64, question, A to D, answer",
    "huggingface": "Hugging Face dataset: a save_to_disk folder, or hf:NAME",
}
"""The formats that are read, each with what it looks like."""

_PEEKED_ROWS = 20


def list_files(path: str, suffixes: Collection[str] = (*SUFFIXES, ".tar")) -> list[str]:
    """The data files behind ``path``: itself, or the files of one suffix in that folder, sorted.

    Raises:
        DataError: nothing there, no data files, or files of several suffixes.
    """
    if is_file(path):
        return [path]
    if not is_dir(path):
        raise DataError("no such file or folder", where=path, fix="check the path")
    names = [name for name in names_in(path) if not name.startswith((".", "_")) and name not in {INFO, "manifest.json"}]
    found = [
        name
        for name in names
        if os.path.splitext(name)[1].lower() in suffixes and (is_url(path) or os.path.isfile(os.path.join(path, name)))
    ]
    kinds = sorted({os.path.splitext(name)[1].lower() for name in found})
    if not found:
        seen = ", ".join(names[:5]) or "nothing"
        raise DataError(
            f"no data files in the folder (it holds {seen})",
            where=path,
            fix=f"name a file that ends in {', '.join(suffixes)}",
        )
    if len(kinds) > 1:
        raise DataError(
            f"the folder mixes {' and '.join(kinds)} files",
            where=path,
            fix=f"name one file, such as {os.path.join(path, found[0])}",
        )
    return [os.path.join(path, name) for name in found]


def detect_folder(path: str) -> str | None:
    """``llamafactory`` or ``huggingface`` where the folder's own files say so."""
    if os.path.basename(path) == INFO:
        return "llamafactory"
    if is_dir(path):
        if is_saved(path):
            return "huggingface"
        if is_file(os.path.join(path, INFO)):
            return "llamafactory"
    return None


def detect_rows(files: Collection[str], options: Options) -> str:
    """The format of rows in files, from the suffix and the first good row.

    Raises:
        DataError: no format fits; the message says what was looked at and why each was ruled out.
    """
    first = next(iter(files))
    suffix = os.path.splitext(first)[1].lower()
    if suffix == ".tar":
        return "webdataset"
    peeked = list(islice(read_rows(first, options), _PEEKED_ROWS))
    row = next((row for _, row in peeked if isinstance(row, dict)), None)
    if row is None:
        bad = next((f" (row {number}: {row.message})" for number, row in peeked if isinstance(row, BadRow)), "")
        what = f"the first {len(peeked)} rows cannot be read{bad}" if peeked else "the file holds no rows"
        raise DataError(
            f"format not recognised: {what}", where=first, fix="repair the file, or pass format= (--format)"
        )
    names = arrow_columns(first) if suffix in {".parquet", ".arrow"} else row
    return shape_of(row, suffix, first, options, names)


def shape_of(row: Row, suffix: str, where: str, options: Options, names: Collection[str] | None = None) -> str:
    """The format whose keys ``row`` has. Raises DataError as ``detect_rows`` does; ``names`` are all columns."""
    try:
        row = options.renamed(row)
    except BadRow as error:
        raise DataError(error.message, where=where, fix=error.fix) from error
    reasons: list[str] = []
    for name, test in _TESTS.items():
        reason = test(row, suffix)
        if not reason:
            return name
        reasons.append(f"{name}: {reason}")
    columns = ", ".join(list(row if names is None else names)[:12]) or "none"
    raise DataError(
        f"format not recognised from its first row (columns: {columns}). {'; '.join(reasons)}",
        where=where,
        fix='pass format= (--format), or name the columns, such as columns={"question": "q", "answer": "a"} '
        "(--columns question=q answer=a)",
    )


def _llava(row: Row, suffix: str) -> str:
    return _needs_list(row, "conversations")


def _swift(row: Row, suffix: str) -> str:
    if row.get("query") is not None and row.get("response") is not None:
        return ""
    return _needs_list(row, "messages") and f"{_needs_list(row, 'messages')}, and no query with response"


def _finevision(row: Row, suffix: str) -> str:
    return _needs_list(row, "texts")


def _vlmeval(row: Row, suffix: str) -> str:
    if suffix != ".tsv":
        return "not a .tsv"
    return _needs(row, "index", "question", "answer")


def _vqa(row: Row, suffix: str) -> str:
    missing = _needs(row, "question")
    if not missing and "answer" not in row and "answers" not in row:
        return "no column 'answer' or 'answers'"
    return missing


def _needs(row: Row, *names: str) -> str:
    return next((f"no column {name!r}" for name in names if name not in row), "")


def _needs_list(row: Row, name: str) -> str:
    if row.get(name) is None:
        return f"no column {name!r}"
    return "" if isinstance(row[name], list | tuple) else f"{name!r} is not a list"


_TESTS: dict[str, Callable[[dict[str, Any], str], str]] = {
    "llava": _llava,
    "swift": _swift,
    "finevision": _finevision,
    "vlmeval": _vlmeval,
    "vqa": _vqa,
}
