"""Questions about scenes and their right answers: eleven tasks, each in three phrasings.

The demo's datasets and the training of its model ask them. Everything follows from the description of a scene.
"""

from __future__ import annotations

import csv
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dataprophet.demo.scenes import COLOURS, COLUMNS, ROWS, SHAPES, Scene

PHRASINGS = ("plain", "terse", "chatty")
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")

_KINDS = {"shapes": "count colour shape position relation exist", "sign": "read", "bars": "height compare"}
TASKS = {task: kind for kind, tasks in _KINDS.items() for task in tasks.split()} | {"describe": "any", "words": "none"}
"""Task -> the kind of scene it asks about; "none" is a question without a picture."""

with Path(__file__).with_name("wordings.tsv").open(encoding="utf-8", newline="") as _file:
    _WORDINGS = {name: wording for name, *wording in csv.reader(_file, delimiter="\t")}
"""Wording -> the question in each phrasing, and the sentence that answers the chatty one."""

_OPPOSITES = {"top": "bottom", "left": "right", "first": "last", "yes": "no", "above": "below", "taller": "shorter"}


@dataclass(frozen=True, slots=True)
class Question:
    """A question, the answer in the words of its phrasing, and the bare answer."""

    task: str
    question: str
    answer: str
    bare: str


def ask(rng: random.Random, scene: Scene | None, task: str, phrasing: str) -> Question | None:
    """A question of a task about a scene, or None where the scene has nothing to ask about.

    Args:
        rng: chooses among the questions the scene allows.
        scene: the picture; None for the task "words".
        task: one of `TASKS`, of the scene's kind.
        phrasing: one of `PHRASINGS`; "chatty" answers in a sentence.
    """
    if task == "words":
        found = _words(rng)
    elif scene is None:
        raise ValueError(f"task {task!r} needs a scene")
    else:
        found = _MAKERS[task](rng, scene)
    if found is None:
        return None
    wording, slots, bare = found
    *questions, sentence = _WORDINGS[wording]
    question = questions[PHRASINGS.index(phrasing)].format(**slots)
    return Question(task, question, sentence.format(a=bare) if phrasing == "chatty" else bare, bare)


def tasks_of(kind: str) -> list[str]:
    """The tasks that ask about scenes of a kind, "describe" included."""
    return [task for task, about in TASKS.items() if about in (kind, "any")]


def options_of(rng: random.Random, task: str, bare: str) -> list[str]:
    """Four answers in random order, the right one among them; empty for a task without enough possible answers."""
    pools: dict[str, list[str]] = {
        "count": list(NUMBERS[1:5]),
        "colour": list(COLOURS),
        "shape": list(SHAPES),
        "position": [f"{row} {column}" for row in ROWS for column in COLUMNS],
        "height": list(NUMBERS[1:6]),
    }
    if bare not in pools.get(task, []):
        return []
    options = [bare, *rng.sample([other for other in pools[task] if other != bare], 3)]
    rng.shuffle(options)
    return options


def describe(scene: Scene) -> str:
    """All that a scene shows, in reading order."""
    if scene.kind == "shapes":
        return ", ".join(f"{thing.where} {thing.name}" for thing in scene.things)
    if scene.kind == "sign":
        return f"{scene.ink} text {scene.text}"
    return ", ".join(f"{colour} bar {NUMBERS[height]}" for colour, height in scene.bars)


_Found = tuple[str, dict[str, str], str] | None


def _words(rng: random.Random) -> _Found:
    if rng.random() < 0.5:
        first, second = rng.randint(0, 4), rng.randint(0, 4)
        return "words.sum", {"first": NUMBERS[first], "second": NUMBERS[second]}, NUMBERS[first + second]
    pair = rng.choice(sorted(_OPPOSITES.items()))
    word, opposite = pair if rng.random() < 0.5 else pair[::-1]
    return "words.opposite", {"word": word}, opposite


def _look(asked: str, given: str, rng: random.Random, scene: Scene) -> _Found:
    """What a shape looks like, asked by its place or, where that tells which, by its other property."""
    thing = rng.choice(scene.things)
    known, answer = getattr(thing, given), getattr(thing, asked)
    if sum(getattr(other, given) == known for other in scene.things) == 1 and rng.random() < 0.5:
        return f"{asked}.of", {given: known}, answer
    return f"{asked}.at", {"where": thing.where}, answer


def _position(rng: random.Random, scene: Scene) -> _Found:
    thing = rng.choice(scene.things)
    return "position", {"name": thing.name}, thing.where


def _relation(rng: random.Random, scene: Scene) -> _Found:
    every = itertools.product(scene.things, scene.things, ("row", "column"))
    pairs = [(first, second, axis) for first, second, axis in every if getattr(first, axis) != getattr(second, axis)]
    if not pairs:
        return None
    first, second, axis = rng.choice(pairs)
    before, after = ("above", "below") if axis == "row" else ("left of", "right of")
    true, false = (before, after) if getattr(first, axis) < getattr(second, axis) else (after, before)
    holds = rng.random() < 0.5
    slots = {"first": first.name, "second": second.name, "relation": true if holds else false}
    return "relation", slots, "yes" if holds else "no"


def _exist(rng: random.Random, scene: Scene) -> _Found:
    shown = {f"{thing.colour} shape" for thing in scene.things} | {thing.shape for thing in scene.things}
    every = {f"{colour} shape" for colour in COLOURS} | set(SHAPES)
    absent = sorted(every - shown)
    if absent and rng.random() < 0.5:
        return "exist", {"what": rng.choice(absent)}, "no"
    return "exist", {"what": rng.choice(sorted(shown))}, "yes"


def _read(rng: random.Random, scene: Scene) -> _Found:
    if rng.random() < 0.6:
        return "read", {}, scene.text
    end = rng.choice(("first", "last"))
    return "read.end", {"end": end}, scene.text[0 if end == "first" else -1]


def _height(rng: random.Random, scene: Scene) -> _Found:
    colour, height = rng.choice(scene.bars)
    return "height", {"colour": colour}, NUMBERS[height]


def _compare(rng: random.Random, scene: Scene) -> _Found:
    pairs = [(one, two) for one, two in itertools.product(scene.bars, repeat=2) if one[1] != two[1]]
    if not pairs:
        return None
    first, second = rng.choice(pairs)
    return "compare", {"first": first[0], "second": second[0]}, max(first, second, key=lambda bar: bar[1])[0]


_MAKERS: dict[str, Callable[[random.Random, Scene], _Found]] = {
    "count": lambda rng, scene: ("count", {}, NUMBERS[len(scene.things)]),
    "colour": partial(_look, "colour", "shape"),
    "shape": partial(_look, "shape", "colour"),
    "position": _position,
    "relation": _relation,
    "exist": _exist,
    "read": _read,
    "height": _height,
    "compare": _compare,
    "describe": lambda rng, scene: ("describe", {}, describe(scene)),
}
