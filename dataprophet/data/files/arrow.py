"""Parquet and Arrow files: rows in small batches, with image cells as places in the file instead of bytes."""

from __future__ import annotations

import os
import threading
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Collection, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from dataprophet.data.images.decode import MAX_PIXELS
from dataprophet.data.images.sources import CellImage
from dataprophet.data.remote import local
from dataprophet.data.rows import BadRow, Row
from dataprophet.errors import DataError

_BATCH_ROWS, _MOST_ROWS = 32, 1024  # of a batch: few where a row is large, since images are read with it
_BATCH_BYTES = 1 << 20
_OPEN_CURSORS = 4
_COPY = "copy the file again; it is cut short or damaged"


def arrow_columns(path: str) -> list[str]:
    """Column names of a Parquet or Arrow file. Raises DataError when it cannot be opened."""
    try:
        if path.lower().endswith(".parquet"):
            with pq.ParquetFile(local(path)) as file:
                return list(file.schema_arrow.names)
        with pa.memory_map(local(path)) as source:
            return list(pa.ipc.open_stream(source).schema.names)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be opened ({_line(error)})", where=path, fix=_COPY) from error


def arrow_rows(path: str) -> int:
    """Rows of a Parquet file or an Arrow stream. Raises DataError when it cannot be read."""
    try:
        if path.lower().endswith(".parquet"):
            with pq.ParquetFile(local(path)) as file:
                return int(file.metadata.num_rows)
        with pa.memory_map(local(path)) as source:
            return sum(batch.num_rows for batch in pa.ipc.open_stream(source))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"cannot be opened ({_line(error)})", where=path, fix=_COPY) from error


def read_arrow(
    path: str, wanted: Collection[str], max_pixels: int = MAX_PIXELS, start: int = 0
) -> Iterator[tuple[int, Row | BadRow]]:
    """Rows, counted from 1, of a Parquet file or an Arrow stream, with the columns named in ``wanted``.

    Args:
        path: the file.
        wanted: names of columns; those that it lacks are passed over.
        max_pixels: limit of its images.
        start: rows to pass over.

    Binary cells (images) become ``CellImage``; a struct of bytes and path keeps its path where the bytes are null.

    Raises:
        DataError: the file is cut short or damaged; the row is where reading stopped.
    """
    columns = [name for name in arrow_columns(path) if name in wanted]
    stream = _parked.take(path, columns, start)
    row = start
    try:
        while (batch := stream.next()) is not None:
            values = [_column(batch.column(name), path, name, row, max_pixels) for name in batch.schema.names]
            for index in range(batch.num_rows):
                row += 1
                cells = {name: value[index] for name, value in zip(batch.schema.names, values, strict=True)}
                yield row, next((cell for cell in cells.values() if isinstance(cell, BadRow)), cells)
    except GeneratorExit:  # the caller has what it wants; it often comes back for what follows
        stream.back(batch, row)
        _parked.put(stream)
        raise


class _Stream:
    """Batches of some columns from a row on.

    Attributes:
        path: the file.
        columns: what is read of it.
        identity: size and time of the file when it was opened.
        row: the next row.
    """

    def __init__(self, path: str, columns: list[str], identity: tuple[int, int], start: int) -> None:
        self.path, self.columns, self.identity = path, columns, identity
        self.row = _group_start(path, start)
        self._batches = _checked(path, _batches(path, columns, self.row), self.row)
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
        identity = (status.st_size, status.st_mtime_ns)
        group = _group_start(path, start)
        with self._lock:
            fit = [
                stream
                for stream in self._streams
                if (stream.path, stream.columns, stream.identity) == (path, columns, identity)
                and group <= stream.row <= start
            ]
            stream = max(fit, key=lambda stream: stream.row, default=None)
            if stream is not None:
                self._streams.remove(stream)
        stream = stream or _Stream(path, columns, identity, start)
        stream.skip_to(start)
        return stream

    def put(self, stream: _Stream) -> None:
        with self._lock:
            self._streams = [*self._streams, stream][-_OPEN_CURSORS:]


_parked = _Parked()


def read_cell(path: str, row: int, column: str, index: int) -> bytes:
    """Bytes of an image cell. Rows asked for in file order are read once; others cost up to a row group.

    Raises:
        DataError: the file has changed or is damaged.
    """
    place = f"{path} row {row + 1} column {column!r}"
    try:
        cell = _cursors.get(path, column).seek(row)
        value = cell.as_py() if index < 0 else cell.values[index].as_py()
    except (pa.ArrowException, OSError, StopIteration, IndexError, KeyError, AttributeError) as error:
        raise DataError(f"the cell cannot be read ({_line(error)})", where=place, fix=_COPY) from error
    data = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(data, bytes):
        raise DataError("the cell holds no bytes", where=place, fix="do not change a dataset while it is read")
    return data


