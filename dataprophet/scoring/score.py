"""Scores a pool for targets: the driver, which divides the work, has an engine do it, and puts the parts together."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dataprophet.data.index import CELL_ROWS, FileIndex
from dataprophet.errors import DataError, DataProphetError, ProfileError
from dataprophet.features.features import FIELDS
from dataprophet.files import absolute
from dataprophet.profiling.profile import Profile
from dataprophet.scoring.config import RunConfig, cells_of
from dataprophet.scoring.folder import CARRIED_PROFILE, FILES, POOL_PROFILE, RUN, SUMMARY, index_name, target_name
from dataprophet.scoring.model_origin import origin_of, probe
from dataprophet.scoring.pool import ScoredPool
from dataprophet.scoring.shards import Shard, ShardResult
from dataprophet.scoring.sources import open_pool
from dataprophet.scoring.worker import Worker
from dataprophet.store import Store, open_store

if TYPE_CHECKING:
    from dataprophet.model import Model

_OWN_SETTINGS = ("clusters", "sketch_size", "diversity_fields", "seed")

ENGINES = ("local", "ray")

Report = Callable[[ShardResult], None]


def score(
    pool: str | os.PathLike[str],
    targets: Iterable[Profile | str | os.PathLike[str]],
    model: Model | str = "demo",
    *,
    out: str | os.PathLike[str],
    name: str | None = None,
    features: bool = False,
    fields: Sequence[str] = FIELDS,
    embeddings: bool = False,
    nearest: bool | None = None,
    shard_rows: int | None = None,
    engine: str = "local",
    processes: int | None = None,
    threads: int = 1,
    reading: Mapping[str, Any] | None = None,
    loading: Mapping[str, Any] | None = None,
    ray_address: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ScoredPool:
    """Score every sample of a pool for every target, in one pass that can be interrupted and resumed at any time.

    Rows go to Parquet, a shard at a time, and the pool's profile is made on the way. Run it again with the same ``out``
    to go on where it stopped. Neither the size of shards nor the number of processes nor an interruption changes a bit
    of the result; memory that runs out on the device, and a sample that has to be isolated, may move the last digits,
    and the summary tells of both.

    Args:
        pool: a dataset as ``open_dataset`` takes it; with ``features``, precomputed features or a folder that was
            scored with ``embeddings``.
        targets: profiles of the benchmarks, or their files, all made with this model.
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
        shard_rows: input rows of a shard, the unit that is committed; rounded up to a multiple of 1,024. By default
            8,192, and 32,768 for features.
        engine: ``local`` or ``ray``.
        processes: worker processes; 0 works in this one. By default 0 for a loaded model and for features, otherwise
            one for each CUDA device or, without one, for each CPU core.
        threads: threads of the CPU that each worker computes with.
        reading: further arguments of ``open_dataset``.
        loading: further arguments of ``load_model``.
        ray_address: of a running Ray cluster.
        progress: called with the input rows done and in all.

    Returns:
        The scored folder. Files that could not be read are in its ``files`` and ``missing`` shards.

    Raises:
        DataProphetError: pool, targets, model or folder cannot be used, or the folder holds another run.
    """
    _check_request(fields, engine, processes)
    where = os.fspath(out)
    store = open_store(where)
    loaded = None if features or isinstance(model, str | os.PathLike) else model
    kind = "features" if features else "samples"
    arguments = {"path": absolute(os.fspath(pool)), **(reading or {})}
    if arguments.get("image_root"):
        arguments["image_root"] = absolute(os.fspath(arguments["image_root"]))
    opened = open_pool(kind, arguments)
    if kind == "samples":
        _ = opened.folder  # raises where the dataset has no files of its own, which are read in parts
    profiles = [item if isinstance(item, Profile) else Profile.load(Path(item)) for item in targets]
    if not profiles:
        raise ProfileError("no target given", fix="give the profile of at least one benchmark (--target)")
    model_arguments = (
        {}
        if features or loaded is not None
        else {"name": str(model) if str(model) == "demo" else absolute(str(model)), **(loading or {})}
    )
    kept = opened.origin if features else None  # what an earlier run that kept the embeddings knows of the model
    origin = kept or _origin(store, loaded, model_arguments, label=str(model) if features else None, threads=threads)
    config = RunConfig(
        name=name or opened.name,
        kind=kind,
        pool=arguments,
        model=model_arguments,
        fingerprint=origin["fingerprint"],
        settings=origin["settings"],
        numbers=origin["numbers"],
        reading=opened.settings,
        targets=[{"name": profile.name, "fingerprint": digest_of(profile)} for profile in profiles],
        fields=[name for name in FIELDS if name in fields],
        sketch={key: profiles[0].settings[key] for key in _OWN_SETTINGS},
        embeddings=embeddings,
        nearest=not features and not any(item.sealed for item in profiles) if nearest is None else nearest,
        shard_cells=cells_of(kind, shard_rows),
    )
    _check(config, profiles)
    for profile, target in zip(profiles, config.targets, strict=True):
        _keep_target(store, profile, target["fingerprint"])
    config.require_same(RunConfig.from_json(store.create_once(RUN, config.to_json()), where), where)
    if kept is not None:
        _carry_over(store, config, opened.profile)
    store.collect()
    write_files(store, opened)
    scored = ScoredPool(where)
    done, total = scored.n_rows, scored.n_rows + sum(shard.rows for shard in scored.missing)
    why: dict[str, str] = {}  # shard that was not scored -> the reason

    def report(result: ShardResult) -> None:
        nonlocal done
        done += result.rows
        if result.detail:
            why[result.key] = result.detail
        if progress is not None:
            progress(done, total)

    if progress is not None:
        progress(done, total)
    if scored.missing:
        _run(
            engine,
            config,
            store,
            scored.missing,
            report,
            processes=processes,
            pool=opened,
            model=loaded,
            ray_address=ray_address,
        )
    return finish(store, why)


def finish(store: Store, why: Mapping[str, str]) -> ScoredPool:
    """Write the pool's profile and the summary, and open the folder.

    Args:
        store: the folder.
        why: for shards that were not scored, by key, the reason.
    """
    store.collect()  # of workers that died meanwhile
    scored = ScoredPool(store.root)
    short = None
    if scored.n_samples:
        profile = scored.merged_profile()
        if scored.complete and profile.sketch is not None and profile.sketch.bound is not None:
            short = [len(profile.sketch), profile.sketch.size]
        if scored.complete:
            with suppress(ProfileError):  # too few different samples: the commands that need it say so
                _ = profile.diversity  # kept in the file, so that no later command has to compute it
            store.write(POOL_PROFILE, profile.to_bytes(), replace=True)
    store.write(SUMMARY, json.dumps(summary_of(scored, why, short), indent=1).encode() + b"\n", replace=True)
    return scored


def write_files(store: Store, opened: Any) -> None:
    """Index every file of the pool, or keep the index of one that has not changed, and write the list of them.

    A file that cannot be read stands in the list with its error; the others are scored all the same. Where the list
    is not what it was, the profile and the summary of the earlier pool are removed before it is written, so that no
    one takes them for those of this one, whenever the run stops.
    """
    earlier: list[dict[str, Any]] = []
    known: dict[str, dict[str, Any]] = {}
    if store.exists(FILES):
        with suppress(ValueError, KeyError, TypeError):  # a damaged list is made anew
            earlier = json.loads(store.read(FILES))["files"]
            known = {entry["path"]: entry for entry in earlier if "error" not in entry}
    entries: list[dict[str, Any]] = []
    for number, path in enumerate(opened.files):
        entry: dict[str, Any] = {"path": path, "state": opened.state(number)}
        if entry["state"] is not None and known.get(path, {}).get("state") == entry["state"]:
            entries.append(known[path])
            continue
        try:
            index: FileIndex = opened.index(number)
        except DataError as error:
            entries.append({**entry, "name": os.path.basename(path), "error": str(error)})
            continue
        store.write(index_name(index.name), json.dumps({"index": index.to_json()}).encode(), replace=True)
        entries.append({**entry, "name": index.name, "digest": index.digest, "rows": index.rows})
    if entries != earlier:
        store.remove([POOL_PROFILE, SUMMARY])
    store.write(FILES, json.dumps({"files": entries}, indent=1).encode() + b"\n", replace=True)


def summary_of(scored: ScoredPool, why: Mapping[str, str], short: Sequence[int | None] | None) -> dict[str, Any]:
    """What a run came to, for `summary.json`; ``why`` as for ``finish``, ``short`` samples kept and wanted."""
    unreadable = [{"file": file["name"], "error": file["error"]} for file in scored.files if "error" in file]
    markers = [shard.marker for shard in scored.shards]
    return {
        "name": scored.name,
        "targets": scored.targets,
        "complete": scored.complete,
        "rows": scored.n_rows,
        "samples": scored.n_samples,
        "tokens": sum(int(marker["tokens"]) for marker in markers),
        "statuses": dict(sorted(scored.statuses.items())),
        "unscored": dict(sorted(scored.unscored.items())),
        "unreadable": unreadable,
        "missing": [
            {
                "file": shard.name,
                "rows": [shard.first * CELL_ROWS, shard.first * CELL_ROWS + shard.rows],
                "why": why.get(shard.key, ""),
            }
            for shard in scored.missing
        ],
        "isolated": [name for marker in markers for name in marker["isolated"]],
        "splits": sum(int(marker["splits"]) for marker in markers),
        "short_sketch": short,
        "digest": scored.digest(),
    }


def digest_of(profile: Profile) -> str:
    """Hex digest of a profile without its name."""
    unnamed = copy(profile)
    unnamed.name = ""
    return hashlib.blake2b(unnamed.to_bytes(), digest_size=16).hexdigest()


def _keep_target(store: Store, profile: Profile, digest: str) -> None:
    """A copy of a target's profile in the folder, so that a resume and other machines need no other file."""
    if not store.exists(target_name(digest)):
        store.write(target_name(digest), profile.to_bytes(), replace=True)


