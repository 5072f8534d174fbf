"""``score``: scores the samples of a pool for targets. It says what is to be done; ``driver.py`` has it done."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dataprophet.data.sample import MAX_BAD
from dataprophet.errors import DataProphetError, ProfileError, checked, choose, require, require_type
from dataprophet.features.features import FIELDS
from dataprophet.profiling.profile import Profile
from dataprophet.scoring.driver import Progress, Tell, ignore, index_files, list_files, run_pass
from dataprophet.scoring.folder.config import STALL, RunConfig, Work, cells_of
from dataprophet.scoring.folder.files import CARRIED_PROFILE, RUN, TARGETS, target_name
from dataprophet.scoring.folder.pool import ScoredPool
from dataprophet.scoring.folder.rows import CRASHED, OK
from dataprophet.scoring.model_origin import label_origin, model_arguments, origin_of, probe
from dataprophet.scoring.scan import scan
from dataprophet.scoring.sources.opener import open_pool, pool_arguments, require_whole
from dataprophet.store import Store, open_store
from dataprophet.store.base import COMMITS, TEMPORARY

if TYPE_CHECKING:
    from dataprophet.model import Model

_OWN_SETTINGS = ("clusters", "sketch_size", "diversity_fields", "seed")


@checked("pool")
def score(
    pool: str | os.PathLike[str],
    targets: Iterable[Profile | str | os.PathLike[str]] = (),
    model: Model | str = "demo",
    *,
    out: str | os.PathLike[str],
    name: str | None = None,
    features: bool = False,
    fields: Sequence[str] = FIELDS,
    embeddings: bool = False,
    nearest: bool | None = None,
    details: bool = False,
    shard_rows: int | None = None,
    engine: str = "local",
    processes: int | None = None,
    threads: int = 1,
    reading: Mapping[str, Any] | None = None,
    loading: Mapping[str, Any] | None = None,
    ray_address: str | None = None,
    ray_option: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    max_bad: float = MAX_BAD,
    recheck: bool = False,
    retry: Sequence[str] = (),
    stall: float = STALL,
    tell: Tell = ignore,
) -> ScoredPool:
    """Score every sample of a pool for every target, in one pass that can be interrupted and resumed at any time.

    Rows go to Parquet, a shard at a time, and the pool's profile is made on the way. Run it again with the same ``out``
    to go on where it stopped. Neither the size of shards nor the number of processes nor an interruption changes a bit
    of the result; memory that runs out on the device, and a sample that has to be isolated, may move the last digits,
    and the summary tells of both.

    Args:
        pool: a dataset as ``open_dataset`` takes it; with ``features``, precomputed features or a folder that was
            scored with ``embeddings``.
        targets: profiles of the benchmarks, or their files, all made with this model. Without one the rows have no
            scores, and the pool's profile is what comes of it.
        model: a loaded model, or what ``load_model`` takes; with ``features``, a label of the model that made them,
            which a scored folder knows itself.
        out: folder to write, or a URL that fsspec knows.
        name: the pool's name; by default that of the dataset.
        features: the pool holds features, and no model runs.
        fields: similarities in the product.
        embeddings: keep each sample's embeddings in float16, so that further targets need no pass of the model.
        nearest: also tell each sample's largest cosine to a sample of each target, which ``select`` uses against
            leakage. By default yes with a model and targets that are not sealed, and no with features, where it would
            cost more than all the rest.
        details: also tell each sample's ``mean_rank`` and ``mean_entropy``: the means over its answer's tokens of how
            many tokens the model thinks more probable, and of the entropy of its prediction in nats. Only with a model.
        shard_rows: input rows of a shard, the unit that is committed; rounded up to a multiple of 1,024. By default
            8,192, and 32,768 for features.
        engine: ``local`` or ``ray``.
        processes: worker processes; 0 works in this one. By default 0 for a loaded model and for features, otherwise
            one for each CUDA device or, without one, for each CPU core.
        threads: threads of the CPU that each worker computes with.
        reading: further arguments of ``open_dataset``.
        loading: further arguments of ``load_model``.
        ray_address: of a running Ray cluster.
        ray_option: of each Ray actor, such as ``num_gpus=0.5``, ``resources`` or ``runtime_env``.
        progress: called with the input rows done and in all.
        max_bad: share of rows that may be unusable. Rows are read before the model runs; where more turn out to be
            unusable on the way, the results are kept, and a call with a larger share accepts them.
        recheck: also read the files that look unchanged, and compare their digests with what was scored.
        retry: statuses, such as ``crashed`` and ``out_of_memory``: shards that hold rows of these are computed anew.
        stall: seconds without progress after which a worker process is replaced.
        tell: called with a line for a file that was changed unnoticed, and for a worker that is replaced.

    Returns:
        The scored folder. Files that could not be read are in its ``files`` and ``missing`` shards.

    Raises:
        DataProphetError: pool, targets, model or folder cannot be used, the folder holds another run, or more rows than
            ``max_bad`` cannot be used.
    """
    _check_fields(fields)
    for status in retry:
        fix = f"name statuses of rows that have no score, such as {CRASHED}"
        require(status not in (OK, ""), f"{status!r} is no status to try again", "retry", fix, DataProphetError)
    fix = "leave it out, or score the samples themselves"
    require(not (details and features), "needs a model, and features are given", "details", fix, ProfileError)
    require_type(pool, (str, os.PathLike), "pool", "give the path of the pool; reading= says how to open it")
    work = Work(engine, processes, threads, ray_address, ray_option or {}, stall)
    where = os.fspath(out)
    store = open_store(where)
    store.require_own({RUN, TARGETS, COMMITS, TEMPORARY}, "name a new or empty folder, or one of an earlier run")
    loaded = None if features or isinstance(model, str | os.PathLike) else model
    kind = "features" if features else "samples"
    arguments = pool_arguments({"path": os.fspath(pool), **(reading or {})})
    opened = open_pool(kind, arguments)
    if kind == "samples":
        _ = opened.folder  # raises where the dataset has no files of its own, which are read in parts
        arguments = pool_arguments(opened.arguments)  # with what was decided over all rows
    profiles = Profile.load_all(targets, "targets")
    given = {} if features or loaded is not None else model_arguments(str(model), loading or {})
    kept = opened.origin if features else None  # what an earlier run that kept the embeddings knows of the model
    origin = kept or (label_origin(str(model)) if features else _origin(store, loaded, given, threads))
    usual = (profiles[0] if profiles else Profile.empty("", "")).settings
    asked: dict[str, Any] = {
        "pool": arguments,
        "model": given,
        "targets": [{"name": profile.name, "fingerprint": profile.digest()} for profile in profiles],
        "fields": [field for field in FIELDS if field in fields],
        "sketch": {key: usual[key] for key in _OWN_SETTINGS},
        "nearest": _tells_nearest(nearest, profiles, features=features),
    }
    asked |= {"name": name or opened.name, "embeddings": embeddings, "details": details}
    asked |= {"shard_cells": cells_of(kind, shard_rows)}
    named = opened.model_name if features else str(model) if loaded is None else loaded.name
    shown = {"path": os.fspath(pool), "format": getattr(opened, "format", ""), "model": named}
    config = RunConfig(kind=kind, reading=opened.settings, shown=shown, **origin, **asked)
    _check_targets(config, profiles)
    if store.exists(RUN):  # before anything is written for it
        config.require_same(RunConfig.from_json(store.document(RUN), where), where)
    for profile, target in zip(profiles, config.targets, strict=True):
        if not store.exists(lies := target_name(target["fingerprint"])):  # so that other machines need no more
            store.write(lies, profile.to_bytes(), replace=True)
    found, looked = None, tell if recheck else None
    if kind == "samples":  # so that a folder is of no run whose rows were refused
        found = scan(store, opened, pool=True, recheck=looked)
        found.check(max_bad, config.name)
        require_whole(opened, found.tally["good"])
    config.require_same(RunConfig.from_json(store.create_once(RUN, config.to_json()), where), where)
    if kept is not None:
        _carry_over(store, config, opened.profile)
    store.collect()
    options: dict[str, Any] = {"pool": opened, "model": loaded, "progress": progress, "retry": retry, "tell": tell}
    if found is None:
        list_files(store, list(index_files(store, opened, recheck=looked)))
    else:
        list_files(store, found.files)
        options["tally"] = found.tally
    scored = run_pass(config, store, work, **options)
    scored.check_bad(max_bad, config.name)
    return scored


def _tells_nearest(asked: bool | None, profiles: Sequence[Profile], *, features: bool) -> bool:
    usual = not features and not any(profile.sealed for profile in profiles)
    return bool(profiles) and (usual if asked is None else asked)


def _carry_over(store: Store, config: RunConfig, profile: Profile) -> None:
    """The profile of features before they were rounded to float16, in place of one of the rounded ones."""
    config.empty_profile().require_comparable([profile])
    profile.name = config.name
    store.write(CARRIED_PROFILE, profile.to_bytes(), replace=True)


def _check_fields(fields: Sequence[str]) -> None:
    require(fields, "no field given", "fields", choose("", FIELDS), ProfileError)
    for name in fields:
        require(name in FIELDS, f"unknown field {name!r}", "fields", choose(name, FIELDS), ProfileError)


def _check_targets(config: RunConfig, profiles: Sequence[Profile]) -> None:
    """Refuse targets that are not comparable with the pool, or that share a name."""
    own = config.empty_profile()
    own.model_name = config.model_name  # for messages
    for first in profiles[:1]:
        first.require_comparable([*profiles, own])
    names = [profile.name for profile in profiles]
    for name in names:
        fix = "profile one of them under another --name"
        require(names.count(name) == 1, f"two targets are named {name!r}", "", fix, ProfileError)


def _origin(store: Store, loaded: Model | None, arguments: dict[str, Any], threads: int) -> dict[str, Any]:
    """What the model is: asked of itself, or of an earlier start in the same folder, or of a child process."""
    if loaded is not None:
        return origin_of(loaded)
    if store.exists(RUN):
        earlier = RunConfig.from_json(store.document(RUN), store.root)
        if earlier.model == arguments:
            return {"fingerprint": earlier.fingerprint, "settings": earlier.settings, "numbers": earlier.numbers}
    return probe(arguments, threads)
