"""The rows behind chosen units, read from the pool in its order, and the tables that tell where they came from."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dataprophet.data.dataset import Dataset
from dataprophet.data.index import FileIndex, relative_name
from dataprophet.data.sample import Conversation, Problem
from dataprophet.errors import DataError, DataProphetError
from dataprophet.scoring.folder import RUN
from dataprophet.scoring.pool import ScoredPool
from dataprophet.scoring.shards import Shard
from dataprophet.scoring.sources import reopen
from dataprophet.scoring.stored_features import StoredFeatures
from dataprophet.selection.candidates import Part, Units
from dataprophet.selection.pick import CHANGED, UNDECODABLE, Picked, unit_codes

SELECTED, DROPPED = "_selected.parquet", "_dropped.parquet"
"""Tables beside the rows: what was chosen, with its scores and factors, and what a rule left out. The underscore keeps
readers of the folder from taking them for data."""

_GROUP = 1 << 16


class Unusable(Exception):
    """Chosen units that cannot be written: code -> why."""

    def __init__(self, units: dict[int, str]) -> None:
        super().__init__(f"{len(units)} units")
        self.units = units


class Names:
    """Ids of units as they are written: ``<pool>/<id>``, or ``<pool>/<file>/<id>`` where a pool has several files."""

    def __init__(self, units: Units) -> None:
        self._prefix = [self._of(units, part) for part in units.parts]

    def __call__(self, part: int, name: str) -> str:
        return f"{self._prefix[part]}{name}"

    @staticmethod
    def _of(units: Units, part: Part) -> str:
        pool = units.pools[part.pool]
        return f"{pool.name}/{part.scored.shard.name}/" if len(pool.files) > 1 else f"{pool.name}/"


def pool_of_rows(pool: ScoredPool) -> ScoredPool:
    """The scored pool whose dataset holds the rows: the pool itself, or the one whose embeddings it was scored from.

    Raises:
        DataProphetError: it was scored from features that belong to no scored pool, or from other ones than that pool
            holds now.
    """
    if pool.config.kind == "samples":
        return pool
    path = str(pool.config.pool["path"])
    if not os.path.isfile(os.path.join(path, RUN)):
        raise DataProphetError(
            "was scored from features, so its rows are not at hand", where=pool.folder, fix="use the format ids"
        )
    origin, kept = ScoredPool(path), StoredFeatures(path)
    now = {str(file["name"]): kept.state(number) for number, file in enumerate(origin.files)}
    for file in pool.files:
        if "digest" in file and now.get(str(file["name"])) != file["digest"]:
            raise DataProphetError(
                f"was scored from embeddings of {file['name']} that are not those of {path} now",
                where=pool.folder,
                fix="score it again",
            )
    return pool_of_rows(origin)


class RowSource:
    """Where the rows of a scored pool are read.

    Args:
        pool: the scored pool.
        path: where its dataset lies, if not where it was scored.
    """

    def __init__(self, pool: ScoredPool, path: str | None = None) -> None:
        self.pool = pool_of_rows(pool)
        self.dataset: Dataset = reopen(self.pool, path)
        self._index: FileIndex | None = None

    def index(self, shard: Shard) -> FileIndex:
        """Index of a shard's file, which shards of one file share.

        Raises:
            DataError: the file is not there any more, or not what it was when it was scored.
        """
        if self._index is None or self._index.name != shard.name:
            path, changed = self.file(shard.name)
            if changed:
                raise DataError("the file has changed since it was scored", where=path, fix="score the pool again")
            self._index = replace(self.pool.index(shard.name), path=path)
        return self._index

    def file(self, name: str, *, untouched: bool = True) -> tuple[str, bool]:
        """Where one of the pool's files lies now, and whether it has changed since it was scored.

        Args:
            name: its name.
            untouched: take a file of the same place, size and time for the same, without reading it.

        Raises:
            DataError: it is not there any more.
        """
        files, folder = self.dataset.files, self.dataset.folder
        names = [relative_name(path, folder) for path in files]
        # files that came or went since move the others; a single file may have another name now
        number = names.index(name) if name in names else 0 if len(files) == len(self.pool.files) == 1 else None
        if number is None:
            raise DataError(
                f"the file {name!r} is not there any more", where=self.dataset.path, fix="restore it, or score again"
            )
        entry = next(file for file in self.pool.files if file["name"] == name)
        path = files[number]
        same = untouched and entry.get("path") == path and entry.get("state") == self.dataset.state(number)
        return path, not same and self.dataset.index(number).digest != entry["digest"]


def in_pool_order(table: pa.Table) -> pa.Table:
    """A table of units in the order of the pools and their files."""
    return table.take(pa.array(np.argsort(unit_codes(table)))).combine_chunks()


def by_part(units: Units, table: pa.Table) -> Iterator[tuple[Part, pa.Table]]:
    """The units of each part; the table is in pool order."""
    numbers = table.column("part").to_numpy()
    starts = np.concatenate([[0], np.flatnonzero(numbers[1:] != numbers[:-1]) + 1, [len(numbers)]])
    for start, stop in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        if stop > start:
            yield units.parts[int(numbers[start])], table.slice(start, stop - start)


def conversations(
    units: Units,
    table: pa.Table,
    source: Callable[[int], RowSource],
    *,
    decode: bool,
    progress: Callable[[int], Any] | None = None,
) -> Iterator[Conversation]:
    """Chosen rows, or chosen turns each with those before it, with their names as ids.

    Args:
        units: where they come from.
        table: the chosen ones, in pool order.
        source: number of a pool -> where its rows are.
        decode: whether to decode the images first, to be sure of them.
        progress: called with the number of units read so far.

    Raises:
        Unusable: at the end, when images do not decode or a row is not what it was when it was scored.
        DataError: a file cannot be read, or has changed.
    """
    names, done = Names(units), 0
    unusable: dict[int, str] = {}
    for part, rows in by_part(units, table):
        codes, turns = unit_codes(rows).tolist(), rows.column("turn").to_pylist()
        ids = rows.column("id").to_pylist()
        entries = _entries(part, rows.column("position").to_numpy(), source(part.pool))
        for code, name, turn, entry in zip(codes, ids, turns, entries, strict=True):
            done += 1
            if progress is not None:
                progress(done)
            row = _unit_of(entry, turn)
            if row is None or row.id != name:
                unusable[code] = CHANGED
            elif decode and not decodes(row):
                unusable[code] = UNDECODABLE
            elif not unusable:
                yield replace(row, id=names(part.number, name))
    if unusable:
        raise Unusable(unusable)


def only_ids(units: Units, table: pa.Table) -> Iterator[Conversation]:
    """Rows that have nothing but their ids, for a list of ids."""
    names = Names(units)
    for part, rows in by_part(units, table):
        for name in rows.column("id").to_pylist():
            yield Conversation(names(part.number, name), (), ())


def decodes(row: Conversation) -> bool:
    """Whether all images of a row can be decoded."""
    try:
        for source in row.sources:
            source.load()
    except DataError:
        return False
    return True


def _entries(part: Part, positions: NDArray[np.int64], source: RowSource) -> Iterator[Conversation | Problem]:
    """The row at each position of a part; cells without one are not read."""
    index, size = source.index(part.scored.shard), source.pool.config.cell_rows
    cells = np.unique(positions // size)
    runs = np.split(cells, np.flatnonzero(np.diff(cells) != 1) + 1) if len(cells) else []
    for run in runs:
        first, behind = int(run[0]), int(run[-1]) + 1
        for cell, entries in enumerate(source.dataset.read_cells(index, first, behind), first):
            for position in positions[positions // size == cell]:
                yield entries[int(position) - cell * size]


def _unit_of(entry: Conversation | Problem, turn: int) -> Conversation | None:
    """The row itself, or its turns up to the one that was chosen."""
    if isinstance(entry, Problem):
        return None
    if not turn:
        return entry
    if turn > len(entry.turns):
        return None
    turns = entry.turns[:turn]
    name = entry.id if len(entry.turns) == 1 else f"{entry.id}#{turn}"
    return replace(entry, id=name, turns=turns, sources=entry.sources[: sum(len(each.image_offsets) for each in turns)])


def write_selected(units: Units, table: pa.Table, file: IO[bytes]) -> None:
    """The table of chosen units, in the order of the rows, as Parquet: name, place, score, and the means of factors."""
    writer: pq.ParquetWriter | None = None
    waiting: list[pa.Table] = []
    for block in _selected(units, table):
        writer = writer or pq.ParquetWriter(file, block.schema, compression="zstd")
        waiting.append(block)
        while sum(part.num_rows for part in waiting) >= _GROUP:  # groups of one size, whatever the shards are
            whole = pa.concat_tables(waiting)
            writer.write_table(whole.slice(0, _GROUP).combine_chunks())
            waiting = [whole.slice(_GROUP)]
    if writer is not None:
        writer.write_table(pa.concat_tables(waiting).combine_chunks())
        writer.close()


def _selected(units: Units, table: pa.Table) -> Iterator[pa.Table]:
    names = Names(units)
    for part, rows in by_part(units, table):
        made = _places(units, part, rows, names)
        made["score"] = rows.column("score")
        made["for"] = rows.column("lane")
        line, lines = rows.column("line").to_numpy(), rows.column("lines").to_numpy()
        for name, values in units.factors(part, line, lines).items():
            made[name] = pa.array(values.astype(np.int64 if name == "answer_tokens" else np.float64), from_pandas=True)
        yield pa.table(made)


def write_dropped(units: Units, picked: Picked, file: IO[bytes]) -> None:
    """The table of units that a rule left out, from the highest score down."""
    names = Names(units)
    chosen = dict(zip(unit_codes(picked.units).tolist(), _written(names, picked.units), strict=True))
    table = in_pool_order(picked.dropped)
    parts = [_places(units, part, rows, names) for part, rows in by_part(units, table)]
    columns = {name: pa.chunked_array([part[name] for part in parts], type) for name, type in _PLACES.items()}
    ofs = [None if code is None else chosen.get(code) for code in table.column("of").to_pylist()]
    made = pa.table(
        {
            **columns,
            "score": table.column("score"),
            "reason": table.column("reason"),
            "cosine": table.column("cosine"),
            "of": pa.array(ofs, pa.string()),
        }
    )
    pq.write_table(
        made.sort_by([("score", "descending"), ("id", "ascending"), ("position", "ascending")]),
        file,
        compression="zstd",
    )


_PLACES = {
    "id": pa.string(),
    "pool": pa.string(),
    "file": pa.string(),
    "position": pa.int64(),
    "turn": pa.int32(),
}


def _places(units: Units, part: Part, rows: pa.Table, names: Names) -> dict[str, Any]:
    count = rows.num_rows
    return {
        "id": pa.array(_written(names, rows), pa.string()),
        "pool": pa.array([units.pools[part.pool].name] * count, pa.string()),
        "file": pa.array([part.scored.shard.name] * count, pa.string()),
        "position": rows.column("position").combine_chunks(),
        "turn": rows.column("turn").combine_chunks(),
    }


def _written(names: Names, rows: pa.Table) -> list[str]:
    parts, ids = rows.column("part").to_pylist(), rows.column("id").to_pylist()
    return [names(part, name) for part, name in zip(parts, ids, strict=True)]
