"""``profile``: a pass over a dataset for its profile alone, in this process, or as a pass without targets.

The latter works in a folder of a cache, as ``score`` does in its output: it goes on where it was stopped, spreads over
processes, and what an unchanged file, model and settings have given before is not computed again.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dataprophet.data import Dataset
from dataprophet.data.index import CELL_ROWS, state_of
from dataprophet.data.sample import MAX_BAD, Problem, ProblemLog, Sample
from dataprophet.errors import DataError, DataProphetError, ProfileError, require
from dataprophet.features.features import FIELDS, Features
from dataprophet.ops.threads import thread_count
from dataprophet.profiling import build
from dataprophet.profiling.profile import CLUSTERS, SKETCH_SIZE, Profile
from dataprophet.scoring.driver import Progress, index_files, list_files, remarks, run_pass
from dataprophet.scoring.folder.config import SHARD_CELLS, RunConfig, Work
from dataprophet.scoring.folder.files import POOL_PROFILE, PROFILE, ROWS, RUN, SUMMARY
from dataprophet.scoring.folder.pool import ScoredPool
from dataprophet.scoring.folder.rows import BAD_FEATURES, OK, code_of
from dataprophet.scoring.model_origin import label_origin, model_arguments, open_model, origin_of, probe
from dataprophet.scoring.scan import scan
from dataprophet.scoring.sources.opener import pool_arguments
from dataprophet.store import Store, open_store
from dataprophet.store.base import COMMITS

if TYPE_CHECKING:
    from dataprophet.model import Model
    from dataprophet.scoring.sources.feature_pool import FeaturePool

CACHE = ".dataprophet-cache"
"""Name of the cache's folder, beside the profile unless another is given."""

DEMO_FOLDER = Path(__file__).resolve().parent.parent / "demo" / "model"
_MODEL = "model.json"
_NAME = "profile"  # of a profile in the cache: the dataset's name changes no number


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
        if isinstance(dataset, Dataset) and (dataset.files or not dataset.path):
            dataset.check_bad(max_bad)
        return build.profile(dataset, model, name=name, progress=progress, **settings)
    if not isinstance(dataset, Dataset) or not has_files(dataset):
        raise DataProphetError("only a dataset of files has a cache", where="cache", fix="open it with open_dataset")
    if model is None:
        raise ProfileError("samples need a model", where=dataset.name, fix="pass model=dataprophet.load_model(...)")
    told, work = progress or (lambda _: None), Work(processes=processes)
    options: dict[str, Any] = {"name": name, "fresh": fresh, "max_bad": max_bad, "progress": lambda done, _: told(done)}
    return profile_pool(dataset, model, settings=settings, cache=cache, work=work, **options)


def has_files(dataset: Dataset) -> bool:
    """Whether a dataset has files of its own, which can be read in parts."""
    with suppress(DataError):
        return bool(dataset.folder)
    return False


