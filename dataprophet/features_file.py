"""Precomputed features from disk: npz, safetensors or Parquet, so that profiles can be made without torch.

Names in the file: ``id`` (optional text; by default the row number from 1), ``nll`` (n,), any of ``question``,
``answer`` and ``image`` (n, d), optional ``image_present`` and so on (n,) bool, optional ``n_tokens`` (n,).
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataprophet.errors import ProfileError
from dataprophet.features import FIELDS, Features, tokens_of

SUFFIXES = (".npz", ".safetensors", ".parquet")


def load_features(path: str | os.PathLike[str]) -> Features:
    """Read features.

    Raises:
        ProfileError: when the file is missing, damaged, lacks a column, or repeats an id, naming it.
    """
    file = Path(path)
    where = str(file)
    readers = {".npz": _npz, ".safetensors": _safetensors, ".parquet": _parquet}
    if file.suffix not in readers:
        raise ProfileError(f"unknown kind of features {file.suffix!r}", where=where, fix=f"use {', '.join(SUFFIXES)}")
    if not file.is_file():
        raise ProfileError("no such file", where=where, fix="check the path")
    try:
        columns = readers[file.suffix](file)
    except ProfileError:
        raise
    except Exception as error:  # each reader has its own errors for a damaged file
        raise ProfileError(f"cannot be read ({error})", where=where, fix="write the file again") from error
    return _features(columns, where)


def _features(columns: dict[str, Any], where: str) -> Features:
    known = ["id", "nll", "n_tokens", *FIELDS, *(f"{name}_present" for name in FIELDS)]
    unknown = sorted(columns.keys() - set(known))
    if unknown:
        raise ProfileError(
            f"unknown column {unknown[0]!r}", where=where, fix=f"rename or remove it; known are {', '.join(known)}"
        )
    if "nll" not in columns:
        raise ProfileError(
            "column 'nll' is missing",
            where=where,
            fix="store the mean NLL per answer token, in nats",
        )
    nll = _numbers(columns, "nll", 1, where).astype(np.float64)
    ids = _ids(columns["id"], where) if "id" in columns else [str(row) for row in range(1, len(nll) + 1)]
    if len(ids) != len(nll):
        raise ProfileError(f"{len(ids)} ids and {len(nll)} rows", where=where, fix="store one id per row")
    repeated = [name for name, count in Counter(ids).items() if count > 1]
    if repeated:
        raise ProfileError(f"id {repeated[0]!r} occurs twice", where=where, fix="make the ids unique")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, which a profile refuses by its id
        embeddings = {name: _numbers(columns, name, 2, where).astype(np.float32) for name in FIELDS if name in columns}
    present = {name: _flags(columns, f"{name}_present", where) for name in embeddings if f"{name}_present" in columns}
    features = Features(ids, nll, embeddings, present)
    if "n_tokens" in columns:
        features.n_tokens = _numbers(columns, "n_tokens", 1, where)
        features.n_tokens = tokens_of(features, where)
    return features


def _ids(given: Any, where: str) -> list[str]:
    if np.ndim(given) != 1 or any(name is None for name in given):
        raise ProfileError("column 'id' is not one id for each row", where=where, fix="store one id per row, none null")
    return [str(name) for name in given]


def _flags(columns: dict[str, Any], name: str, where: str) -> NDArray[np.bool_]:
    array = np.asarray(columns[name])
    if array.dtype.kind not in "biu":  # text such as "False" and nulls would count as true and false
        raise ProfileError(f"column {name!r} is {array.dtype}", where=where, fix="store true or false in every row")
    return array.astype(np.bool_)


def _numbers(columns: dict[str, Any], name: str, ndim: int, where: str) -> NDArray[Any]:
    array = np.asarray(columns[name])
    if array.dtype.kind not in "iuf" or array.ndim != ndim:
        raise ProfileError(
            f"column {name!r} is {array.dtype} {array.shape}", where=where, fix=f"store numbers in {ndim} dimension(s)"
        )
    return array


def _npz(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as archive:
        return dict(archive)


def _safetensors(path: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as stream:
        columns: dict[str, Any] = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118 (not a dict)
        metadata = stream.metadata() or {}
    if "id" in metadata:
        columns["id"] = json.loads(metadata["id"])
    return columns


def _parquet(path: Path) -> dict[str, Any]:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    columns: dict[str, Any] = {}
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        if name not in FIELDS:
            columns[name] = column.to_pylist() if name == "id" else column.to_numpy(zero_copy_only=False)
            continue
        if column.null_count:
            row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0]) + 1
            raise ProfileError(
                f"{name} is null", where=f"{path} row {row}", fix=f"store zeros there and add a column {name}_present"
            )
        widths = {len(cell) for cell in column}
        if len(widths) > 1:
            raise ProfileError(f"{name} has rows of widths {sorted(widths)}", where=str(path), fix="use one model")
        columns[name] = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), max(widths, default=0))
    return columns
