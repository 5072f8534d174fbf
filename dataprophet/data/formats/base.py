"""What a format's row parser is given, and the loop that runs it over the files of a dataset."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

from dataprophet.data.files.arrow import arrow_columns, read_arrow
from dataprophet.data.files.json_list import read_json
from dataprophet.data.files.text import Rows, read_delimited, read_jsonl
from dataprophet.data.rows import BadRow, ImagePolicy, Row, bad_row, clean_text
from dataprophet.data.sample import Conversation, Problem
from dataprophet.errors import DataError

SUFFIXES = (".json", ".jsonl", ".csv", ".tsv", ".parquet", ".arrow")
COLUMNS = (
    "id",
    "image",
    "images",
    "question",
    "answer",
    "answers",
    "options",
    "conversations",
    "messages",
    "texts",
    "query",
    "response",
    "history",
    "system",
)
"""Names that a ``columns`` mapping may give, each to a column of the file (or to ``=text``, the same for every row)."""

_RIVALS = {"answer": "answers", "answers": "answer", "image": "images", "images": "image"}
_ALIASES = ("question_id", "choices", "hint", "index", "image_path", *"ABCDEFGHIJ")


@dataclass(frozen=True)
class Options:
    """How rows are read: the image policy and the user's column names."""

    policy: ImagePolicy
    columns: Mapping[str, str] = field(default_factory=dict)
    split: str | None = None

    def wanted(self) -> set[str]:
        """Columns worth reading."""
        return {*COLUMNS, *_ALIASES, *self.columns.values()}

    def renamed(self, row: Row) -> Row:
        """The row under our names. Raises BadRow for a mapped column that it lacks."""
        if not self.columns:
            return row
        out = dict(row)
        for name, column in self.columns.items():
            if (rival := _RIVALS.get(name)) and rival not in self.columns:
                out.pop(rival, None)
            if column.startswith("="):
                out[name] = column[1:]
            elif column in row:
                out[name] = row[column]
            else:
                raise BadRow(
                    "bad_row", f"no column {column!r}", f"add it, or map {name!r} to another column (--columns)"
                )
        return out


RowParser = Callable[[Row, str, int, Options], Conversation]


def read_rows(path: str, options: Options) -> Rows:
    """Rows of one file, by its suffix. Raises DataError for a suffix we do not read or a column that is not there."""
    suffix = os.path.splitext(path)[1].lower()
    if suffix in {".parquet", ".arrow"}:
        check_columns(path, options)
        return read_arrow(path, options.wanted(), options.policy.max_pixels)
    if suffix == ".json":
        return read_json(path)
    if suffix == ".jsonl":
        return read_jsonl(path)
    if suffix in {".csv", ".tsv"}:
        return read_delimited(path, "," if suffix == ".csv" else "\t")
    raise DataError(f"unknown suffix {suffix!r}", where=path, fix=f"use {', '.join(SUFFIXES)} or .tar")


def parse_rows(files: Collection[str], parse: RowParser, options: Options) -> Iterator[Conversation | Problem]:
    """Conversations and problems of all files, in order."""
    for path in files:
        for number, row in read_rows(path, options):
            yield parse_row(row, path, number, parse, options)


def parse_row(row: Row | BadRow, path: str, number: int, parse: RowParser, options: Options) -> Conversation | Problem:
    """One row through its parser; what the parser refuses becomes a Problem with its place and id."""
    name = ""
    try:
        if isinstance(row, BadRow):
            raise row
        name = _known_id(row, options)
        return parse(options.renamed(row), path, number, options)
    except BadRow as error:
        return bad_row(error, path, number, name)


def first_of(row: Row, *names: str) -> object:
    """The first of the named values that is there and not null."""
    return next((row[name] for name in names if row.get(name) is not None), None)


def _known_id(row: Row, options: Options) -> str:
    value = row.get(options.columns.get("id", "id"), first_of(row, "question_id", "index"))
    if isinstance(value, str | int) and not isinstance(value, bool):
        text = clean_text(value, "the id")
        return text if text.isprintable() else ""
    return ""


def check_columns(path: str, options: Options) -> None:
    """Raise DataError for a mapped column that a Parquet or Arrow file lacks. Other files tell in each row."""
    if os.path.splitext(path)[1].lower() not in {".parquet", ".arrow"}:
        return
    present = arrow_columns(path)
    for name, column in options.columns.items():
        if not column.startswith("=") and column not in present:
            raise DataError(
                f"no column {column!r} (for {name!r})", where=path, fix=f"choose from {', '.join(sorted(present))}"
            )
