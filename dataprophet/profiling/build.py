"""Profiles a dataset in one pass: of samples with a model, or of features that were computed before."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any

from dataprophet.data.dataset import Dataset
from dataprophet.data.identity.census import Census
from dataprophet.data.identity.compare import identity_of
from dataprophet.data.sample import ProblemLog, Sample
from dataprophet.errors import ProfileError
from dataprophet.features.features import FIELDS, Features
from dataprophet.profiling.profile import CLUSTERS, SKETCH_SIZE, Profile

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
) -> Profile:
    """Profile a dataset in one pass.

    Args:
        dataset: a ``Dataset``, any iterable of samples, or features that were computed before.
        model: the model that scores the samples; for features, a label of the model they came from.
        name: the dataset's name; by default its own.
        clusters: K of the k-means (10 in the paper).
        sketch_size: samples that the diversity is computed on, chosen by the hash of their id. None takes all, which
            keeps 2 d bytes of each (3 GB for a million of width 1,536; at moments three times that) until it is sealed.
        diversity_fields: fields averaged into z.
        seed: of the k-means.
        progress: called with the number of samples done so far.

    Returns:
        The profile. Rows that could not be used are counted in its ``problems``.

    Raises:
        ProfileError: when no sample could be used, or features are not finite.
    """
    problems = ProblemLog()
    name = name or str(getattr(dataset, "name", "") or "dataset")
    census, given = Census(), dataset
    if isinstance(dataset, Dataset):
        given = census.watching(dataset)
    batches, label, settings = _features(given, model, name, problems)
    result = Profile.empty(
        name, label, settings, clusters=clusters, sketch_size=sketch_size, diversity_fields=diversity_fields, seed=seed
    )
    for features in batches:
        result.update(features)
        if progress is not None:
            progress(result.n_samples)
    if isinstance(dataset, Dataset) and isinstance(given, Dataset):
        dataset.problems, result.identity = given.problems, identity_of(dataset, census)
    result.model_name = "" if model is None or isinstance(model, str) else model.name  # a label is the model itself
    found = getattr(dataset, "problems", None)
    if isinstance(found, ProblemLog):
        problems.counts += found.counts
        problems.first = [*found.first, *problems.first][: problems.keep]
    result.problems = problems
    if result.n_samples == 0:
        raise no_samples(name, problems)
    return result


def no_samples(name: str, problems: ProblemLog) -> ProfileError:
    """What is wrong with a dataset of which nothing could be used."""
    why = f": {problems.first[0]}" if problems.first else ""
    return ProfileError(f"no sample could be used{why}", where=name, fix="run `dataprophet validate` on it")


def _features(
    dataset: Iterable[Sample] | Iterable[Features] | Features,
    model: Model | str | None,
    name: str,
    problems: ProblemLog,
) -> tuple[Iterator[Features], str, dict[str, str]]:
    """Batches of features, the model's label and its settings, whatever the dataset is."""
    if not isinstance(dataset, Iterable | Features) or isinstance(dataset, str):
        what = f"a {type(dataset).__name__} is not a dataset"
        raise ProfileError(what, where=name, fix="open files with dataprophet.open_dataset")
    items: Iterator[Any] = iter([dataset] if isinstance(dataset, Features) else dataset)
    first = next(items, None)
    items = chain([first], items) if first is not None else iter(())
    if isinstance(first, Features):
        if model is not None and not isinstance(model, str):
            fix = "pass model=<label of the model they came from>"
            raise ProfileError("features need no model", where=name, fix=fix)
        return items, model or "precomputed", {}
    if first is not None and not isinstance(first, Sample):
        what = f"holds {type(first).__name__}, not samples"
        raise ProfileError(what, where=name, fix="open it with dataprophet.open_dataset")
    if model is None or isinstance(model, str) or not hasattr(model, "features"):
        raise ProfileError("samples need a model", where=name, fix="pass model=dataprophet.load_model(...)")

    return model.features(items, on_problem=problems.add), model.fingerprint, dict(model.settings)
