"""The suffixes of data files, and how files of each are read: from any row on, and for marks of their rows.

For whoever has a path and wants rows. A new kind of file is a reader beside this one and an entry in each table.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator

from dataprophet.data.files.arrow import read_arrow
from dataprophet.data.files.json_list import mark_json, read_json
from dataprophet.data.files.rows import START, Digest, Mark, Rows
from dataprophet.data.files.tar import mark_tar, read_tar
from dataprophet.data.files.text import mark_delimited, mark_jsonl, read_delimited, read_jsonl
from dataprophet.errors import require

_READERS: dict[str, Callable[[str, Collection[str], Mark, int | None], Rows]] = {
    ".json": lambda path, wanted, mark, end: read_json(path, mark, end),
    ".jsonl": lambda path, wanted, mark, end: read_jsonl(path, mark),
    **dict.fromkeys((".csv", ".tsv"), lambda path, wanted, mark, end: read_delimited(path, mark)),
    **dict.fromkeys((".parquet", ".arrow"), lambda path, wanted, mark, end: read_arrow(path, wanted, mark[1])),
    ".tar": lambda path, wanted, mark, end: read_tar(path, mark),
}
SUFFIXES = tuple(_READERS)

MARKS: dict[str, Callable[[str, Digest | None], Iterator[Mark]]] = {
    **{".json": mark_json, ".jsonl": mark_jsonl, ".csv": mark_delimited, ".tsv": mark_delimited},
    ".tar": lambda path, digest: mark_tar(path),
}
"""Suffix -> marks of the rows of a file, and (not of a tar) a hash of it on the way. Others find rows by number."""

COMPRESSED = frozenset({".gz", ".bz2", ".xz", ".zst", ".zip", ".tgz", ".7z", ".lz4"})
UNPACK = "unpack it first (gunzip, unzstd, unzip), or keep it as Parquet, which is small too"

ARROW = frozenset(SUFFIXES) - MARKS.keys()
HASHED = MARKS.keys() - {".tar"}


def suffix_of(path: str) -> str:
    """The suffix that says how a file is read, in lower case."""
    return os.path.splitext(path)[1].lower()


def known_suffix(path: str) -> str:
    """The suffix of a file. Raises DataError where no reader takes it."""
    suffix = suffix_of(path)
    require(suffix not in COMPRESSED, "a compressed file is not read: its rows cannot be found again", path, UNPACK)
    require(suffix in _READERS, f"unknown suffix {suffix!r}", path, f"use {', '.join(SUFFIXES)}")
    return suffix


def read_rows(path: str, wanted: Collection[str], mark: Mark = START, end: int | None = None) -> Rows:
    """Rows of a file with their numbers, by its suffix.

    Args:
        path: the file.
        wanted: columns worth reading, where the file keeps them apart.
        mark: where to begin; of Parquet and Arrow the number of rows alone counts.
        end: of JSON, with a mark: the byte behind the last row.

    Raises:
        DataError: a suffix that is not read, or a file that is damaged.
    """
    return _READERS[known_suffix(path)](path, wanted, mark, end)
