"""What one process needs to score shards: the pool opened, the model loaded, the targets read."""

from __future__ import annotations

import gc
import os
import platform
import threading
import time
import traceback
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dataprophet.data.identity.census import Census, as_text
from dataprophet.data.sample import Conversation, Problem, ProblemLog, Sample
from dataprophet.errors import DataError, ModelWarning, require
from dataprophet.features.features import Features
from dataprophet.ops.backend import as_lists, watching
from dataprophet.profiling.profile import Profile
from dataprophet.profiling.sketch import Sketch, bound_of
from dataprophet.scoring.embeddings import unit_embeddings, write_embeddings
from dataprophet.scoring.folder.config import STALL, RunConfig
from dataprophet.scoring.folder.files import EMBEDDINGS, FILES, PROFILE, ROWS, load_targets, read_index
from dataprophet.scoring.folder.rows import CRASHED, DETAILS, Columns, Lines, schema, status_of, table_of, write_rows
from dataprophet.scoring.folder.shards import UNDER_WAY, Shard, ShardResult
from dataprophet.scoring.model_origin import open_model, require_origin
from dataprophet.scoring.sources.lines import Note, read_lines
from dataprophet.scoring.sources.opener import open_pool
from dataprophet.scoring.sources.proof import Proof
from dataprophet.scoring.trial import Trial
from dataprophet.store.base import Store
from dataprophet.store.journal import CRASHES, Journal, Stopped

if TYPE_CHECKING:
    from dataprophet.model import Model
    from dataprophet.model.model import CellFeatures

_FILES_KEPT, _HEAVY = 8, 32  # indices that a worker remembers; rows take up to four times as much as in their file


class Worker:
    """Scores shards of one run. ``run`` may be called from two threads: the second reads while the first computes.

    Args:
        config: the run's configuration.
        store: its output folder.
        pool: the pool, where it is open already.
        model: the model, where it is loaded already.

    Raises:
        DataProphetError: pool, model or targets are not what the configuration says.
    """

    def __init__(self, config: RunConfig, store: Store, *, pool: Any = None, model: Model | None = None) -> None:
        self.config, self.store = config, store
        self.stall, self._moved = STALL, 0  # seconds, of the processes that try samples; how far this one came
        self.reading, self.gate = threading.Lock(), threading.Lock()  # of the shard that is read, and on the device
        self.pool = open_pool(config.kind, config.pool) if pool is None else pool
        self.targets = load_targets(store, config.targets, config.fields)
        self._model, self._splits = model, 0  # splits of models before
        self._own = config.kind == "samples" and model is None
        self.index = lru_cache(_FILES_KEPT)(partial(read_index, store))  # by a file's name, as the driver stored it
        self.proof = Proof(self.pool, self.index, self._listed)
        self.tell: Callable[[ShardResult], None] = lambda _: None  # how far a shard is, after each cell
        self._rows: int | None = None  # of the pool; samples, where it was scanned
        if self._own:
            self._load()
        if self._model is not None:
            require_origin(config, self._model)

    @property
    def model(self) -> Model:
        assert self._model is not None  # for pools of samples there is one
        return self._model

    @property
    def splits(self) -> int:
        """How often a batch was halved because memory ran out."""
        return self._splits + (0 if self._model is None else self._model.splits)

    @property
    def progress(self) -> int:
        """What grows while this process comes further: samples that it read, batches that it computed."""
        return self._moved + (0 if self._model is None else self._model.batches)

    def move(self) -> None:
        """Note that it came further."""
        self._moved += 1

    def counted(self, samples: list[Sample]) -> Iterator[Sample]:
        """Samples, each of which brings it further."""
        for sample in samples:
            self.move()
            yield sample

    @contextmanager
    def released(self) -> Iterator[None]:
        """The device left to other processes meanwhile, as far as this one has loaded the model itself."""
        if not self._own or self.config.numbers.get("device", "cpu") == "cpu":
            yield
            return
        import torch

        self._splits, self._model = self.splits, None
        gc.collect()
        torch.cuda.empty_cache()
        try:
            yield
        finally:
            self._load()

    def _load(self) -> None:
        with warnings.catch_warnings(category=ModelWarning, action="ignore"):  # the driver has told
            self._model = open_model(self.config.model, int(self.config.numbers.get("threads") or 0))

    def run(self, shard: Shard) -> ShardResult:
        """Score and commit a shard, and log it; see ``score_shard``."""
        process = f"process {os.getpid()} of {platform.node()}"
        self.store.log(shard.key, f"{shard.name} cells {shard.first} to {shard.last - 1}: begun by {process}")
        try:
            result = score_shard(shard, self)
        except Stopped:
            self.store.log(shard.key, "dropped: the process was asked to stop")
            raise
        except BaseException as error:
            self.store.log(shard.key, "".join(traceback.format_exception(error)))
            raise
        told = f"{result.outcome}: {result.rows} rows, {result.samples} samples in {result.seconds:.1f} s"
        self.store.log(shard.key, f"{told}\n{result.detail}")
        return result

    def lines(self, shard: Shard, first: int, last: int, note: Note | None = None) -> Iterator[tuple[int, Lines]]:
        """Cells of a shard, as ``read_lines`` gives them."""
        index, rows = self.index(shard.name), self.config.cell_rows
        return read_lines(self.pool, index, shard, first, last, cell_rows=rows, note=note)

    def _listed(self) -> dict[str, Any]:
        """State of each file by its name, as it was indexed."""
        return {file["name"]: file.get("state") for file in self.store.document(FILES)["files"] if "error" not in file}

    def empty_profile(self) -> Profile:
        """A profile of no samples, with the settings of the targets, for a part of the pool."""
        if self._rows is None:
            files = self.store.document(FILES)["files"]
            self._rows = sum(int(file.get("samples", file["rows"])) for file in files if "error" not in file)
        profile = self.config.empty_profile()
        assert profile.sketch is not None  # not sealed
        size = profile.sketch.size
        profile.sketch = Sketch.empty(size, bound=bound_of(size, self._rows))
        return profile


