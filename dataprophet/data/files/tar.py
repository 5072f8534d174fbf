"""Rows of a WebDataset shard: the members of a tar that share a key, ``000.jpg``, ``000.json``, ``000.txt``.

For ``files.containers``. An image is given as the place of its member; no image is read here.
"""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any, BinaryIO

from dataprophet.data.files.rows import START, BadRow, Mark, Row, Rows, opened
from dataprophet.errors import DataError, first_line, require

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "jp2", "ppm", "pgm")
_LONGEST_TEXT = 1 << 24
_COPY = "copy the shard again"


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an uncompressed tar, and where its bytes are."""

    path: str
    name: str
    offset: int
    size: int


def mark_tar(path: str) -> Iterator[Mark]:
    """Marks of the keys of a shard."""
    with opened(path) as file:
        for number, (_, members) in enumerate(groupby(_members(file, path, 0), _key)):
            yield next(members).offset, number


def read_tar(path: str, mark: Mark = START) -> Rows:
    """Rows of one shard from ``mark`` on; the row number counts keys.

    A row holds what the JSON member holds, the text member as ``answer``, and the image members, in the order of the
    tar, as ``images``. Without an id it is called ``<shard>:<key>``, since shards often count their keys from 0 each.
    """
    stem = os.path.splitext(os.path.basename(path))[0]
    with opened(path) as file:
        for number, (key, members) in enumerate(groupby(_members(file, path, mark[0]), _key), mark[1] + 1):
            row: Row = {"id": f"{stem}:{key}"}
            images: list[Member] = []
            bad: BadRow | None = None
            for member in members:  # all of them, also behind a bad one: the next key follows
                extension = os.path.basename(member.name).partition(".")[2].lower()
                try:
                    if not member.isreg() or member.issparse():
                        what = f"member {member.name} is a link or a device, not a file"
                        raise BadRow("bad_row", what, "store the file itself in the tar")
                    if extension.rpartition(".")[2] in IMAGE_SUFFIXES:
                        images.append(Member(path, member.name, member.offset_data, member.size))
                    elif extension == "txt":
                        row.setdefault("answer", _text(member, file))
                    elif extension == "json":
                        row |= _object(member, file)
                except BadRow as error:
                    bad = bad or error
            yield number, bad or {**row, "images": images, "image": None}


def _key(member: tarfile.TarInfo) -> str:
    folder, name = os.path.split(member.name)
    stem = name.partition(".")[0]
    return f"{folder}/{stem}" if folder else stem


def _text(member: tarfile.TarInfo, file: BinaryIO) -> str:
    if member.size > _LONGEST_TEXT:
        raise BadRow("bad_row", f"member {member.name} has {member.size} bytes of text", "split or remove it")
    try:
        return os.pread(file.fileno(), member.size, member.offset_data).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadRow("bad_encoding", f"member {member.name} is not UTF-8", "save it as UTF-8") from None


def _object(member: tarfile.TarInfo, file: BinaryIO) -> dict[str, Any]:
    text = _text(member, file)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRow("bad_json", f"bad JSON in {member.name} ({error})", "repair or remove the member") from None
    if not isinstance(value, dict):
        raise BadRow("bad_row", f"{member.name} is a {type(value).__name__}, not an object", "write an object")
    return value


def _members(file: BinaryIO, path: str, offset: int) -> Iterator[tarfile.TarInfo]:
    """Members from a byte on, in order, without folders.

    tarfile stops silently at damage, so the end-of-archive block is checked.
    """
    end = offset
    try:
        file.seek(offset)
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                vars(tar)["members"].clear()  # tarfile keeps every header otherwise
                end = member.offset_data + (-(-member.size // 512) * 512 if member.isreg() else 0)
                if not member.isdir():
                    yield member
    except (tarfile.TarError, EOFError, ValueError) as error:
        what = first_line(error) if str(error) else "cut short"
        where = f"{path} byte {end}" if end else path
        raise DataError(f"not a readable tar ({what})", where=where, fix=f"{_COPY}; it must be uncompressed") from error
    file.seek(end)
    what = "the tar has no end mark; it is cut short or damaged"
    require(file.read(512) == bytes(512), what, f"{path} byte {end}", _COPY)
