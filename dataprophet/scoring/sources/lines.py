"""The cells of a shard as output rows: read, and settled among all rows of the dataset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from dataprophet.data.index import FileIndex
from dataprophet.data.sample import Conversation, Problem
from dataprophet.scoring.folder.rows import Lines
from dataprophet.scoring.folder.shards import Shard

Note = Callable[[list[Conversation | Problem]], None]


def read_lines(
    pool: Any, index: FileIndex, shard: Shard, first: int, last: int, *, cell_rows: int, note: Note | None = None
) -> Iterator[tuple[int, Lines]]:
    """Cells [first, last) of a shard, up to its last row, with the ids that rows have in the whole dataset.

    Args:
        pool: the pool.
        index: of the shard's file.
        shard: the shard.
        first: first cell.
        last: the cell behind the last one.
        cell_rows: rows of a cell.
        note: called with the rows of each cell before they get these ids.

    Yields:
        The number of each cell, and its lines.
    """
    behind = shard.first * cell_rows + shard.rows
    for number, cell in enumerate(pool.read_cells(index, first, last), first):
        start = number * cell_rows
        entries = cell[: behind - start]
        if note is not None:
            note(entries)
        shard.settle(number, entries)
        yield number, Lines.of(entries, start)
