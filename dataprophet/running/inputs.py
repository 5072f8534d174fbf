"""The datasets of a recipe, opened and read once before any model is loaded, and refused where they do not go together.

``run`` takes them from here. It knows nothing of folders of results.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from dataprophet.data import EXPORT_FORMATS, Dataset, open_dataset
from dataprophet.errors import DataProphetError, RecipeError
from dataprophet.files import absolute
from dataprophet.metric.added import require_added
from dataprophet.metric.factors import FACTORS, factors_named, places_within
from dataprophet.running.recipe import Data, Recipe
from dataprophet.scoring.folder.config import Work
from dataprophet.scoring.model_origin import NamedModel
from dataprophet.scoring.profile import ProfilePass
from dataprophet.scoring.sources.feature_pool import FeaturePool
from dataprophet.selection.allocation import allocate


@dataclass
class Input:
    """One source or target.

    Attributes:
        key: its place in the recipe, such as ``sources.0``.
        data: what the recipe says of it.
        work: the pass that profiles it; its rows are read.
        rows: the dataset that a mixture takes its rows from; None for a target, and for features without rows.
        usable: rows of that which can be used.
    """

    key: str
    data: Data
    work: ProfilePass
    rows: Dataset | None
    usable: int


def open_inputs(
    recipe: Recipe, cache: str | os.PathLike[str], tell: Callable[[str], None], *, fresh: bool = False
) -> dict[str, Input]:
    """Open and read every dataset.

    Args:
        recipe: it.
        cache: folder that profiles are worked on in.
        tell: called with a line for each dataset.
        fresh: forget what the cache knows.

    Returns:
        Sources and targets by name.

    Raises:
        RecipeError: a dataset cannot be used, two hold the same, or the budget cannot be met.
    """
    _check_limits(recipe)
    label = recipe.model or "precomputed"
    model: Any = label if recipe.of_features else NamedModel(label, recipe.loading())
    settings: dict[str, Any] = {"clusters": recipe.clusters, "seed": recipe.diversity_seed}
    settings["sketch_size"] = None if recipe.sketch_size == "all" else recipe.sketch_size
    settings["diversity_fields"] = list(recipe.diversity_fields)
    work = Work(recipe.engine, recipe.processes, recipe.threads, recipe.ray_address, recipe.ray_option)
    pools: dict[str, Any] = {}
    _check_reading(recipe)
    for key, each in recipe.data.items():  # what is quick to find out first
        with placed(recipe, key):
            path = absolute(each.path)  # the cache knows files by it, wherever the process works
            pools[key] = FeaturePool(path, name=each.name) if each.features else _opened(each, path, tell)
    found: dict[str, Input] = {}
    options: dict[str, Any] = {"cache": cache, "work": work, "fresh": fresh, "max_bad": recipe.max_bad, "tell": tell}
    for key, each in recipe.data.items():
        with placed(recipe, key):
            made = ProfilePass(pools[key], model, settings=settings, **options)
            made.require_enough()
            left_out = f", {made.tally.rows - made.usable:,} of them left out" if made.usable < made.tally.rows else ""
            held = f"{made.tally.rows:,} rows" if each.features else str(made.tally)
            tell(f"read {each.name} ({getattr(pools[key], 'format', 'features')}): {held}{left_out}")
            rows, usable = None if each.features else pools[key], made.usable
            if each.rows and recipe.budget is not None:
                rows = _opened(each, absolute(each.rows), tell)
                tally, counts = rows.check_bad(recipe.max_bad)
                usable = tally.rows - counts.total()
            found[each.name] = Input(key, each, made, rows, usable)
    _check_same(recipe, found, tell)
    if recipe.budget is not None:
        _check_budget(recipe, [each for each in found.values() if each.key.startswith("sources")])
    return found


@contextmanager
def placed(recipe: Recipe, key: str, *kinds: type[DataProphetError]) -> Iterator[None]:
    """Errors of these kinds, or all, of what a key asks for, with the place where it, or what they name, was said."""
    try:
        yield
    except DataProphetError as error:
        if isinstance(error, RecipeError) or not isinstance(error, kinds or DataProphetError):
            raise
        named = error.where in Recipe.__dataclass_fields__
        what = f"{error.where}: {error.what}" if error.where and not named else error.what
        raise RecipeError(what, where=recipe.place(error.where if named else key), fix=error.fix) from error


def _opened(each: Data, path: str, tell: Callable[[str], None]) -> Dataset:
    dataset = open_dataset(path, name=each.name, **each.reading())
    for warning in dataset.told().warnings:
        tell(f"warning: {each.name}: {warning}")
    return dataset


def require_images(recipe: Recipe, inputs: Mapping[str, Input]) -> None:
    """Refuse a dataset without an image where images are compared.

    Raises:
        RecipeError: naming it.
    """
    for each in inputs.values() if "image" in recipe.fields else ():
        if not (each.data.features or each.work.tally.with_images):
            what = f"{each.data.path}: no row has an image, so its similarity is undefined"
            fix = "leave it out, or compare without images (fields=question,answer)"
            raise recipe.error(what, each.key, fix)


def _check_reading(recipe: Recipe) -> None:
    """Refuse what says how rows are read beside features, unless some of them have rows, which are read so."""
    if any(each.rows for each in recipe.data.values()):
        return
    for key, each in recipe.data.items():
        usual, given = Data(each.path).reading(), each.reading()
        if each.features and (said := [name for name in given if given[name] != usual.get(name)]):
            what = f"{said[0]} says how the rows of a dataset are read, and features are not read so"
            fix = f"leave it out{', or cut the features file' if said[0] == 'limit' else ''}"
            raise recipe.error(what, f"{key}.{said[0]}", fix)


def _check_limits(recipe: Recipe) -> None:
    """Refuse names of factors and limits of noise that no matrix takes."""
    with placed(recipe, "format"):
        _ = EXPORT_FORMATS[recipe.format]  # a package's may not load
    with placed(recipe, "factors"):
        added = require_added(recipe.factors)
    if unknown := sorted(factors_named(recipe.without) - {*FACTORS, *added}):
        fix = f"the factors are {', '.join(FACTORS.values())}, and perplexity"
        raise recipe.error(f"there is no factor {unknown[0]!r}", "without", fix)
    with placed(recipe, "nll_quantiles"):
        places_within(recipe.nll_quantiles or None, 1)


def _check_same(recipe: Recipe, found: Mapping[str, Input], tell: Callable[[str], None]) -> None:
    """Refuse a target whose data is among the sources, whatever its name; tell sources of the same data."""
    by_data: dict[tuple[str, ...], Input] = {}
    for name, each in found.items():
        if not each.work.digests:
            continue
        first = by_data.setdefault(each.work.digests, each)
        if first.key[0] != each.key[0]:
            what = f"target {name!r} holds the data of source {first.data.name!r}: the files are the same"
            raise recipe.error(what, each.key, "leave it out on one side")
        if first is not each:
            tell(f"warning: {first.data.name} and {name} hold the same data")


def _check_budget(recipe: Recipe, sources: list[Input]) -> None:
    """Refuse a budget that the sources cannot meet, whatever their scores are."""
    budget = recipe.budget or 0
    most = [_least(each.usable, each.data.capacity) for each in sources]
    if sum(most) < budget:
        held = ", ".join(f"{each.data.name} {rows:,}" for each, rows in zip(sources, most, strict=True))
        what = f"budget is {budget:,}, and the sources hold {sum(most):,} usable rows ({held})"
        raise recipe.error(what, "budget", "lower it, or add data")
    with placed(recipe, "minimum"):
        names = [each.data.name for each in sources]
        allocate([1] * len(sources), budget, capacity=most, minimum=recipe.minimum, names=names)


def _least(rows: int, capacity: int | None) -> int:
    return rows if capacity is None else min(rows, capacity)
