"""ms-swift: ``{"messages": [{"role", "content"}], "images": [...]}``, or ``query``, ``response`` and ``history``."""

from __future__ import annotations

from typing import Any

from dataprophet.data.formats.base import Options, first_of
from dataprophet.data.formats.chat import read_messages
from dataprophet.data.rows import BadRow, Row, make_conversation
from dataprophet.data.sample import Conversation


def parse_swift(row: Row, file: str, number: int, options: Options) -> Conversation:
    """One row. Images are paths, addresses, ``data:`` URIs, base64 or structs."""
    place = f"{file} row {number}"
    messages: list[tuple[str, str]]
    inline: list[Any] = []
    if row.get("messages") is not None:
        messages, inline = read_messages(row["messages"], "role", "content")
    else:
        messages = query_messages(row.get("history"), row.get("query"), row.get("response"))
    if row.get("system"):
        messages.insert(0, ("system", text_cell(row["system"], "system")))
    sources = options.policy.sources(first_of(row, "images", "image"), place) + options.policy.sources(inline, place)
    return make_conversation(first_of(row, "id", "question_id"), sources, messages, file, number)


def query_messages(history: Any, query: Any, response: Any) -> list[tuple[str, str]]:
    """Messages of ``history`` (pairs of question and answer) followed by ``query`` and ``response``."""
    out: list[tuple[str, str]] = []
    pairs = history or []
    if not isinstance(pairs, list | tuple) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs
    ):
        raise BadRow("bad_row", "history is not a list of pairs", "write [[question, answer], ...]")
    for pair in pairs:
        out += [("user", text_cell(pair[0], "history")), ("assistant", text_cell(pair[1], "history"))]
    return [*out, ("user", text_cell(query, "query")), ("assistant", text_cell(response, "response"))]


def text_cell(value: Any, what: str) -> str:
    """``value`` as text; null is empty. Raises BadRow for another type."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRow("bad_row", f"{what} is a {type(value).__name__}, not text", f"make {what} a string")
    return value
