"""Messages of a row as (role, text) pairs, with the keys that a format uses for them.

For the formats of conversations beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataprophet.data.files.rows import BadRow, kind_of
from dataprophet.data.formats.conversation import IMAGE_MARKER


def read_messages(
    value: Any, role_key: str, content_key: str, roles: Mapping[str, str] | None = None
) -> tuple[list[tuple[str, str]], list[Any]]:
    """(role, text) pairs, and the images that stand inline in lists of content parts.

    Raises:
        BadRow: not a list of objects, or a role or text that is not a string.
    """
    if not isinstance(value, list | tuple):
        raise BadRow("bad_row", f"the messages are {kind_of(value)}, not a list", "write a list of objects")
    out: list[tuple[str, str]] = []
    inline: list[Any] = []
    for number, message in enumerate(value, 1):
        if not isinstance(message, dict):
            raise BadRow("bad_row", f"message {number} is {kind_of(message)}, not an object", "write an object")
        role, content = message.get(role_key), message.get(content_key)
        if not isinstance(role, str):
            raise BadRow("bad_row", f"message {number} has no {role_key!r}", f"give each message {role_key!r}")
        if isinstance(content, list | tuple):
            content = "".join(_part(part, number, inline) for part in content)
        if not isinstance(content, str):
            raise BadRow("bad_row", f"{content_key!r} of message {number} is {kind_of(content)}", "make it a string")
        role = role.strip()
        out.append(((roles or {}).get(role, role), content))
    return out, inline


def _part(part: Any, number: int, inline: list[Any]) -> str:
    """Text of a part of a message: its own, or a marker for its image, which ``inline`` takes."""
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "text" and isinstance(part.get("text"), str):
        return str(part["text"])
    if kind not in {"image", "image_url"}:
        raise BadRow("bad_row", f"message {number} holds a part that is neither text nor image", "use text and image")
    value = next((part[key] for key in ("image", "image_url", "path", "url") if part.get(key)), None)
    if isinstance(value, dict) and isinstance(value.get("url"), str):
        value = value["url"]
    if value is not None:
        inline.append(value)
    return IMAGE_MARKER


def query_messages(history: Any, query: Any, response: Any) -> list[tuple[str, str]]:
    """Messages of ``history`` (pairs of question and answer) followed by ``query`` and ``response``."""
    pairs, kinds = history or [], list | tuple
    if not isinstance(pairs, kinds) or not all(isinstance(pair, kinds) and len(pair) == 2 for pair in pairs):
        raise BadRow("bad_row", "history is not a list of pairs", "write [[question, answer], ...]")
    out: list[tuple[str, str]] = []
    for question, answer in pairs:
        out += [("user", text_cell(question, "history")), ("assistant", text_cell(answer, "history"))]
    return [*out, ("user", text_cell(query, "query")), ("assistant", text_cell(response, "response"))]


def text_cell(value: Any, what: str) -> str:
    """``value`` as text; null is empty. Raises BadRow for another type."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRow("bad_row", f"{what} is {kind_of(value)}, not text", f"make {what} a string")
    return value
