"""The texts of a row as trainers read them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from dataprophet.data.formats.conversation import IMAGE_MARKER, put_markers
from dataprophet.data.sample import Conversation
from dataprophet.errors import DataError


def messages_of(row: Conversation) -> list[dict[str, str]]:
    """Messages of role and content, with a marker for each image."""
    out = []
    for question, answer in texts_of(row):
        out += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
    return out


def texts_of(row: Conversation) -> Iterator[tuple[str, str]]:
    """Question with its markers, and answer, of each turn."""
    n_offsets = sum(len(turn.image_offsets) for turn in row.turns)
    if n_offsets != len(row.sources):
        raise DataError(
            f"row {row.id!r} has {len(row.sources)} images and {n_offsets} places for them",
            where=row.place,
            fix="give each image an offset",
        )
    for turn in row.turns:
        if IMAGE_MARKER in turn.question or IMAGE_MARKER in turn.answer:
            raise DataError(
                f"the text of row {row.id!r} holds {IMAGE_MARKER!r}",
                where=row.place,
                fix="trainers would count it as an image",
            )
        yield put_markers(turn.question, turn.image_offsets), turn.answer


def to_json(value: dict[str, Any]) -> bytes:
    """A row as one line of JSON. Raises DataError for text that is not Unicode."""
    try:
        return json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise DataError(f"row {value['id']!r} holds text that is not Unicode", fix="remove lone surrogates") from error
