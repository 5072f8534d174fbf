"""Messages of a row as (role, text) pairs, with the keys that a format uses for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataprophet.data.rows import IMAGE_MARKER, BadRow


def read_messages(
    value: Any, role_key: str, content_key: str, roles: Mapping[str, str] | None = None
) -> tuple[list[tuple[str, str]], list[Any]]:
    """(role, text) pairs, and the images that stand inline in lists of content parts.

    Raises:
        BadRow: not a list of objects, or a role or text that is not a string.
    """
    if not isinstance(value, list | tuple):
        raise BadRow("bad_row", f"the messages are {_kind(value)}, not a list", "write a list of objects")
    out: list[tuple[str, str]] = []
    inline: list[Any] = []
    for number, message in enumerate(value, 1):
        if not isinstance(message, dict):
            raise BadRow("bad_row", f"message {number} is {_kind(message)}, not an object", "write an object")
        role, content = message.get(role_key), message.get(content_key)
        if not isinstance(role, str):
            raise BadRow("bad_row", f"message {number} has no {role_key!r}", f"give each message {role_key!r}")
        if isinstance(content, list | tuple):
            content = _parts(content, number, inline)
        if not isinstance(content, str):
            raise BadRow("bad_row", f"{content_key!r} of message {number} is {_kind(content)}", "make it a string")
        role = role.strip()
        out.append(((roles or {}).get(role, role), content))
    return out, inline


def _parts(parts: list[Any] | tuple[Any, ...], number: int, inline: list[Any]) -> str:
    text: list[str] = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text" and isinstance(part.get("text"), str):
            text.append(part["text"])
        elif kind in {"image", "image_url"}:
            text.append(IMAGE_MARKER)
            value = next((part[key] for key in ("image", "image_url", "path", "url") if part.get(key)), None)
            if isinstance(value, dict) and isinstance(value.get("url"), str):
                value = value["url"]
            if value is not None:
                inline.append(value)
        else:
            raise BadRow(
                "bad_row", f"message {number} holds a part that is neither text nor image", "use text and image"
            )
    return "".join(text)


def _kind(value: Any) -> str:
    return "empty" if value is None else f"a {type(value).__name__}"
