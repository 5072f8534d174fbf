"""What precomputed features take: no model, only reading and scoring."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from dataprophet.data.index import CELL_ROWS
from dataprophet.errors import DataError
from dataprophet.features.features import FIELDS, Features
from dataprophet.planning.amounts import Seen
from dataprophet.planning.count import Count
from dataprophet.planning.disk import sizes, target_names
from dataprophet.profiling.profile import Profile
from dataprophet.scoring.feature_pool import FeaturePool
from dataprophet.scoring.rows import OK, Columns
from dataprophet.scoring.targets import Targets

if TYPE_CHECKING:
    from dataprophet.scoring.stored_features import StoredFeatures

_CELLS, _LEAST = 16, 4  # cells to read, and times to take


def count_features(pool: FeaturePool | StoredFeatures) -> Count:
    """Rows of a pool of features, all of them counted."""
    count = Count()
    for number in range(len(pool.files)):
        try:
            index = pool.index(number)
        except DataError as error:
            count.unreadable.append(str(error))
            continue
        count.files.append(index)
        count.rows += index.rows
        count.counted_bytes += index.size
        count.total_bytes += index.size
    return count


def see_features(
    pool: FeaturePool | StoredFeatures, count: Count, *, seconds: float, targets: int, rng: np.random.Generator
) -> Seen:
    """What some cells of a pool of features take: read, scored, and added to a profile.

    Args:
        pool: it.
        count: of its rows.
        seconds: to spend at most, though one cell is read in any case.
        targets: how many targets.
        rng: for the choice of cells.

    Raises:
        DataError: a file is damaged.
    """
    places = [(file, cell) for file, index in enumerate(count.files) for cell in range(-(-index.rows // CELL_ROWS))]
    seen = Seen([], [], [], [], [], Counter(), 0.0, [], [], None, 0)
    scorer: Targets | None = None
    profile = Profile.empty(pool.name, "")
    deadline = time.perf_counter() + seconds
    order = rng.permutation(len(places))[:_CELLS]
    for number, place in enumerate(itertools.cycle(order)):
        again = number >= len(order)  # only for more times
        if number >= _LEAST and (again or time.perf_counter() > deadline):
            break
        rows = 0
        file, cell = places[place]
        started = time.perf_counter()
        for columns, chosen, features in pool.read_features(count.files[file], cell, cell + 1):
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


def _note(seen: Seen, number: int, columns: Columns, chosen: np.ndarray, features: Features) -> None:
    """Add the rows of a part of a cell."""
    positions = np.unique(columns.position)
    row_of_line = np.searchsorted(positions, columns.position)
    lines = columns.place[chosen]
    samples = np.bincount(row_of_line[lines], minlength=len(positions))
    tokens = np.zeros(len(chosen)) if features.n_tokens is None else np.asarray(features.n_tokens, np.float64)
    answers = np.bincount(row_of_line[lines], weights=tokens, minlength=len(positions))
    statuses = columns.status.to_pylist()
    bad = np.zeros(len(positions), np.bool_)
    for line, status in enumerate(statuses):
        if status != OK:
            seen.problems[status] += 1
            bad[row_of_line[line]] = True
    seen.cell += [number] * len(positions)
    seen.samples += samples.tolist()
    seen.answer_tokens += answers.astype(np.int64).tolist()
    seen.tokens += [0] * len(positions)
    seen.bad += bad.tolist()
    seen.lines += len(columns.position)
