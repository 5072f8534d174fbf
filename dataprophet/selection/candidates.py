"""The units that are chosen among, rows or samples of scored pools, and their scores, a shard at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dataprophet.errors import DataProphetError, MetricError
from dataprophet.scoring.pool import MAKE_ANEW, ScoredPool, ScoredShard

UNITS = ("row", "sample")
"""What may be chosen: conversations with all their turns, or single turns with those before them."""


@dataclass(frozen=True)
class Part:
    """One shard of one pool.

    Attributes:
        number: its place among all parts.
        pool: number of its pool.
        source: what quotas count it to: the pool's name where there are several pools, else the name of its file.
        rank: place of its source and file among all of them, by name.
        scored: the shard.
    """

    number: int
    pool: int
    source: str
    rank: int
    scored: ScoredShard


class Units:
    """The units of pools with their scores. A part at a time is in memory.

    Args:
        pools: scored for the same targets; in order of their names.
        targets: names of the targets that matter.
        unit: ``row`` or ``sample``.

    Raises:
        DataProphetError: two pools of one name, or an unknown unit.
        MetricError: a pool was not scored for a target.
    """

    def __init__(self, pools: Sequence[ScoredPool], targets: Sequence[str], unit: str) -> None:
        if unit not in UNITS:
            raise DataProphetError(f"unknown unit {unit!r}", where="unit", fix=f"use {' or '.join(UNITS)}")
        self.pools, self.targets, self.unit = list(pools), list(targets), unit
        self._counts: dict[int, int] = {}
        for pool in self.pools:
            for target in self.targets:
                if target not in pool.targets:
                    raise MetricError(
                        f"not scored for {target!r}", where=pool.folder, fix=f"choose from {', '.join(pool.targets)}"
                    )
        found = [
            (number, pool.name if len(self.pools) > 1 else scored.shard.name, scored)
            for number, pool in enumerate(self.pools)
            for scored in pool.shards
        ]
        files = sorted({(source, scored.shard.name) for _, source, scored in found})
        ranks = {file: rank for rank, file in enumerate(files)}
        self.parts = [
            Part(place, number, source, ranks[source, scored.shard.name], scored)
            for place, (number, source, scored) in enumerate(found)
        ]

    @property
    def sources(self) -> list[str]:
        """Names of the sources, sorted."""
        return sorted({part.source for part in self.parts})

    def values(self, part: Part) -> NDArray[np.float64]:
        """(n, T) scores M of the units of a part, NaN where one of their samples has none.

        That of a row is the mean over its turns, in float64.
        """
        values = self._values(part)
        self._counts[part.number] = len(values)
        return values

    def _values(self, part: Part) -> NDArray[np.float64]:
        names = [f"M:{target}" for target in self.targets]
        table = self._read(part, ["position", *names] if self.unit == "row" else names)
        each = np.stack([_floats(table.column(name)) for name in names], axis=1)
        if self.unit == "sample" or not len(each):
            return each
        starts = _starts(table)
        if len(starts) == len(each):
            return each
        counts = np.diff(starts, append=len(each))
        owner = np.repeat(np.arange(len(starts)), counts)
        # bincount adds in the order of the turns, whatever else is in the part
        sums = [np.bincount(owner, weights=each[:, place]) for place in range(each.shape[1])]
        return np.stack(sums, axis=1) / counts[:, None]

    def count(self, part: Part) -> int:
        """Units of a part."""
        if part.number not in self._counts:
            self.values(part)
        return self._counts[part.number]

    def details(self, part: Part, chosen: NDArray[np.int64], *, nearest: bool = False) -> pa.Table:
        """What tells units apart, and where they are.

        Args:
            part: their part.
            chosen: (m,) numbers of units within it.
            nearest: whether to read ``Nearest:T`` too; of a row, the largest of its turns. Minus infinity where the
                pool was scored without.

        Returns:
            m rows: ``id``, ``rank``, ``position``, ``turn`` (0 for rows), which order equal scores; then ``part``,
            ``line`` (of the unit's first sample in the rows file) and ``lines``.
        """
        columns = [f"Nearest:{target}" for target in self.targets] if nearest else []
        stored = columns if self.pools[part.pool].config.nearest else []
        table = self._read(part, ["id", "position", "turn", *stored])
        starts = _starts(table) if self.unit == "row" else np.arange(table.num_rows)
        lines = np.diff(starts, append=table.num_rows)[chosen]
        line = starts[chosen]
        ids = pc.take(table.column("id").combine_chunks(), pa.array(line))
        if self.unit == "row" and (lines > 1).any():  # the first of several turns is called <id>#1
            ids = pc.if_else(pa.array(lines > 1), pc.utf8_slice_codeunits(ids, 0, -2), ids)
        made: dict[str, Any] = {
            "id": ids,
            "rank": np.full(len(line), part.rank, np.int32),
            "position": pc.take(table.column("position").combine_chunks(), pa.array(line)),
            "turn": np.zeros(len(line), np.int32)
            if self.unit == "row"
            else pc.take(table.column("turn").combine_chunks(), pa.array(line)),
            "part": np.full(len(line), part.number, np.int32),
            "line": line,
            "lines": lines.astype(np.int32),
        }
        for name in columns:
            if not stored:
                made[name] = np.full(len(line), -np.inf)
                continue
            each = np.nan_to_num(_floats(table.column(name)), nan=-np.inf)
            made[name] = np.maximum.reduceat(each, starts)[chosen] if len(starts) else each
        return pa.table(made)

    def factors(self, part: Part, line: NDArray[np.int64], lines: NDArray[np.int32]) -> dict[str, NDArray[Any]]:
        """Numbers of units: means over their samples of ``mean_nll`` and of factors, and answer tokens in all.

        Args:
            part: their part.
            line: (m,) first line of each, ascending.
            lines: (m,) lines of each.
        """
        names = ["mean_nll", *(f"{name}:{target}" for target in self.targets for name in ("QSim", "ASim", "ISim", "M"))]
        table = self._read(part, ["answer_tokens", *names])
        owner = np.repeat(np.arange(len(line)), lines)
        within = np.arange(len(owner)) - np.repeat(np.cumsum(lines) - lines, lines)
        where = line[owner] + within
        tokens = np.nan_to_num(_floats(table.column("answer_tokens")))[where]
        made: dict[str, NDArray[Any]] = {"answer_tokens": np.bincount(owner, weights=tokens, minlength=len(line))}
        for name in names:
            sums = np.bincount(owner, weights=_floats(table.column(name))[where], minlength=len(line))
            made[name] = sums / lines
        return made

    def _read(self, part: Part, columns: Sequence[str]) -> pa.Table:
        path = part.scored.rows
        try:
            with pq.ParquetFile(path) as file:
                table = file.read(columns=list(columns), use_threads=False)
        except (pa.ArrowException, OSError) as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise DataProphetError(f"cannot be read ({reason})", where=path, fix=MAKE_ANEW) from error
        missing = next((name for name in columns if name not in table.column_names), None)
        if missing is not None:
            raise DataProphetError(f"has no column {missing!r}", where=path, fix=MAKE_ANEW)
        return table


def _starts(table: pa.Table) -> NDArray[np.int64]:
    """First line of each row: the lines of its turns stand together, and have its position."""
    position = table.column("position").to_numpy()
    if not len(position):
        return np.empty(0, np.int64)
    return np.concatenate([[0], np.flatnonzero(position[1:] != position[:-1]) + 1]).astype(np.int64)


def _floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """A column as float64, NaN where it is null."""
    return pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False) if len(column) else np.empty(0)
