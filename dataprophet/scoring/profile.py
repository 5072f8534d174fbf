"""``profile``: a pass over a dataset for its profile alone, in memory, or in a cache by ``ProfilePass``.

The latter works in a folder of the cache, as ``score`` does in its output: it goes on where it was stopped, spreads
over processes, and what an unchanged file, model and settings have given before is not computed again.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from dataprophet.data import Dataset
from dataprophet.data.index import CELL_ROWS
from dataprophet.data.sample import MAX_BAD, Problem, ProblemLog, Sample, Tally, check_bad
from dataprophet.errors import DataError, DataProphetError, ProfileError, checked, require
from dataprophet.features.features import FIELDS, Features
from dataprophet.profiling import build
from dataprophet.profiling.diversity import require_enough
from dataprophet.profiling.profile import CLUSTERS, SKETCH_SIZE, Profile
from dataprophet.scoring.cache import (
    MODEL,
    configure,
    known_model,
    machine,
    model_state,
    nothing_left,
    open_cache,
    prune,
)
from dataprophet.scoring.driver import Progress, Tell, ignore, index_files, list_files, remarks, run_pass
from dataprophet.scoring.folder.config import SHARD_CELLS, RunConfig, Work
from dataprophet.scoring.folder.files import POOL_PROFILE
from dataprophet.scoring.folder.pool import ScoredPool
from dataprophet.scoring.folder.rows import BAD_FEATURES, OK, code_of
from dataprophet.scoring.model_origin import NamedModel, label_origin, origin_of
from dataprophet.scoring.scan import scan
from dataprophet.scoring.sources.opener import pool_arguments
from dataprophet.store import Store

if TYPE_CHECKING:
    from dataprophet.model import Model
    from dataprophet.scoring.sources.feature_pool import FeaturePool

_NAME = "profile"  # of a profile in the cache: the dataset's name changes no number


@checked("dataset", "model")
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
    recheck: bool = False,
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
        recheck: with ``cache``, also read the files that look unchanged, and compare their digests.
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
        plain, where = processes is None and not (fresh or recheck), "processes, fresh and recheck"
        require(plain, "is for a pass in a cache", where, "give cache=FOLDER", DataProphetError)
        if isinstance(dataset, Dataset) and (dataset.files or not dataset.path):
            dataset.check_bad(max_bad)
        made = build.profile(dataset, model, name=name, progress=progress, **settings)
        if isinstance(dataset, Dataset):
            left_out = made.problems.counts  # with the images that turned out to be broken
            check_bad(left_out, made.n_samples + left_out.total(), max_bad, made.name)
        return made
    if not isinstance(dataset, Dataset) or not has_files(dataset):
        raise DataProphetError("only a dataset of files has a cache", where="cache", fix="open it with open_dataset")
    if model is None:
        raise ProfileError("samples need a model", where=dataset.name, fix="pass model=dataprophet.load_model(...)")
    told, work = progress or (lambda _: None), Work(processes=processes)
    options: dict[str, Any] = {"name": name, "fresh": fresh, "max_bad": max_bad, "cache": cache, "work": work}
    options["recheck"] = recheck
    return ProfilePass(dataset, model, settings=settings, **options).profile(lambda done, _: told(done))


def has_files(dataset: Dataset) -> bool:
    """Whether a dataset has files of its own, which can be read in parts."""
    with suppress(DataError):
        return bool(dataset.folder)
    return False


class ProfilePass:
    """A pass over a pool for its profile, in a folder of a cache.

    The rows are read when it is made, so that what is wrong with them is known before a model is loaded; the model runs
    in ``profile``, unless the profile is there already.

    Attributes:
        pool: the pool.
        name: its name.
        tally: what its rows hold.
        usable: rows that can be used.
        digests: of its files; empty for a pool that has none.

    Args:
        pool: the pool, opened: a dataset, or features. A dataset without files is read anew in each pass.
        model: a loaded model, one that several passes share, or what ``load_model`` takes; for features, a label.
        settings: of the diversity, as ``Profile.empty`` takes them.
        cache: the cache's folder. Each pool, model and settings have a folder of their own in it.
        work: who computes. One process, and a pool of one shard, need no other process than this one.
        name: the pool's name; by default its own.
        loading: further arguments of ``load_model``.
        fresh: forget what the cache knows of this pool, model and settings.
        recheck: also read the files that look unchanged, and compare their digests.
        tell: called with a line where something is taken from the cache.
        max_bad: share of rows that may be unusable.

    Raises:
        DataProphetError: pool or cache cannot be used.
    """

    def __init__(
        self,
        pool: Dataset | FeaturePool,
        model: Model | NamedModel | str,
        *,
        settings: Mapping[str, Any],
        cache: str | os.PathLike[str],
        work: Work,
        name: str | None = None,
        loading: Mapping[str, Any] | None = None,
        fresh: bool = False,
        recheck: bool = False,
        tell: Callable[[str], None] | None = None,
        max_bad: float = MAX_BAD,
    ) -> None:
        self.pool, self.name, self._work, self._max_bad = pool, name or pool.name, work, max_bad
        self._settings, self._tell = settings, tell or ignore
        self._samples = isinstance(pool, Dataset)
        self._model = NamedModel(model, loading or {}) if self._samples and isinstance(model, str) else model
        self.digests: tuple[str, ...] = ()
        self._in_parts = not isinstance(pool, Dataset) or has_files(pool)
        if isinstance(pool, Dataset) and not self._in_parts:
            self._tell(f"{self.name}: it has no files of its own, so this pass cannot be resumed")
            self.tally, counts = pool.check_bad(max_bad)
            self.usable = self.tally.rows - counts.total()
            return
        self._arguments = pool_arguments(pool.arguments if isinstance(pool, Dataset) else {"path": pool.path})
        self._sketch = Profile.empty(_NAME, "", **settings).settings
        self._known = self._origin()
        data = {key: value for key, value in self._arguments.items() if key != "name"}
        given = {key: value for key, value in self._given.items() if key != "memory"}  # changes no number
        asked = [data, given or self._known, self._sketch, machine(work)]
        self._store = open_cache(cache, asked, self._tell, fresh=fresh)
        with nothing_left(self._store):
            looked = self._tell if recheck else None
            self._files, self._log, self.tally = _files(self._store, pool, self.name, max_bad, looked)
            list_files(self._store, self._files)
        self.usable = self.tally.rows - len(self._log)
        self.digests = tuple(str(entry["digest"]) for entry in self._files)

    def require_enough(self) -> None:
        """Refuse what has too few samples for a diversity, where their number is known before the model runs."""
        if self._in_parts and (most := sum(int(entry.get("samples", entry["rows"])) for entry in self._files)):
            require_enough(most, int(self._settings["clusters"]), f"profile {self.name!r}")

    @property
    def _given(self) -> dict[str, Any]:
        """Arguments of ``load_model``; empty where no model is named."""
        return self._model.arguments if isinstance(self._model, NamedModel) else {}

    def _origin(self) -> dict[str, Any] | None:
        """What the model is, where that is known without loading it."""
        if not self._samples:
            return label_origin(str(self._model))
        return None if isinstance(self._model, NamedModel) else origin_of(self._model)

    def profile(self, progress: Progress | None = None) -> Profile:
        """Make the profile, or take it from the cache; ``progress`` is called with the input rows done and in all.

        Raises:
            ProfileError: no sample could be used, or features are not finite.
            DataProphetError: the model cannot be used, or a part could not be computed.
        """
        if not self._in_parts:
            model, total = self._model, self.tally.rows
            loaded: Any = model.load(self._work.threads) if isinstance(model, NamedModel) else model
            told = None if progress is None else lambda done: progress(done, total)
            assert isinstance(self.pool, Dataset)
            return build.profile(self.pool, loaded, name=self.name, progress=told, **self._settings)
        with nothing_left(self._store):
            cells = sum(-(-int(entry["rows"]) // CELL_ROWS) for entry in self._files)
            work = _settled(self._work, self._given, cells)
            known = self._known or self._find_model(work)
            config = self._config(known)
            configure(self._store, config)
            scored = ScoredPool(self._store.root)
            if scored.complete and self._store.exists(POOL_PROFILE):
                self._tell(f"{self.name}: unchanged, profile from {self._store.root} (--fresh computes it anew)")
                return self._result(scored)
            if scored.n_rows:
                rows = f"{scored.n_rows:,} rows are done already"
                self._tell(f"{self.name}: {rows}, from {self._store.root} (--fresh computes them anew)")
            scored = self._run(config, work, progress)
            prune(scored)
            for remark in remarks(scored.summary):
                self._tell(f"{self.name}: {remark}")
            return self._result(scored)

    def _find_model(self, work: Work) -> dict[str, Any]:
        """What a model that is named is: as it was found before, or by loading it."""
        known, model = known_model(self._store, self._given), self._model
        assert isinstance(model, NamedModel)  # of all others it is known
        if known is None:
            state, known = model_state(self._given), model.origin(work.threads, here=work.processes == 0)
            self._store.write_document(MODEL, {"state": state, "origin": known})
        return known

    def _config(self, known: Mapping[str, Any]) -> RunConfig:
        kind = "samples" if self._samples else "features"
        on_cpu = known["numbers"].get("device") == "cpu"  # where a cell takes long
        asked: dict[str, Any] = {"pool": self._arguments, "model": self._given, "fields": list(FIELDS)}
        asked |= {"sketch": self._sketch, "shard_cells": 1 if on_cpu else SHARD_CELLS[kind]}
        asked["shown"] = {"format": getattr(self.pool, "format", "")}
        return RunConfig(name=_NAME, kind=kind, reading=self.pool.settings, targets=[], **known, **asked)

    def _run(self, config: RunConfig, work: Work, progress: Progress | None) -> ScoredPool:
        """Do the shards that are missing."""
        model: Any = self._model if self._samples else None
        if isinstance(self._model, NamedModel):
            model = self._model.load(work.threads) if work.processes == 0 else None
            if model is None:
                self._model.unload()  # the device's memory is for the workers
        scored = run_pass(config, self._store, work, pool=self.pool, model=model, progress=progress, tell=self._tell)
        if isinstance(self._model, NamedModel) and model is not None and model.splits:
            self._model.unload()  # with the batches that memory left it
        if scored.missing:
            part, fix = scored.summary["missing"][0], "run the same command again to go on"
            where = f"{part['file']} rows {part['rows'][0] + 1} to {part['rows'][1]}"
            raise DataProphetError(f"not computed: {part['why']}", where=where, fix=fix)
        return scored

    def _result(self, scored: ScoredPool) -> Profile:
        made = _result(scored, self.name, self._log, self._max_bad)
        made.identity = (replace(scored.identity, path=self.pool.path),)
        made.model_name = self._model.name if self._samples and not isinstance(self._model, str) else ""
        return made


def _files(
    store: Store, pool: Any, name: str, max_bad: float, recheck: Tell | None
) -> tuple[list[dict[str, Any]], ProblemLog, Tally]:
    """Entries for the list of files, what is wrong with rows, and what they hold. Raises DataError for a bad file."""
    if isinstance(pool, Dataset):
        scanned = scan(store, pool, recheck=recheck)
        scanned.check(max_bad, name)
        return scanned.files, scanned.problems(), Tally(**scanned.tally)
    files = list(index_files(store, pool, strict=True, recheck=recheck))
    return files, ProblemLog(), Tally(sum(int(entry["rows"]) for entry in files))


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
