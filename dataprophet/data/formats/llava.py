r"""LLaVA: ``{"id", "image", "conversations": [{"from": "human", "value": "<image>\nQ"}, {"from": "gpt", ...}]}``."""

from __future__ import annotations

from dataprophet.data.formats.base import Options, first_of
from dataprophet.data.formats.chat import read_messages
from dataprophet.data.rows import Row, make_conversation
from dataprophet.data.sample import Conversation


def parse_llava(row: Row, file: str, number: int, options: Options) -> Conversation:
    """One row; ``image`` is a name, a list of names, or absent."""
    messages, inline = read_messages(row.get("conversations"), "from", "value")
    sources = options.policy.sources(first_of(row, "image", "images"), f"{file} row {number}")
    sources += options.policy.sources(inline, f"{file} row {number}")
    return make_conversation(first_of(row, "id", "question_id"), sources, messages, file, number)