def score_shard(shard: Shard, worker: Worker) -> ShardResult:
    """Score a shard and commit it.

    Of two shards in one process, the second is read and decoded once the first has been read to its end, and waits for
    the device until the first is committed: what is prepared first is needed first, and only one has work on the device
    to lose.

    Args:
        shard: the cells to score.
        worker: the pool, the model, the targets, and the store where results go.

    Returns:
        What became of it. A file that is damaged makes it ``unreadable``, and nothing is committed.

    Raises:
        DataProphetError: what is wrong with more than this shard: the model, or the output folder.
    """
    started = time.monotonic()
    if worker.store.done(shard.key):
        return ShardResult(shard.key, "skipped", shard.rows)
    parts, splits = _Parts(worker), worker.splits
    try:
        seen = worker.pool.state(shard.file)
        with watching() as computed:
            isolated = _score(shard, worker, parts)
        marker = {
            "file": shard.name,
            "first": shard.first,
            "last": shard.last,
            "rows": shard.rows,
            "samples": parts.samples,
            "tokens": parts.tokens,
            "statuses": dict(sorted(parts.statuses.items())),
            "unscored": dict(parts.unscored),
            **(parts.read() if worker.config.kind == "samples" else {}),
            "isolated": isolated,
            "problems": parts.problems[: ProblemLog().keep],
            "splits": worker.splits - splits,
            "computed": as_lists(computed),
            "seconds": round(time.monotonic() - started, 3),
        }
        worker.proof.require(shard, seen)
        won = worker.store.commit(shard.key, parts.writers(), marker)
    except DataError as error:
        return ShardResult(shard.key, "unreadable", seconds=time.monotonic() - started, detail=str(error))
    finally:
        parts.reading.end()
        parts.device.end()
    seconds = time.monotonic() - started
    return ShardResult(shard.key, "done" if won else "lost", shard.rows, parts.samples, seconds)


