"""``init``: a first recipe, with what is found out about the data, and a mark where a question stays open."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataprophet.data import EXPORT_FORMATS, Dataset, open_dataset
from dataprophet.data.sample import DUPLICATE, MAX_BAD
from dataprophet.data.validate import ValidationReport, image_folders, validate
from dataprophet.errors import DataError
from dataprophet.running.check import doubled, names_of, split_name
from dataprophet.running.reading import TODO
from dataprophet.running.recipe import Data, Recipe, relative

_HEAD = f"""\
# A recipe of `dataprophet run`: settle what is marked {TODO}, then run
#     dataprophet run {{name}}
# Paths are relative to this file. docs/run.md tells every key.
"""
_OPTION = re.compile(r" \(--[^)]*\)")  # of a command; here the key above it says the same
_ASKED = re.compile(r"(?:--(?=\S)|\b(?=\w+=))(split|subset|columns|answer_is|answer-is|format)\b")
_SHOWN = ("temperature", "minimum", "without", "max_bad", "processes")  # of the keys that have a default
_MISSING = ("missing_image", "outside_root")


@dataclass
class FirstRecipe:
    """A recipe as text, and the questions that it leaves open."""

    text: str
    open: list[str] = field(default_factory=list)


def first_recipe(
    sources: Sequence[str],
    targets: Sequence[str],
    file: str | os.PathLike[str],
    *,
    model: str | None = None,
    budget: int | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> FirstRecipe:
    """Look at datasets, and write down how they are read.

    Args:
        sources: paths, or NAME=PATH, of what is to be chosen among.
        targets: the same of what is to be chosen for.
        file: where the recipe will lie; its paths are relative to that folder.
        model: the model, where it is known.
        budget: rows of each mixture, where it is known.
        tell: called with a line for each dataset.

    Raises:
        DataError: a dataset cannot be read at all.
    """
    folder = os.path.dirname(os.path.abspath(file))
    typed = [split_name(text) for text in (*sources, *targets)]
    names = names_of([Data(path, name) for name, path in typed])
    made, lines, rows = FirstRecipe(""), [_HEAD.format(name=os.path.basename(file))], 0
    sides = [f"{'sources' if number < len(sources) else 'targets'}.{number}" for number in range(len(names))]
    data = [Data(path, name) for name, (_, path) in zip(names, typed, strict=True)]
    twice = [*doubled(dict(zip(sides, data, strict=True)))]
    for number, (name, (_, path)) in enumerate(zip(names, typed, strict=True)):
        if number in (0, len(sources)):
            lines.append("sources:" if number == 0 else "\ntargets:")
        look = _look(name, path, folder)
        tell(f"looked at {name}: {look.held or 'a question is open'}")
        look.doubt(*(f"{what}; {fix}" for key, what, fix in twice if key == sides[number]))
        made.open += [f"{name}: {question}" for question in look.open]
        rows += look.usable if number < len(sources) else 0
        lines += [f"  - name: {_text(name)}", f"    path: {_text(relative(path, folder))}", *look.lines]
    fields = Recipe.__dataclass_fields__
    lines.append("")
    for key, value, note in (
        ("model", model, "name on the hub, local folder, or demo"),
        ("budget", budget, f"rows of each mixture, of {rows:,} in the sources; without it there are no mixtures"),
    ):
        lines.append(f"{key}: {TODO if value is None else _text(value)}  # {note}")
        made.open += [f"{key}: {note}"] if value is None else []
    lines.append(f"format: llava  # or {', '.join([*EXPORT_FORMATS][1:])}")
    lines.append("out: results  # folder")
    lines.append("\n# further keys, with their defaults:")
    lines += [f"# {key}: {json.dumps(fields[key].default)}  # {fields[key].metadata['help']}" for key in _SHOWN]
    made.text = "\n".join(lines) + "\n"
    return made


@dataclass
class _Look:
    """What was found out about one dataset: lines of the recipe, open questions, what it holds, rows to use."""

    lines: list[str] = field(default_factory=list)
    open: list[str] = field(default_factory=list)
    held: str = ""
    usable: int = 0

    def add(self, key: str, value: Any, note: str = "") -> None:
        self.lines.append(f"    {key}: {_text(value)}" + (f"  # {note}" if note else ""))

    def doubt(self, *questions: str) -> None:
        self.lines += [f"    # {TODO}? {question}" for question in questions]
        self.open += questions

    def ask(self, key: str, question: str) -> None:
        self.lines.append(f"    {key}: {TODO}  # {question}")
        self.open.append(f"{key}: {question}")


def _look(name: str, path: str, folder: str) -> _Look:
    look = _Look()
    try:
        dataset = open_dataset(path, name=name)
    except DataError as error:
        asked = _ASKED.search(error.fix) or _ASKED.search(error.what)
        if asked is None:
            raise
        look.ask(asked[1].replace("-", "_"), f"{error.what}; {error.fix}")
        return look
    told, report = dataset.told(), validate(dataset, decode=False)
    report = _place_images(look, dataset, report, folder)
    look.held, look.usable = f"{dataset.format}, {report.held}", report.good
    look.lines.insert(0, f"    format: {dataset.format}  # {report.held}")
    if kind := dataset.arguments.get("answer_is"):
        look.add("answer_is", kind)
    look.lines += [f"    # {_OPTION.sub('', guess)}" for guess in told.guesses if not guess.startswith("format:")]
    look.doubt(*told.warnings)
    if report.counts:
        counts = ", ".join(f"{count:,} {code}" for code, count in sorted(report.counts.items()))
        look.lines.append(f"    # {report.rows - report.good:,} rows are left out: {counts} (dataprophet validate)")
    bad = sum(count for code, count in report.counts.items() if code not in (DUPLICATE, *_MISSING))
    if bad > MAX_BAD * report.rows:
        look.open.append(f"{bad:,} of {report.rows:,} rows cannot be used; correct them, or raise max_bad")
    return look


def _place_images(look: _Look, dataset: Dataset, report: ValidationReport, folder: str) -> ValidationReport:
    """Where images are missing, a folder beside the data that has them all, or else the question where they are."""
    missing = sum(report.counts[code] for code in _MISSING)
    if not missing:
        return report
    for place in image_folders(dataset):
        again = validate(open_dataset(**{**dataset.arguments, "image_root": place}), decode=False)
        if not any(again.counts[code] for code in _MISSING):
            seen = relative(os.path.relpath(place), folder)
            look.add("image_root", seen, f"has the images of {missing:,} rows that are not beside the data")
            return again
    if missing > MAX_BAD * report.rows:
        look.ask("image_root", f"the images of {missing:,} of {report.rows:,} rows are not there; name their folder")
    return report


def _text(value: Any) -> str:
    """A value on one line of YAML."""
    plain = isinstance(value, str) and re.fullmatch(r"[A-Za-z./_][\w./@+-]*", value) and value.lower() not in _WORDS
    return str(value) if plain else json.dumps(value, ensure_ascii=False)


_WORDS = {"true", "false", "yes", "no", "on", "off", "null", "y", "n", "todo"}