def _carry_over(store: Store, config: RunConfig, profile: Profile) -> None:
    """The profile of features before they were rounded to float16, in place of one of the rounded ones."""
    config.empty_profile().require_comparable([profile])
    profile.name = config.name
    store.write(CARRIED_PROFILE, profile.to_bytes(), replace=True)


def _check_request(fields: Sequence[str], engine: str, processes: int | None) -> None:
    """Refuse, before anything is read or written, what no run can have."""
    unknown = next((name for name in fields if name not in FIELDS), None)
    if unknown is not None or not fields:
        what = "no field given" if unknown is None else f"unknown field {unknown!r}"
        raise ProfileError(what, where="fields", fix=f"choose among {', '.join(FIELDS)}")
    if engine not in ENGINES:
        raise DataProphetError(f"unknown engine {engine!r}", where="engine", fix=f"use {' or '.join(ENGINES)}")
    if processes is not None and processes < 0:
        raise DataProphetError(f"it is {processes}", where="processes", fix="use 0 or more, or leave it out")


def _check(config: RunConfig, profiles: list[Profile]) -> None:
    """Refuse targets that are not comparable with the pool, or that share a name."""
    profiles[0].require_comparable([*profiles, config.empty_profile()])
    names = [profile.name for profile in profiles]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise ProfileError(f"two targets are named {repeated!r}", fix="profile one of them under another --name")


