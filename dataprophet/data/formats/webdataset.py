"""WebDataset: tar shards whose members share a key, ``000.jpg``, ``000.json``, ``000.txt``."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from dataprophet.data.files.text import START, Mark, Rows, opened
from dataprophet.data.formats.base import Options, parse_row
from dataprophet.data.formats.finevision import parse_finevision
from dataprophet.data.formats.llava import parse_llava
from dataprophet.data.formats.swift import parse_swift
from dataprophet.data.formats.vqa import parse_vqa
from dataprophet.data.images.sources import TarImage
from dataprophet.data.rows import BadRow, Row
from dataprophet.data.sample import Conversation, Problem
from dataprophet.errors import DataError

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "jp2", "ppm", "pgm")
_LONGEST_TEXT = 1 << 24
_COPY = "copy the shard again"


@dataclass
class _Group:
    """The members of one key."""

    key: str
    images: list[TarImage] = field(default_factory=list)
    row: Row = field(default_factory=dict)
    error: BadRow | None = None


def read_webdataset(files: Collection[str], options: Options) -> Iterator[Conversation | Problem]:
    """Rows of all shards. The row number counts keys within a shard.

    The JSON member holds ``conversations``, ``messages``, ``texts`` or columns; a text member is the answer. The
    images are the key's own members, in the order of the tar. A row without an id is called ``<shard>:<key>``.
    """
    for path in files:
        for number, row in read_tar(path, options.policy.max_pixels):
            yield parse_row(row, path, number, parse_webdataset, options)


def read_tar(path: str, max_pixels: int, mark: Mark = START) -> Rows:
    """Rows of one shard as ``parse_webdataset`` takes them.

    Args:
        path: the shard.
        max_pixels: limit of its images.
        mark: where to begin.
    """
    stem = os.path.splitext(os.path.basename(path))[0]  # shards often count their keys from 0 each
    for number, group in enumerate(_groups(path, max_pixels, mark[0]), mark[1] + 1):
        yield (
            number,
            group.error or {"id": f"{stem}:{group.key}", **group.row, "images": group.images, "image": None},
        )


def mark_tar(path: str) -> Iterator[Mark]:
    """Marks of the keys of a shard."""
    key: str | None = None
    number = 0
    with opened(path) as file:
        for member in _members(file, path, 0):
            if _key(member) != key:
                key = _key(member)
                yield member.offset, number
                number += 1


def parse_webdataset(row: Row, file: str, number: int, options: Options) -> Conversation:
    """One key, by the shape of its JSON member."""
    if row.get("conversations") is not None:
        return parse_llava(row, file, number, options)
    if row.get("messages") is not None or row.get("query") is not None:
        return parse_swift(row, file, number, options)
    if row.get("texts") is not None:
        return parse_finevision(row, file, number, options)
    return parse_vqa(row, file, number, options)


def _key(member: tarfile.TarInfo) -> str:
    folder, name = os.path.split(member.name)
    stem = name.partition(".")[0]
    return f"{folder}/{stem}" if folder else stem


def _groups(path: str, max_pixels: int, offset: int) -> Iterator[_Group]:
    group: _Group | None = None
    with opened(path) as file:
        for member in _members(file, path, offset):
            key, extension = _key(member), os.path.basename(member.name).partition(".")[2]
            if group is None or key != group.key:
                if group:
                    yield group
                group = _Group(key)
            if not member.isreg() or member.issparse():
                what = f"member {member.name} is a link or a device, not a file"
                group.error = BadRow("bad_row", what, "store the file itself in the tar")
            elif extension.lower().rpartition(".")[2] in IMAGE_SUFFIXES:
                group.images.append(TarImage(path, member.name, member.offset_data, member.size, max_pixels))
            else:
                _add(group, extension.lower(), member, file)
        if group:
            yield group


def _add(group: _Group, extension: str, member: tarfile.TarInfo, file: BinaryIO) -> None:
    if extension not in {"json", "txt"} or group.error:
        return
    if member.size > _LONGEST_TEXT:
        group.error = BadRow("bad_row", f"member {member.name} has {member.size} bytes of text", "split or remove it")
        return
    here = file.tell()
    file.seek(member.offset_data)
    data = file.read(member.size)
    file.seek(here)
    try:
        text = data.decode("utf-8-sig")
        if extension == "txt":
            group.row.setdefault("answer", text)
            return
        row = json.loads(text)
    except UnicodeDecodeError:
        group.error = BadRow("bad_encoding", f"member {member.name} is not UTF-8", "save it as UTF-8")
    except (ValueError, RecursionError) as error:
        group.error = BadRow("bad_json", f"bad JSON in {member.name} ({error})", "repair or remove the member")
    else:
        if isinstance(row, dict):
            group.row.update(row)
        else:
            group.error = BadRow(
                "bad_row", f"{member.name} is a {type(row).__name__}, not an object", "write an object"
            )


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
        what = str(error).splitlines()[0] if str(error) else "cut short"
        where = f"{path} byte {end}" if end else path
        raise DataError(f"not a readable tar ({what})", where=where, fix=f"{_COPY}; it must be uncompressed") from error
    file.seek(end)
    if file.read(512) != bytes(512):
        raise DataError("the tar has no end mark; it is cut short or damaged", where=f"{path} byte {end}", fix=_COPY)
