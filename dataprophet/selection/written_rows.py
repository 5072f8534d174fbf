"""The rows behind chosen candidates, read from the pool in its order, and the tables that tell where they came from.

``select_pool`` hands them to ``write_rows``. Why a candidate was chosen is not known here, only where it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dataprophet.data.dataset import Dataset
from dataprophet.data.files.rows import as_unicode
from dataprophet.data.identity.census import Census, as_text, rule_of
from dataprophet.data.ids import exportable
from dataprophet.data.images.sources import broken_images
from dataprophet.data.index import FileIndex, relative_name
from dataprophet.data.sample import Conversation, Problem
from dataprophet.errors import DataError, DataProphetError, require
from dataprophet.scoring.folder.files import RUN
from dataprophet.scoring.folder.pool import ScoredPool, ScoredShard
from dataprophet.scoring.folder.shards import Shard, settle
from dataprophet.scoring.sources.opener import reopen
from dataprophet.scoring.sources.stored_features import StoredFeatures
from dataprophet.selection.candidates import Candidates, Part
from dataprophet.selection.pick import BAD_ID, CHANGED, UNDECODABLE, Picked

SELECTED, DROPPED = "_selected.parquet", "_dropped.parquet"
"""Tables beside the rows: what was chosen, with its scores and factors, and what a rule left out. The underscore keeps
readers of the folder from taking them for data."""

_RIGHT = "give the data that was scored (--pool NAME=PATH), or "
_GROUP = 1 << 16  # rows of a Parquet group, whatever the shards are
_PLACES = pa.schema(
    {"id": pa.string(), "pool": pa.string(), "file": pa.string(), "position": pa.int64(), "turn": pa.int32()}
)


class Unusable(Exception):
    """Chosen candidates that cannot be written; its argument is a dictionary, code -> why."""


class RowSource:
    """Where the rows of a scored pool are read.

    Args:
        pool: the scored pool.
        path: where its dataset lies, if not where it was scored.
        image_root: where its images lie, likewise.

    Raises:
        DataProphetError: it was scored from features that belong to no scored pool, or from other ones than that pool
            holds now.
    """

    def __init__(self, pool: ScoredPool, path: str | None = None, image_root: str | None = None) -> None:
        self.pool = _pool_of_rows(pool)
        try:
            self.dataset: Dataset = reopen(self.pool, path, image_root)
        except DataError as error:
            fix = error.fix if path else f"{error.fix}; or say where the pool lies now (--pool {self.pool.name}=PATH)"
            raise DataError(error.what, where=error.where, fix=fix) from error
        self._of = f"that pool {self.pool.name!r} was scored from ({self.pool.identity.lies})" if path else ""
        self._index: FileIndex | None = None

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """Name of each of the dataset's files -> its number."""
        return {relative_name(path, self.dataset.folder): number for number, path in enumerate(self.dataset.files)}

    @cached_property
    def _entries(self) -> dict[str, Any]:
        """Name of each file that was scored -> its entry."""
        return {file["name"]: file for file in self.pool.files}

    def index(self, shard: Shard) -> FileIndex:
        """Index of a shard's file, which shards of one file share.

        Raises:
            DataError: the file is not there any more, or not what it was when it was scored.
        """
        if self._index is None or self._index.name != shard.name:
            path, changed = self.file(shard.name)
            what = f"holds other data than {self._of}" if self._of else "the file has changed since it was scored"
            require(not changed, what, path, f"{_RIGHT}score the pool again" if self._of else "score the pool again")
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
        files = self.dataset.files
        # files that came or went since move the others; a single file may have another name now
        number = self._numbers.get(name, 0 if len(files) == len(self.pool.files) == 1 else None)
        if number is None:
            what, fix = f"the file {name!r} is not there any more", "restore it, or score again"
            if self._of:
                what, fix = f"holds no file {name!r} {self._of}", f"{_RIGHT}restore the file"
            raise DataError(what, where=self.dataset.path, fix=fix)
        entry, path = self._entries[name], files[number]
        same = untouched and entry.get("path") == path and entry.get("state") == self.dataset.state(number)
        return path, not same and self.dataset.index(number).digest != entry["digest"]

    def settle(self, name: str, cell: int, entries: list[Conversation | Problem]) -> None:
        """Give the rows of a cell of a file the ids under which they were scored."""
        entry = self._entries[name]
        own = (("".join((entry.get(kind) or [])[cell : cell + 1])) for kind in ("duplicates", "renamed"))
        settle(name, entries, *own)

    def require_images(self, scored: ScoredShard, cell: int, rows: Sequence[Conversation | Problem]) -> None:
        """Refuse the rows of a cell whose images are not those that were scored, as far as its marker knows.

        Raises:
            DataError: naming the rows and the folders.
        """
        marks, start = scored.marker.get("images"), cell * self.pool.config.cell_rows
        if marks is None:
            return
        mark = marks[cell - scored.shard.first]
        census = Census(rule=rule_of(mark))
        if as_text(sum(map(census.add, rows)), census.rule) == mark:
            return
        where, root = str(self.dataset.path), self.dataset.arguments.get("image_root") or self.dataset.folder
        of = f" {self._of}" if self._of else ""
        what = f"images of rows {start + 1} to {start + len(rows)} are not those that were scored (in {root}){of}"
        raise DataError(what, where=where, fix="restore the images, or score the pool again")


