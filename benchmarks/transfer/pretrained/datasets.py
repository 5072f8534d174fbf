"""The datasets of the preset: task, kind of scene, style, wording and form of the answer are crossed.

A task stands on several kinds of scene, a kind of scene carries several tasks, and within a task the form of the answer
changes, so that neither the picture nor the answer alone tells the task. The split below stood before any result.
"""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass
from typing import Any

from transfer.pretrained.drawing import STYLES, Part, Picture, draw

ORDER = ("first", "second", "third", "fourth")
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
QUESTIONS_EACH = 4


@dataclass(frozen=True)
class Spec:
    """A dataset.

    Attributes:
        task: "colour", "where", "read" or "shape".
        scene: "shapes", "sign" or "bars".
        style: of the picture.
        wording: which of the task's three wordings.
        form: of the answer: "word", "digit" or "sentence".
        held_out: whether it is kept apart from the development of predictors.
    """

    task: str
    scene: str
    style: str
    wording: int
    form: str
    held_out: bool = False


DATASETS = {
    "colour-shapes": Spec("colour", "shapes", "plain", 0, "word"),
    "colour-sign": Spec("colour", "sign", "dark", 2, "sentence"),
    "colour-bars": Spec("colour", "bars", "noise", 1, "word", held_out=True),
    "where-shapes": Spec("where", "shapes", "noise", 1, "word"),
    "where-sign": Spec("where", "sign", "plain", 0, "sentence", held_out=True),
    "read-sign": Spec("read", "sign", "clouds", 1, "digit"),
    "read-bars": Spec("read", "bars", "stripes", 0, "digit", held_out=True),
    "read-bars-words": Spec("read", "bars", "plain", 2, "word"),
    "shape-shapes": Spec("shape", "shapes", "dark", 2, "word"),
    "shape-sentences": Spec("shape", "shapes", "stripes", 0, "sentence", held_out=True),
    "where-bars": Spec("where", "bars", "dark", 2, "word"),
    "where-clouds": Spec("where", "shapes", "clouds", 2, "sentence"),
    "colour-sketch": Spec("colour", "shapes", "sketch", 1, "sentence"),
    "read-sign-words": Spec("read", "sign", "noise", 0, "word"),
    "shape-clouds": Spec("shape", "shapes", "clouds", 1, "word"),
}
"""All fifteen; a smaller grid takes the first ones."""

_WORDINGS = {
    ("colour", "shapes"): ("What color is the {0}?", "color of the {0}:", "Tell me the color that the {0} has."),
    ("colour", "sign"): (
        "What color is the {0}?",
        "color of the {0}:",
        "Tell me the color of the {0} here.",
    ),
    ("colour", "bars"): ("Which bar is the {0}?", "{0} bar:", "Tell me the color of the {0} column."),
    ("where", "shapes"): ("Where is the {0}?", "position of the {0}:", "Tell me in which part you see the {0}."),
    ("where", "sign"): ("Where is the {0}?", "position of the {0}:", "Tell me at which place the {0} stands."),
    ("where", "bars"): ("Where is the {0} bar?", "position of the {0} bar:", "Tell me at which place the {0} bar is."),
    ("read", "sign"): ("What is the {0} digit?", "{0} digit:", "Tell me the {0} number that is written here."),
    ("read", "bars"): ("How tall is the {0} bar?", "height of the {0} bar:", "Tell me the value of the {0} column."),
    ("shape", "shapes"): ("What shape is the {0} thing?", "{0} shape:", "Tell me which form the {0} object has."),
}
_ASKED_FORMS = {"word": "One word.", "digit": "A digit.", "sentence": "A sentence."}
"""Every question says the form of its answer: else a base would fail by the form, and gains would be of learning it."""

_SENTENCES = {"colour": "It is {0}.", "where": "It is at the {0}.", "read": "It says {0}.", "shape": "It is a {0}."}

Row = tuple[Picture, list[tuple[str, str]]]


