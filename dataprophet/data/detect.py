"""The formats that are read, and which of them a dataset is in, from its name and its first rows.

For ``dataset``. A new format of rows is a file in ``formats`` and an entry in ``ROW_FORMATS``.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from itertools import islice

from dataprophet.data.files.arrow import arrow_columns
from dataprophet.data.files.containers import ARROW, SUFFIXES, read_rows, suffix_of
from dataprophet.data.files.rows import BadRow, Row
from dataprophet.data.formats import huggingface, llamafactory
from dataprophet.data.formats.base import Format, Options
from dataprophet.data.formats.finevision import FINEVISION
from dataprophet.data.formats.llava import LLAVA
from dataprophet.data.formats.swift import SWIFT
from dataprophet.data.formats.vlmeval import VLMEVAL
from dataprophet.data.formats.vqa import VQA
from dataprophet.data.formats.webdataset import WEBDATASET
from dataprophet.data.remote import is_dir, is_file, is_url, names_in
from dataprophet.errors import DataError, require

ROW_FORMATS: dict[str, Format] = {
    **{"llava": LLAVA, "swift": SWIFT, "finevision": FINEVISION},
    **{"vlmeval": VLMEVAL, "vqa": VQA, "webdataset": WEBDATASET},  # vlmeval first: its rows fit vqa as well
}
"""Formats that a row shows, in the order in which they are tried."""

FORMATS: dict[str, str] = {
    **{name: format.description for name, format in ROW_FORMATS.items()},
    "llamafactory": llamafactory.DESCRIPTION,
    "huggingface": huggingface.DESCRIPTION,
}
"""The formats that are read, each with what it looks like."""

_PEEKED_ROWS = 20


def list_files(path: str) -> list[str]:
    """The data files behind ``path``: itself, or the files of one suffix in that folder, sorted.

    Raises:
        DataError: nothing there, no data files, or files of several suffixes.
    """
    if is_file(path):
        return [path]
    require(is_dir(path), "no such file or folder", path, "check the path")
    ours = {llamafactory.INFO, "manifest.json"}
    names = [name for name in names_in(path) if not name.startswith((".", "_")) and name not in ours]
    found = [name for name in names if suffix_of(name) in SUFFIXES]
    if not is_url(path):
        found = [name for name in found if os.path.isfile(os.path.join(path, name))]
    seen, fix = ", ".join(names[:5]) or "nothing", f"name a file that ends in {', '.join(SUFFIXES)}"
    require(found, f"no data files in the folder (it holds {seen})", path, fix)
    kinds = sorted({suffix_of(name) for name in found})
    fix = f"name one file, such as {os.path.join(path, found[0])}"
    require(len(kinds) == 1, f"the folder mixes {' and '.join(kinds)} files", path, fix)
    return [os.path.join(path, name) for name in found]


def detect_folder(path: str) -> str | None:
    """``llamafactory`` or ``huggingface`` where the folder's own files say so."""
    if os.path.basename(path) == llamafactory.INFO:
        return "llamafactory"
    if not is_dir(path):
        return None
    if huggingface.is_saved(path):
        return "huggingface"
    return "llamafactory" if is_file(os.path.join(path, llamafactory.INFO)) else None


def detect_rows(files: Sequence[str], options: Options) -> str:
    """The format of rows in files, from the suffix and the first good row.

    Raises:
        DataError: no format fits; the message says what was looked at and why each was ruled out.
    """
    first = files[0]
    if suffix_of(first) == ".tar":  # its rows are not looked at: opening stays cheap
        return "webdataset"
    options.check_columns(first)
    peeked = list(islice(read_rows(first, options.wanted()), _PEEKED_ROWS))
    row = next((row for _, row in peeked if isinstance(row, dict)), None)
    if row is None:
        bad = next((f" (row {number}: {row.message})" for number, row in peeked if isinstance(row, BadRow)), "")
        what = f"the first {len(peeked)} rows cannot be read{bad}" if peeked else "the file holds no rows"
        fix = "repair the file, or pass format= (--format)"
        raise DataError(f"format not recognised: {what}", where=first, fix=fix)
    return shape_of(row, suffix_of(first), first, options, arrow_columns(first) if suffix_of(first) in ARROW else row)


def shape_of(row: Row, suffix: str, where: str, options: Options, names: Collection[str]) -> str:
    """The format whose keys ``row`` has. Raises DataError as ``detect_rows`` does; ``names`` are all columns."""
    try:
        row = options.renamed(row)
    except BadRow as error:
        raise DataError(error.message, where=where, fix=error.fix) from error
    reasons = {name: format.mismatch(row, suffix) for name, format in ROW_FORMATS.items()}
    for name, reason in reasons.items():
        if not reason:
            return name
    columns = ", ".join(list(names)[:12]) or "none"
    why = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    what = f"format not recognised from its first row (columns: {columns}). {why}"
    mapped = 'such as columns={"question": "q", "answer": "a"} (--columns question=q answer=a)'
    raise DataError(what, where=where, fix=f"pass format= (--format), or name the columns, {mapped}")
