"""Plain columns: image(s), question, answer | answers, and options with an index or a letter.

What reads answers and options is shared with ``formats.vlmeval``.
"""

from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from string import ascii_uppercase
from typing import Any

from dataprophet.data.files.rows import BadRow, Row, kind_of
from dataprophet.data.formats.base import Format, Parsed, first_of, lacks
from dataprophet.data.formats.chat import as_objects
from dataprophet.data.formats.conversation import clean_text


def _parse(row: Row) -> Parsed:
    """One row. Options are appended to the question as lettered lines; the answer is the text of the chosen one."""
    choices = [clean_text(choice, "an option") for choice in _as_list(first_of(row, "options", "choices"), "options")]
    question = clean_text(row.get("question"), "the question")
    if question and row.get("hint"):  # ScienceQA: the passage
        question = f"{clean_text(row['hint'], 'the hint')}\n{question}"
    answer = row.get("answer")
    answer = pick_answer(string_list(row.get("answers")) if answer is None else answer)
    if choices:
        question, answer = with_options(question, choices), chosen(answer, choices)
    messages = [("user", question), ("assistant", clean_text(answer, "the answer"))]
    return Parsed(messages, listed(first_of(row, "image", "images")))


def _mismatch(row: Row, suffix: str) -> str:
    if lacking := lacks(row, "question"):
        return lacking
    return "" if "answer" in row or "answers" in row else "no column 'answer' or 'answers'"


def with_options(question: str, choices: Sequence[str]) -> str:
    """The question with a line ``A. text`` for each option, as VLMEvalKit writes them."""
    if not question:
        return question
    lines = (f"{letter}. {choice}" for letter, choice in zip(ascii_uppercase, choices, strict=False))
    return "\n".join([question, *lines])


def chosen(answer: Any, choices: Sequence[str]) -> str:
    """Text of the option that ``answer`` names: an index from 0, a letter, the text itself, or an index as text.

    Raises:
        BadRow: it names none of them.
    """
    if len(choices) > len(ascii_uppercase):
        raise BadRow("bad_row", f"{len(choices)} options are more than the alphabet", "leave fewer options")
    if isinstance(answer, float) and answer.is_integer():
        answer = int(answer)
    text = clean_text(answer, "the answer")
    index = -1
    if isinstance(answer, int) and not isinstance(answer, bool):
        index = answer
    elif not text:
        return ""
    elif len(text) == 1 and text in ascii_uppercase[: len(choices)]:
        index = ascii_uppercase.index(text)
    elif text in choices:
        return text
    elif text.isascii() and text.isdigit():
        index = int(text)
    if not 0 <= index < len(choices):
        what = f"answer {text[:60]!r} is none of the {len(choices)} options"
        raise BadRow("bad_answer", what, "give an index from 0, a letter or the text")
    return choices[index]


def pick_answer(value: Any) -> Any:
    """The answer itself, or of several the most frequent, the first of them where they tie."""
    value = as_objects(value)
    if not isinstance(value, list | tuple):
        return value
    answers = [item.get("answer") if isinstance(item, dict) else item for item in value]
    texts = Counter(text for answer in answers if (text := clean_text(answer, "an answer")))
    return texts.most_common(1)[0][0] if texts else None


def string_list(value: Any) -> Any:
    """Text that is the literal of a list of strings, as text tables hold ``answers``, becomes the list."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        parsed = _literal(value.strip())
        if isinstance(parsed, list) and parsed and all(isinstance(item, str) for item in parsed):
            return parsed
    return value


def _as_list(value: Any, what: str) -> list[Any]:
    """A list cell, which text tables hold as a Python or JSON literal. None is empty."""
    if isinstance(value, str) and value.strip():
        value = _literal(value.strip())
    if isinstance(value, dict):  # {"A": ..., "B": ...}
        return [value[key] for key in sorted(value)]
    if not isinstance(value, list | tuple | None) and value != "":
        raise BadRow("bad_row", f"{what} is {kind_of(value)}, not a list", f"write {what} as a list")
    return list(value or ())


def listed(value: Any) -> Any:
    """An image cell; a text cell that holds a list literal becomes the list."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        return _as_list(value, "images")
    return value


def _literal(text: str) -> Any:
    for parse in (json.loads, ast.literal_eval):
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            return parse(text)
    return text


_LOOKS = "plain columns in Parquet, JSON, JSONL, CSV or TSV: image, question, answer or answers, options"
VQA = Format(_LOOKS, _parse, _mismatch)
