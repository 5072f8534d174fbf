"""Options of a question, and which of them an answer names: by an index, a letter or its text.

Which of these a column holds is decided over the rows of a dataset (``Evidence``), never for a row by itself. For
``formats.vqa`` and ``formats.vlmeval``.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from string import ascii_uppercase
from typing import Any, Protocol

from dataprophet.data.files.columns import ANSWERS
from dataprophet.data.files.rows import BadRow, Row, kind_of
from dataprophet.data.formats.chat import as_objects
from dataprophet.data.formats.conversation import clean_text
from dataprophet.data.formats.literals import literal, unpacked
from dataprophet.errors import DataError

ANSWER_KINDS = {
    "text": "the text of an option",
    "letter": "a letter",
    "index0": "an index from 0",
    "index1": "an index from 1",
}
"""What an answer beside options may be."""

ANSWER_IS = " answer_is"
"""Key under which a row carries the kind of its answer; no column of a file is called so."""

_SETTLE = f"say what it is: answer_is={'|'.join(ANSWER_KINDS)}"
_NAMED = 8  # keys in a message
_LABELLED = {"text", "label"}
_CLEAR = 5  # times as many rows for one kind as for another decide
_INDEX = re.compile(r"(\d+)(?:\.0+)?")
_LETTER = re.compile(r"\(?([A-Za-z])[).:]?")
_LETTERED = re.compile(r"\(?([A-Za-z])[).:](?:\s+|(?![A-Za-z][.:]))(?=\S)")  # not the "A." of "A.D."


class Renames(Protocol):
    """How the columns of rows are called."""

    def renamed(self, row: Row) -> Row:
        """The row under our names. Raises BadRow."""


@dataclass
class Evidence:
    """What the rows of a dataset say about the kind of its answers.

    Attributes:
        rows: rows with options and an answer.
        seen: for each way in which the kinds read an answer, how many rows: for each kind the option, -1 for none.
    """

    rows: int = 0
    seen: Counter[tuple[int, ...]] = field(default_factory=Counter)

    def add(self, choices: Sequence[str], answer: str) -> None:
        """Count a row."""
        places = (_place(answer, choices, kind) for kind in ANSWER_KINDS)
        self.seen[tuple(-1 if place < 0 else choices.index(choices[place]) for place in places)] += 1
        self.rows += 1

    def look(self, row: Row, options: Callable[[Row], tuple[list[str], str]] | None, reading: Renames) -> None:
        """Count a raw row, if it has options and an answer."""
        with suppress(BadRow):
            choices, answer = options(reading.renamed(row)) if options else ([], "")
            if choices and answer:
                self.add(choices, answer)

    def fits(self, kind: str) -> int:
        """Rows whose answer names an option, if it is of this kind."""
        number = list(ANSWER_KINDS).index(kind)
        return sum(count for places, count in self.seen.items() if places[number] >= 0)

    def decide(self, where: str, usual: str = "") -> str:
        """The kind that explains the answers.

        Args:
            where: the dataset, for the message.
            usual: the kind that the format defines, which wins where several fit.

        Raises:
            DataError: two kinds explain them, and name different options.
        """
        best = sorted(ANSWER_KINDS, key=lambda kind: (-self.fits(kind), kind != usual))
        rivals = [kind for kind in best[1:] if not self._beats(best[0], kind)]
        if not rivals or usual in {best[0], *rivals}:
            return best[0] if not rivals else usual
        one, other = ANSWER_KINDS[best[0]], ANSWER_KINDS[rivals[0]]
        what = f"the answers of {self.rows:,} rows with options may be {one} or {other}, which are different answers"
        raise DataError(what, where=where, fix=_SETTLE)

    def _beats(self, kind: str, other: str) -> bool:
        """Whether a kind explains many rows that the other does not, or both read all rows alike."""
        one, two = (list(ANSWER_KINDS).index(name) for name in (kind, other))
        only = sum(count for places, count in self.seen.items() if places[one] >= 0 > places[two])
        against = sum(count for places, count in self.seen.items() if places[two] >= 0 > places[one])
        alike = all(places[one] == places[two] for places in self.seen if min(places[one], places[two]) >= 0)
        return only > _CLEAR * against or (alike and not against)


def with_options(question: str, choices: Sequence[str]) -> str:
    """The question with a line ``A. text`` for each option, as VLMEvalKit writes them."""
    if not question:
        return question
    lines = (f"{letter}. {choice}" for letter, choice in zip(ascii_uppercase, choices, strict=False))
    return "\n".join([question, *lines])


def chosen(answer: str, choices: Sequence[str], kind: str | None) -> str:
    """Text of the option that an answer of this kind names.

    Raises:
        BadRow: it names none, or nothing tells the kind.
    """
    if not answer:
        return ""
    if kind is None:
        raise BadRow(
            "bad_answer", "options where the rows before had none, so that their answers' kind is open", _SETTLE
        )
    place = _place(answer, choices, kind)
    if place < 0:
        what = f"answer {answer[:60]!r} is none of the {len(choices)} options (read as {ANSWER_KINDS[kind]})"
        raise BadRow("bad_answer", what, f"correct it, or {_SETTLE}")
    return choices[place]


def _place(answer: str, choices: Sequence[str], kind: str) -> int:
    """The option that an answer of this kind names, from 0; -1 for none."""
    if kind.startswith("index"):
        found = _INDEX.fullmatch(answer)
        place = int(found[1][:9]) - int(kind[-1]) if found else -1
        return place if place < len(choices) else -1
    if kind == "text" and answer in choices:
        return choices.index(answer)
    lettered = _LETTERED.match(answer)  # "B. blue", of both kinds
    found = lettered or (_LETTER.fullmatch(answer) if kind == "letter" else None)
    place = ascii_uppercase.index(found[1].upper()) if found else len(choices)
    fits = place < len(choices) and (not lettered or answer[lettered.end() :] == choices[place])
    return place if fits else -1


def option_texts(value: Any) -> list[str]:
    """The options of a row, without letters of their own. A null ends them.

    Raises:
        BadRow: no list, more than the alphabet, one that is empty before another, or letters in another order.
    """
    texts = [clean_text(choice, "an option") for choice in as_list(value, "options")]
    while texts and not texts[-1]:
        texts.pop()
    if len(texts) > len(ascii_uppercase):
        raise BadRow("bad_row", f"{len(texts)} options are more than the alphabet", "leave fewer options")
    if "" in texts:
        raise BadRow(
            "bad_row", f"option {texts.index('') + 1} of {len(texts)} is empty", "add it, or move the others up"
        )
    return _plain(texts)


def _plain(texts: list[str]) -> list[str]:
    """Options without the letters before them; as they are where not each has one. Raises BadRow for another order."""
    marks = [_LETTERED.match(text) for text in texts]
    letters = [mark[1].upper() for mark in marks if mark]
    wanted = list(ascii_uppercase[: len(texts)])
    if len(texts) < 2 or sorted(letters) != wanted:
        return texts
    if letters != wanted:
        raise BadRow(
            "bad_row", f"the options are lettered {', '.join(letters)}", "put them in order, or drop the letters"
        )
    return [text[mark.end() :] for text, mark in zip(texts, marks, strict=True) if mark]


def answer_text(row: Any, choices: Sequence[str]) -> str:
    """The answer of a row as its columns have it; of several annotators' the most frequent.

    Raises:
        BadRow: several answers beside options, or no text.
    """
    value = string_list(row.get("answer"))
    several = isinstance(value, list | tuple) and len(value) > 1
    if several and not choices and all(isinstance(item, int | float) for item in value):
        what = f"the answer is a list of {len(value)} numbers, which may be a box or several answers"
        raise BadRow("bad_answer", what, "write it as the text that the model is trained on")
    fix = "split the row, or leave it out"
    if choices and several:
        raise BadRow("bad_answer", f"{len(value)} right options, where one is expected", fix)
    for name in ANSWERS[1:]:
        if value in (None, "", []):
            value = string_list(row.get(name), of_any=True)
    if choices and (ties := _ties(value)) > 1:
        raise BadRow("bad_answer", f"{ties} options are right or tie, where one is expected", fix)
    return clean_text(pick_answer(value), "the answer")


def labelled(value: Any) -> tuple[Any, list[str]]:
    """Texts and labels of options that have both, ``{"text": [...], "label": [...]}`` or a list of such objects (ARC).

    Other options are given back as they are, without labels.
    """
    given = unpacked(value)
    given = as_objects(given) if isinstance(given, dict) and given.keys() >= _LABELLED else given
    if not isinstance(given, list) or not given:
        return value, []
    if not all(isinstance(option, dict) and option.keys() >= _LABELLED for option in given):
        return value, []
    labels = [clean_text(option["label"], "a label").strip("(). ").upper() for option in given]
    if len(set(labels)) < len(labels):
        raise BadRow("bad_row", f"the options are labelled {', '.join(labels)}", "give each a label of its own")
    return [option["text"] for option in given], labels


def by_letter(answer: str, choices: Sequence[str], labels: Sequence[str]) -> str:
    """The answer, with a letter in place of a label: options without letters are labelled by numbers, or in any order.

    Raises:
        BadRow: it is neither a label nor the text of an option.
    """
    usual, label = list(ascii_uppercase[: len(labels)]), answer.strip("(). ").upper()
    place = labels.index(label) if label in labels else -1
    if usual == list(labels) or not answer or (answer in choices and (place < 0 or choices[place] != answer)):
        return answer
    if place < 0:
        what = f"answer {answer[:60]!r} is none of the labels {', '.join(labels)}"
        raise BadRow("bad_answer", what, "correct it")
    return usual[place]


def pick_answer(value: Any) -> Any:
    """The answer itself, or of several the most frequent, the first of them where they tie."""
    texts = _counted(value)
    if texts is None:
        return value
    return texts.most_common(1)[0][0] if texts else None


def _counted(value: Any) -> Counter[str] | None:
    """How often each of several answers stands there; None for what is one answer."""
    if isinstance(value, dict) and isinstance(value.get("answer"), list | tuple):
        value = value["answer"]  # a list of objects, as a table holds it
    if not isinstance(value, list | tuple):
        return None
    answers = [item.get("answer") if isinstance(item, dict) else item for item in value]
    return Counter(text for answer in answers if (text := clean_text(answer, "an answer")))


def _ties(value: Any) -> int:
    """How many answers are the most frequent."""
    counts = (_counted(value) or Counter[str]()).values()
    return sum(count == max(counts) for count in counts)


def string_list(value: Any, *, of_any: bool = False) -> Any:
    """Text that is the literal of a list of strings or answers, as text tables hold ``answers``, becomes the list.

    With ``of_any`` its items may be numbers and nulls, too, and it may be an object with a list of answers.
    """
    if isinstance(value, str) and value.lstrip().startswith(("[", "array(", *("{" * of_any))):
        parsed = literal(value.strip())
        if of_any and _has_answer(parsed) and isinstance(parsed["answer"], list):
            return parsed
        kinds = str | int | float | None if of_any else str
        if isinstance(parsed, list) and parsed and all(isinstance(item, kinds) or _has_answer(item) for item in parsed):
            return parsed
    return value


def _has_answer(item: Any) -> bool:
    return isinstance(item, dict) and "answer" in item


def as_list(value: Any, what: str) -> list[Any]:
    """A list cell, which text tables hold as a Python, JSON or NumPy literal, or as lettered lines. None is empty."""
    if isinstance(value, str) and value.strip():
        lines = value.strip().splitlines()
        value = literal(value.strip()) if _plain(lines) == lines else lines
    if isinstance(value, dict):  # {"A": ..., "B": ...}
        return [value[key] for key in _in_order(value)]
    if not isinstance(value, list | tuple | None) and value != "":
        raise BadRow("bad_row", f"{what} is {kind_of(value)}, not a list", f"write {what} as a list")
    return list(value or ())


def _in_order(keys: Collection[Any]) -> list[Any]:
    """Keys of options by their letters or numbers. Raises BadRow where they are none, or one is missing."""
    texts = {str(key).strip("(). ").upper(): key for key in keys}
    wanted = [str(number) for number in range("0" not in texts, len(texts) + ("0" not in texts))]
    order = next((names for names in (ascii_uppercase[: len(keys)], wanted) if set(names) == texts.keys()), None)
    if order is None:
        what = f"the options are called {', '.join(map(str, list(keys)[:_NAMED]))}"
        raise BadRow("bad_row", what, "call them A, B, C, ... or write them as a list")
    return [texts[name] for name in order]
