"""VLMEvalKit TSV: index, image (base64, a list, or the index of the row that holds it), question, A to J, answer."""

from __future__ import annotations

import os
from functools import lru_cache
from itertools import takewhile
from typing import Any

from dataprophet.data.files.containers import read_rows
from dataprophet.data.files.rows import BadRow, Row, Rows
from dataprophet.data.formats.answers import ANSWER_IS, answer_text, chosen, option_texts, with_options
from dataprophet.data.formats.base import KNOWN, Format, Parsed, lacks
from dataprophet.data.formats.conversation import clean_text
from dataprophet.data.formats.placeholders import row_images
from dataprophet.data.remote import local

_LETTERS, _MORE = "ABCDEFGHIJ", "KLMNOPQRSTUVWXYZ"
_LONGEST_REFERENCE = 64


def _parse(row: Row) -> Parsed:
    """One row. Its options are appended to the question; the answer is the text of the option of that letter."""
    question = clean_text(row.get("question"), "the question")
    if question and row.get("hint"):
        question = f"{clean_text(row['hint'], 'the hint')}\n{question}"
    choices, answer = options_of(row)
    if choices:
        question, answer = with_options(question, choices), chosen(answer, choices, row.get(ANSWER_IS, "letter"))
    image = row_images(row)
    if isinstance(image, str) and len(image) <= _LONGEST_REFERENCE and image.isdigit():
        raise BadRow("missing_image", f"image refers to row {image!r}, which has none", "give the image as base64")
    return Parsed([("user", question), ("assistant", answer)], image or row.get("image_path"))


def options_of(row: Row) -> tuple[list[str], str]:
    """Options and answer of a row. Raises BadRow."""
    letters = (*_LETTERS, *takewhile(row.__contains__, _MORE))
    choices = option_texts([row.get(letter) for letter in letters])
    return choices, answer_text(row, choices)


def _with_shared_images(rows: Rows, path: str) -> Rows:
    """Rows with the image itself where at most 64 characters name another row of the file for it."""
    status = os.stat(local(path))
    shared = _shared_images(path, status.st_size, status.st_mtime_ns)
    for number, row in rows:
        if isinstance(row, dict) and (index := _reference(row)) in shared:
            row["image"] = shared[index]
        yield number, row


def _reference(row: Row) -> str:
    image = row.get("image")
    return image.strip() if isinstance(image, str) and len(image) <= _LONGEST_REFERENCE else ""


@lru_cache(maxsize=2)  # asked for each part of a file
def _shared_images(path: str, size: int, time: int) -> dict[str, Any]:
    """Images that other rows refer to, by index: found in a pass of their own, so that only these stay in memory."""
    wanted = {name for _, row in read_rows(path, KNOWN) if isinstance(row, dict) and (name := _reference(row))}
    rows = (row for _, row in (read_rows(path, KNOWN) if wanted else ()) if isinstance(row, dict))
    own = ((str(row.get("index")), row["image"]) for row in rows if row.get("image") and not _reference(row))
    return {index: image for index, image in own if index in wanted}


def _mismatch(row: Row, suffix: str) -> str:
    return lacks(row, "index", "question", "answer") if suffix == ".tsv" else "not a .tsv"


_LOOKS = "VLMEvalKit TSV: index, image in base64, question, A to D, answer"
VLMEVAL = Format(
    _LOOKS, _parse, _mismatch, ids=("id", "index"), prepare=_with_shared_images, options=options_of, answer_is="letter"
)
