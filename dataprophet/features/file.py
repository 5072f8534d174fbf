"""Precomputed features from disk: npz, npy, safetensors, Parquet or Arrow, so that profiles can be made without torch.

Names in the file: ``id`` (optional text; by default the row number from 1), ``nll`` (n,), any of ``question``,
``answer`` and ``image`` (n, d), optional ``image_present`` and so on (n,) bool, optional ``n_tokens`` (n,).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataprophet.errors import ProfileError
from dataprophet.features.columns import open_columns
from dataprophet.features.features import FIELDS, Features, require_signs, tokens_of


def load_features(path: str | os.PathLike[str]) -> Features:
    """Read features.

    Args:
        path: a file, or a folder of ``.npy`` files; pages of the embeddings are read when they are needed.

    Raises:
        ProfileError: when the file is missing, damaged, lacks a column, or repeats an id, naming it.
    """
    columns = open_columns(Path(path))
    features = features_of(columns.read(0, columns.rows), os.fspath(path))
    if features.n_tokens is not None:
        features.n_tokens = tokens_of(features, os.fspath(path))
    for name, count in Counter(features.ids).items():
        if count > 1:
            raise ProfileError(f"id {name!r} occurs twice", where=os.fspath(path), fix="make the ids unique")
    return features


def features_of(columns: Mapping[str, Any], where: str, *, first: int = 1, prefix: str = "") -> Features:
    """Features of the columns of a file, or of some of its rows.

    Args:
        columns: name -> (n,) or (n, d) array.
        where: the file, for messages.
        first: number of the first row, for ids where there are none.
        prefix: what stands before that number.

    Raises:
        ProfileError: a column is missing, unknown, of another shape, or of something other than numbers, or an ``nll``
            is below 0.
    """
    known = ["id", "nll", "n_tokens", *FIELDS, *(f"{name}_present" for name in FIELDS)]
    for unknown in sorted(columns.keys() - set(known)):
        fix = f"rename or remove it; known are {', '.join(known)}"
        raise ProfileError(f"unknown column {unknown!r}", where=where, fix=fix)
    if "nll" not in columns:
        raise ProfileError("column 'nll' is missing", where=where, fix="store the mean NLL per answer token, in nats")
    nll = _numbers(columns, "nll", 1, where).astype(np.float64)
    require_signs(nll, lambda place: f"{where} row {first + place}")
    rows = range(first, first + len(nll))
    ids = _ids(columns["id"], where) if "id" in columns else [f"{prefix}{row}" for row in rows]
    embeddings = {name: _halves_or_singles(_numbers(columns, name, 2, where)) for name in FIELDS if name in columns}
    present = {name: _flags(columns, f"{name}_present", where) for name in embeddings if f"{name}_present" in columns}
    features = Features(ids, nll, embeddings, present)
    if "n_tokens" in columns:
        features.n_tokens = _numbers(columns, "n_tokens", 1, where)  # what is no count costs its row, not the file
    return features


def _halves_or_singles(values: NDArray[Any]) -> NDArray[Any]:
    """float16 and float32 as they are. What float32 cannot hold becomes infinite, which a profile refuses by its id."""
    if values.dtype in (np.float16, np.float32):
        return values
    with np.errstate(over="ignore"):
        return values.astype(np.float32)


def _ids(given: Any, where: str) -> list[str]:
    ids = given.tolist() if isinstance(given, np.ndarray) else given
    if np.ndim(given) != 1 or None in ids:
        raise ProfileError("column 'id' is not one id for each row", where=where, fix="store one id per row, none null")
    if other := sorted({each.__name__ for each in {*map(type, ids)}} - {"str", "int"}):  # b"a" would be named "b'a'"
        raise ProfileError(f"column 'id' holds {other[0]}", where=where, fix="store ids as text or whole numbers")
    return list(map(str, ids))


def _flags(columns: Mapping[str, Any], name: str, where: str) -> NDArray[np.bool_]:
    array = np.asarray(columns[name])
    if array.dtype.kind not in "biu" or array.max(initial=0) > 1 or array.min(initial=0) < 0:  # "False" would be true
        what = f"column {name!r} is {array.dtype}" + (", and not 0 or 1" if array.dtype.kind in "iu" else "")
        raise ProfileError(what, where=where, fix="store true or false in every row")
    return array.astype(np.bool_)


def _numbers(columns: Mapping[str, Any], name: str, ndim: int, where: str) -> NDArray[Any]:
    array = np.asarray(columns[name])
    if array.dtype.kind not in "iuf" or array.ndim != ndim:
        what = f"column {name!r} is {array.dtype} {array.shape}"
        raise ProfileError(what, where=where, fix=f"store numbers in {ndim} dimension(s)")
    return array
