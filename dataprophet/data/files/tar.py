"""Rows of a WebDataset shard: the members of a tar that share a key, ``000.jpg``, ``000.json``, ``000.txt``.

For ``files.containers``. An image is given as the place of its member; no image is read here.
"""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, BinaryIO, Self

from dataprophet.data.files.columns import COLUMNS
from dataprophet.data.files.rows import START, BadRow, Mark, Row, Rows, opened
from dataprophet.errors import DataError, first_line, require

IMAGE_SUFFIXES = (
    *("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "avif", "jp2", "ppm", "pgm", "jfif", "jpe"),
    *("heic", "heif", "jxl", "img", "image", "svg", "tga", "ico"),  # what their bytes are shows when they are decoded
)
_TEXTS = ("txt", "text", "caption")
_DATA = {"json", *_TEXTS}
CLIP_SUFFIXES = ("mp4", "avi", "mov", "webm", "mkv", "mp3", "wav", "flac", "ogg", "m4a")
_PLAIN = re.compile(r"(?:(?:(?:image|img|picture|photo)s?)?[_-]?[0-9]*\.)?[^.]+")
_NUMBERS = re.compile(r"([^0-9]*)([0-9]*)")
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
    """Marks of the rows of a shard."""
    with opened(path) as file:
        for number, (_, members) in enumerate(_rows(file, path, 0)):
            yield members[0].offset, number


def read_tar(path: str, mark: Mark = START) -> Rows:
    """Rows of one shard from ``mark`` on; the row number counts keys.

    A row holds what the JSON member holds, the text members as ``answer`` or under their names, and as ``images`` the
    image members that the JSON names, in its order, or else the plain ones, ``KEY.jpg``, ``KEY.0.jpg``,
    ``KEY.image1.png``, in the order of their numbers. Other members stand under their names, such as ``mask.png``.
    Without an id it is called ``<shard>:<key>``, since shards often count their keys from 0 each.
    """
    stem = os.path.splitext(os.path.basename(path))[0]
    with opened(path) as file:
        for number, (key, members) in enumerate(_rows(file, path, mark[0]), mark[1] + 1):
            try:
                yield number, _row({"id": f"{stem}:{key}"}, key, members, path, file)
            except BadRow as error:
                yield number, error


def _row(row: Row, key: str, members: Sequence[tarfile.TarInfo], path: str, file: BinaryIO) -> Row:
    others: dict[str, Member] = {}
    called = [member.name[len(key) + 1 :].lower() for member in members]
    if len(set(called)) < len(called):
        what = f"several members of key {key!r} are called {max(called, key=called.count)!r}"
        raise BadRow("bad_row", what, "give each sample a key of its own")
    for name, member in zip(called, members, strict=True):
        middle, _, suffix = name.rpartition(".")
        if not member.isreg() or member.issparse():
            raise BadRow("bad_row", f"member {member.name} is a link or a device", "store the file itself in the tar")
        if name == "json":
            row |= _object(member, file)
        elif suffix in _TEXTS:
            row.setdefault(middle or "answer", _text(member, file))
        else:
            others["video" if suffix in CLIP_SUFFIXES else name] = Member(
                path, member.name, member.offset_data, member.size
            )
    names = row.get("images") or row.get("image")
    images = {name: member for name, member in others.items() if name.rpartition(".")[2] in IMAGE_SUFFIXES}
    if images:
        chosen = _chosen(names if isinstance(names, list) else [names], images)
        row |= {"images": chosen, "image": None}
        if len(chosen) < len(others):
            row = {name: member for name, member in others.items() if member not in chosen} | row
        return row
    return others | row


def _chosen(names: list[Any], images: dict[str, Member]) -> list[Member]:
    """The members that the row names, in its order; where it names none of them, the plain ones in natural order.

    Raises:
        BadRow: it names several images, of which only some are members, or another number than there are.
    """
    named = [name for name in names if isinstance(name, str) and name]
    found = [next((member for member in images.values() if _is_named(member.name, name)), None) for name in named]
    plain = [name for name in images if _PLAIN.fullmatch(name)]
    if len(plain) > 1:
        plain.sort(key=_natural)
    if any(found) or (named and plain and len(named) != len(plain)):
        lacking = next((name for name, member in zip(named, found, strict=True) if member is None), None)
        if lacking is not None:
            raise BadRow("missing_image", f"no member of this key is called {lacking!r}", "add it, or correct the name")
        return [member for member in found if member is not None]
    return [images[name] for name in plain]


def _is_named(member: str, name: str) -> bool:
    return f"/{member}".endswith((f"/{os.path.basename(name)}", f".{os.path.basename(name)}"))


def _natural(name: str) -> list[tuple[str, int]]:
    """Orders names by the numbers within them: 2 before 10."""
    return [(text, int(digits or 0)) for text, digits in _NUMBERS.findall(name)]


def _rows(file: BinaryIO, path: str, offset: int) -> Iterator[tuple[str, list[tarfile.TarInfo]]]:
    """Key and members of each row. Raises DataError for a row whose members do not stand together."""
    seen: dict[str, frozenset[str]] = {}
    kinds: dict[frozenset[str], frozenset[str]] = {}
    for stem, group in groupby(_members(file, path, offset), _stem):
        for key, members in _split(stem, list(group)):
            parts = frozenset([member.name[len(key) :] for member in members])
            parts = kinds.setdefault(parts, parts)  # one object for all rows of a kind
            if seen.setdefault(key, parts).isdisjoint(parts):
                what, fix = f"the members of key {key!r} are not side by side", "write the shard anew, sorted by name"
                raise DataError(what, where=path, fix=fix)
            yield key, members


def _stem(member: tarfile.TarInfo) -> str:
    """The name up to the first dot of its last part."""
    start = member.name.rfind("/") + 1
    end = member.name.find(".", start)
    return member.name if end < 0 else member.name[:end]


def _split(stem: str, members: list[tarfile.TarInfo]) -> Iterable[tuple[str, list[tarfile.TarInfo]]]:
    """Members with one text before the first dot, as rows: one, or as many as have JSON or text of their own.

    ``page 2.0.json`` and ``page 2.0.jpg`` are a row of their own, whose key holds a dot.
    """
    keys, usual = set(), f"{stem}.json"
    if usual in [member.name for member in members]:
        return [(stem, members)]
    for member in members:
        key, _, suffix = member.name.rpartition(".")
        if suffix.lower() in _DATA and key[len(stem) + 1 :] not in COLUMNS:
            keys.add(key)
    if not keys or stem in keys:
        return [(stem, members)]
    own = []
    for member in members:
        key = member.name
        while key not in keys:
            key = key.rpartition(".")[0]
            if len(key) <= len(stem):
                return [(stem, members)]
        own.append(key)
    pairs = groupby(zip(own, members, strict=True), itemgetter(0))
    return [(key, [member for _, member in group]) for key, group in pairs]


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


class _Header(tarfile.TarInfo):
    """A header of which, for a plain file, only name and size are read: tarfile reads all fields, at twice the cost."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        """The header of a block; tarfile's own for all that is not plain, and for what is wrong."""
        with suppress(ValueError, IndexError):
            name = bytes(buf[:100]).partition(b"\0")[0].decode(encoding, errors)
            size, told = (int(buf[at : at + length].rstrip(b" \0"), 8) for at, length in ((124, 12), (148, 8)))
            plain = buf[156:157] in {tarfile.REGTYPE, tarfile.AREGTYPE} and not buf[345] and name[-1:] not in {"", "/"}
            if plain and len(buf) == tarfile.BLOCKSIZE and told == 256 + sum(buf[:148]) + sum(buf[156:]):
                made = cls(name)
                made.size, made.type = size, tarfile.REGTYPE
                return made
        return super().frombuf(buf, encoding, errors)


def _members(file: BinaryIO, path: str, offset: int) -> Iterator[tarfile.TarInfo]:
    """Members from a byte on, in order, without folders.

    tarfile stops silently at damage, so the end-of-archive block is checked.
    """
    end = offset
    try:
        file.seek(offset)
        with tarfile.open(fileobj=file, mode="r:", tarinfo=_Header) as tar:
            while (member := tar.next()) is not None:
                vars(tar)["members"].clear()  # tarfile keeps every header otherwise
                end = member.offset_data + (-(-member.size // 512) * 512 if member.isreg() else 0)
                if not member.isdir() and member.name.rpartition("/")[2][:1] != ".":  # ._NAME is of macOS
                    yield member
    except (tarfile.TarError, EOFError, ValueError) as error:
        what = first_line(error) if str(error) else "cut short"
        where = f"{path} byte {end}" if end else path
        raise DataError(f"not a readable tar ({what})", where=where, fix=f"{_COPY}; it must be uncompressed") from error
    file.seek(end)
    what = "the tar has no end mark; it is cut short or damaged"
    require(file.read(512) == bytes(512), what, f"{path} byte {end}", _COPY)
    while chunk := file.read(1 << 20):
        what = "more than zeros stands behind the tar's end mark, such as another tar"
        require(not chunk.strip(b"\0"), what, path, "write one tar of both, or keep two files")
