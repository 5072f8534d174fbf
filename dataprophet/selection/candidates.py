"""The candidates of a selection, rows or samples of scored pools: their scores, a shard at a time, and their details.

Everything else in this folder reads scored pools through this file. It does not know what will be chosen.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dataprophet.data.files.rows import printable
from dataprophet.errors import DataProphetError, MetricError, choose, explained
from dataprophet.scoring.folder.pool import ScoredPool, ScoredShard
from dataprophet.selection.noise import NLL, TOKENS, Limits, Numbers, Scores, floats
from dataprophet.selection.settings import Settings

DETAILS = ("id", "rank", "position", "turn", "part", "line", "lines", "code")
"""Columns that tell candidates apart, and where they are; the first four order equal scores."""

_LINES = 1 << 40  # more than a rows file has
_TURN = "#[0-9]+$"


@dataclass(frozen=True)
class Part:
    """One shard of one pool.

    Attributes:
        number: its place among all parts.
        pool: number of its pool.
        source: what quotas count it to: the pool's name where there are several pools, else the name of its file.
        prefix: what is written before an id: ``<pool>/``, or ``<pool>/<file>/`` where a pool has several files.
        scored: the shard.
    """

    number: int
    pool: int
    source: str
    prefix: str
    scored: ScoredShard


class Candidates:
    """The rows or samples of pools with their scores. A part at a time is in memory.

    Args:
        pools: scored for the same targets; in order of their names.
        settings: whose targets and unit matter, and its limits of noise.

    Attributes:
        limits: what is beyond them is no candidate.

    Raises:
        MetricError: a pool was not scored for a target.
    """

    def __init__(self, pools: Sequence[ScoredPool], settings: Settings) -> None:
        self.pools, self.targets, self.unit = list(pools), list(settings.targets), settings.unit
        self.parts: list[Part] = []
        for number, pool in enumerate(self.pools):
            if missing := [target for target in self.targets if target not in pool.targets]:
                fix = choose(missing[0], pool.targets)
                raise MetricError(f"not scored for {missing[0]!r}", where=pool.folder, fix=fix)
            for scored in pool.shards:
                file = scored.shard.name
                source = pool.name if len(self.pools) > 1 else file
                prefix = f"{pool.name}/{printable(file)}/" if len(pool.files) > 1 else f"{pool.name}/"
                self.parts.append(Part(len(self.parts), number, source, prefix, scored))
        files = sorted({(part.source, part.scored.shard.name) for part in self.parts})
        self._ranks = {file: rank for rank, file in enumerate(files)}
        self._scores = [Scores(pool, self.targets, settings.without) for pool in self.pools]
        self.limits = Limits()
        self.limits = Limits.of(settings, self._numbers)

    @property
    def sources(self) -> list[str]:
        """Names of the sources, sorted."""
        return sorted({part.source for part in self.parts})

    def values(self, part: Part) -> NDArray[np.float64]:
        """(n, T) scores M of the candidates of a part, NaN where one of their samples has none, or beyond the limits.

        That of a row is the mean over its turns, in float64.
        """
        limited = self.limits != Limits()
        values, numbers = self._values(part, with_numbers=limited)
        if limited:
            values[~self.limits.allow(numbers)] = np.nan
        return values

    def _values(self, part: Part, *, with_numbers: bool) -> tuple[NDArray[np.float64], Numbers]:
        """Scores whatever the limits, and the numbers that these are for, where they are wanted."""
        scores = self._scores[part.pool]
        names = {*scores.columns, *((NLL, TOKENS) if with_numbers else ()), *(("position",) * (self.unit == "row"))}
        table = self._read(part, sorted(names))
        values = scores.of(table)
        nll, tokens = (floats(table.column(name)) if with_numbers else np.zeros(len(values)) for name in (NLL, TOKENS))
        starts = self._starts(table)
        if len(starts) < len(values):
            lines = np.diff(starts, append=len(values))
            *sums, nll, tokens = _sums([*values.T, nll, tokens], lines)
            values, nll = np.stack(sums, axis=1) / lines[:, None], nll / lines
        return values, (nll.astype(np.float32), tokens)

    def _numbers(self) -> Iterator[Numbers]:
        """Numbers of all units that have a score, part by part."""
        for part in self.parts:
            values, (nll, tokens) = self._values(part, with_numbers=True)
            scored = ~np.isnan(values).any(1)
            yield nll[scored], tokens[scored]

    def details(self, part: Part, chosen: NDArray[np.int64], *, nearest: bool = False) -> pa.Table:
        """What tells candidates apart, and where they are.

        Args:
            part: their part.
            chosen: (m,) numbers of candidates within it.
            nearest: whether to read ``Nearest:T`` too; of a row, the largest of its turns. Minus infinity where the
                pool was scored without.

        Returns:
            m rows of ``DETAILS``: ``id``, ``rank`` (of source and file among all, by name), ``position``, ``turn`` (0
            for rows), which order equal scores; then ``part``, ``line`` (of the first sample in the rows file),
            ``lines``, and ``code``, a number that no other has.
        """
        columns = [f"Nearest:{target}" for target in self.targets] if nearest else []
        stored = columns if self.pools[part.pool].config.nearest else []
        table = self._read(part, ["id", "position", "turn", *stored])
        starts = self._starts(table)
        line, lines = starts[chosen], np.diff(starts, append=table.num_rows)[chosen]
        ids, position, turn = table.select(DETAILS[:1] + DETAILS[2:4]).combine_chunks().take(pa.array(line)).columns
        if self.unit == "row":
            several = pa.array((lines > 1) | (turn.to_numpy() > 1))  # each of them is called <id>#<turn>
            ids = pc.if_else(several, pc.replace_substring_regex(ids, _TURN, ""), ids)
            turn = np.zeros(len(line), np.int32)
        rank = self._ranks[part.source, part.scored.shard.name]
        ranks, parts = (np.full(len(line), number, np.int32) for number in (rank, part.number))
        code = part.number * _LINES + line
        values = (ids, ranks, position, turn, parts, line, lines.astype(np.int32), code)
        made: dict[str, Any] = dict(zip(DETAILS, values, strict=True))
        for name in columns:
            each = floats(table.column(name)) if stored else np.full(table.num_rows, np.nan)
            nearest_of = np.nan_to_num(each, nan=-np.inf)
            made[name] = np.maximum.reduceat(nearest_of, starts)[chosen] if len(starts) else nearest_of
        return pa.table(made)

    def doubtful(self, part: Part, table: pa.Table) -> NDArray[np.int64]:
        """Which of the part's candidates may have other ids than their details say: places in the table.

        The line of a row of which the first turn alone is trained is called ``<id>#1``, and so is that of a row with
        this id and one turn. The rows tell them apart.
        """
        if self.unit == "sample":
            return np.zeros(0, np.int64)
        places = np.flatnonzero(pc.ends_with(table.column("id"), "#1").to_numpy())
        alone = places[table.column("lines").to_numpy()[places] == 1]
        if not len(alone):
            return np.asarray(alone)
        turns = self._read(part, ["turn"]).column("turn").to_numpy()[table.column("line").to_numpy()[alone]]
        return np.asarray(alone[turns == 1])

    def factors(self, part: Part, line: NDArray[np.int64], lines: NDArray[np.int32]) -> dict[str, NDArray[Any]]:
        """Numbers of candidates: means over their samples of ``mean_nll`` and of factors, and answer tokens in all.

        Args:
            part: their part.
            line: (m,) first line of each, ascending.
            lines: (m,) lines of each.
        """
        names = ["mean_nll", *(f"{name}:{target}" for target in self.targets for name in ("QSim", "ASim", "ISim", "M"))]
        table = self._read(part, ["answer_tokens", *names])
        where = lines_of(line, lines)[1]
        tokens = np.nan_to_num(floats(table.column("answer_tokens")))
        sums = _sums([each[where] for each in (tokens, *(floats(table.column(name)) for name in names))], lines)
        return {"answer_tokens": sums[0], **{name: total / lines for name, total in zip(names, sums[1:], strict=True)}}

    def _starts(self, table: pa.Table) -> NDArray[np.int64]:
        """First line of each candidate: the lines of a row's turns stand together, and have its position."""
        if self.unit == "sample" or not table.num_rows:
            return np.arange(table.num_rows)
        position = table.column("position").to_numpy()
        return np.concatenate([[0], np.flatnonzero(position[1:] != position[:-1]) + 1]).astype(np.int64)

    def _read(self, part: Part, columns: Sequence[str]) -> pa.Table:
        path = part.scored.rows
        damaged = explained(
            (pa.ArrowException, OSError), DataProphetError, "cannot be read", path, part.scored.store.remedy
        )
        with damaged, pq.ParquetFile(path) as file:
            table = file.read(columns=list(columns), use_threads=False)
        if missing := [name for name in columns if name not in table.column_names]:
            raise DataProphetError(f"has no column {missing[0]!r}", where=path, fix=part.scored.store.remedy)
        return table


def lines_of(line: NDArray[np.int64], lines: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All lines of candidates that have several each.

    Args:
        line: (m,) first line of each candidate.
        lines: (m,) how many lines each has.

    Returns:
        (sum of lines,) the candidate that each line is of, and (sum of lines,) the line.
    """
    owner = np.repeat(np.arange(len(line)), lines)
    return owner, np.arange(len(owner)) + (line - np.cumsum(lines) + lines)[owner]


def _sums(columns: Iterable[NDArray[np.float64]], lines: NDArray[np.integer]) -> NDArray[np.float64]:
    """(columns, m) sums over each candidate's lines; bincount adds in their order, whatever else is in the part."""
    owner = np.repeat(np.arange(len(lines)), lines)
    return np.stack([np.bincount(owner, weights=column, minlength=len(lines)) for column in columns])
