"""Columns of a features file, any rows of which are read without the others, and without a copy where it can be."""

from __future__ import annotations

import bisect
import io
import itertools
import json
import math
import mmap
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dataprophet.errors import ProfileError
from dataprophet.features.features import FIELDS

SUFFIXES = (".npz", ".safetensors", ".parquet", ".arrow")
"""Kinds of features files; a folder of .npy files is one too."""

_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "BOOL": "?", "U8": "u1"}
_HEAD = 1 << 16  # bytes that hold the header of an array
_STREAMED = 1 << 20  # bytes of a Parquet column read at a time: a row group may be larger than memory


class Column:
    """Rows of one column, in memory.

    Attributes:
        shape: rows, and the width of a matrix.
    """

    def __init__(self, values: Any) -> None:
        self._values = values
        self.shape: tuple[int, ...] = np.shape(values)

    def expect(self, start: int, stop: int) -> None:
        """Begin to read rows that will be needed soon."""

    def read(self, start: int, stop: int) -> Any:
        """Rows [start, stop) as an array, or as a list of text."""
        return self._values[start:stop]

    def forget(self, start: int, stop: int) -> None:
        """Give back the memory of rows that will not be needed soon."""


class MappedFile:
    """A file mapped into memory: its pages are read when they are touched."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def expect(self, start: int, stop: int) -> None:
        """Have the system read pages while others are used: it reads few ahead by itself where they are mapped."""
        self._advise("MADV_WILLNEED", start, stop)

    def forget(self, start: int, stop: int) -> None:
        """Take pages out of the process, which would otherwise come to hold all of the file."""
        self._advise("MADV_DONTNEED", start, stop)

    def _advise(self, advice: str, start: int, stop: int) -> None:
        begin = start // mmap.PAGESIZE * mmap.PAGESIZE
        count = min(stop, len(self.map)) - begin
        if count > 0 and hasattr(mmap, advice):
            self.map.madvise(getattr(mmap, advice), begin, count)


class MappedColumn(Column):
    """A column of fixed width in a mapped file; bfloat16 is read as float32, which holds it exactly."""

    def __init__(self, file: MappedFile, offset: int, dtype: Any, shape: tuple[int, ...], *, bfloat: bool = False):
        count = int(np.prod(shape))
        flat = np.frombuffer(file.map, dtype, count, offset) if count else np.empty(0, dtype)
        super().__init__(flat.reshape(shape))
        self._file, self._offset, self._bfloat = file, offset, bfloat
        self._row_bytes = flat.itemsize * int(np.prod(shape[1:]))

    def expect(self, start: int, stop: int) -> None:
        self._file.expect(self._offset + start * self._row_bytes, self._offset + stop * self._row_bytes)

    def read(self, start: int, stop: int) -> NDArray[Any]:
        rows: NDArray[Any] = self._values[start:stop]
        return (rows.astype(np.uint32) << 16).view(np.float32) if self._bfloat else rows

    def forget(self, start: int, stop: int) -> None:
        self._file.forget(self._offset + start * self._row_bytes, self._offset + stop * self._row_bytes)


class ArrowColumn(Column):
    """A column of an Arrow file that is mapped into memory. Where its rows lie in the file is not known here."""

    def __init__(self, file: MappedFile, values: pa.ChunkedArray, name: str, where: str) -> None:
        self._file, self._values, self._name, self._where = file, values, name, where
        width = (matrix_of(values.slice(0, 1), name, where).shape[1],) if name in FIELDS else ()
        self.shape = (len(values), *width)

    def read(self, start: int, stop: int) -> Any:
        return values_of(self._values.slice(start, stop - start), self._name, self._where, start)

    def forget(self, start: int, stop: int) -> None:
        self._file.forget(0, len(self._file.map))


class PlainColumns:
    """Columns that are read one by one.

    Attributes:
        rows: how many each of them has.
    """

    def __init__(self, columns: Mapping[str, Column], where: str) -> None:
        self._columns = dict(columns)
        counts = {name: (column.shape or (0,))[0] for name, column in columns.items()}
        self.rows = counts.get("nll", next(iter(counts.values()), 0))
        for name, count in counts.items():
            if count != self.rows:
                what = f"{count} ids and {self.rows} rows" if name == "id" else f"{count} of {name}, {self.rows} rows"
                raise ProfileError(what, where=where, fix="store one of each per row")

    def expect(self, start: int, stop: int) -> None:
        """Begin to read rows that will be needed soon."""
        for column in self._columns.values():
            column.expect(start, stop)

    def read(self, start: int, stop: int) -> dict[str, Any]:
        """Rows [start, stop) of all columns."""
        return {name: column.read(start, stop) for name, column in self._columns.items()}

    def forget(self, start: int, stop: int) -> None:
        """Give back the memory of rows."""
        for column in self._columns.values():
            column.forget(start, stop)


class ParquetColumns(PlainColumns):
    """The columns of a Parquet file, decoded in batches. Going on where it stopped, it decodes nothing twice."""

    def __init__(self, path: Path) -> None:
        super().__init__({}, str(path))
        self._path = str(path)
        self._open = pq.ParquetFile(path, memory_map=False, buffer_size=_STREAMED, pre_buffer=False)
        counts = [self._open.metadata.row_group(i).num_rows for i in range(self._open.metadata.num_row_groups)]
        self._starts = list(itertools.accumulate(counts, initial=0))
        self._paused: dict[int, Iterator[pa.RecordBatch]] = {}
        self.rows = self._starts[-1]

    def read(self, start: int, stop: int) -> dict[str, Any]:
        step = stop - start
        batches = self._paused.pop(start, None) or self._from(start, step)
        got, count = [], 0
        while count < step:
            batch = next(batches, None)
            if batch is None:
                raise ProfileError(f"ends before row {stop}", where=self._path, fix="write the file again")
            got.append(batch.slice(0, step - count))
            if batch.num_rows > step - count:
                batches = itertools.chain([batch.slice(step - count)], batches)
            count += got[-1].num_rows
        self._paused = {stop: batches}
        table = pa.Table.from_batches(got, self._open.schema_arrow)
        return {name: values_of(table.column(name), name, self._path, start) for name in table.column_names}

    def _from(self, start: int, step: int) -> Iterator[pa.RecordBatch]:
        """Batches from row ``start`` on."""
        group = bisect.bisect_right(self._starts, start) - 1
        left, groups = start - self._starts[group], list(range(group, len(self._starts) - 1))
        for batch in self._open.iter_batches(min(step, 1024), row_groups=groups):
            if left < batch.num_rows:
                yield batch.slice(left)
            left = max(0, left - batch.num_rows)


def npy_columns(folder: Path) -> dict[str, Column]:
    """The arrays of a folder: ``nll.npy``, ``question.npy`` and so on, with ``id.npy`` or ``ids.txt``."""
    columns: dict[str, Column] = {}
    for path in npy_files(folder):
        if path.suffix == ".txt":
            columns["id"] = Column(path.read_text(encoding="utf-8").splitlines())
        else:
            columns[path.stem] = _npy(MappedFile(path), 0)
    return columns


def npy_files(folder: Path) -> list[Path]:
    """The files of such a folder, sorted."""
    return sorted(path for path in folder.iterdir() if path.suffix == ".npy" or path.name == "ids.txt")


def npz_columns(path: Path) -> dict[str, Column]:
    """The arrays of an npz file: mapped where they are stored, read whole where they are compressed."""
    columns: dict[str, Column] = {}
    with zipfile.ZipFile(path) as archive, np.load(path, allow_pickle=False) as arrays:
        file = MappedFile(path)
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            if entry.compress_type != zipfile.ZIP_STORED:
                columns[name] = Column(arrays[name])
                continue
            start = entry.header_offset + 30
            start += sum(struct.unpack("<HH", file.map[start - 4 : start]))  # lengths of the name and of what follows
            columns[name] = _npy(file, start)
    return columns


def _npy(file: MappedFile, offset: int) -> Column:
    stream = io.BytesIO(file.map[offset : offset + _HEAD])
    npy: Any = np.lib.format  # untyped before NumPy 2.4
    version = npy.read_magic(stream)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, fortran, dtype = read(stream)
    if dtype.hasobject:
        raise ValueError("an array of Python objects")
    if fortran and len(shape) > 1:
        raise ValueError("an array in Fortran order; save np.ascontiguousarray of it")
    return MappedColumn(file, offset + stream.tell(), dtype, shape)


def safetensors_columns(path: Path) -> dict[str, Column]:
    """The tensors of a safetensors file, and its ids, a JSON list in its metadata."""
    file = MappedFile(path)
    size = int.from_bytes(file.map[:8], "little")
    head: dict[str, Any] = json.loads(file.map[8 : 8 + size])
    columns: dict[str, Column] = {}
    own = head.pop("__metadata__", {})
    if not isinstance(own, dict):
        raise ValueError(f"__metadata__ is a {type(own).__name__}")
    behind = 0
    for name, entry in sorted(head.items(), key=lambda item: item[1]["data_offsets"]):
        kind, shape, (start, stop) = entry["dtype"], tuple(entry["shape"]), entry["data_offsets"]
        if kind not in _TYPES:
            raise ValueError(f"{name} is {kind}")
        if not all(type(number) is int and number >= 0 for number in (*shape, start, stop)):
            raise ValueError(f"{name} has shape {list(shape)} at {[start, stop]}")
        if start < behind:
            raise ValueError(f"{name} overlaps another tensor")
        behind = stop
        dtype = np.dtype(_TYPES[kind])
        if stop - start != dtype.itemsize * math.prod(shape) or 8 + size + stop > len(file.map):
            raise ValueError(f"{name} is cut off")
        columns[name] = MappedColumn(file, 8 + size + start, dtype, shape, bfloat=kind == "BF16")
    return columns | ({"id": Column(json.loads(own["id"]))} if "id" in own else {})


def arrow_columns(path: Path) -> dict[str, Column]:
    """The columns of an Arrow file or stream."""
    file = MappedFile(path)
    open_any = pa.ipc.open_file if file.map[:6] == b"ARROW1" else pa.ipc.open_stream
    table = open_any(pa.py_buffer(file.map)).read_all()
    return {name: ArrowColumn(file, table.column(name), name, str(path)) for name in table.column_names}


def values_of(column: pa.ChunkedArray, name: str, where: str, start: int = 0) -> Any:
    """An Arrow column as an array; ids as a list."""
    if name in FIELDS:
        return matrix_of(column, name, where, start)
    return column.to_pylist() if name == "id" else column.to_numpy()


def matrix_of(column: pa.ChunkedArray, name: str, where: str, start: int = 0) -> NDArray[Any]:
    """A column of lists of numbers as an array (n, d).

    Args:
        column: the column.
        name: its name.
        where: its file.
        start: rows before it, for messages.

    Raises:
        ProfileError: it holds no lists of numbers of one width, or nulls, naming the first row.
    """
    chunk = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    kind = chunk.type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise ProfileError(f"column {name!r} is {kind}", where=where, fix="store a list of numbers in each row")
    flat = chunk.flatten()
    nulls = chunk.is_null().to_numpy(zero_copy_only=False)
    if nulls.any() or flat.null_count:
        row, fix = start + int(nulls.argmax()) + 1, f"store zeros there and add a column {name}_present"
        raise ProfileError(f"{name} is null", where=f"{where} row {row}", fix=fix)
    widths = np.unique(pc.list_value_length(chunk)).tolist() or [getattr(kind, "list_size", 0)]
    if len(widths) > 1:
        raise ProfileError(f"{name} has rows of widths {widths}", where=where, fix="use one model")
    values: NDArray[Any] = flat.to_numpy(zero_copy_only=False)
    return values.reshape(len(chunk), widths[0])


def open_columns(path: Path) -> PlainColumns:
    """The columns of a features file, or of a folder of arrays.

    Raises:
        ProfileError: it is missing, damaged, or of another kind, or columns differ in length.
    """
    where, suffix = str(path), "folder" if path.is_dir() else path.suffix.lower()
    readers = {"folder": npy_columns, ".npz": npz_columns, ".safetensors": safetensors_columns, ".arrow": arrow_columns}
    if suffix not in (*SUFFIXES, "folder"):
        raise ProfileError(f"unknown kind of features {path.suffix!r}", where=where, fix=f"use {', '.join(SUFFIXES)}")
    if not path.exists():
        raise ProfileError("no such file", where=where, fix="check the path")
    if not (path.is_file() or path.is_dir()):
        raise ProfileError("is not a regular file", where=where, fix="remove it from the features")
    try:
        return ParquetColumns(path) if suffix == ".parquet" else PlainColumns(readers[suffix](path), where)
    except ProfileError:
        raise
    except Exception as error:  # each reader has its own errors for a damaged file
        raise ProfileError(f"cannot be read ({error})", where=where, fix="write the file again") from error
