"""What some rows of a pool take: their tokens, seconds of a short timed run, and bytes of files as scoring makes them.

`plan` calls it with rows of a dataset, or with a pool of precomputed features. What all rows take, `amounts.py` infers.
"""

from __future__ import annotations

import itertools
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dataprophet.data.sample import Conversation, Problem, Sample
from dataprophet.features.features import FIELDS, Features, measure
from dataprophet.planning.sample import Count
from dataprophet.profiling.profile import Profile
from dataprophet.scoring.embeddings import unit_embeddings
from dataprophet.scoring.folder.rows import OK, Columns, Lines, status_of, table_of, write_rows
from dataprophet.scoring.sources.feature_pool import FeaturePool
from dataprophet.scoring.targets import SampleScores, Targets

if TYPE_CHECKING:
    from dataprophet.model.model import Model
    from dataprophet.scoring.sources.stored_features import StoredFeatures

_WARM_UP = 8  # samples of a model's first run, which is not counted
_WINDOWS = 8  # as many windows as the time should be enough for
_LEAST = 4  # windows, or cells of features, that are timed in any case
_CELLS = 16  # cells of features to read


class Sizes(NamedTuple):
    """Bytes of the parts of a scored folder.

    Attributes:
        shard: of a shard's rows file, beside its lines.
        line: of a line in it, where scores do not compress.
        line_least: the same, where they are all alike.
        profile: of a profile, beside its sketch.
        sketched: of a sample in the sketch.
        embedded: of a sample's embeddings.
    """

    shard: float
    line: float
    line_least: float
    profile: float
    sketched: float
    embedded: float


class Row(NamedTuple):
    """What a row takes: its cell's number among those read, its usable samples and their answer tokens, the tokens
    that the model computes for them (of features none), and whether something is wrong with it.
    """

    cell: int
    samples: int
    answer_tokens: int
    tokens: int
    bad: bool


@dataclass
class Seen:
    """What the rows that were read of a pool take.

    Attributes:
        rows: each of them.
        problems: how many of them, or of their samples, have which problem.
        calls: batches for a token.
        seconds: of each timed window.
        windows: tokens of each of them; of features, rows.
        sizes: bytes of parts of a folder; None where no row is usable.
        lines: lines of the rows file.
    """

    rows: list[Row] = field(default_factory=list)
    problems: Counter[str] = field(default_factory=Counter)
    calls: float = 0.0
    seconds: list[float] = field(default_factory=list)
    windows: list[int] = field(default_factory=list)
    sizes: Sizes | None = None
    lines: int = 0


def see_rows(
    drawn: Sequence[tuple[int, Conversation | Problem]], model: Model, *, seconds: float, targets: int
) -> Seen:
    """What rows that were drawn take of a model.

    Args:
        drawn: the rows, each with the number of its cell.
        model: the model.
        seconds: to spend on the timed run; more where four windows of a few samples take longer.
        targets: how many targets.
    """
    from dataprophet.model.cost import costs

    rows = [row for _, row in drawn]
    lines = Lines.of(rows, 0)
    samples: list[list[Sample]] = [[] if isinstance(row, Problem) else list(row.samples()) for row in rows]
    (together,) = costs(model, [lines.samples])
    seen = Seen(calls=together.calls / max(1, together.tokens), lines=len(lines.lines))
    first = 0
    for (cell, row), own, weight in zip(drawn, samples, costs(model, samples), strict=True):
        problems = [row] if isinstance(row, Problem) else [problem for _, problem in weight.problems]
        seen.problems.update(map(status_of, problems))
        seen.rows.append(Row(cell, weight.samples, weight.answer_tokens, weight.tokens, bool(problems)))
        for place, problem in weight.problems:
            lines.refuse(first + place, status_of(problem), problem.message)
        first += len(own)
    features = _time(seen, model, [(own, row.tokens) for own, row in zip(samples, seen.rows, strict=True)], seconds)
    if features is not None:
        places = np.arange(len(lines.samples))
        seen.sizes = sizes(lines.columns("pool"), places, features, target_names(targets), nearest=True)
    return seen


def _time(seen: Seen, model: Model, rows: Sequence[tuple[list[Sample], int]], seconds: float) -> Features | None:
    """Run rows, given with their tokens, through the model again and again, reading and decoding included.

    Notes seconds and tokens of each window but the first; returns the features of that one, None if no row is usable.
    """
    if not (usable := [(samples, tokens) for samples, tokens in rows if tokens]):
        return None
    together = [sample for samples, _ in usable for sample in samples]
    first = together[:_WARM_UP]
    for _ in range(2):  # what is compiled or loaded at first use is left out
        started = time.perf_counter()
        list(model.cells([first]))
    each = (time.perf_counter() - started) / len(first)
    size = min(len(together), max(_WARM_UP, int(seconds / _WINDOWS / each)))
    counts: list[int] = []

    def windows() -> Iterator[list[Sample]]:
        source = itertools.cycle(usable)
        while True:
            window: list[Sample] = []
            counts.append(0)
            while len(window) < size:
                samples, tokens = next(source)
                window += samples
                counts[-1] += tokens
            yield window

    features: list[Features] = []
    ends = [time.perf_counter()]
    for result in model.cells(windows()):
        ends.append(time.perf_counter())
        features = features or [result.features]
        if len(ends) > _LEAST and ends[-1] - ends[0] > seconds:
            break
    seen.seconds = np.diff(ends[1:]).tolist()
    seen.windows = counts[1 : 1 + len(seen.seconds)]
    return features[0]


