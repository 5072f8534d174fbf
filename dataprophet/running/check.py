"""What the keys of a recipe say together: names, what is missing or excluded, and what differs from another recipe."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from dataprophet.files import absolute
from dataprophet.running.recipe import Data, Recipe


def split_name(text: str, folder: str = "") -> tuple[str, str]:
    """``NAME=PATH`` as both; a path that is there, or has no name before it, as an empty name and the path."""
    name, mark, path = text.partition("=")
    plain = not mark or not name or not path or "/" in name or os.path.exists(os.path.join(folder, text))
    return ("", text) if plain else (name, path)


def named(recipe: Recipe) -> Recipe:
    """The recipe with a name for every dataset."""
    names = dict(zip(recipe.data, names_of([*recipe.data.values()]), strict=True))
    made = {key: replace(each, name=names[key]) for key, each in recipe.data.items()}
    sources, targets = (tuple(its for key, its in made.items() if key.startswith(side)) for side in ("sour", "targ"))
    return replace(recipe, sources=sources, targets=targets)


def names_of(many: Sequence[Data]) -> list[str]:
    """Names of datasets: as given, or from their paths; where those are of one stem, with the folder's name before."""
    stems = [_stem(each.path) for each in many]
    often = Counter(stem for stem, each in zip(stems, many, strict=True) if not each.name)
    folders = [os.path.basename(os.path.dirname(absolute(each.path))) for each in many]
    usual = [
        f"{folder}-{stem}" if often[stem] > 1 and folder else stem for folder, stem in zip(folders, stems, strict=True)
    ]
    return [each.name or name for each, name in zip(many, usual, strict=True)]


def _stem(path: str) -> str:
    base = path.rpartition("::")[2] if "::" in path else os.path.basename(os.path.abspath(path.rstrip("/")))
    return os.path.splitext(base)[0]


def check(recipe: Recipe) -> None:
    """What the keys say together.

    Raises:
        RecipeError: naming the key that is wrong.
    """
    for side in ("sources", "targets"):
        if not getattr(recipe, side):
            raise recipe.error(f"there are no {side}", side, "name one dataset or more")
    for key, each in recipe.data.items():
        if not re.fullmatch(r"[^/\\\x00-\x1f.][^/\\\x00-\x1f]*", each.name):
            what = f"the name {each.name!r} cannot be that of a file"
            raise recipe.error(what, key, "use letters, digits, . _ and -")
    for key, what, fix in doubled(recipe.data):
        raise recipe.error(what, key, fix)
    for key, each in recipe.data.items():
        if not each.features and each.path.lower().endswith((".npz", ".npy", ".safetensors")):
            fix = "say features: true beside its path"
            raise recipe.error(f"{each.path} is a file of features, and a dataset was expected", key, fix)
    kinds = {each.features for each in recipe.data.values()}
    key = next((key for key, each in recipe.data.items() if each.features), "")
    if len(kinds) > 1:
        fix = "profile all with one model, or give features for all"
        raise recipe.error("features do not compare with datasets that a model reads here", key, fix)
    if recipe.model is None and not recipe.of_features:
        raise recipe.error("'model' is missing", "", "add it: name on the hub, local folder or demo")
    rows = [key for key, each in recipe.data.items() if key.startswith("s") and each.features and not each.rows]
    if recipe.budget is not None and rows:
        fix = "add rows: PATH of the dataset that they were computed of, or leave the budget out"
        raise recipe.error("holds features, and a mixture is made of rows", rows[0], fix)
    if recipe.nll_quantiles and len(recipe.nll_quantiles) != 2:
        raise recipe.error(f"has {len(recipe.nll_quantiles)} numbers", "nll_quantiles", "give two, such as [0.05, 0.9]")


def doubled(data: Mapping[str, Data]) -> Iterator[tuple[str, str, str]]:
    """Key, what is wrong and the fix, of each dataset with the name of an earlier one, and of each that is a source."""
    named: dict[str, Data] = {}
    for key, each in data.items():
        if (first := named.setdefault(each.name, each)) is not each:
            fix = "give each its own name: NAME=PATH, or name: in a recipe"
            yield key, f"the name {each.name!r} is that of {first.path}, too", fix
    sources: dict[tuple[str, ...], Data] = {}
    for key, each in data.items():
        side, whole = key.partition("s.")[0], _whole(each)
        if (first := sources.setdefault(whole, each) if side == "source" else sources.get(whole, each)) is not each:
            fix = "leave it out on one side, or choose another split"
            yield key, f"{side} {each.name!r} is source {first.name!r}, too", fix


def _whole(each: Data) -> tuple[str, ...]:
    """Which data an entry is."""
    return os.path.realpath(each.path) if os.path.exists(each.path) else each.path, each.subset or "", each.split or ""


def changed(old: Recipe, new: Recipe) -> list[str]:
    """Keys that differ and change a result, each with both values."""
    then, now = _flat(old), _flat(new)
    keys = [*now, *(key for key in then if key not in now)]
    return [f"{key} was {then.get(key)}, is {now.get(key)}" for key in keys if then.get(key) != now.get(key)]


def _flat(recipe: Recipe) -> dict[str, Any]:
    """Values by key, of datasets by their name; paths whole, without what changes no result."""
    values = recipe.moved(lambda path: os.path.realpath(path) if os.path.exists(path) else path).to_dict()
    free = {each.name for each in fields(Recipe) if each.metadata.get("free")} | {"out"}
    found = {key: value for key, value in values.items() if key not in {"sources", "targets", *free}}
    for side in ("sources", "targets"):
        found[side] = [each["name"] for each in values[side]]
        usual = Data("")
        for each in values[side]:
            own = {key: value for key, value in each.items() if key == "path" or value != getattr(usual, key, None)}
            found |= {f"{key} of {each['name']!r}": value for key, value in own.items() if key != "name"}
    return found
