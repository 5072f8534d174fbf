"""``profile``: a pass over a dataset for its profile alone, in memory, or in a cache by ``ProfilePass``."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from dataprophet.data import Dataset
from dataprophet.data.sample import MAX_BAD, Sample
from dataprophet.errors import DataProphetError, ProfileError, require
from dataprophet.features.features import FIELDS, Features
from dataprophet.profiling import build
from dataprophet.profiling.profile import CLUSTERS, SKETCH_SIZE, Profile
from dataprophet.scoring.folder.config import Work
from dataprophet.scoring.profile_pass import ProfilePass, has_files

if TYPE_CHECKING:
    from dataprophet.model import Model


def profile(
    dataset: Iterable[Sample] | Iterable[Features] | Features,
    model: Model | str | None = None,
    *,
    name: str | None = None,
    clusters: int = CLUSTERS,
    sketch_size: int | None = SKETCH_SIZE,
    diversity_fields: Iterable[str] = FIELDS,
    seed: int = 0,
    progress: Callable[[int], Any] | None = None,
    cache: str | os.PathLike[str] | None = None,
    processes: int | None = None,
    fresh: bool = False,
    max_bad: float = MAX_BAD,
) -> Profile:
    """Profile a dataset in one pass.

    Args:
        dataset: a ``Dataset``, any iterable of samples, or features that were computed before.
        model: the model that scores the samples; for features, a label of the model they came from. With ``cache``
            also what ``load_model`` takes.
        name: the dataset's name; by default its own.
        clusters: K of the k-means (10 in the paper).
        sketch_size: samples that the diversity is computed on, chosen by the hash of their id. None takes all, which
            keeps 2 d bytes of each (3 GB for a million of width 1,536; at moments three times that) until it is sealed.
        diversity_fields: fields averaged into z.
        seed: of the k-means.
        progress: called with the number of samples done so far; with ``cache``, of rows.
        cache: folder to work in. The pass then goes on where it was stopped, and is left out where a file, the model
            and the settings are what they were. It takes a ``Dataset`` that was opened from files.
        processes: worker processes of such a pass, for a model that is given by name; 0 or 1 works in this one. By
            default one for each CUDA device.
        fresh: forget what the cache knows of this dataset, model and settings.
        max_bad: share of rows that may be unusable. They are read before the model runs; with ``cache``, where more
            turn out to be unusable on the way, what was computed is kept.

    Returns:
        The profile. Rows that could not be used are counted in its ``problems``.

    Raises:
        ProfileError: when no sample could be used, or features are not finite.
        DataError: more rows than ``max_bad`` cannot be used.
        DataProphetError: with ``cache``, when dataset or model cannot be used.
    """
    settings: dict[str, Any] = {"clusters": clusters, "sketch_size": sketch_size, "seed": seed}
    settings["diversity_fields"] = list(diversity_fields)
    if cache is None:
        plain, where = processes is None and not fresh, "processes and fresh"
        require(plain, "is for a pass in a cache", where, "give cache=FOLDER", DataProphetError)
        if isinstance(dataset, Dataset) and dataset.files:
            dataset.check_bad(max_bad)
        return build.profile(dataset, model, name=name, progress=progress, **settings)
    if not isinstance(dataset, Dataset) or not has_files(dataset):
        raise DataProphetError("only a dataset of files has a cache", where="cache", fix="open it with open_dataset")
    if model is None:
        raise ProfileError("samples need a model", where=dataset.name, fix="pass model=dataprophet.load_model(...)")
    told, work = progress or (lambda _: None), Work(processes=processes)
    options: dict[str, Any] = {"name": name, "fresh": fresh, "max_bad": max_bad, "cache": cache, "work": work}
    return ProfilePass(dataset, model, settings=settings, **options).profile(lambda done, _: told(done))