def _origin(
    store: Store, loaded: Model | None, arguments: dict[str, Any], *, label: str | None, threads: int
) -> dict[str, Any]:
    """What the model is: asked of itself, or of an earlier start in the same folder, or of a child process."""
    if label is not None:
        return {"fingerprint": label, "settings": {}, "numbers": {}}
    if loaded is not None:
        return origin_of(loaded)
    if store.exists(RUN):
        earlier = RunConfig.from_json(json.loads(store.read(RUN)), store.root)
        if earlier.model == arguments:
            return {"fingerprint": earlier.fingerprint, "settings": earlier.settings, "numbers": earlier.numbers}
    return probe(arguments, threads)


def _run(
    engine: str,
    config: RunConfig,
    store: Store,
    shards: list[Shard],
    report: Report,
    *,
    processes: int | None,
    pool: Any,
    model: Model | None,
    ray_address: str | None,
) -> None:
    """Have the engine do the shards."""
    if engine == "ray":
        from dataprophet.scoring.engines.ray import run_ray

        run_ray(config, store, shards, report, actors=processes, address=ray_address)
        return
    from dataprophet.scoring.engines.local import run_local

    if processes is None:
        processes = 0 if config.kind == "features" or model is not None else None
    worker = Worker(config, store, pool=pool, model=model) if processes == 0 else None
    run_local(config, store, shards, report, processes=processes, worker=worker)
