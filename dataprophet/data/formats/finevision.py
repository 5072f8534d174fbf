"""FineVision and the_cauldron: ``images`` is a list of image structs, ``texts`` a list of ``{user, assistant}``."""

from __future__ import annotations

from dataprophet.data.formats.base import Options, first_of
from dataprophet.data.formats.swift import text_cell
from dataprophet.data.rows import BadRow, Row, make_conversation
from dataprophet.data.sample import Conversation


def parse_finevision(row: Row, file: str, number: int, options: Options) -> Conversation:
    """One row; each element of ``texts`` is an answered turn."""
    texts = row.get("texts")
    if not isinstance(texts, list | tuple) or not all(isinstance(turn, dict) for turn in texts):
        raise BadRow("bad_row", "texts is not a list of objects", 'write [{"user": ..., "assistant": ...}]')
    messages: list[tuple[str, str]] = []
    for turn in texts:
        messages += [
            ("user", text_cell(turn.get("user"), "user")),
            ("assistant", text_cell(turn.get("assistant"), "assistant")),
        ]
    sources = options.policy.sources(first_of(row, "images", "image"), f"{file} row {number}")
    return make_conversation(first_of(row, "id", "question_id"), sources, messages, file, number)
