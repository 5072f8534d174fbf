r"""LLaVA: ``{"id", "image", "conversations": [{"from": "human", "value": "<image>\nQ"}, {"from": "gpt", ...}]}``."""

from __future__ import annotations

from dataprophet.data.files.rows import Row
from dataprophet.data.formats.base import Format, Parsed, lacks_list
from dataprophet.data.formats.chat import read_messages, with_system
from dataprophet.data.formats.placeholders import row_images


def _parse(row: Row) -> Parsed:
    """One row; ``image`` is a name, a list of names, or absent."""
    messages, inline = read_messages(row.get("conversations"), "from", "value")
    return Parsed(with_system(row.get("system"), messages), row_images(row), inline)


LLAVA = Format("LLaVA JSON or JSONL: id, image, conversations of from/value", _parse, lacks_list("conversations"))