def make_rows(name: str, spec: Spec, split: str, count: int) -> list[Row]:
    """Pictures with up to four questions and answers about each. A row depends on names and its number alone."""
    return [_row(random.Random(f"{name}/{split}/{number}"), spec) for number in range(count)]


def _row(rng: random.Random, spec: Spec) -> Row:
    picture = draw(rng, spec.scene, spec.style)
    return picture, _ask(rng, picture, spec.task, spec.scene, spec.wording, spec.form)[:QUESTIONS_EACH]


def mixture_rows(tag: str, count: int, scenes: dict[str, float]) -> list[Row]:
    """Rows of a base's training mixture: every task, style, wording and form. ``scenes`` gives the weight of each."""
    rows = []
    for number in range(count):
        rng = random.Random(f"{tag}/{number}")
        scene = rng.choices(list(scenes), list(scenes.values()))[0]
        picture = draw(rng, scene, rng.choice(STYLES))
        tasks, found = [task for task, about in _WORDINGS if about == scene], list[tuple[str, str]]()
        while len(found) < QUESTIONS_EACH:
            task = rng.choice(tasks)
            forms = ("word", "digit", "sentence") if task == "read" else ("word", "sentence")
            asked = _ask(rng, picture, task, scene, rng.randrange(3), rng.choice(forms))
            fresh = [pair for pair in asked if pair not in found]
            if not fresh:
                break
            found.append(fresh[0])
        rows.append((picture, found))
    return rows


def _ask(rng: random.Random, picture: Picture, task: str, scene: str, wording: int, form: str) -> list[tuple[str, str]]:
    """Every question of a task that the picture allows, in random order."""
    parts, text = list(picture.parts), _WORDINGS[task, scene][wording]
    pairs = _ASKED[task, scene](parts)
    rng.shuffle(pairs)
    return [(f"{text.format(asked)} {_ASKED_FORMS[form]}", _formed(task, answer, form)) for asked, answer in pairs]


def _formed(task: str, answer: str, form: str) -> str:
    if task == "read" and form == "word":
        return NUMBERS[int(answer)]
    return _SENTENCES[task].format(answer) if form == "sentence" else answer


def _alone(parts: list[Part], field: str) -> list[Part]:
    values = [getattr(part, field) for part in parts]
    return [part for part, value in zip(parts, values, strict=True) if values.count(value) == 1]


def _extremes(parts: list[Part]) -> list[tuple[str, str]]:
    order = sorted(parts, key=lambda part: part.height)
    named = {"tallest": order[-1], "shortest": order[0], **dict(zip(ORDER, parts, strict=False))}
    return [(name, part.colour) for name, part in named.items()]


_ASKED: dict[tuple[str, str], Any] = {
    ("colour", "shapes"): lambda parts: [
        *((part.shape, part.colour) for part in _alone(parts, "shape")),
        *((f"{part.where} thing", part.colour) for part in parts),
    ],
    ("colour", "sign"): lambda parts: [
        *((part.digit, part.colour) for part in parts),
        *((f"{place} digit", part.colour) for place, part in zip(ORDER, parts, strict=False)),
    ],
    ("colour", "bars"): _extremes,
    ("where", "shapes"): lambda parts: [(f"{part.colour} {part.shape}", part.where) for part in parts],
    ("where", "sign"): lambda parts: [
        *((part.digit, place) for place, part in zip(ORDER, parts, strict=False)),
        *((f"{part.colour} digit", place) for place, part in zip(ORDER, parts, strict=False)),
    ],
    ("where", "bars"): lambda parts: [(part.colour, place) for place, part in zip(ORDER, parts, strict=False)],
    ("read", "sign"): lambda parts: [
        *((place, part.digit) for place, part in zip(ORDER, parts, strict=False)),
        *((part.colour, part.digit) for part in parts),
    ],
    ("read", "bars"): lambda parts: [(part.colour, str(part.height)) for part in parts],
    ("shape", "shapes"): lambda parts: [
        *((part.colour, part.shape) for part in _alone(parts, "colour")),
        *((part.where, part.shape) for part in parts),
    ],
}


def described(spec: Spec) -> dict[str, Any]:
    return asdict(spec)
