"""The texts of a row as trainers read them; for the writers beside it."""

from __future__ import annotations

import json
from typing import Any

from dataprophet.data.formats.conversation import IMAGE_MARKER, put_markers
from dataprophet.data.sample import Conversation
from dataprophet.errors import DataError, require


def messages_of(
    row: Conversation, role: str = "role", content: str = "content", user: str = "user", assistant: str = "assistant"
) -> list[dict[str, str]]:
    """Messages under these keys and of these roles, with a marker for each image.

    Raises:
        DataError: images without a place, or text that holds a marker itself.
    """
    n_offsets = sum(len(turn.image_offsets) for turn in row.turns)
    what = f"row {row.id!r} has {len(row.sources)} images and {n_offsets} places for them"
    require(n_offsets == len(row.sources), what, row.place, "give each image an offset")
    out = []
    for turn in row.turns:
        marked = IMAGE_MARKER in turn.question or IMAGE_MARKER in turn.answer
        what = f"the text of row {row.id!r} holds {IMAGE_MARKER!r}"
        require(not marked, what, row.place, "trainers would count it as an image")
        out.append({role: user, content: put_markers(turn.question, turn.image_offsets)})
        out.append({role: assistant, content: turn.answer})
    return out


def to_json(value: dict[str, Any]) -> bytes:
    """A row as one line of JSON. Raises DataError for text that is not Unicode."""
    try:
        return json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise DataError(f"row {value['id']!r} holds text that is not Unicode", fix="remove lone surrogates") from error