class _Turn:
    """A lock of the worker, taken at the first ``with`` and kept until ``end``."""

    def __init__(self, lock: threading.Lock, stopping: threading.Event) -> None:
        self._lock, self._stopping, self._held = lock, stopping, False

    def __enter__(self) -> None:
        if not self._held:
            self._lock.acquire()
            self._held = True
            if self._stopping.is_set():
                raise Stopped("the shard is dropped")

    def __exit__(self, *_: object) -> None:
        pass

    def end(self) -> None:
        if self._held:
            self._lock.release()
            self._held = False


@dataclass
class _Parts:
    """What a shard has given so far, and its turns among those of this process: to be read, and to have the device."""

    worker: Worker
    tables: list[pa.Table] = field(default_factory=list)
    kept: list[dict[str, NDArray[Any]]] = field(default_factory=list)  # embeddings, where they are wanted
    statuses: Counter[str] = field(default_factory=Counter)
    unscored: Counter[str] = field(default_factory=Counter)  # target -> samples without M
    problems: list[dict[str, Any]] = field(default_factory=list)  # that the model found
    census: Census = field(default_factory=Census)
    images: list[str] = field(default_factory=list)  # marks of the image files of each cell
    lines: int = 0
    samples: int = 0
    tokens: int = 0

    def __post_init__(self) -> None:
        self.profile = self.worker.empty_profile()
        locks = self.worker.reading, self.worker.gate
        self.reading, self.device = (_Turn(lock, self.worker.store.stopping) for lock in locks)

    def read(self) -> dict[str, Any]:
        """What the rows hold, for ``ScoredPool.identity``."""
        return {"counts": asdict(self.census.tally), "texts": as_text(self.census.texts), "images": self.images}

    def note(self, entries: list[Conversation | Problem]) -> None:
        """Note what the rows of a cell hold."""
        self.images.append(as_text(sum(map(self.census.add, entries)), self.census.rule))

    def add(self, columns: Columns, places: NDArray[np.int64], features: Features) -> None:
        """Score features, and add the rows, the features and the embeddings. Bad ones get a status and the reason."""
        self.worker.move()
        config, targets = self.worker.config, self.worker.targets
        found = self.profile.measure(features, targets.directions, leave_out=True)
        columns = columns.refused({int(places[row]): reason for row, reason in found.reasons.items()})
        places, scores = places[found.usable], targets.scores_of(found)
        nearest = targets.nearest_of(found) if config.nearest else None
        names, nll, tokens = targets.names, found.nll, found.tokens
        details = [getattr(features, name)[found.usable] for name in DETAILS if config.details]
        options: dict[str, Any] = {"scores": scores, "nearest": nearest, "targets": names, "details": details}
        table = table_of(columns, places, nll, tokens, **options)
        if config.embeddings:
            self.kept.append(unit_embeddings(found, columns.place[places] + self.lines))
        for name, missing in zip(names, np.isnan(scores.values).sum(0), strict=True):
            self.unscored[name] += int(missing)
        self.tables.append(table)
        for pair in table.column("status").combine_chunks().value_counts():
            self.statuses[pair["values"].as_py()] += pair["counts"].as_py()
        self.lines += table.num_rows
        self.samples += len(places)
        self.tokens += int(tokens.sum())

    def writers(self) -> dict[str, Callable[[str], None]]:
        """Suffix -> what writes that file."""

        def rows(path: str) -> None:
            config = self.worker.config
            nothing = schema(self.worker.targets.names, nearest=config.nearest, details=config.details).empty_table()
            write_rows(pa.concat_tables([nothing, *self.tables]).unify_dictionaries().combine_chunks(), path)

        def profile(path: str) -> None:
            Path(path).write_bytes(self.profile.to_bytes())

        def embeddings(path: str) -> None:
            write_embeddings(path, self.kept)

        return {ROWS: rows, PROFILE: profile, **({EMBEDDINGS: embeddings} if self.worker.config.embeddings else {})}


