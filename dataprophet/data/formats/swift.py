"""ms-swift: ``{"messages": [{"role", "content"}], "images": [...]}``, or ``query``, ``response`` and ``history``."""

from __future__ import annotations

from typing import Any

from dataprophet.data.files.rows import Row
from dataprophet.data.formats.base import Format, Parsed, lacks_list
from dataprophet.data.formats.chat import query_messages, read_messages, with_system
from dataprophet.data.formats.placeholders import row_images


def _parse(row: Row) -> Parsed:
    """One row. Images are paths, addresses, ``data:`` URIs, base64 or structs."""
    inline: list[Any] = []
    if row.get("messages") is not None:
        messages, inline = read_messages(row["messages"], "role", "content")
    else:
        messages = query_messages(row.get("history"), row.get("query"), row.get("response"))
    return Parsed(with_system(row.get("system"), messages), row_images(row), inline)


_MESSAGES = lacks_list("messages")


def _mismatch(row: Row, suffix: str) -> str:
    if row.get("query") is not None and row.get("response") is not None:
        return ""
    lacking = _MESSAGES(row, suffix)
    return lacking and f"{lacking}, and no query with response"


SWIFT = Format("ms-swift JSONL: messages of role/content and images, or query/response/history", _parse, _mismatch)
