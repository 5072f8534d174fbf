"""Plain columns: image(s), question, answer | answers, and options with an index, a letter or the text."""

from __future__ import annotations

from dataprophet.data.files.columns import ANSWERS, option_columns
from dataprophet.data.files.rows import Row
from dataprophet.data.formats.answers import (
    ANSWER_IS,
    answer_text,
    by_letter,
    chosen,
    labelled,
    option_texts,
    with_options,
)
from dataprophet.data.formats.base import Format, Parsed, first_of, lacks
from dataprophet.data.formats.conversation import clean_text
from dataprophet.data.formats.placeholders import row_images


def _parse(row: Row) -> Parsed:
    """One row. Options are appended to the question as lettered lines; the answer is the text of the chosen one."""
    choices, answer = options_of(row)
    question = clean_text(row.get("question"), "the question")
    if question and row.get("hint"):
        question = f"{clean_text(row['hint'], 'the hint')}\n{question}"
    if choices:
        question, answer = with_options(question, choices), chosen(answer, choices, row.get(ANSWER_IS))
    return Parsed([("user", question), ("assistant", answer)], row_images(row))


def options_of(row: Row) -> tuple[list[str], str]:
    """Options and answer of a row. Raises BadRow."""
    value = first_of(row, "options", "choices")
    if value is None:
        value = [row.get(name) for name in option_columns(tuple(row))]
    if not value:  # most tables have none
        return [], answer_text(row, [])
    texts, labels = labelled(value)
    choices = option_texts(texts)
    return choices, by_letter(answer_text(row, choices), choices, labels)


def _mismatch(row: Row, suffix: str) -> str:
    if lacking := lacks(row, "question"):
        return lacking
    return "no column 'answer' or 'answers'" if row.keys().isdisjoint(ANSWERS) else ""


_LOOKS = "plain columns in Parquet, JSON, JSONL, CSV or TSV: image, question, answer or answers, options"
VQA = Format(_LOOKS, _parse, _mismatch, options=options_of)