def _score(shard: Shard, worker: Worker, parts: _Parts) -> list[str]:
    """All cells of a shard in order. Returns the ids of samples that were found to kill the process."""
    if worker.config.kind == "features":
        # there is no device, and little work to lose
        with nullcontext() if worker.pool.side_by_side else parts.device:
            for columns, places, features in worker.pool.read_features(
                worker.index(shard.name), shard.first, shard.last
            ):
                if worker.store.stopping.is_set():
                    raise Stopped("the shard is dropped")
                parts.add(columns, places, features)
        return []
    with parts.reading, worker.store.journal(shard.key) as journal:
        return _score_samples(shard, worker, parts, journal)


def _score_samples(shard: Shard, worker: Worker, parts: _Parts, journal: Journal) -> list[str]:
    cells = worker.lines(shard, shard.first, shard.last, parts.note)
    isolated: list[str] = []
    if not journal.crashes:
        for number, lines, result in _stream(shard, worker, cells, parts, journal):
            journal.end(f"cell {number}")
            _add_cell(parts, lines, result, shard.name)
            _tell(shard, worker, number)
        return isolated
    # A process died here before: a cell at a time, so that the next death names the cell for certain.
    with parts.device:
        for number, lines in cells:
            poisoned = _poisoned(shard, worker, number, lines, journal)
            isolated += [lines.samples[place].id for place in poisoned]
            result = _whole(worker, number, lines, poisoned, journal)
            _add_cell(parts, lines, result, shard.name)
            _tell(shard, worker, number)
    return isolated


def _stream(
    shard: Shard, worker: Worker, cells: Iterator[tuple[int, Lines]], parts: _Parts, journal: Journal
) -> Iterator[tuple[int, Lines, CellFeatures]]:
    """Cells through the model, the next ones being read and decoded meanwhile."""
    waiting: deque[tuple[int, Lines]] = deque()

    def feed() -> Iterator[Iterator[Sample]]:
        for number, lines in cells:
            journal.begin(f"cell {number}")
            waiting.append((number, lines))
            yield worker.counted(lines.samples)
        if worker.index(shard.name).cell_bytes <= worker.model.memory // _HEAVY:  # else one shard at a time
            parts.reading.end()

    for result in worker.model.cells(feed(), gate=parts.device, details=worker.config.details):
        yield *waiting.popleft(), result


def _poisoned(shard: Shard, worker: Worker, number: int, lines: Lines, journal: Journal) -> list[int]:
    """Samples of a cell that end a process that does nothing else. They are looked for where the cell has ended two.

    Raises:
        DataError: none can be tried, since only this process has the model.
    """
    if journal.crashes[f"cell {number}"] < CRASHES:
        return []
    died = f"the process died {CRASHES} times while cell {number} was scored"
    what = f"{died}, and a loaded model cannot be tried elsewhere"
    require(worker.config.model, what, shard.name, "give the model by its name, so that the cause can be found")
    with worker.released():
        trial = Trial(worker.config, worker.store, shard, number, worker.stall, worker.move)
        found = trial.culprits(len(lines.samples))
    for place, how in found.items():
        lines.refuse(place, CRASHED, f"a process that scored it alone {how}, {CRASHES} times")
    return list(found)


def _whole(worker: Worker, number: int, lines: Lines, poisoned: list[int], journal: Journal) -> CellFeatures:
    """A cell without its poisoned samples, in the batches that it would have had without them."""
    left = np.delete(np.arange(len(lines.samples)), poisoned)
    journal.begin(f"cell {number}")
    (result,) = worker.model.cells([[lines.samples[place] for place in left]], details=worker.config.details)
    journal.end(f"cell {number}")
    result.places = left[result.places]
    result.problems = [(int(left[place]), problem) for place, problem in result.problems]
    return result


def _tell(shard: Shard, worker: Worker, number: int) -> None:
    """Say how far a shard is after a cell, but for the last one, behind which the result comes."""
    if (done := (number + 1 - shard.first) * worker.config.cell_rows) < shard.rows:
        worker.tell(ShardResult(shard.key, UNDER_WAY, done))


def _add_cell(parts: _Parts, lines: Lines, result: CellFeatures, file: str) -> None:
    for place, problem in result.problems:
        lines.refuse(place, status_of(problem), problem.message)
        parts.problems.append(asdict(problem))
    parts.add(lines.columns(file), result.places, result.features)
