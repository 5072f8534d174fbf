"""Rows of objects in memory: a list of dicts, a pandas or Arrow table, a dataset of the ``datasets`` package.

For ``opening``, which has them read as files are. None of these packages is imported here: who has its object has it.
"""

from __future__ import annotations

import itertools
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from dataprophet.data.files.arrow import class_names, schema_labels, table_rows
from dataprophet.data.files.rows import BadRow, Row, Rows, as_row
from dataprophet.data.images.sources import FileImage, MemoryImage
from dataprophet.errors import DataError, explained, require

KINDS = "a list of dicts, a pandas or Arrow table, or a datasets.Dataset"
_BLOCK = 256  # rows of a pandas table that become objects at once
_HEAD = 20  # rows of a list whose keys are taken for its columns
_PLAIN = (str, int, bytes, type(None))
_MISSING = ("NAType", "NaTType")  # of pandas


@dataclass(frozen=True)
class Held:
    """Rows of an object, which can be read again and again.

    Attributes:
        kind: the object, in a word.
        names: its columns, as far as they are known.
        rows: numbered rows behind the first so many.
        count: how many there are; None where they are read in order alone.
        labels: columns of classes, and the name of each class.
    """

    kind: str
    names: Sequence[str]
    rows: Callable[[int], Rows]
    count: int | None
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)


def hold(data: Any, where: str) -> Held:
    """The rows of an object.

    Raises:
        DataError: it is none of ``KINDS``, or its columns have no names of their own.
    """
    pandas, hub = sys.modules.get("pandas"), sys.modules.get("datasets")
    if pandas is not None and isinstance(data, pandas.DataFrame):
        return _of_frame(data, where)
    if hub is not None and isinstance(data, hub.Dataset | hub.IterableDataset):
        return _of_hub(data, where, hub)
    if hub is not None and isinstance(data, hub.DatasetDict | hub.IterableDatasetDict):
        raise DataError("it holds several splits", where=where, fix=f"give one of them: {', '.join(map(repr, data))}")
    if hasattr(data, "__arrow_c_stream__"):
        return _of_table(data, where)
    if isinstance(data, list | tuple):
        names = dict.fromkeys(str(name) for row in data[:_HEAD] if isinstance(row, Mapping) for name in row)
        return Held("list", list(names), lambda start: _of_list(data, start), len(data))
    raise DataError(f"what is given is of type {type(data).__name__}", where=where, fix=f"give a path, {KINDS}")


def _of_table(data: Any, where: str) -> Held:
    fix = "give a list of dicts"
    with explained((pa.ArrowException, TypeError, ValueError), DataError, "cannot be read as a table", where, fix):
        table = pa.table(data)
    _require_names(table.column_names, where)
    labels = schema_labels(table.schema)
    return Held("table", table.column_names, lambda start: table_rows(table, start), table.num_rows, labels)


def _of_list(rows: Sequence[Any], start: int) -> Rows:
    for number, row in enumerate(itertools.islice(rows, start, None), start + 1):
        yield number, _row(row) if isinstance(row, Mapping) else as_row(row)


def _row(given: Mapping[Any, Any]) -> Row | BadRow:
    for name in given:
        if not isinstance(name, str):
            return BadRow("bad_row", f"the key {name!r} is no text", "name every column")
    return {name: _plain(value) for name, value in given.items()}


def _of_frame(frame: Any, where: str) -> Held:
    if any(name is not None for name in frame.index.names):  # a column that was made the index
        with explained(ValueError, DataError, "its index has the name of a column", where, "rename one of them"):
            frame = frame.reset_index()
    names = list(frame.columns)
    _require_names(names, where)

    def rows(start: int) -> Rows:
        for first in range(start, len(frame), _BLOCK):
            for number, row in enumerate(frame.iloc[first : first + _BLOCK].to_dict("records"), first + 1):
                yield number, _row(row)

    return Held("dataframe", names, rows, len(frame))


def _of_hub(data: Any, where: str, hub: Any) -> Held:
    """A dataset of the ``datasets`` package. Images are given as bytes, or as the file that the package keeps."""
    transformed = (getattr(data, "format", None) or {}).get("type") == "custom"
    require(not transformed, "it has a transform, which would not be run", where, "call reset_format(), or map() it")
    data, images, features = data.with_format(None), list[str](), data.features
    for column, feature in (features or {}).items():
        if (plain := _undecoded(feature, hub.Image)) is not None:
            data = data.cast_column(column, plain)
            images.append(column)
    count = len(data) if isinstance(data, hub.Dataset) else None
    fix = "check its name, subset and split, or save it to disk and give that folder"

    def rows(start: int) -> Rows:
        with explained((OSError, ValueError, RuntimeError), DataError, "cannot be loaded", where, fix):
            part = data if not start else data.skip(start)
            for number, row in enumerate(part, start + 1):
                yield number, _row({**row, **{column: _cached(row[column]) for column in images}})

    labels = class_names(features.to_dict() if features else {})
    return Held("dataset", data.column_names or [], rows, count, labels)


def _undecoded(feature: Any, image: Any) -> Any:
    """The feature with image decoding switched off, or None where it holds no image."""
    if isinstance(feature, image):
        return image(decode=False)
    if isinstance(feature, list) and len(feature) == 1 and isinstance(feature[0], image):
        return [image(decode=False)]
    if isinstance(getattr(feature, "feature", None), image):
        return type(feature)(image(decode=False))
    return None


def _cached(value: Any) -> Any:
    """An image that the package keeps as a file of its own choosing, as a source: such a path is not the data's."""
    if isinstance(value, list):
        return [_cached(item) for item in value]
    if isinstance(value, dict) and value.get("bytes") is None and value.get("path"):
        return FileImage(str(value["path"]))
    return value


def _require_names(names: Sequence[Any], where: str) -> None:
    for name in names:
        require(isinstance(name, str), f"the column {name!r} has no name", where, "name the columns by text")
        require(list(names).count(name) == 1, f"two columns are named {name!r}", where, "give each its own name")


def _plain(value: Any) -> Any:
    """A value as a file would hold it: of NumPy and pandas as Python's, None where it is missing, images as sources."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, bytearray | memoryview):
        return bytes(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if type(value).__name__ in _MISSING:
        return None
    pillow = sys.modules.get("PIL.Image")
    if pillow is not None and isinstance(value, pillow.Image):
        return MemoryImage(value)
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        if value.dtype in (np.float16, np.float32):
            value = np.asarray(value).astype(str).astype(float)  # 0.1, not 0.10000000149011612
        plain = value.tolist()
        return plain if type(plain) is type(value) else _plain(plain)
    return value
