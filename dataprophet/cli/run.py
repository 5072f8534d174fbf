"""``dataprophet run``: reads a recipe, or makes one of its options, has it done, and prints rankings and mixtures."""

from __future__ import annotations

import argparse
import contextlib
import sys
from dataclasses import asdict, fields
from itertools import islice
from typing import Any

from dataprophet.cli.common import assigned, output, own_reading, resumable, tell, values
from dataprophet.cli.mix import mixture_table
from dataprophet.cli.pairs import numbers, pairs
from dataprophet.cli.progress import Progress
from dataprophet.cli.rank import rank_table
from dataprophet.errors import RecipeError, choose
from dataprophet.running import run as running
from dataprophet.running.check import names_of, split_name
from dataprophet.running.reading import read_recipe
from dataprophet.running.recipe import Data, Recipe
from dataprophet.scoring.engines.signals import terminable

_SIDES = {"sources": "source", "targets": "target"}
_READING = (
    "input_format columns answer_is image_root subset split limit max_pixels capacity rows features allow_outside "
    "allow_urls"
)


@resumable
def run(args: argparse.Namespace) -> int:
    """Do what a recipe says; 130 and 143 when it was stopped."""
    recipe = read_recipe(args.recipe, _given(args), place=_place)
    # standard output is for the summary: Ray says there what becomes of its processes
    with terminable(), contextlib.redirect_stdout(sys.stderr):
        done = running.run(recipe, overwrite=args.overwrite, fresh=args.fresh, tell=tell, watch=Progress)
    output(args, summary(done), describe(done))
    return 0


def summary(done: running.Run) -> dict[str, Any]:
    """A run as plain values."""
    return {
        "out": str(done.folder),
        "profiles": {name: values(each, "n_samples perplexity diversity") for name, each in done.profiles.items()},
        "rankings": {target: [entry.as_dict() for entry in ranking] for target, ranking in done.rankings.items()},
        "mixtures": {target: [asdict(share) for share in each.shares] for target, each in done.mixtures.items()},
        "remarks": done.scores.remarks(),
    }


def describe(done: running.Run) -> str:
    """Rankings and mixtures as text."""
    parts = [rank_table(done.ranked, target, done.recipe.level) for target in done.ranked.targets]
    parts += [mixture_table(each) for each in done.mixtures.values()]
    return "\n\n".join([*parts, f"wrote {done.folder}: recipe.yaml tells how, run.json what it was made with"])


def _given(args: argparse.Namespace) -> dict[str, Any]:
    """Keys of a recipe that were given as options."""
    given = {each.name: getattr(args, each.name) for each in fields(Recipe) if hasattr(args, each.name)}
    given |= {key: assigned(given[key]) for key in ("processor", "ray_option") if key in given}
    lists = {"fields", "diversity_fields"} & given.keys()  # with commas, too, as in other commands
    given |= {key: [part for text in given[key] for part in text.split(",") if part] for key in lists}
    entries = {side: [split_name(text) for text in getattr(args, option)] for side, option in _SIDES.items()}
    many = [Data(path, name) for side in entries.values() for name, path in side]
    if not many and (unused := next((name for name in _READING.split() if getattr(args, name)), None)):
        fix = "say it in the recipe, beside the dataset's path"
        raise RecipeError("is for --source and --target", where=_place(unused), fix=fix)
    names = names_of(many)
    most, rows = numbers(args.capacity, "--capacity", names), pairs(args.rows, "--rows", names)
    for option, name in [*(("--capacity", name) for name in most), *(("--rows", name) for name in rows)]:
        if name not in names[: len(entries["sources"])]:
            fix = choose(name, names[: len(entries["sources"])])
            raise RecipeError(f"{name!r} is not a source", where=option, fix=fix)
    listed = iter(zip(names, many, strict=True))
    for side, its in entries.items():
        given |= {side: [_entry(args, name, each, names) for name, each in islice(listed, len(its))]} if its else {}
    for each in given.get("sources", ()):
        found = (("capacity", most), ("rows", rows))
        each |= {key: of_name[each["name"]] for key, of_name in found if each["name"] in of_name}
    return given


def _entry(args: argparse.Namespace, name: str, each: Data, names: list[str]) -> dict[str, Any]:
    """A dataset as a recipe has it."""
    entry = {"path": each.path, "name": name, **own_reading(args, name, names)}
    return entry | ({"features": True} if args.features else {})


def _place(key: str) -> str:
    """The option that says a key."""
    first = key.partition(".")[0]
    return f"--{_SIDES.get(first, first).replace('_', '-')}" if first else "dataprophet run"
