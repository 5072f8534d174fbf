"""Parquet and Arrow files: rows in small batches, with image cells as places in the file instead of bytes.

For ``files.containers``, and for ``images.cells``, which reads the cells. It knows nothing of images but that cells of
bytes are large.
"""

from __future__ import annotations

import json
import os
import threading
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import accumulate
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from dataprophet.data.files.rows import BadRow, Row
from dataprophet.data.remote import local
from dataprophet.errors import DataError, explained, first_line, require

BATCH_ROWS, _MOST_ROWS = 32, 1024  # of a batch: few where a row is large, since images are read with it
_BATCH_BYTES = 1 << 20
_PARKED, _NAMED = 4, 12
_MAGIC = b"ARROW1"
_BYTES = {pa.binary(), pa.large_binary(), *(kind() for kind in [getattr(pa, "binary_view", None)] if kind)}
DAMAGED = "copy the file again; it is cut short or damaged"

_Numbered = Iterator[tuple[int, Row | BadRow]]


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of bytes: ``row`` counts from 0, ``index`` is the place in a list, -1 for a scalar."""

    path: str
    row: int
    column: str
    index: int = -1


def arrow_columns(path: str) -> list[str]:
    """Column names of a Parquet or Arrow file. Raises DataError when it cannot be opened, or two have one name."""
    with _opened(path) as file:
        names = list((file.schema_arrow if _is_parquet(path) else file.schema).names)
    same = next((name for name in names if names.count(name) > 1), None)
    require(same is None, f"two columns are named {same!r}", path, "give each its own name")
    return names


def bytes_columns(path: str) -> list[str]:
    """Names of the columns of a Parquet or Arrow file that hold bytes. Raises DataError when it cannot be opened."""
    with _opened(path) as file:
        schema = file.schema_arrow if _is_parquet(path) else file.schema
    kinds = {field.name: field.type.value_type if _is_list(field.type) else field.type for field in schema}
    return [name for name, kind in kinds.items() if _holds_bytes(kind)]


def arrow_labels(path: str) -> dict[str, list[str]]:
    """Columns of classes, and the name of each class, as the ``datasets`` package notes them in a file's schema."""
    with _opened(path) as file:
        return schema_labels(file.schema_arrow if _is_parquet(path) else file.schema)


def schema_labels(schema: pa.Schema) -> dict[str, list[str]]:
    """The same of a schema."""
    noted = (schema.metadata or {}).get(b"huggingface")
    with suppress(ValueError, AttributeError):
        return class_names(json.loads(noted)["info"]["features"]) if noted else {}
    return {}


def class_names(features: Any) -> dict[str, list[str]]:
    """Column -> names of its classes, of features as the ``datasets`` package writes them; none where they are none."""
    found = {column: _names_of(feature) for column, feature in features.items()} if isinstance(features, dict) else {}
    return {column: names for column, names in found.items() if names}


def _names_of(feature: Any) -> list[str]:
    if isinstance(feature, list) and feature:  # of classes
        return _names_of(feature[0])
    if not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
        return _names_of(feature["feature"]) if isinstance(feature, dict) and "feature" in feature else []
    return [str(name) for name in feature.get("names") or ()]


def arrow_rows(path: str) -> int:
    """Rows of a Parquet or Arrow file. Raises DataError when it cannot be read."""
    with _opened(path) as file:
        return int(file.metadata.num_rows if _is_parquet(path) else sum(batch.num_rows for batch in _each(file)))


@contextmanager
def _opened(path: str) -> Iterator[Any]:
    """A Parquet file, or an Arrow stream or file, to look at what it says of itself."""
    with explained((pa.ArrowException, OSError, UnicodeDecodeError), DataError, "cannot be opened", path, DAMAGED):
        if _is_parquet(path):
            with pq.ParquetFile(local(path)) as file:
                yield file
        else:
            with pa.memory_map(local(path)) as source:
                yield _reader(source)


def _reader(source: Any) -> Any:
    """What reads a mapped Arrow stream, or an Arrow file, whose batches are found in any order."""
    is_file = source.read(len(_MAGIC)) == _MAGIC
    source.seek(0)
    return pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)


def _each(reader: Any) -> Iterator[Any]:
    """The batches of an Arrow stream or file, in order."""
    several = getattr(reader, "num_record_batches", None)
    yield from reader if several is None else map(reader.get_batch, range(several))


def read_arrow(path: str, wanted: Collection[str], start: int = 0) -> Iterator[tuple[int, Row | BadRow]]:
    """Rows, counted from 1, of a Parquet or Arrow file.

    Args:
        path: the file.
        wanted: names of columns; those that it lacks are passed over.
        start: rows to pass over.

    Binary cells (images) become ``Cell``; a struct of bytes and path gives its path where the bytes are null.

    Raises:
        DataError: the file is cut short or damaged; the row is where reading stopped. Or it has none of the columns.
    """
    names = arrow_columns(path)
    columns = [name for name in names if name in wanted]
    fix = "map its columns (--columns), or leave the file out"
    require(columns, f"none of its columns is read: {', '.join(names[:_NAMED])}", path, fix)
    status = os.stat(local(path))
    key = path, columns, status.st_size, status.st_mtime_ns
    row, rows = _take_parked(key, group_start(path, start), start) or (start, _rows(path, columns, start))
    try:
        for row, cells in rows:
            if row > start:
                yield row, cells
    except GeneratorExit:  # the caller has what it wants; it often comes back for what follows
        with _lock:
            _parked[:] = [*_parked, (key, row, rows)][-_PARKED:]
        raise


