"""How many rows a dataset has: counted where that is quick, else estimated from the part that was counted."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from dataprophet.data.dataset import Dataset
from dataprophet.data.files.arrow import arrow_rows
from dataprophet.data.files.text import Mark
from dataprophet.data.formats.webdataset import mark_tar
from dataprophet.data.index import CELL_ROWS, MARKS, FileIndex, relative_name
from dataprophet.data.remote import is_url, size_of
from dataprophet.errors import DataError

_LEAST_CELLS = 8  # of a file that is not counted to its end
_LEAST_FILES = 4  # each URL costs a copy of its file


@dataclass
class Count:
    """Rows of a dataset as far as they were counted.

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


def count_rows(dataset: Dataset, *, seconds: float, rng: np.random.Generator) -> Count:
    """Count the rows of a dataset, file after file in an order that is drawn, until the time is used up.

    Args:
        dataset: with files.
        seconds: to spend. Some part of some files is counted in any case.
        rng: for the order of the files.

    Raises:
        DataError: the dataset has no files of its own.
    """
    folder = dataset.folder
    count = Count()
    deadline = time.monotonic() + seconds
    for done, number in enumerate(rng.permutation(len(dataset.files))):
        path = dataset.files[number]
        try:
            size = size_of(path)
            enough = _LEAST_FILES if is_url(path) else 2
            if done < enough or (not is_url(path) and time.monotonic() < deadline):
                _count_file(count, path, relative_name(path, folder), size=size, deadline=deadline)
            count.total_bytes += size
        except DataError as error:
            count.unreadable.append(str(error))
    order = {path: number for number, path in enumerate(dataset.files)}
    count.files.sort(key=lambda index: order[index.path])
    return count


def _count_file(count: Count, path: str, name: str, *, size: int, deadline: float) -> None:
    suffix = os.path.splitext(path)[1].lower()
    if suffix in {".parquet", ".arrow"}:
        rows, marks, behind = arrow_rows(path), list[Mark](), size
    elif suffix == ".tar" or suffix in MARKS:
        rows, marks, behind = _marked(mark_tar(path) if suffix == ".tar" else MARKS[suffix](path, None), size, deadline)
    else:
        raise DataError(f"unknown suffix {suffix!r}", where=path, fix="convert the file")
    starts = [offset for offset, _ in marks] + [behind] * (behind == size)
    if starts:
        starts[0] = 0  # a header, if there is one, counts for the first cell
    cells = [min(CELL_ROWS, rows - first) for first in range(0, rows, CELL_ROWS)]
    sizes = [end - start for start, end in itertools.pairwise(starts)]
    count.units += zip(cells, sizes, strict=True) if marks else [(rows, size)]
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
