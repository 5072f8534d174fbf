"""Parquet and Arrow files: rows in small batches, with image cells as places in the file instead of bytes.

For ``files.containers``, and for ``images.cells``, which reads the cells. It knows nothing of images but that cells of
bytes are large.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from dataprophet.data.files.rows import BadRow, Row
from dataprophet.data.remote import local
from dataprophet.errors import DataError, first_line

BATCH_ROWS, _MOST_ROWS = 32, 1024  # of a batch: few where a row is large, since images are read with it
_BATCH_BYTES = 1 << 20
_PARKED_STREAMS = 4
DAMAGED = "copy the file again; it is cut short or damaged"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of bytes: ``row`` counts from 0, ``index`` is the place in a list, -1 for a scalar."""

    path: str
    row: int
    column: str
    index: int = -1


def arrow_columns(path: str) -> list[str]:
    """Column names of a Parquet or Arrow file. Raises DataError when it cannot be opened."""
    return _look(path, lambda file: list(file.schema_arrow.names), lambda stream: list(stream.schema.names))


def arrow_rows(path: str) -> int:
    """Rows of a Parquet file or an Arrow stream. Raises DataError when it cannot be read."""
    return _look(
        path, lambda file: int(file.metadata.num_rows), lambda stream: sum(int(batch.num_rows) for batch in stream)
    )


def _look(path: str, parquet: Callable[[Any], T], arrow: Callable[[Any], T]) -> T:
    try:
        if _is_parquet(path):
            with pq.ParquetFile(local(path)) as file:
                return parquet(file)
        with pa.memory_map(local(path)) as source:
            return arrow(pa.ipc.open_stream(source))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be opened ({line(error)})", where=path, fix=DAMAGED) from error


def read_arrow(path: str, wanted: Collection[str], start: int = 0) -> Iterator[tuple[int, Row | BadRow]]:
    """Rows, counted from 1, of a Parquet file or an Arrow stream.

    Args:
        path: the file.
        wanted: names of columns; those that it lacks are passed over.
        start: rows to pass over.

    Binary cells (images) become ``Cell``; a struct of bytes and path gives its path where the bytes are null.

    Raises:
        DataError: the file is cut short or damaged; the row is where reading stopped.
    """
    columns = [name for name in arrow_columns(path) if name in wanted]
    stream = _parked.take(path, columns, start)
    row = start
    try:
        while (batch := stream.next()) is not None:
            names = batch.schema.names
            values = [_column(batch.column(name), path, name, row) for name in names]
            for index in range(batch.num_rows):
                row += 1
                cells = {name: value[index] for name, value in zip(names, values, strict=True)}
                yield row, next((cell for cell in cells.values() if isinstance(cell, BadRow)), cells)
    except GeneratorExit:  # the caller has what it wants; it often comes back for what follows
        stream.back(batch, row)
        _parked.put(stream)
        raise


class _Stream:
    """Batches of some columns from a row on; ``row`` is the next one, ``key`` tells what is read of which file."""

    def __init__(self, path: str, columns: list[str], start: int, key: tuple[Any, ...]) -> None:
        self.key, self.row = key, group_start(path, start)
        self._batches = _checked(path, batches(path, columns, self.row), self.row)
        self._rest: Any = None  # of a batch of which some rows were taken

    def skip_to(self, row: int) -> None:
        """Pass over the rows before ``row``, or all that there are."""
        while self.row < row and (batch := self.next()) is not None:
            self.back(batch, row)

    def next(self) -> Any:
        """The next batch, or None at the end."""
        batch, self._rest = self._rest if self._rest is not None else next(self._batches, None), None
        self.row += 0 if batch is None else batch.num_rows
        return batch

    def back(self, batch: Any, row: int) -> None:
        """Give back the rows from ``row`` on of the batch that was taken last."""
        first = self.row - batch.num_rows
        if row < self.row:
            self._rest, self.row = batch.slice(max(0, row - first)), max(row, first)