# Readings that were left before their end: what is read, the next row, and the rows from there on. A row group is then
# decoded once, and not for each of its parts.
_parked: list[tuple[Any, int, _Numbered]] = []
_lock = threading.Lock()


def _take_parked(key: Any, group: int, start: int) -> tuple[int, _Numbered] | None:
    """The parked reading that is nearest before row ``start``, within its row group."""
    with _lock:
        fit = (entry for entry in _parked if entry[0] == key and group <= entry[1] <= start)
        found = max(fit, key=itemgetter(1), default=None)
        if found is not None:
            _parked.remove(found)
    return found and found[1:]


def table_rows(table: pa.Table, start: int = 0) -> _Numbered:
    """Rows, counted from 1, of a table in memory, behind the first ``start``; bytes are given as they are."""
    for batch in table.slice(start).to_batches(max_chunksize=_MOST_ROWS):
        values = [_values(column, name) for column, name in zip(batch.columns, batch.schema.names, strict=True)]
        yield from _numbered(batch.schema.names, values, start)
        start += batch.num_rows


def _numbered(names: list[str], values: list[list[Any]], first: int) -> _Numbered:
    """Rows of columns of values, the first of which has ``first`` rows before it."""
    for number, row in enumerate(zip(*values, strict=True), first + 1):
        bad = next((cell for cell in row if isinstance(cell, BadRow)), None)
        yield number, bad or dict(zip(names, row, strict=True))


def _rows(path: str, columns: list[str], start: int) -> _Numbered:
    """Rows from ``start`` on, each with the number of rows up to it."""
    row = group_start(path, start)
    try:
        for whole in batches(path, columns, row):
            batch = whole.slice(min(max(0, start - row), whole.num_rows))  # before Python objects are made of it
            row += whole.num_rows
            first = row - batch.num_rows
            names = batch.schema.names
            values = [_column(batch.column(name), path, name, first) for name in names]
            yield from _numbered(names, values, first)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"unreadable from row {row + 1} on ({first_line(error)})", where=path, fix=DAMAGED) from error


def group_start(path: str, row: int) -> int:
    """First row of the row group that holds ``row``; 0 for an Arrow file, whose batches are mapped, not read."""
    if not _is_parquet(path):
        return 0
    with pq.ParquetFile(local(path)) as file:
        starts = _group_starts(file)
    return starts[min(bisect_right(starts, row), len(starts) - 1) - 1]


def batches(path: str, columns: list[str], start: int) -> Iterator[Any]:
    """Batches of ``columns`` from row ``start`` on, which begins a row group."""
    if not _is_parquet(path):
        with pa.memory_map(local(path)) as source:
            for batch in _each(_reader(source)):
                for first in range(0, batch.num_rows, _MOST_ROWS):
                    yield batch.slice(first, _MOST_ROWS).select(columns)
        return
    # not mapped: a file that is cut short meanwhile would end the process. Not read ahead, by whole row groups
    with pq.ParquetFile(local(path), memory_map=False, buffer_size=_BATCH_BYTES, pre_buffer=False) as file:
        groups = [group for group, first in enumerate(_group_starts(file)[:-1]) if first >= start]
        size = max(1, sum(file.metadata.row_group(group).total_byte_size for group in groups))
        rows = min(max(BATCH_ROWS, _BATCH_BYTES * (file.metadata.num_rows - start) // size), _MOST_ROWS)
        yield from file.iter_batches(rows, row_groups=groups, columns=columns)


def _group_starts(file: Any) -> list[int]:
    """First row of each row group, and the number of rows."""
    sizes = (file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))
    return list(accumulate(sizes, initial=0))


def _is_parquet(path: str) -> bool:
    return path.lower().endswith(".parquet")


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
    return _values(array, name)


def _values(array: Any, name: str) -> list[Any]:
    if isinstance(array, pa.ExtensionArray):
        array = array.storage
    try:
        values = list(array.to_pylist())
        return list(map(short, values)) if (short := _shortest(array.type)) else values
    except UnicodeDecodeError:
        return [_text(value, name) for value in array]


def _shortest(kind: Any) -> Callable[[Any], Any] | None:
    """What gives numbers of 16 and 32 bits the digits that tell them, 0.1 for 0.10000000149011612; None without any."""
    if pa.types.is_float16(kind) or pa.types.is_float32(kind):
        own = np.float16 if pa.types.is_float16(kind) else np.float32
        return lambda value: None if value is None else float(str(own(value)))
    if _is_list(kind):
        short = _shortest(kind.value_type)
        return short and (lambda values: None if values is None else list(map(short, values)))
    if pa.types.is_struct(kind):
        parts = {part.name: short for part in kind if (short := _shortest(part.type))}
        return (lambda value: value and value | {name: parts[name](value[name]) for name in parts}) if parts else None
    return None


def _text(value: Any, name: str) -> Any:
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return BadRow("bad_encoding", f"column {name!r} is not UTF-8", "save the text as UTF-8")


def _image(value: Any, cell: Cell) -> Any:
    """The cell where it has bytes, else its path, else None."""
    if not value.is_valid:
        return None
    if not pa.types.is_struct(value.type) or value["bytes"].is_valid:
        return cell
    path = _text(value["path"], cell.column) if value.type.get_field_index("path") >= 0 else None
    return None if isinstance(path, BadRow) else path


def _holds_bytes(kind: Any) -> bool:
    if pa.types.is_struct(kind):
        index = kind.get_field_index("bytes")
        kind = kind.field(index).type if index >= 0 else kind
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return kind in _BYTES


def _is_list(kind: Any) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))
