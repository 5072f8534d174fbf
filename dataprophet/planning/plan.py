"""``plan``: what scoring pools will cost, with intervals, and what of it is extrapolated.

The plan command calls it. Rows are drawn by `sample.py`, measured by `measure.py`, and scaled up by `amounts.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from dataprophet.data.dataset import Dataset
from dataprophet.data.index import CELL_ROWS
from dataprophet.data.sample import Tally
from dataprophet.errors import DataError, checked, require, require_type
from dataprophet.planning.amounts import Amounts, amounts_of
from dataprophet.planning.estimates import Spread, known
from dataprophet.planning.measure import see_features, see_rows
from dataprophet.planning.sample import count_features, count_rows, draw
from dataprophet.scoring.folder.config import cells_of
from dataprophet.scoring.sources.feature_pool import FeaturePool
from dataprophet.scoring.sources.opener import require_whole

if TYPE_CHECKING:
    from dataprophet.model.model import Model
    from dataprophet.scoring.sources.stored_features import StoredFeatures

LEAST_ROWS = 16
"""Rows that have to be drawn, for intervals to mean something."""

_HOURS = """this time is of data at hand; loading the model, slower storage and processes that share cores add to \
it, and rows next to each other with the same picture, which are computed together, take from it"""


@dataclass(frozen=True)
class PoolPlan:
    """A pool's part of a plan.

    Attributes:
        name: the pool's name.
        files: its files.
        bytes: of them.
        unreadable: what is wrong with each file that cannot be read.
        counted: share of the bytes whose rows were counted.
        drawn: rows that were drawn.
        held: what they hold.
        problems: how many of them, or of their samples, have which problem.
        timed: seconds of the run that was timed.
        amounts: what scoring it takes.
    """

    name: str
    files: int
    bytes: int
    unreadable: tuple[str, ...]
    counted: float
    drawn: int
    held: Tally
    problems: Mapping[str, int]
    timed: float
    amounts: Amounts


@dataclass(frozen=True)
class Plan:
    """What scoring pools takes.

    Attributes:
        pools: each of them.
        total: all of them.
        device: what the hours are of.
        notes: what was extrapolated, and from what.
    """

    pools: list[PoolPlan]
    total: Amounts
    device: str
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@checked("pools")
def plan(
    pools: Iterable[Dataset | FeaturePool | StoredFeatures] | Dataset,
    model: Model | None = None,
    *,
    rows: int = 256,
    seed: int = 0,
    seconds: float = 10.0,
    targets: int = 1,
    embeddings: bool = False,
    shard_rows: int | None = None,
    progress: Callable[[int], Any] | None = None,
) -> Plan:
    """Estimate what `score` will take for pools, from some of their rows.

    Args:
        pools: datasets, or features; or a single dataset.
        model: for datasets; on the device that the hours are of.
        rows: rows to draw of each pool.
        seed: of the draws.
        seconds: for counting the rows of each pool, and again for the timed run.
        targets: how many targets the pools will be scored for.
        embeddings: whether embeddings will be kept.
        shard_rows: input rows of a shard, as for ``score``.
        progress: called with the number of pools that are planned.

    Raises:
        DataError: a pool has no files of its own, or no row that can be read, or a limit below its rows.
        ModelError: the model fails.
    """
    if rows < LEAST_ROWS:
        raise DataError(f"it is {rows}", where="the rows to draw", fix=f"draw {LEAST_ROWS} rows or more")
    require(seed >= 0, f"it is {seed}", "seed", "use a number of 0 or more")
    made: list[PoolPlan] = []
    spreads: list[dict[str, Spread]] = []
    require_type(pools, Iterable, "plan", "give datasets", DataError)
    for number, pool in enumerate([pools] if isinstance(pools, Dataset) else pools):
        require(hasattr(pool, "files"), f"a {type(pool).__name__} is no pool", "plan", "open it with open_dataset")
        rng, held = np.random.default_rng([seed, number]), Tally()
        if isinstance(pool, Dataset):
            if model is None:
                raise DataError("a dataset is planned with a model", where=pool.name, fix="give the model")
            kind, count = "samples", count_rows(pool, seconds=seconds, rng=rng)
            require_whole(pool, count.rows)
            drawn = draw(pool, count, rows, rng)
            for _, row in drawn:
                held.add(row)
            seen = see_rows(drawn, model, seconds=seconds, targets=targets)
        else:
            kind, count = "features", count_features(pool)
            seen = see_features(pool, count, seconds=seconds, targets=targets, rng=rng)
        if not seen.rows:
            what = count.unreadable[0] if count.unreadable else "it holds no rows"
            raise DataError(f"nothing to plan with ({what})", where=pool.name, fix="repair it, or leave it out")
        in_shard = cells_of(kind, shard_rows) * CELL_ROWS
        spreads.append(amounts_of(count, seen, rng, embeddings=embeddings, shard_rows=in_shard))
        counted = count.counted_bytes / count.total_bytes if count.total_bytes else 1.0
        of_files = (len(pool.files), count.total_bytes, tuple(count.unreadable), counted)
        problems, timed = dict(sorted(seen.problems.items())), round(sum(seen.seconds), 3)
        made.append(PoolPlan(pool.name, *of_files, len(seen.rows), held, problems, timed, Amounts.of(spreads[-1])))
        if progress is not None:
            progress(len(made))
    if not made:
        raise DataError("nothing to plan", fix="give a dataset")
    total = {name: sum((part[name] for part in spreads), known(0.0)) for name in spreads[0]}
    return Plan(made, Amounts.of(total), _device(model), _notes(made, model))


def _device(model: Model | None) -> str:
    if model is None or model.device == "cpu":
        return "one process on this machine's CPU"
    import torch

    return str(torch.cuda.get_device_name(model.device))


def _notes(pools: list[PoolPlan], model: Model | None) -> list[str]:
    notes = []
    for pool in pools:
        if pool.counted < 1:
            notes.append(f"{pool.name}: rows counted in {pool.counted:.0%} of the bytes, and drawn from that part only")
        if pool.unreadable:
            notes.append(f"{pool.name}: {len(pool.unreadable)} files cannot be read and are left out")
        if not pool.timed:
            notes.append(f"{pool.name}: none of the rows drawn can be scored: see `dataprophet validate`")
    if model is not None and any(pool.timed for pool in pools):
        notes.append(_HOURS)
    return notes