class _Cursor:
    """A forward reader of one column."""

    def __init__(self, path: str, column: str) -> None:
        self.path, self.column = path, column
        self.start = 0
        self.batch: Any = None
        self.batches: Iterator[Any] = iter(())

    def seek(self, row: int) -> Any:
        if self.batch is None or row < self.start or row >= self.start + _skip_limit(self.batch):
            self.start = _group_start(self.path, row)
            self.batches = _batches(self.path, [self.column], self.start)
            self.batch = next(self.batches)
        while row >= self.start + self.batch.num_rows:
            self.start += self.batch.num_rows
            self.batch = next(self.batches)
        return self.batch.column(0)[row - self.start]


class _Cursors(threading.local):
    """The few most recent cursors of a thread."""

    def __init__(self) -> None:
        self.open: OrderedDict[tuple[str, str, int, int], _Cursor] = OrderedDict()

    def get(self, path: str, column: str) -> _Cursor:
        status = os.stat(local(path))  # a file that was replaced under its name is another one
        key = path, column, status.st_size, status.st_mtime_ns
        cursor = self.open.pop(key, None) or _Cursor(path, column)
        self.open[key] = cursor
        if len(self.open) > _OPEN_CURSORS:
            self.open.popitem(last=False)
        return cursor


_cursors = _Cursors()


def _skip_limit(batch: Any) -> int:
    """Rows ahead that are read through; from further on it is cheaper to look the row group up."""
    return int(batch.num_rows) + 8 * _BATCH_ROWS


def _group_start(path: str, row: int) -> int:
    """First row of the row group that holds ``row``; 0 for an Arrow stream, whose batches are mapped, not read."""
    if not path.lower().endswith(".parquet"):
        return 0
    with pq.ParquetFile(local(path)) as file:
        starts = [0]
        for group in range(file.num_row_groups):
            starts.append(starts[-1] + file.metadata.row_group(group).num_rows)
    return starts[min(bisect_right(starts, row), len(starts) - 1) - 1]


def _batches(path: str, columns: list[str], start: int) -> Iterator[Any]:
    """Batches of ``columns`` from row ``start`` on, which begins a row group."""
    if not path.lower().endswith(".parquet"):
        with pa.memory_map(local(path)) as source:
            for batch in pa.ipc.open_stream(source):
                for first in range(0, batch.num_rows, _MOST_ROWS):
                    yield batch.slice(first, _MOST_ROWS).select(columns)
        return
    with pq.ParquetFile(local(path), memory_map=True) as file:
        groups, row = [], 0
        for group in range(file.num_row_groups):
            if row >= start:
                groups.append(group)
            row += file.metadata.row_group(group).num_rows
        size = max(1, sum(file.metadata.row_group(group).total_byte_size for group in groups))
        rows = min(max(_BATCH_ROWS, _BATCH_BYTES * (file.metadata.num_rows - start) // size), _MOST_ROWS)
        yield from file.iter_batches(rows, row_groups=groups, columns=columns)


def _checked(path: str, batches: Iterator[Any], row: int) -> Iterator[Any]:
    try:
        for batch in batches:
            row += batch.num_rows
            yield batch
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"unreadable from row {row + 1} on ({_line(error)})", where=path, fix=_COPY) from error


def _column(array: Any, path: str, name: str, start: int, max_pixels: int) -> list[Any]:
    """Values of a column as Python objects, image cells as ``CellImage``."""
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    kind = array.type
    if _is_list(kind) and _holds_bytes(kind.value_type):
        return [
            _cells(cell.values, path, name, start + row, max_pixels) if cell.is_valid else None
            for row, cell in enumerate(array)
        ]
    if not _holds_bytes(kind):
        try:
            values: list[Any] = array.to_pylist()
        except UnicodeDecodeError:
            values = [_text(cell, name) for cell in array]
        return values
    out: list[Any] = []
    for row in range(len(array)):
        (cell,) = _cells(array.slice(row, 1), path, name, start + row, max_pixels)
        out.append(CellImage(path, start + row, name, -1, max_pixels) if isinstance(cell, CellImage) else cell)
    return out


def _text(cell: Any, name: str) -> Any:
    try:
        return cell.as_py()
    except UnicodeDecodeError:
        return BadRow("bad_encoding", f"column {name!r} is not UTF-8", "save the text as UTF-8")


def _cells(array: Any, path: str, name: str, row: int, max_pixels: int) -> list[Any]:
    """One image per element: a CellImage where it has bytes, else its path, else None."""
    out: list[Any] = []
    for index, cell in enumerate(array):
        data = cell["bytes"] if cell.is_valid and pa.types.is_struct(cell.type) else cell
        if cell.is_valid and data.is_valid:
            out.append(CellImage(path, row, name, index, max_pixels))
        elif cell.is_valid and "path" in [field.name for field in cell.type]:
            path_cell = _text(cell["path"], name)
            out.append(None if isinstance(path_cell, BadRow) else path_cell)
        else:
            out.append(None)
    return out


def _holds_bytes(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _is_binary(kind.field(index).type)
    return _is_binary(kind)


def _is_binary(kind: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:160]