class _Parked:
    """Streams that were left before their end. A row group is then decoded once, and not for each of its parts."""

    def __init__(self) -> None:
        self._streams: list[_Stream] = []
        self._lock = threading.Lock()

    def take(self, path: str, columns: list[str], start: int) -> _Stream:
        """A stream of these columns at row ``start``: the parked one that is nearest before it, or a new one."""
        status = os.stat(local(path))
        key = path, columns, status.st_size, status.st_mtime_ns
        group = group_start(path, start)
        with self._lock:
            fit = [stream for stream in self._streams if stream.key == key and group <= stream.row <= start]
            found = max(fit, key=lambda stream: stream.row, default=None)
            if found:
                self._streams.remove(found)
        stream = found or _Stream(path, columns, start, key)
        stream.skip_to(start)
        return stream

    def put(self, stream: _Stream) -> None:
        with self._lock:
            self._streams = [*self._streams, stream][-_PARKED_STREAMS:]


_parked = _Parked()


def group_start(path: str, row: int) -> int:
    """First row of the row group that holds ``row``; 0 for an Arrow stream, whose batches are mapped, not read."""
    if not _is_parquet(path):
        return 0
    with pq.ParquetFile(local(path)) as file:
        starts = _group_starts(file)
    return starts[min(bisect_right(starts, row), len(starts) - 1) - 1]


def batches(path: str, columns: list[str], start: int) -> Iterator[Any]:
    """Batches of ``columns`` from row ``start`` on, which begins a row group."""
    if not _is_parquet(path):
        with pa.memory_map(local(path)) as source:
            for batch in pa.ipc.open_stream(source):
                for first in range(0, batch.num_rows, _MOST_ROWS):
                    yield batch.slice(first, _MOST_ROWS).select(columns)
        return
    with pq.ParquetFile(local(path), memory_map=True) as file:
        groups = [group for group, first in enumerate(_group_starts(file)[:-1]) if first >= start]
        size = max(1, sum(file.metadata.row_group(group).total_byte_size for group in groups))
        rows = min(max(BATCH_ROWS, _BATCH_BYTES * (file.metadata.num_rows - start) // size), _MOST_ROWS)
        yield from file.iter_batches(rows, row_groups=groups, columns=columns)


def _group_starts(file: Any) -> list[int]:
    """First row of each row group, and the number of rows."""
    sizes = (file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))
    return list(accumulate(sizes, initial=0))


def line(error: BaseException) -> str:
    """What Arrow says, on one line that is not too long."""
    return first_line(error)[:160]


def _is_parquet(path: str) -> bool:
    return path.lower().endswith(".parquet")


def _checked(path: str, found: Iterator[Any], row: int) -> Iterator[Any]:
    try:
        for batch in found:
            row += batch.num_rows
            yield batch
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"unreadable from row {row + 1} on ({line(error)})", where=path, fix=DAMAGED) from error


def _column(array: Any, path: str, name: str, start: int) -> list[Any]:
    """Values of a column as Python objects, cells of bytes as ``Cell``."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    kind = array.type
    if _is_list(kind) and _holds_bytes(kind.value_type):
        return [
            [_image(value, Cell(path, row, name, index)) for index, value in enumerate(values.values)]
            if values.is_valid
            else None
            for row, values in enumerate(array, start)
        ]
    if _holds_bytes(kind):
        return [_image(value, Cell(path, row, name)) for row, value in enumerate(array, start)]
    try:
        return list(array.to_pylist())
    except UnicodeDecodeError:
        return [_text(value, name) for value in array]


def _text(value: Any, name: str) -> Any:
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return BadRow("bad_encoding", f"column {name!r} is not UTF-8", "save the text as UTF-8")


def _image(value: Any, cell: Cell) -> Any:
    """The cell where it has bytes, else its path, else None."""
    if not value.is_valid or not pa.types.is_struct(value.type):
        return cell if value.is_valid else None
    if value["bytes"].is_valid:
        return cell
    path = _text(value["path"], cell.column) if value.type.get_field_index("path") >= 0 else None
    return None if isinstance(path, BadRow) else path


def _holds_bytes(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        if index < 0:
            return False
        kind = kind.field(index).type
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))
