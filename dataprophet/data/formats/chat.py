"""Messages of a row as (role, text) pairs, with the keys that a format uses for them.

For the formats of conversations beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dataprophet.data.files.rows import BadRow, kind_of, short
from dataprophet.data.formats.conversation import IMAGE_MARKER, Untrained, placed
from dataprophet.data.formats.literals import unpacked
from dataprophet.data.formats.placeholders import (
    REASONING,
    UNTRAINED,
    inline_mark,
    listed,
    mark_images,
    refuse_companions,
    row_images,
)

_SPELLINGS = (("role", "content"), ("from", "value"))
_IMAGE_KEYS = ("image", "image_url", "path", "url", "base64", "data", "bytes", "source")
_TEXT_PARTS = {"text", "input_text", "output_text", None}
_IMAGE_PARTS = {"image", "image_url", "input_image", None}
_ASKING, _PARTS_AS_TEXT = {"user", "human"}, ('[{"type":', "[{'type':")
_TOOLS = {"tool", "function", "function_call", "observation", "tool_call", "tool_response"}


def read_messages(
    value: Any, role_key: str, content_key: str, roles: Mapping[str, str] | None = None
) -> tuple[list[tuple[str, str]], list[Any]]:
    """(role, text) pairs, and the images that stand inline in lists of content parts.

    Raises:
        BadRow: not a list of objects, or a role or text that is not a string.
    """
    value = as_objects(value)
    if not isinstance(value, list | tuple):
        raise BadRow("bad_row", f"the messages are {kind_of(value)}, not a list", "write a list of objects")
    out: list[tuple[str, str]] = []
    inline: list[Any] = []
    for number, message in enumerate(value, 1):
        if not isinstance(message, dict):
            raise BadRow("bad_row", f"message {number} is {kind_of(message)}, not an object", "write an object")
        role, content = message.get(role_key), message.get(content_key)
        if role is None and roles is None:  # the other spelling, where nothing says which
            role, content = next(
                ((message[key], message.get(text)) for key, text in _SPELLINGS if key in message), (0, 0)
            )
        if not isinstance(role, str):
            raise BadRow("bad_row", f"message {number} has no {role_key!r}", f"give each message {role_key!r}")
        role = role.strip()
        if roles:
            role = roles.get(role, role)
        if role in _TOOLS or (len(message) > 2 and (message.get("tool_calls") or message.get("function_call"))):
            what, fix = f"message {number} calls a tool, or is of one", "remove the row; such turns are not scored"
            raise BadRow("tool_turn", what, fix)
        if isinstance(content, list | tuple):
            parts, content = content, ""
            for part in parts:
                content += _part(part, number, inline, content)
        if len(message) > 2:
            refuse_companions(message)
            if key := next((key for key in REASONING if message.get(key)), ""):
                what = f"message {number} has {key!r}, which each model writes in a way of its own"
                raise BadRow("bad_row", what, "write it into the content as the model is trained on it")
            if isinstance(content, str) and (own := listed(row_images(message))):
                content = mark_images(content, own, inline)
        if not isinstance(content, str):
            raise BadRow("bad_row", f"{content_key!r} of message {number} is {kind_of(content)}", "make it a string")
        if content[:1] == "[" and role in _ASKING and content.startswith(_PARTS_AS_TEXT):
            raise BadRow("bad_row", f"message {number} is a list of parts that was made text", "write it as a list")
        if len(message) > 2 and any(message.get(key, True) in (False, 0) for key in UNTRAINED):
            content = Untrained(content)
        out.append((role, content))
    return out, inline


def as_objects(value: Any) -> Any:
    """A list of objects that is stored as its text, or as an object of lists (``datasets``); another value as it is."""
    value = unpacked(value)
    if not isinstance(value, dict) or not value or not all(isinstance(each, list | tuple) for each in value.values()):
        return value
    if len({len(each) for each in value.values()}) != 1:
        what = f"{', '.join(map(str, value))} are lists of different lengths"
        raise BadRow("bad_row", what, "write a list of objects")
    return [dict(zip(value, each, strict=True)) for each in zip(*value.values(), strict=True)]


def _part(part: Any, number: int, inline: list[Any], before: str) -> str:
    """Text of a part behind the text of others: its own, or a mark for its image, which ``inline`` takes."""
    if isinstance(part, str):
        return part
    part = part if isinstance(part, dict) else {"type": part}
    kind, text = part.get("type"), part.get("text")
    image = next((key for key in ("image", "image_url") if part.get(key)), "")
    if kind is None and image and text:
        what = f"a part of message {number} holds text and an image under {image!r}"
        raise BadRow("unsupported_media", what, "write two parts of it, in their order")
    if kind in _TEXT_PARTS and (kind or (isinstance(text, str) and not image)):
        if "text" not in part:
            raise BadRow("bad_row", f"a part of type {kind!r} of message {number} has no 'text'", "add it")
        return text_cell(text, f"the text of a part of message {number}")
    key = next((key for key in _IMAGE_KEYS if part.get(key)), "")
    if kind not in _IMAGE_PARTS or not (key or kind):
        what = f"message {number} holds a part of type {short(str(kind))}; only text and images are scored"
        raise BadRow("unsupported_media", what, "use parts of type text and image, or remove the row")
    if part.get("file_id"):
        what = f"message {number} names an image by file_id, which is known to its service alone"
        raise BadRow("missing_image", what, "give its path, address or base64")
    if not key:  # the image stands among the row's: the one of this index, or the next
        index = part.get("index")
        return placed(f"<image {index + 1}>" if isinstance(index, int) and index >= 0 else IMAGE_MARKER, before)
    value = part[key]
    inline.append({"base64": value} if key in {"base64", "data"} else value)
    return placed(inline_mark(len(inline) - 1), before)


def query_messages(history: Any, query: Any, response: Any) -> list[tuple[str, str]]:
    """Messages of ``history`` (pairs of question and answer) followed by ``query`` and ``response``."""
    pairs, kinds = unpacked(history) or [], list | tuple
    if not isinstance(pairs, kinds) or not all(isinstance(pair, kinds) and len(pair) == 2 for pair in pairs):
        raise BadRow("bad_row", "history is not a list of pairs", "write [[question, answer], ...]")
    out: list[tuple[str, str]] = []
    for question, answer in pairs:
        out += [("user", text_cell(question, "history")), ("assistant", text_cell(answer, "history"))]
    return [*out, ("user", text_cell(query, "query")), ("assistant", text_cell(response, "response"))]


def with_system(system: Any, messages: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Messages behind the system text that stands beside them in the row, if there is one."""
    return [("system", text_cell(system, "system")), *messages] if system else messages


def text_cell(value: Any, what: str) -> str:
    """``value`` as text; null is empty. Raises BadRow for another type."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRow("bad_row", f"{what} is {kind_of(value)}, not text", f"make {what} a string")
    return value
