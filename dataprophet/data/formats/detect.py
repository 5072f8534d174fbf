"""The formats that are read, and which of them a dataset is in, from its name and its first rows.

For ``opening``. A new format of rows is a file in ``formats`` and an entry in ``ROW_FORMATS``.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from dataprophet.data.files.arrow import arrow_columns
from dataprophet.data.files.columns import ANSWERS, numbered, option_columns
from dataprophet.data.files.containers import ARROW, read_rows, suffix_of
from dataprophet.data.files.rows import BadRow, Row, Rows, read_object
from dataprophet.data.files.text import delimited_columns
from dataprophet.data.formats import huggingface, llamafactory
from dataprophet.data.formats.answers import ANSWER_KINDS, Evidence
from dataprophet.data.formats.base import Format, Options
from dataprophet.data.formats.finevision import FINEVISION
from dataprophet.data.formats.llava import LLAVA
from dataprophet.data.formats.memory import Held
from dataprophet.data.formats.plugins import Extensible
from dataprophet.data.formats.swift import SWIFT
from dataprophet.data.formats.verl import VERL
from dataprophet.data.formats.vlmeval import VLMEVAL
from dataprophet.data.formats.vqa import VQA
from dataprophet.data.formats.webdataset import WEBDATASET
from dataprophet.data.images.unused import image_like
from dataprophet.data.remote import is_dir, is_file, is_url
from dataprophet.errors import DataError

ROW_FORMATS: Extensible[Format] = Extensible(
    {
        **{"llava": LLAVA, "swift": SWIFT, "finevision": FINEVISION, "verl": VERL},
        **{"vlmeval": VLMEVAL, "vqa": VQA, "webdataset": WEBDATASET},  # vlmeval first: its rows fit vqa as well
    },
    group="dataprophet.formats",
    fits=lambda value: isinstance(value, Format),
    what="Format",
)
"""Formats that a row shows, in the order in which they are tried: ours, then those of installed packages."""

_OF_FOLDERS = {"llamafactory": llamafactory.DESCRIPTION, "huggingface": huggingface.DESCRIPTION}


def formats() -> dict[str, str]:
    """The formats that are read, each with what it looks like."""
    return {**{name: format.description for name, format in ROW_FORMATS.items()}, **_OF_FOLDERS}


_PEEKED_ROWS, _SHOWN = 20, 12
_SURVEYED_ROWS, _LEAST_ROWS = 20_000, 1_000  # that say what answers beside options are; of a file without options
_OF_CHATS = {"conversations", "messages", "texts", "query", "response", "history", "system", "prompt", "reward_model"}
_OF_ANSWERS = ("options", "choices", *ANSWERS, *"ABCDEFGHIJ")


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
    wanted, names = options.wanted(), arrow_columns(first) if suffix_of(first) in ARROW else None
    unread = names is not None and not any(name in wanted for name in names)  # then its rows have nothing to show
    row = {} if unread else _first_good(read_rows(first, wanted), first, "file")
    return shape_of(row, suffix_of(first), first, options, row if names is None else names)


def _first_good(rows: Rows, where: str, of: str) -> Row:
    peeked = list(islice(rows, _PEEKED_ROWS))
    for _, row in peeked:
        if isinstance(row, dict):
            return row
    bad = next((f" (row {number}: {row.message})" for number, row in peeked if isinstance(row, BadRow)), "")
    what = f"the first {len(peeked)} rows cannot be read{bad}" if peeked else "it holds no rows"
    raise DataError(f"format not recognised: {what}", where=where, fix=f"repair the {of}, or name its --format")


def settle(
    held: Held, where: str, kind: str, options: Options, surveyed: int = _SURVEYED_ROWS
) -> tuple[str, Options, Told]:
    """How rows in memory are read: format, options, and what was found out.

    Args:
        held: the rows.
        where: their name.
        kind: one of ``ROW_FORMATS``, or ``auto``.
        options: as far as they are known.
        surveyed: rows that say what answers beside options are.

    Raises:
        DataError: no format fits, or two kinds of answers do.
    """
    options = replace(options, labels=held.labels)
    if kind == "auto":
        first = _first_good(held.rows(0), where, "rows")
        kind = shape_of(first, "", where, options, held.names or first)
    format, guesses = ROW_FORMATS[kind], list[str]()
    if options.answer_is is None and format.options is not None:
        evidence, read, cut = Evidence(), 0, False
        for read, (_, row) in enumerate(held.rows(0), 1):
            if isinstance(row, dict):
                evidence.look(row, format.options, options)
            if cut := read == surveyed or (read >= _LEAST_ROWS and not evidence.rows):
                break
        if decided := _decided(evidence, where, format, read, cut=cut):
            options, guesses = replace(options, answer_is=decided[0]), [decided[1]]
    told = _describe(held.rows(0), where, kind, options)
    classes = [f"classes: {column} by its {len(names)} names" for column, names in held.labels.items()]
    return kind, options, Told([*told.guesses, *guesses, *classes], told.warnings)


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
    return _decided(evidence, files[0], format, read, cut=cut)


def _decided(evidence: Evidence, where: str, format: Format, read: int, *, cut: bool) -> tuple[str, str] | None:
    if not evidence.rows:
        return None
    kind = evidence.decide(where, format.answer_is)
    of = f"{evidence.fits(kind):,} of {evidence.rows:,} rows" + (f" among the first {read:,} read" if cut else "")
    return kind, f"answers beside options: {ANSWER_KINDS[kind]}, by {of} (--answer-is)"


def _options_in(path: str, mapped: Mapping[str, str]) -> Collection[str]:
    """Columns that may hold options, as far as a file's header tells."""
    suffix, usual = suffix_of(path), {"options", "choices", mapped.get("options", "options")}
    if suffix not in ARROW and suffix not in {".csv", ".tsv"}:
        return usual
    names = arrow_columns(path) if suffix in ARROW else delimited_columns(path)
    return usual.intersection(names).union(option_columns(tuple(names)))