def see_features(
    pool: FeaturePool | StoredFeatures, count: Count, *, seconds: float, targets: int, rng: np.random.Generator
) -> Seen:
    """What some cells of a pool of features take: read, scored, and added to a profile.

    Args:
        pool: it.
        count: of its rows.
        seconds: to spend at most, though some cells are read in any case.
        targets: how many targets.
        rng: for the choice of cells.

    Raises:
        DataError: a file is damaged.
    """
    cells = count.cells
    seen = Seen()
    scorer: Targets | None = None
    profile = Profile.empty(pool.name, "")
    deadline = time.perf_counter() + seconds
    order = rng.permutation(len(cells))[:_CELLS]
    for number, place in enumerate(itertools.cycle(order)):
        again = number >= len(order)  # only for more times
        if number >= _LEAST and (again or time.perf_counter() > deadline):
            break
        rows = 0
        index, cell, _ = cells[place]
        started = time.perf_counter()
        for columns, chosen, features in pool.read_features(index, cell, cell + 1):
            if scorer is None and len(chosen):
                scorer = _targets(features, targets)
                seen.sizes = sizes(columns, chosen, features, scorer.names, nearest=False)
                scorer.add(features, profile)  # what is compiled or loaded at first use is left out
                started = time.perf_counter()
            if scorer is not None and len(chosen):
                scorer.add(features, profile)
            rows += len(np.unique(columns.position))
            if not again:
                _note(seen, number, columns, chosen, features)
        if scorer is not None:
            seen.seconds.append(time.perf_counter() - started)
            seen.windows.append(rows)
    return seen


def _targets(features: Features, count: int) -> Targets:
    """Targets that these features could be scored for: their own mean directions."""
    profile = Profile.empty("target", "")
    profile.update(features)
    profiles = [replace(profile, name=name) for name in target_names(count)]
    return Targets.of(profiles, [name for name in FIELDS if name in profile.directions])


def _note(seen: Seen, number: int, columns: Columns, chosen: NDArray[np.int64], features: Features) -> None:
    """Add the rows of a part of a cell."""
    positions, row_of_line = np.unique(columns.position, return_inverse=True)
    rows = row_of_line[columns.place[chosen]]
    samples = np.bincount(rows, minlength=len(positions))
    counted = np.zeros(len(rows)) if features.n_tokens is None else features.n_tokens
    answers = np.bincount(rows, weights=counted, minlength=len(positions))
    statuses = np.array(columns.status.to_pylist())
    bad = np.bincount(row_of_line, weights=statuses != OK, minlength=len(positions)) > 0
    seen.problems.update(statuses[statuses != OK].tolist())
    seen.rows += [Row(number, int(s), int(a), 0, bool(b)) for s, a, b in zip(samples, answers, bad, strict=True)]
    seen.lines += len(columns.position)


def sizes(
    columns: Columns, places: NDArray[np.int64], features: Features, targets: Sequence[str], *, nearest: bool
) -> Sizes:
    """Measure the parts of a scored folder.

    Args:
        columns: of rows that were drawn.
        places: which of their samples are scored.
        features: of some samples, these or others.
        targets: names of targets.
        nearest: whether the nearest cosines are kept.
    """
    table, alike = (_table(columns, places, targets, nearest=nearest, spread=spread) for spread in (1.0, 0.0))
    one, filled = _parquet(table.slice(0, 1)), _parquet(table)  # an empty file lacks what each column takes once
    line, line_least = ((size - one) / max(1, table.num_rows - 1) for size in (filled, _parquet(alike)))
    profile, n = Profile.empty("pool", ""), len(features.ids)
    profile.update(features)
    sketched = 0 if profile.sketch is None else profile.sketch.z.nbytes + profile.sketch.hashes.nbytes
    kept = unit_embeddings(measure(features, "features"), np.arange(n, dtype=np.int64))
    embedded = sum(array.nbytes for array in kept.values())
    beside = len(profile.to_bytes()) - sketched
    return Sizes(one - line, line, line_least, beside, sketched / max(1, n), embedded / max(1, n))


def target_names(count: int) -> list[str]:
    """Names for targets that are not known yet."""
    return [f"target{number}" for number in range(1, count + 1)]


def _table(
    columns: Columns, places: NDArray[np.int64], targets: Sequence[str], *, nearest: bool, spread: float
) -> pa.Table:
    """A rows file of numbers that do not compress, or, without a spread, of one number."""
    rng = np.random.default_rng(0)
    n = len(places)
    shape, every = (n, len(targets)), (*FIELDS, "M", "nearest")
    drawn = {name: rng.standard_normal(shape, np.float32) * np.float32(spread) for name in every}
    nll, tokens = rng.random(n), rng.integers(1, 50, n)
    scores = SampleScores({name: drawn[name] for name in FIELDS}, drawn["M"])
    close = drawn["nearest"] if nearest else None
    return table_of(columns, places, nll, tokens, scores=scores, nearest=close, targets=targets)


def _parquet(table: pa.Table) -> int:
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        write_rows(table, file.name)
        return os.path.getsize(file.name)