def _pool_of_rows(pool: ScoredPool) -> ScoredPool:
    """The scored pool whose dataset holds the rows: the pool itself, or the one whose embeddings it was scored from."""
    if pool.config.kind == "samples":
        return pool
    path = str(pool.config.pool["path"])
    if not os.path.isfile(os.path.join(path, RUN)):
        what = "was scored from features, so its rows are not at hand"
        raise DataProphetError(what, where=pool.folder, fix="use the format ids")
    origin, kept = ScoredPool(path), StoredFeatures(path)
    now = {str(file["name"]): kept.state(number) for number, file in enumerate(origin.files)}
    for file in pool.files:
        if "digest" in file and now.get(str(file["name"])) != file["digest"]:
            what = f"was scored from embeddings of {file['name']} that are not those of {path} now"
            raise DataProphetError(what, where=pool.folder, fix="score it again")
    return _pool_of_rows(origin)


def in_pool_order(table: pa.Table) -> pa.Table:
    """A table of candidates in the order of the pools and their files."""
    return table.take(pa.array(np.argsort(table.column("code").to_numpy()))).combine_chunks()


def _has_rows(pool: ScoredPool) -> bool:
    """Whether the pool's scores are those of rows, rather than of a features file that was made elsewhere."""
    if pool.config.kind == "samples":
        return True
    path = str(pool.config.pool["path"])
    return os.path.isfile(os.path.join(path, RUN)) and _has_rows(ScoredPool(path))


def named(candidates: Candidates, table: pa.Table, source: Callable[[int], RowSource]) -> pa.Table:
    """Candidates in pool order under the ids of their rows, which are read where the scores leave doubt.

    Raises:
        DataError: a file that holds such a row cannot be read, or has changed.
    """
    ids = dict[int, str]()
    begin = 0
    for part, rows in _by_part(candidates, table):
        places = candidates.doubtful(part, rows)
        if len(places) and _has_rows(candidates.pools[part.pool]):
            few = rows.take(pa.array(places))
            positions = few.column("position").to_numpy()
            entries = entries_at(part.scored, positions, source(part.pool), images=False)
            for place, name, entry in zip(places, few.column("id").to_pylist(), entries, strict=True):
                if name.rpartition("#")[0] == entry.id and len(getattr(entry, "turns", ())) > 1:
                    ids[begin + int(place)] = entry.id
        begin += rows.num_rows
    if not ids:
        return table
    column = [ids.get(place, name) for place, name in enumerate(table.column("id").to_pylist())]
    return table.set_column(table.column_names.index("id"), "id", pa.array(column, pa.string()))


def conversations(
    candidates: Candidates,
    table: pa.Table,
    source: Callable[[int], RowSource],
    *,
    decode: bool,
    progress: Callable[[int], Any] | None = None,
) -> Iterator[Conversation]:
    """Chosen rows, or chosen turns each with those before it, under the ids that are written.

    Args:
        candidates: where they come from.
        table: the chosen ones, in pool order.
        source: number of a pool -> where its rows are.
        decode: whether to decode the images first, to be sure of them.
        progress: called with the number of rows read so far.

    Raises:
        Unusable: at the end, when images do not decode, a row is not what it was when it was scored, or its id cannot
            be written.
        DataError: a file cannot be read, or has changed.
    """
    done, unusable = 0, dict[int, str]()
    for part, rows in _by_part(candidates, table):
        columns = (rows.column(name).to_pylist() for name in ("code", "id", "turn"))
        entries = entries_at(part.scored, rows.column("position").to_numpy(), source(part.pool))
        for code, name, turn, entry in zip(*columns, entries, strict=True):
            done += 1
            if progress is not None:
                progress(done)
            row = up_to(entry, turn)
            if not exportable(part.prefix + name):
                unusable[code] = BAD_ID
            elif row is None or row.id != name:
                unusable[code] = CHANGED
            elif decode and not decodes(row):
                unusable[code] = UNDECODABLE
            elif not unusable:
                yield replace(row, id=part.prefix + name)
    if unusable:
        raise Unusable(unusable)


def only_ids(candidates: Candidates, table: pa.Table) -> Iterator[Conversation]:
    """Rows that have nothing but their ids, for a list of ids. Raises Unusable, at the end, for ids that none holds."""
    unusable = dict[int, str]()
    for part, rows in _by_part(candidates, table):
        for code, name in zip(rows.column("code").to_pylist(), _ids(part, rows), strict=True):
            if not exportable(name):
                unusable[code] = BAD_ID
            elif not unusable:
                yield Conversation(name, (), ())
    if unusable:
        raise Unusable(unusable)


