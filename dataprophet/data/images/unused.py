"""Columns and members of a row that look like images although no format reads them.

For the commands, which name them instead of passing them over, and for ``formats.base``, which refuses a row that would
lose its only image.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from dataprophet.data.files.arrow import Cell, bytes_columns
from dataprophet.data.files.columns import READ, beside, named_like_image, numbered
from dataprophet.data.files.containers import ARROW, suffix_of
from dataprophet.data.files.rows import Row
from dataprophet.data.files.tar import CLIP_SUFFIXES, IMAGE_SUFFIXES, Member
from dataprophet.data.images.decode import image_suffix
from dataprophet.data.images.policy import looks_like_base64
from dataprophet.data.images.sources import ImageSource, TarImage
from dataprophet.data.remote import local

_ENDS, _CLIPS = (tuple(f".{suffix}" for suffix in suffixes) for suffixes in (IMAGE_SUFFIXES, CLIP_SUFFIXES))
_LONGEST_NAME, _LEAST = 512, 64
_NAMES = ("path", "image", "url")


def image_like(row: Row, path: str) -> list[str]:
    """Names of columns (of a tar: members) of a raw row of this file that look like images and that no format reads.

    They look so by their type, by their value (a name that ends like one of an image, base64) or by their name.
    Columns that the user mapped are for the caller to leave out.
    """
    names = tuple(row)
    named = [name for name in beside(names, READ) if row[name] and _seems(name, row[name])]
    taken = () if row.get("image") or row.get("images") else numbered(names)
    return [name for name in (*named, *_hidden(path, row)) if name not in taken]


def unread_image(row: Row, path: str, names: Sequence[str]) -> str:
    """The first of these columns, none of which is read, that looks like an image; or an empty text."""
    name = next((name for name in names if row[name] and _seems(name, row[name])), "") if names else ""
    if name or not _is_table(path) or "image" in row or "images" in row:  # null there says that it has none
        return name
    return next(iter(_hidden(path, row)), "")


def clip_in(row: Row, names: Sequence[str]) -> str:
    """The first of these columns that names a clip; or an empty text."""
    values = ((name, row[name]) for name in names)
    return next((name for name, value in values if isinstance(value, str) and value[-5:].lower().endswith(_CLIPS)), "")


def is_image(value: Any) -> bool:
    """Whether a value of a row can only be an image: bytes, a struct of them, base64, a name that ends like one."""
    if isinstance(value, str):
        if len(value) < _LEAST and "." not in value:
            return False
        named = value.partition("?")[0][-6:].lower().endswith(_ENDS)
        return (named and len(value) <= _LONGEST_NAME and "\n" not in value) or looks_like_base64(value)
    if isinstance(value, list | tuple):
        return bool(value) and is_image(value[0])
    if isinstance(value, dict):
        return isinstance(value.get("bytes"), bytes | Cell) or any(is_image(value.get(key)) for key in _NAMES)
    if isinstance(value, Member):
        known = value.name.rpartition(".")[2].lower() in IMAGE_SUFFIXES
        return known or bool(image_suffix(TarImage(value).read_bytes()))
    return isinstance(value, Cell | ImageSource) or (isinstance(value, bytes) and bool(image_suffix(value)))


def _seems(name: str, value: Any) -> bool:
    return (named_like_image(name) and isinstance(value, str | list | dict)) or is_image(value)


def _hidden(path: str, row: Row) -> list[str]:
    """Columns of a Parquet or Arrow file that hold bytes and were not read with the row."""
    if not _is_table(path):
        return []
    return [name for name in _bytes_columns(path, os.stat(local(path)).st_mtime_ns) if name not in row]


@lru_cache(64)
def _is_table(path: str) -> bool:
    return suffix_of(path) in ARROW


@lru_cache(64)
def _bytes_columns(path: str, time: int) -> tuple[str, ...]:
    return tuple(bytes_columns(path))