def profile_pool(
    pool: Dataset | FeaturePool,
    model: Model | str,
    *,
    settings: Mapping[str, Any],
    cache: str | os.PathLike[str],
    work: Work,
    name: str | None = None,
    loading: Mapping[str, Any] | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
    tell: Callable[[str], None] | None = None,
    max_bad: float = MAX_BAD,
) -> Profile:
    """Profile a pool in a cache, or take the profile from there.

    Args:
        pool: the pool, opened: a dataset of files, or features.
        model: a loaded model, or what ``load_model`` takes; for features, a label.
        settings: of the diversity, as ``Profile.empty`` takes them.
        cache: the cache's folder. Each pool, model and settings have a folder of their own in it.
        work: who computes. One process, and a pool of one shard, need no other process than this one.
        name: the pool's name; by default its own.
        loading: further arguments of ``load_model``.
        fresh: forget what the cache knows of this pool, model and settings.
        progress: called with the input rows done and in all.
        tell: called with a line where something is taken from the cache.
        max_bad: share of rows that may be unusable.

    Raises:
        ProfileError: no sample could be used, or features are not finite.
        DataProphetError: pool, model or cache cannot be used, or a part could not be computed.
    """
    name, said = name or pool.name, tell or (lambda _: None)
    loaded = None if isinstance(model, str) else model
    samples, typed = isinstance(pool, Dataset), model if isinstance(model, str) else model.name
    kind = "samples" if samples else "features"
    arguments = pool_arguments(pool.arguments if isinstance(pool, Dataset) else {"path": pool.path})
    given = model_arguments(str(model), loading or {}) if samples and loaded is None else {}
    known = origin_of(loaded) if loaded is not None else None if samples else label_origin(str(model))
    sketch = Profile.empty(_NAME, "", **settings).settings
    data = {key: value for key, value in arguments.items() if key != "name"}
    store = _open(cache, [data, given or known, sketch, _machine(work)], said, fresh=fresh)

    def result(scored: ScoredPool) -> Profile:
        made = _result(scored, name, log, max_bad)
        made.identity, made.model_name = (replace(scored.identity, path=pool.path),), typed if samples else ""
        return made

    with _nothing_left(store):
        files, log = _files(store, pool, name, max_bad)
        list_files(store, files)
        cells = sum(-(-int(entry["rows"]) // CELL_ROWS) for entry in files)
        known = known or _known_model(store, given)
        if known is None:
            work, state = _settled(work, given, cells), _model_state(given)
            if work.processes == 0:
                loaded = open_model(given, work.threads)
            known = origin_of(loaded) if loaded is not None else probe(given, work.threads)
            store.write(_MODEL, json.dumps({"state": state, "origin": known}).encode(), replace=True)
        on_cpu = known["numbers"].get("device") == "cpu"  # where a cell takes long
        asked: dict[str, Any] = {"pool": arguments, "model": given, "fields": list(FIELDS), "sketch": sketch}
        asked["shard_cells"] = 1 if on_cpu else SHARD_CELLS[kind]
        asked["shown"] = {"format": getattr(pool, "format", "")}
        config = RunConfig(name=_NAME, kind=kind, reading=pool.settings, targets=[], **known, **asked)
        _configure(store, config)
        scored = ScoredPool(store.root)
        if scored.complete and store.exists(POOL_PROFILE):
            said(f"{name}: unchanged, profile from {store.root} (--fresh computes it anew)")
            return result(scored)
        if scored.n_rows:
            said(f"{name}: {scored.n_rows:,} rows are done already, from {store.root} (--fresh computes them anew)")
        work = _settled(work, given, cells)
        scored = run_pass(config, store, work, pool=pool, model=loaded, progress=progress)
        if scored.missing:
            part, fix = scored.summary["missing"][0], "run the same command again to go on"
            where = f"{part['file']} rows {part['rows'][0] + 1} to {part['rows'][1]}"
            raise DataProphetError(f"not computed: {part['why']}", where=where, fix=fix)
        _prune(scored)
        for remark in remarks(scored.summary):
            said(f"{name}: {remark}")
        return result(scored)


def _open(cache: str | os.PathLike[str], asked: Any, tell: Callable[[str], None], *, fresh: bool) -> Store:
    """The folder for what is asked, in the cache."""
    root = os.fspath(cache)
    if "://" in root:
        raise DataProphetError("is no local folder", where=root, fix="choose a folder with cache=")
    key = hashlib.blake2b(json.dumps(asked, sort_keys=True).encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
    store = open_store(os.path.join(root, key))
    if fresh or not _sound(store):
        if not fresh:
            tell(f"{store.root} is damaged: what it held is computed anew")
        with suppress(OSError):  # away at once: a run that works in it goes on in a new one
            os.rename(store.root, aside := f"{store.root}.{os.getpid()}.old")
            shutil.rmtree(aside, ignore_errors=True)
    with store.explained():
        os.makedirs(store.root, exist_ok=True)
        Path(store.root, ".gitignore").write_text("*\n")  # nothing that a repository shall keep
    return store


def _sound(store: Store) -> bool:
    """Whether what a folder of the cache says is there can be read."""
    try:
        done = store.exists(POOL_PROFILE)
        if done:
            Profile.load(store.local(POOL_PROFILE))
        for marker in store.markers().values():
            pq.read_metadata(store.local(marker["files"][ROWS]))
            if not done:
                Profile.load(store.local(marker["files"][PROFILE]))
        if store.exists(RUN):
            RunConfig.from_json(json.loads(store.read(RUN)), store.root)
    except (DataProphetError, pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return True


@contextmanager
def _nothing_left(store: Store) -> Iterator[None]:
    """Remove the folder after an error, unless shards are committed, which the next run need not compute."""
    try:
        yield
    except DataProphetError:
        if not store.markers():
            shutil.rmtree(store.root, ignore_errors=True)
            if (cache := Path(store.root).parent).name == CACHE:
                with suppress(OSError):  # it holds more
                    cache.rmdir()
        raise


def _machine(work: Work) -> list[Any]:
    """What changes the rounding and is known before the model is loaded."""
    versions = []
    for package in ("dataprophet", "torch", "transformers"):
        with suppress(metadata.PackageNotFoundError):
            versions.append(metadata.version(package))
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    device = bool(glob.glob("/dev/nvidia[0-9]*")) and not hidden
    return [versions, device, work.threads or [thread_count(), os.environ.get("OMP_NUM_THREADS")]]


def _files(store: Store, pool: Any, name: str, max_bad: float) -> tuple[list[dict[str, Any]], ProblemLog]:
    """Entries for the list of files, and what is wrong with rows; a file that cannot be read is an error."""
    if isinstance(pool, Dataset):
        scanned = scan(store, pool)
        scanned.check(max_bad, name)
        return scanned.files, scanned.problems()
    return list(index_files(store, pool, strict=True)), ProblemLog()


def _known_model(store: Store, given: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the model was found to be, if its files are what they were then."""
    with suppress(ValueError, KeyError, TypeError):  # a damaged document is made anew
        known: Any = json.loads(store.read(_MODEL)) if store.exists(_MODEL) else {"state": None}
        if known["state"] is not None and known["state"] == _model_state(given):
            return dict(known["origin"])
    return None


def _model_state(given: Mapping[str, Any]) -> list[Any] | None:
    """Files of a model's folder with sizes and times, or the commit of one of the hub; None where it is not known."""
    name, revision = str(given["name"]), given.get("revision") or "main"
    folder = DEMO_FOLDER if name == "demo" else Path(name)
    if folder.is_dir():
        from dataprophet.model.reasons import base_of

        folders = [folder, *filter(None, [base_of(folder, name)])]
        files = [str(path) for each in folders for path in each.rglob("*") if path.is_file()]
        return [[path, state_of(path)] for path in sorted(files)]
    with suppress(ImportError, OSError):
        from huggingface_hub.constants import HF_HUB_CACHE

        return [(Path(HF_HUB_CACHE) / f"models--{name.replace('/', '--')}" / "refs" / revision).read_text()]
    return None


def _settled(work: Work, given: Mapping[str, Any], cells: int) -> Work:
    """How many processes compute; 0 where this one alone has to do."""
    if work.engine == "ray":
        return work
    usual = _devices(str(given.get("device", "auto"))) if given and work.processes is None else 0
    processes = usual if work.processes is None else work.processes
    return replace(work, processes=0 if processes <= 1 or cells <= 1 else processes)


def _devices(device: str) -> int:
    if device == "cpu" or ":" in device:
        return 1
    try:
        import torch
    except ImportError:
        return 1  # loading the model will say so
    return int(torch.cuda.device_count())


def _configure(store: Store, config: RunConfig) -> None:
    """Have the folder be that of a configuration, whatever it was before: shards of another one do not count."""
    with suppress(DataProphetError, ValueError):
        if store.exists(RUN) and RunConfig.from_json(json.loads(store.read(RUN)), store.root) == config:
            return
    store.remove([POOL_PROFILE, SUMMARY])
    store.write(RUN, json.dumps(config.to_json(), indent=1).encode() + b"\n", replace=True)


def _prune(scored: ScoredPool) -> None:
    """Remove shards of what the files, the model or the settings were before."""
    markers = scored.store.markers()
    for key in markers.keys() - {shard.shard.key for shard in scored.shards}:
        scored.store.remove([f"{COMMITS}/{key}.json", *markers[key]["files"].values()])


def _result(scored: ScoredPool, name: str, log: ProblemLog, max_bad: float) -> Profile:
    """The profile of a finished pass, with what was left out: ``log`` of the rows, and what the model found."""
    for batch in scored.batches(["file", "row", "status", "detail"]) if scored.statuses[BAD_FEATURES] else ():
        for row in batch.to_pylist():
            if row["status"] == BAD_FEATURES:
                where = f"{row['file']} row {row['row']}"
                raise ProfileError(row["detail"], where=where, fix="correct the features, or leave the row out")
    if scored.config.kind == "features":  # those of a dataset were looked at as its rows were scanned
        ids = pa.chunked_array([batch.column("id") for batch in scored.batches(["id"])], pa.string()).value_counts()
        repeated = ids.field("values").filter(pc.greater(ids.field("counts"), 1))
        if len(repeated):
            where = str(scored.config.pool["path"])
            raise ProfileError(f"id {repeated[0].as_py()!r} occurs twice", where=where, fix="make the ids unique")
    found = [Problem(**problem) for shard in scored.shards for problem in shard.marker["problems"]]
    log.first = [*log.first, *found][: log.keep]
    log.counts = Counter({code_of(status): n for status, n in scored.statuses.items() if status != OK})
    if not scored.n_samples:
        raise build.no_samples(name, log)
    scored.check_bad(max_bad, name)
    made = scored.profile
    made.name, made.problems = name, log
    return made