def describe(files: Sequence[str], format: str, options: Options, own: Collection[str]) -> Told:
    """How the rows of files are read, by the first of them; ``own`` are columns that the dataset itself names."""
    rows: list[Any] = []
    with suppress(DataError):  # whoever reads a damaged file says so
        wanted = {*options.wanted(), *own, *(arrow_columns(files[0]) if files and suffix_of(files[0]) in ARROW else ())}
        rows = list(islice(read_rows(files[0], wanted), _PEEKED_ROWS)) if files else []
    told = _describe(iter(rows), files[0] if files else "", format, options, own)
    if len(files) > 1:
        told.guesses.insert(
            1, f"files: {len(files):,}, in the order of their names, from {os.path.basename(files[0])} on"
        )
    return told


def _describe(given: Rows, where: str, format: str, options: Options, own: Collection[str] = ()) -> Told:
    """How rows are read, by the first of them."""
    guesses = [f"format: {format} (--format)"]
    rows = [row for _, row in islice(given, _PEEKED_ROWS) if isinstance(row, dict)]
    names = dict.fromkeys(name for row in rows for name, value in row.items() if value is not None)
    mapped = frozenset(options.wanted().union(own))
    found = dict.fromkeys(name for row in rows for name in image_like(row, where) if name not in mapped)
    known = mapped.union(numbered(tuple(names)), option_columns(tuple(names))).difference(found)
    if format in {"vqa", "vlmeval"}:
        known -= _OF_CHATS.difference(options.columns.values())
    used, unused = [name for name in names if name in known], [name for name in names if name not in known]
    if format in {"vqa", "vlmeval", "webdataset"}:
        other = f"; not read: {', '.join(unused[:_SHOWN])}" if unused else ""
        guesses.append(f"columns: {', '.join(used)}{other} (--columns FIELD=COLUMN)")
    fix = "map it (--columns image=...) if it is"
    return Told(guesses, [f"{name!r} looks like an image and is not read; {fix}" for name in found])
