"""Rows of a pool: how many there are, as far as counting is quick, and some that are drawn from all over it.

`plan` calls it. It reads files, and knows neither models nor what rows will cost.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dataprophet.data.dataset import Dataset
from dataprophet.data.files.arrow import arrow_rows
from dataprophet.data.files.containers import ARROW, MARKS, suffix_of
from dataprophet.data.files.rows import Mark
from dataprophet.data.index import CELL_ROWS, FileIndex, relative_name
from dataprophet.data.remote import is_url, size_of
from dataprophet.data.sample import Conversation, Problem
from dataprophet.errors import DataError

if TYPE_CHECKING:
    from dataprophet.scoring.sources.feature_pool import FeaturePool
    from dataprophet.scoring.sources.stored_features import StoredFeatures

MOST_CELLS = 32
"""Cells that rows are drawn from: each is read up to the last row that is wanted of it."""

_LEAST_CELLS = 8  # of a file that is not counted to its end
_LEAST_FILES = 4  # each URL costs a copy of its file


@dataclass
class Count:
    """Rows of a pool as far as they were counted.

    Attributes:
        files: an index, without digest, of each file that was counted, to its end or not, in order; its rows are those
            that can be read through it.
        rows: rows counted.
        counted_bytes: bytes that they take.
        total_bytes: bytes of all readable files.
        units: rows and bytes of parts of what was counted: cells, or whole files where a format does not tell.
        unreadable: what is wrong with each file that cannot be read.
    """

    files: list[FileIndex] = field(default_factory=list)
    rows: int = 0
    counted_bytes: int = 0
    total_bytes: int = 0
    units: list[tuple[int, int]] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    @property
    def exact(self) -> bool:
        return self.counted_bytes == self.total_bytes

    @property
    def cells(self) -> list[tuple[FileIndex, int, int]]:
        """File, number in it, and rows of each cell that was counted."""
        starts = ((index, first) for index in self.files for first in range(0, index.rows, CELL_ROWS))
        return [(index, first // CELL_ROWS, min(CELL_ROWS, index.rows - first)) for index, first in starts]


def count_features(pool: FeaturePool | StoredFeatures) -> Count:
    """Rows of a pool of features, all of them counted."""
    count = Count()
    for number in range(len(pool.files)):
        try:
            count.files.append(pool.index(number))
        except DataError as error:
            count.unreadable.append(str(error))
    count.rows = sum(index.rows for index in count.files)
    count.counted_bytes = count.total_bytes = sum(index.size for index in count.files)
    return count


def count_rows(dataset: Dataset, *, seconds: float, rng: np.random.Generator) -> Count:
    """Count the rows of a dataset, file after file in an order that is drawn, until the time is used up.

    Args:
        dataset: with files.
        seconds: to spend. Some part of some files is counted in any case.
        rng: for the order of the files.

    Raises:
        DataError: the dataset has no files of its own.
    """
    count, deadline = Count(), time.monotonic() + seconds
    for done, number in enumerate(rng.permutation(len(dataset.files))):
        path = dataset.files[number]
        try:
            size, remote = size_of(path), is_url(path)
            if done < (_LEAST_FILES if remote else 2) or (not remote and time.monotonic() < deadline):
                _count_file(count, path, relative_name(path, dataset.folder), size=size, deadline=deadline)
            count.total_bytes += size
        except DataError as error:
            count.unreadable.append(str(error))
    order = {path: number for number, path in enumerate(dataset.files)}
    count.files.sort(key=lambda index: order[index.path])
    return count


def _count_file(count: Count, path: str, name: str, *, size: int, deadline: float) -> None:
    suffix = suffix_of(path)
    if suffix in ARROW:
        rows, marks, behind = arrow_rows(path), list[Mark](), size
    elif suffix in MARKS:
        rows, marks, behind = _marked(MARKS[suffix](path, None), size, deadline)
    else:
        raise DataError(f"unknown suffix {suffix!r}", where=path, fix="convert the file")
    # a header, if there is one, counts for the first cell; without marks, the file is one unit
    bounds = [0, *(offset for offset, _ in marks[1:]), *([size] if behind == size else [])]
    cells = [min(CELL_ROWS, rows - first) for first in range(0, rows, CELL_ROWS)] if marks else [rows]
    count.units += zip(cells, [end - start for start, end in itertools.pairwise(bounds)], strict=True)
    count.files.append(FileIndex(name, path, size, "", rows, tuple(marks)))
    count.rows += rows
    count.counted_bytes += behind


def _marked(every: Iterator[Mark], size: int, deadline: float) -> tuple[int, list[Mark], int]:
    """Rows, marks of cells, and the byte behind the rows: of the whole file, or of whole cells until the deadline."""
    marks: list[Mark] = []
    rows = 0
    for mark in every:
        if rows % CELL_ROWS == 0:
            marks.append(mark)
            if len(marks) > _LEAST_CELLS and time.monotonic() > deadline:
                return rows, marks, mark[0]  # the last mark is only where the rows end
        rows += 1
    return rows, marks, size


def draw(
    dataset: Dataset, count: Count, rows: int, rng: np.random.Generator
) -> list[tuple[int, Conversation | Problem]]:
    """Draw rows of what was counted of a dataset; all of them where it has no more.

    Args:
        dataset: it.
        count: of its rows.
        rows: about how many.
        rng: for the draws.

    Returns:
        Good and bad rows in the order of the dataset, each with the number of its cell among those drawn.

    Raises:
        DataError: a file is damaged.
    """
    cells = count.cells
    everything = count.rows <= rows
    few = len(cells) if everything else min(MOST_CELLS, len(cells))
    chosen = [cells[place] for place in np.sort(rng.choice(len(cells), few, replace=False))] if few else []
    share = 1.0 if everything else rows / max(1, sum(size for *_, size in chosen))
    drawn: list[tuple[int, Conversation | Problem]] = []
    for number, (index, cell, size) in enumerate(chosen):
        wanted = min(size, max(1, round(share * size)))
        offsets = np.sort(rng.choice(size, wanted, replace=False))
        entries = next(dataset.read_cells(index, cell, cell + 1))
        drawn += [(number, entries[offset]) for offset in offsets]
    return drawn
