"""The formats that are read, and which of them a dataset is in, from its name and its first rows.

For ``dataset``. A new format of rows is a file in ``formats`` and an entry in ``ROW_FORMATS``.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice

from dataprophet.data.files.arrow import arrow_columns
from dataprophet.data.files.columns import numbered, option_columns
from dataprophet.data.files.containers import ARROW, read_rows, suffix_of
from dataprophet.data.files.rows import BadRow, Row, read_object
from dataprophet.data.files.text import delimited_columns
from dataprophet.data.formats import huggingface, llamafactory
from dataprophet.data.formats.answers import ANSWER_KINDS, Evidence
from dataprophet.data.formats.base import Format, Options
from dataprophet.data.formats.finevision import FINEVISION
from dataprophet.data.formats.llava import LLAVA
from dataprophet.data.formats.swift import SWIFT
from dataprophet.data.formats.verl import VERL
from dataprophet.data.formats.vlmeval import VLMEVAL
from dataprophet.data.formats.vqa import VQA
from dataprophet.data.formats.webdataset import WEBDATASET
from dataprophet.data.images.unused import image_like
from dataprophet.data.remote import is_dir, is_file, is_url
from dataprophet.errors import DataError

ROW_FORMATS: dict[str, Format] = {
    **{"llava": LLAVA, "swift": SWIFT, "finevision": FINEVISION, "verl": VERL},
    **{"vlmeval": VLMEVAL, "vqa": VQA, "webdataset": WEBDATASET},  # vlmeval first: its rows fit vqa as well
}
"""Formats that a row shows, in the order in which they are tried."""

FORMATS: dict[str, str] = {
    **{name: format.description for name, format in ROW_FORMATS.items()},
    "llamafactory": llamafactory.DESCRIPTION,
    "huggingface": huggingface.DESCRIPTION,
}
"""The formats that are read, each with what it looks like."""

_PEEKED_ROWS, _SHOWN = 20, 12
_SURVEYED_ROWS, _LEAST_ROWS = 20_000, 1_000  # that say what answers beside options are; of a file without options
_OF_ANSWERS = ("options", "choices", "answer", "answers", *"ABCDEFGHIJ")


@dataclass(frozen=True)
class Told:
    """What was found out about a dataset, a line each.

    Attributes:
        guesses: how its rows are read, where nobody said it.
        warnings: what is passed over and may have been meant to be read.
    """

    guesses: list[str]
    warnings: list[str]


def detect_folder(path: str) -> str | None:
    """``llamafactory`` or ``huggingface`` where the folder's own files say so."""
    if os.path.basename(path) == llamafactory.INFO:
        return "llamafactory"
    if not is_dir(path):
        return None
    if huggingface.is_saved(path):
        return "huggingface"
    info = os.path.join(path, llamafactory.INFO)
    if not is_file(info):
        return None
    return None if huggingface.is_built(read_object(info, "repair the file")) else "llamafactory"


def detect_rows(files: Sequence[str], options: Options) -> str:
    """The format of rows in files, from the suffix and the first good row.

    Raises:
        DataError: no format fits; the message says what was looked at and why each was ruled out.
    """
    first = next(filter(is_file, files), files[0])  # one that is missing is told where all are read
    if suffix_of(first) == ".tar":  # its rows are not looked at: opening stays cheap
        return "webdataset"
    options.check_columns(first)
    peeked = list(islice(read_rows(first, options.wanted()), _PEEKED_ROWS))
    row = next((row for _, row in peeked if isinstance(row, dict)), None)
    if row is None:
        bad = next((f" (row {number}: {row.message})" for number, row in peeked if isinstance(row, BadRow)), "")
        what = f"the first {len(peeked)} rows cannot be read{bad}" if peeked else "the file holds no rows"
        fix = "repair the file, or name its --format"
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
    image = f" image={found[0]}" if (found := image_like(dict(row), where)) else ""
    fix = f"name the --format, or the columns, such as --columns question=q answer=a{image}"
    raise DataError(what, where=where, fix=fix)


def kind_of_answers(files: Sequence[str], format: Format, options: Options) -> tuple[str, str] | None:
    """What the answers beside options are, over all files, and a line that tells it; None where rows have no options.

    Raises:
        DataError: two kinds explain them, and name different options.
    """
    if format.options is None:
        return None
    mapped = {name: column for name, column in options.columns.items() if name in _OF_ANSWERS}
    seen, evidence, read, cut = replace(options, columns=mapped), Evidence(), 0, False
    wanted = {*_OF_ANSWERS, *mapped.values(), "conversations", "messages", "query", "texts"}
    share = max(_LEAST_ROWS, _SURVEYED_ROWS // len(files))
    for path in files[:1] if is_url(files[0]) else files:
        number = 0
        with suppress(DataError):  # whoever reads a damaged file to its end will say so
            names = _options_in(path, mapped)
            for number, (_, row) in enumerate(read_rows(path, wanted.union(names)) if names else (), 1):
                if isinstance(row, dict):
                    evidence.look(row, format.options, seen)
                if number == share or (number >= _LEAST_ROWS and not evidence.rows):
                    cut = True
                    break
        read += number
    if not evidence.rows:
        return None
    kind = evidence.decide(files[0], format.answer_is)
    of = f"{evidence.fits(kind):,} of {evidence.rows:,} rows" + (f" among the first {read:,} read" if cut else "")
    return kind, f"answers beside options: {ANSWER_KINDS[kind]}, by {of} (--answer-is)"


def _options_in(path: str, mapped: Mapping[str, str]) -> Collection[str]:
    """Columns that may hold options, as far as a file's header tells."""
    suffix, usual = suffix_of(path), {"options", "choices", mapped.get("options", "options")}
    if suffix not in ARROW and suffix not in {".csv", ".tsv"}:
        return usual
    names = arrow_columns(path) if suffix in ARROW else delimited_columns(path)
    return usual.intersection(names).union(option_columns(tuple(names)))


def describe(files: Sequence[str], format: str, options: Options) -> Told:
    """How the rows of files are read, by the first of them."""
    guesses = [f"format: {format} (--format)"]
    if len(files) > 1:
        guesses.append(f"files: {len(files):,}, in the order of their names, from {os.path.basename(files[0])} on")
    rows: list[Row] = []
    with suppress(DataError):  # whoever reads a damaged file says so
        wanted = {*options.wanted(), *(arrow_columns(files[0]) if files and suffix_of(files[0]) in ARROW else ())}
        peeked = islice(read_rows(files[0], wanted), _PEEKED_ROWS) if files else ()
        rows = [row for _, row in peeked if isinstance(row, dict)]
    names = dict.fromkeys(name for row in rows for name, value in row.items() if value is not None)
    mapped = frozenset(options.wanted())
    found = dict.fromkeys(name for row in rows for name in image_like(row, files[0]) if name not in mapped)
    known = mapped.union(numbered(tuple(names)), option_columns(tuple(names))).difference(found)
    used, unused = [name for name in names if name in known], [name for name in names if name not in known]
    if format in {"vqa", "vlmeval"}:
        other = f"; not read: {', '.join(unused[:_SHOWN])}" if unused else ""
        guesses.append(f"columns: {', '.join(used)}{other} (--columns FIELD=COLUMN)")
    fix = "map it (--columns image=...) if it is"
    return Told(guesses, [f"{name!r} looks like an image and is not read; {fix}" for name in found])
