"""Columns and members of a row that look like images although no format reads them.

For the commands, which name them instead of passing them over, and for ``formats.base``, which refuses a row that would
lose its only image.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from functools import lru_cache
from typing import Any

from dataprophet.data.columns import READ, named_like_image, numbered
from dataprophet.data.files.arrow import Cell, bytes_columns
from dataprophet.data.files.containers import ARROW, suffix_of
from dataprophet.data.files.rows import Row
from dataprophet.data.files.tar import IMAGE_SUFFIXES, Member
from dataprophet.data.images.decode import image_suffix
from dataprophet.data.images.policy import looks_like_base64
from dataprophet.data.images.sources import TarImage
from dataprophet.data.remote import local

_NAME = re.compile(rf"[^\n]{{1,512}}\.(?:{'|'.join(IMAGE_SUFFIXES)})(?:\?[^\n]*)?", re.IGNORECASE)


def image_like(row: Row, path: str) -> list[str]:
    """Names of columns (of a tar: members) of a raw row of this file that look like images and that no format reads.

    They look so by their type, by their value (a name that ends like one of an image, base64) or by their name.
    """
    named = [name for name, value in row.items() if value and name not in READ and _seems(name, value)]
    taken = () if row.get("image") or row.get("images") else numbered(tuple(row))
    return [name for name in (*named, *_hidden(path, row)) if name not in taken]


def unread_image(row: Row, path: str, read: Collection[str]) -> str:
    """Name of a column that holds an image although it is none of those that are ``read``; or an empty text."""
    name = next((name for name, value in row.items() if value and name not in read and is_image(value)), "")
    return name or next(iter(_hidden(path, row)), "")


def is_image(value: Any) -> bool:
    """Whether a value of a row can only be an image: bytes, a struct of them, base64, a name that ends like one."""
    if isinstance(value, str):
        return bool(_NAME.fullmatch(value)) or looks_like_base64(value)
    if isinstance(value, list | tuple):
        return bool(value) and is_image(value[0])
    if isinstance(value, dict):
        return isinstance(value.get("bytes"), bytes | Cell) or is_image(value.get("path"))
    if isinstance(value, Member):
        known = value.name.rpartition(".")[2].lower() in IMAGE_SUFFIXES
        return known or bool(image_suffix(TarImage(value).read_bytes()))
    return isinstance(value, Cell) or (isinstance(value, bytes) and bool(image_suffix(value)))


def _seems(name: str, value: Any) -> bool:
    return (named_like_image(name) and isinstance(value, str | list | dict)) or is_image(value)


def _hidden(path: str, row: Row) -> list[str]:
    """Columns of a Parquet or Arrow file that hold bytes and were not read with the row."""
    if suffix_of(path) not in ARROW:
        return []
    return [name for name in _bytes_columns(path, os.stat(local(path)).st_mtime_ns) if name not in row]


@lru_cache(64)
def _bytes_columns(path: str, time: int) -> tuple[str, ...]:
    return tuple(bytes_columns(path))
