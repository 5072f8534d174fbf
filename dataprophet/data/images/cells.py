"""Bytes of image cells of Parquet and Arrow files, read forward through one column.

For ``images.sources``. It knows neither rows nor formats.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import pyarrow as pa

from dataprophet.data.files.arrow import BATCH_ROWS, DAMAGED, Cell, batches, group_start
from dataprophet.data.remote import local
from dataprophet.errors import DataError, explained, require

_OPEN_CURSORS = 4


def read_cell(cell: Cell) -> bytes:
    """Bytes of an image cell. Rows asked for in file order are read once; others cost up to a row group.

    Raises:
        DataError: the file has changed or is damaged.
    """
    place = f"{cell.path} row {cell.row + 1} column {cell.column!r}"
    kinds = (pa.ArrowException, OSError, StopIteration, IndexError, KeyError, AttributeError)
    with explained(kinds, DataError, "the cell cannot be read", place, DAMAGED):
        status = os.stat(local(cell.path))  # a file that was replaced under its name is another one
        found = _cursors.get(cell.path, cell.column, status.st_size, status.st_mtime_ns).seek(cell.row)
        value = found.as_py() if cell.index < 0 else found.values[cell.index].as_py()
    data: Any = value.get("bytes") if isinstance(value, dict) else value
    require(isinstance(data, bytes), "the cell holds no bytes", place, "do not change a dataset while it is read")
    return bytes(data)


class _Cursor:
    """A forward reader of one column of a file, as it was with this size and time of change."""

    def __init__(self, path: str, column: str, size: int, time: int) -> None:
        self.path, self.column = path, column
        self.start = 0
        self.batch: Any = None
        self.batches: Iterator[Any] = iter(())

    def seek(self, row: int) -> Any:
        # Rows a little ahead are read through; from further on it is cheaper to look the row group up.
        start, batch = self.start, self.batch
        self.batch = None  # an error leaves nothing that could pass for the rows behind it
        if batch is None or not 0 <= row - start < batch.num_rows + 8 * BATCH_ROWS:
            start = group_start(self.path, row)
            self.batches = batches(self.path, [self.column], start)
            batch = next(self.batches)
        while row >= start + batch.num_rows:
            start += batch.num_rows
            batch = next(self.batches)
        self.start, self.batch = start, batch
        return batch.column(0)[row - start]


class _Cursors(threading.local):
    """The few most recent cursors of a thread."""

    def __init__(self) -> None:
        self.get = lru_cache(_OPEN_CURSORS)(_Cursor)


_cursors = _Cursors()
