"""The texts of a row as trainers read them; for the writers beside it."""

from __future__ import annotations

import json
from typing import Any

from dataprophet.data.formats.conversation import put_markers
from dataprophet.data.formats.placeholders import placeholder_in
from dataprophet.data.sample import Conversation
from dataprophet.errors import DataError, first_line, require


def messages_of(
    row: Conversation,
    role: str = "role",
    content: str = "content",
    user: str = "user",
    assistant: str = "assistant",
    *,
    loss: bool = False,
) -> list[dict[str, Any]]:
    """Messages under these keys and of these roles, with a marker for each image.

    ``loss`` says that the format has a word for an answer that is not trained on.

    Raises:
        DataError: images without a place, text that holds a placeholder itself, or an answer that is not trained on
            in a format without a word for it.
    """
    n_offsets = sum(len(turn.image_offsets) for turn in row.turns)
    what = f"row {row.id!r} has {len(row.sources)} images and {n_offsets} places for them"
    require(n_offsets == len(row.sources), what, row.place, "give each image an offset")
    out: list[dict[str, Any]] = []
    for turn in row.turns:
        held = placeholder_in(turn.question) or placeholder_in(turn.answer)
        what = f"the text of row {row.id!r} holds {held!r}"
        require(not held, what, row.place, "trainers would take it for an image or a clip")
        what = f"an answer of row {row.id!r} is not trained on, which this format cannot say"
        require(loss or turn.scored, what, row.place, "write swift or webdataset")
        out.append({role: user, content: put_markers(turn.question, turn.image_offsets)})
        out.append({role: assistant, content: turn.answer, **({} if turn.scored else {"loss": False})})
    return out


def to_json(value: dict[str, Any]) -> bytes:
    """A row as one line of JSON. Raises DataError for text that is not Unicode, and for what JSON cannot hold."""
    try:
        return json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise DataError(f"row {value['id']!r} holds text that is not Unicode", fix="remove lone surrogates") from error
    except TypeError as error:
        raise DataError(f"row {value['id']!r} holds {first_line(error)}", fix="write its columns as text") from error
