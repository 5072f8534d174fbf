"""VLMEvalKit TSV: index, image (base64, a list, or the index of the row that holds it), question, A to J, answer."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from functools import lru_cache
from typing import Any

from dataprophet.data.files.text import Rows
from dataprophet.data.formats.base import Options, first_of, parse_row, read_rows
from dataprophet.data.formats.vqa import chosen, listed, pick_answer, string_list, with_options
from dataprophet.data.remote import local
from dataprophet.data.rows import BadRow, ImagePolicy, Row, clean_text, make_conversation
from dataprophet.data.sample import Conversation, Problem

_LETTERS = "ABCDEFGHIJ"
_LONGEST_REFERENCE = 64


def read_vlmeval(files: Collection[str], options: Options) -> Iterator[Conversation | Problem]:
    """Rows of all files. An image of at most 64 characters names the row whose image is meant."""
    for path in files:
        for number, row in with_shared_images(read_rows(path, options), path, options):
            yield parse_row(row, path, number, parse_vlmeval, options)


def with_shared_images(rows: Rows, path: str, options: Options) -> Rows:
    """Rows with the image itself where they name another row of the file for it."""
    status = os.stat(local(path))
    shared = _shared_images(path, status.st_size, status.st_mtime_ns, options.policy.max_pixels)
    for number, row in rows:
        if isinstance(row, dict) and (index := _reference(row)) in shared:
            row["image"] = shared[index]
        yield number, row


def parse_vlmeval(row: Row, file: str, number: int, options: Options) -> Conversation:
    """One row. Its options are appended to the question; the answer is the text of the option of that letter."""
    question = clean_text(row.get("question"), "the question")
    if question and row.get("hint"):
        question = f"{clean_text(row['hint'], 'the hint')}\n{question}"
    choices = [clean_text(row.get(letter), "an option") for letter in _LETTERS]
    while choices and not choices[-1]:
        choices.pop()
    answer = row.get("answer")
    if choices:
        question, answer = with_options(question, choices), chosen(answer, choices)
    else:
        answer = clean_text(pick_answer(string_list(answer)), "the answer")
    image = first_of(row, "image", "images")
    if (
        isinstance(image, str)
        and len(image) <= _LONGEST_REFERENCE
        and not image.startswith(("[", "/"))
        and image.isdigit()
    ):
        raise BadRow("missing_image", f"image refers to row {image!r}, which has none", "give the image as base64")
    sources = options.policy.sources(
        listed(image if image is not None else row.get("image_path")), f"{file} row {number}"
    )
    messages = [("user", question), ("assistant", answer)]
    return make_conversation(first_of(row, "id", "index"), sources, messages, file, number)


def _reference(row: Row) -> str:
    image = row.get("image")
    return image.strip() if isinstance(image, str) and len(image) <= _LONGEST_REFERENCE else ""


@lru_cache(maxsize=2)  # asked for each part of a file
def _shared_images(path: str, size: int, time: int, max_pixels: int) -> dict[str, Any]:
    """Images that other rows refer to, by index: found in a pass of their own, so that only these stay in memory."""
    options = Options(ImagePolicy((), max_pixels=max_pixels))
    wanted = {name for _, row in read_rows(path, options) if isinstance(row, dict) and (name := _reference(row))}
    if not wanted:
        return {}
    return {
        index: row["image"]
        for _, row in read_rows(path, options)
        if isinstance(row, dict)
        and (index := str(row.get("index"))) in wanted
        and not _reference(row)
        and row.get("image")
    }