def decodes(row: Conversation) -> bool:
    """Whether all images of a row can be decoded."""
    return not any(broken_images(row.sources))


def _by_part(candidates: Candidates, table: pa.Table) -> Iterator[tuple[Part, pa.Table]]:
    """The candidates of each part; the table is in pool order."""
    numbers, starts = np.unique(table.column("part").to_numpy(), return_index=True)
    for number, start, stop in zip(numbers, starts, [*starts[1:], table.num_rows], strict=False):
        yield candidates.parts[int(number)], table.slice(start, stop - start)


def _ids(part: Part, rows: pa.Table) -> list[str]:
    """Ids as they are written."""
    return [part.prefix + name for name in rows.column("id").to_pylist()]


def entries_at(
    scored: ScoredShard, positions: NDArray[np.int64], source: RowSource, *, images: bool = True
) -> Iterator[Conversation | Problem]:
    """The row at each position, in ascending order, of a shard; cells without one are not read.

    Their images have to be those that were scored, unless ``images`` is false.
    """
    index, size = source.index(scored.shard), source.pool.config.cell_rows
    cells = np.unique(positions // size)
    for run in np.split(cells, np.flatnonzero(np.diff(cells) != 1) + 1):
        first, behind = int(run[0]), int(run[-1]) + 1
        for cell, entries in enumerate(source.dataset.read_cells(index, first, behind), first):
            if images:
                source.require_images(scored, cell, entries)
            source.settle(index.name, cell, entries)
            for position in positions[positions // size == cell]:
                yield entries[int(position) - cell * size]


def up_to(entry: Conversation | Problem, turn: int) -> Conversation | None:
    """The row itself, or its turns up to the one that was chosen; None where it has no such turn."""
    if isinstance(entry, Problem) or turn > len(entry.turns):
        return None
    if not turn:
        return entry
    turns = entry.turns[:turn]
    name = entry.id if len(entry.turns) == 1 else f"{entry.id}#{turn}"
    return replace(entry, id=name, turns=turns, sources=entry.sources[: sum(len(each.image_offsets) for each in turns)])


def write_selected(candidates: Candidates, table: pa.Table, file: IO[bytes]) -> None:
    """What was chosen, in the order of the rows, as a Parquet table: id, place, score, and the means of factors."""
    blocks = _selected(candidates, table)
    first = next(blocks)
    waiting = first.slice(0, 0)
    with pq.ParquetWriter(file, first.schema, compression="zstd") as writer:
        for block in chain([first], blocks):
            waiting = pa.concat_tables([waiting, block])
            while waiting.num_rows >= _GROUP:
                writer.write_table(waiting.slice(0, _GROUP).combine_chunks())
                waiting = waiting.slice(_GROUP)
        writer.write_table(waiting.combine_chunks())


def _selected(candidates: Candidates, table: pa.Table) -> Iterator[pa.Table]:
    for part, rows in _by_part(candidates, table):
        made = _places(candidates, part, rows)
        made = made.append_column("score", rows.column("score")).append_column("for", rows.column("quota"))
        line, lines = rows.column("line").to_numpy(), rows.column("lines").to_numpy()
        for name, values in candidates.factors(part, line, lines).items():
            own = values.astype(np.int64 if name == "answer_tokens" else np.float64)
            made = made.append_column(name, pa.array(own, from_pandas=True))
        yield made


def write_dropped(candidates: Candidates, picked: Picked, file: IO[bytes]) -> None:
    """The table of candidates that a rule left out, from the highest score down; picked in pool order."""
    chosen, table = picked.chosen, picked.dropped
    ids = chain.from_iterable(_ids(part, rows) for part, rows in _by_part(candidates, chosen))
    kept = dict(zip(chosen.column("code").to_pylist(), ids, strict=True))
    places = (_places(candidates, part, rows) for part, rows in _by_part(candidates, table))
    made = pa.concat_tables([_PLACES.empty_table(), *places])
    for name in ("score", "reason", "cosine"):
        made = made.append_column(name, table.column(name))
    made = made.append_column("of", pa.array([kept.get(code) for code in table.column("of").to_pylist()], pa.string()))
    made = made.sort_by([("score", "descending"), ("id", "ascending"), ("position", "ascending")])
    pq.write_table(made, file, compression="zstd")


def _places(candidates: Candidates, part: Part, rows: pa.Table) -> pa.Table:
    names = (candidates.pools[part.pool].name, as_unicode(part.scored.shard.name))
    pool, file = (pa.repeat(name, rows.num_rows) for name in names)
    position, turn = (rows.column(name).combine_chunks() for name in ("position", "turn"))
    return pa.table([_ids(part, rows), pool, file, position, turn], _PLACES)
