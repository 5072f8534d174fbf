"""From what a format finds in a row to a conversation: values to text, ``<image>`` markers, the order of turns.

For ``formats.base``; the exports put the markers back. It knows nothing of files and of where images are.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NoReturn

from dataprophet.data.files.rows import BadRow, kind_of, printable, short
from dataprophet.data.images.sources import ImageSource
from dataprophet.data.sample import Conversation, Turn

IMAGE_MARKER = "<image>"
_UNSEEN = " \t\r\n\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"  # text of these alone is none

_ROLES = {
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "chatgpt"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}


class Untrained(str):
    """The text of an answer that is not trained on, and so not scored."""

    __slots__ = ()


def clean_text(value: Any, what: str) -> str:
    """Text without surrounding white space; numbers are written out, booleans become yes and no, None is empty."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    raise BadRow("bad_row", f"{what} is {kind_of(value)}, not text", f"make {what} a string")


def row_id(value: Any, file: str, row: int) -> str:
    """The row's id as text, or ``<file stem>:<row>``."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | None):
        raise BadRow("bad_id", f"the id is {kind_of(value)}", "use a string or an integer")
    text = clean_text(value, "the id")
    if not text.isprintable():
        raise BadRow("bad_id", f"the id {short(text)} holds a control character", "use printable ids")
    return text or f"{_stem(file)}:{row}"


@lru_cache(64)
def _stem(file: str) -> str:
    return printable(os.path.splitext(os.path.basename(file))[0])


def take_markers(text: str) -> tuple[str, tuple[int, ...]]:
    r"""Text without ``<image>`` markers, stripped, and the offsets at which they stood.

    One white-space character behind a marker goes with it when nothing or white space stands before the marker, so
    that ``<image>\nQ`` is ``Q`` and ``a <image> b`` is ``a b``. ``put_markers`` is the exact inverse.
    """
    if IMAGE_MARKER not in text:
        return text.strip(), ()
    head, *rest = text.split(IMAGE_MARKER)
    offsets: list[int] = []
    out = [head]
    length, last = len(head), head[-1:] or " "
    for part in rest:
        offsets.append(length)
        kept = part[1:] if part[:1].isspace() and last.isspace() else part
        last = kept[-1:] or last
        out.append(kept)
        length += len(kept)
    joined = "".join(out)
    lead = len(joined) - len(joined.lstrip())
    stripped = joined.strip()
    return stripped, tuple(min(max(offset - lead, 0), len(stripped)) for offset in offsets)


def placed(marker: str, before: str) -> str:
    """A marker behind this text, with the white space that ``take_markers`` takes away with it."""
    last = before[-1:] or "\n"
    return marker + (("\n" if last in "\r\n" else " ") if last.isspace() else "")


def put_markers(question: str, offsets: Iterable[int]) -> str:
    """The question with a marker at each offset; ``take_markers`` gives both back."""
    out: list[str] = []
    done = 0
    for offset in offsets:
        out.append(question[done:offset] + placed(IMAGE_MARKER, question[:offset]))
        done = offset
    return "".join([*out, question[done:]])


def make_turns(messages: Sequence[tuple[str, str]], n_images: int) -> tuple[Turn, ...]:
    """Turns of a conversation of (role, text).

    System messages stand before the first question and become its first paragraph, so that nothing is lost in formats
    without a system role. Without any marker the images stand before the first question.

    Raises:
        BadRow: roles out of order, an unanswered question, empty text, or markers and images that do not match.
    """
    roles = [_ROLES.get(role) or _unknown(role) for role, _ in messages]
    n_system = 0
    while n_system < len(roles) and roles[n_system] == "system":
        n_system += 1
    system = "\n\n".join([text.strip() for _, text in messages[:n_system] if text.strip()])
    talk = messages[n_system:]
    if not talk:
        raise BadRow("bad_row", "the conversation has no turns", "add a question and its answer, or remove the row")
    for index, role in enumerate(roles[n_system:]):
        wanted = "assistant" if index % 2 else "user"
        if role != wanted:
            what = f"message {n_system + index + 1} is from {role!r} where {wanted!r} is due"
            raise BadRow("role_order", what, "merge or reorder the messages so that user and assistant alternate")
    if len(talk) % 2:
        raise BadRow("unanswered", "the last question has no answer", "add the answer, or remove the question")
    if IMAGE_MARKER in system:
        raise BadRow("image_count", "the system message holds an <image> marker", "move the marker to a question")
    several = len(talk) > 2
    turns = [_turn(talk[index][1], talk[index + 1][1], several * (index // 2 + 1)) for index in range(0, len(talk), 2)]
    if not turns[-1].scored and not any(turn.scored for turn in turns):
        raise BadRow("untrained", "no answer of the row is trained on", "remove the row, or its loss keys")
    first = turns[0]
    n_markers = sum([len(turn.image_offsets) for turn in turns])
    if n_markers == 0 and n_images:
        first = Turn(first.question, first.answer, (0,) * n_images, first.scored)
    elif n_markers != n_images:
        what = f"{n_markers} <image> markers but {n_images} images"
        raise BadRow("image_count", what, "make the numbers equal, or drop the markers")
    if system:
        offsets = tuple(offset + len(system) + 2 for offset in first.image_offsets)
        first = Turn(f"{system}\n\n{first.question}", first.answer, offsets, first.scored)
    return (first, *turns[1:])


def make_conversation(
    value_id: Any, sources: Sequence[ImageSource], messages: Sequence[tuple[str, str]], file: str, row: int
) -> Conversation:
    """Assemble and check a row. Raises BadRow."""
    for _, text in messages:
        try:
            text.encode()
        except UnicodeEncodeError:
            message = "the text holds half of a surrogate pair"
            raise BadRow("bad_encoding", message, "save the file as UTF-8 again from its source") from None
    return Conversation(row_id(value_id, file, row), tuple(sources), make_turns(messages, len(sources)), file, row)


def _turn(question: str, answer: str, number: int) -> Turn:
    """A turn without markers in its text; ``number`` is 0 for the only one of its row."""
    question, offsets = take_markers(question)
    scored = not isinstance(answer, Untrained)
    answer = answer.strip()
    of_turn = f" of turn {number}" if number else ""
    if question[:1] in _UNSEEN or answer[:1] in _UNSEEN:  # rarely; the text of no letter is in it too
        for name, text in (("question", question), ("answer", answer)):
            if not text.strip(_UNSEEN):
                raise BadRow(f"empty_{name}", f"the {name}{of_turn} is empty", "add its text, or remove the row")
    if IMAGE_MARKER in answer:
        raise BadRow("image_in_answer", f"the answer{of_turn} holds an <image> marker", "keep markers in questions")
    return Turn(question, answer, offsets, scored)


def _unknown(role: str) -> NoReturn:
    raise BadRow("bad_role", f"unknown role {short(role)}", "use user (human), assistant (gpt) or system")
