"""Where an image's bytes are, and how they become an RGB image: decoded only when they are asked for.

For ``images.policy``, which makes them of what rows say, and for samples, exports and the model, which read them.
"""

from __future__ import annotations

import base64
import hashlib
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, overload

from dataprophet.data.files.arrow import Cell
from dataprophet.data.files.tar import Member
from dataprophet.data.images.cells import read_cell
from dataprophet.data.images.decode import MAX_PIXELS, check_pixels, decode, to_rgb
from dataprophet.data.remote import fetch, local, read_bytes
from dataprophet.errors import DataError, explained, require

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_BYTES = 1 << 28
"""Bytes above which an image file is not read."""


@dataclass(frozen=True, slots=True)
class ImageSource(ABC):
    """The place of one image, and its limit of pixels. Subclasses say how its bytes are read; all of them pickle."""

    max_pixels: int = field(default=MAX_PIXELS, compare=False, kw_only=True)

    @abstractmethod
    def read_bytes(self) -> bytes:
        """The bytes of the image file. Raises DataError when they cannot be read."""

    @property
    @abstractmethod
    def where(self) -> str:
        """The place, in words, for messages."""

    def load(self, sized: Callable[[int], None] | None = None) -> Image:
        """Decode to RGB: upright, first frame, alpha on white. Raises DataError; ``sized`` as of ``decode``."""
        return decode(self.read_bytes(), max_pixels=self.max_pixels, where=self.where, sized=sized)

    def digest(self) -> str:
        """SHA-256 of the bytes, in hexadecimal: equal for equal files wherever they are stored."""
        return hashlib.sha256(self.read_bytes()).hexdigest()


@dataclass(frozen=True, slots=True)
class FileImage(ImageSource):
    """An image file. Whoever builds it has checked that the path may be read."""

    path: str

    @property
    def where(self) -> str:
        return self.path

    def read_bytes(self) -> bytes:
        with explained(OSError, DataError, "the image cannot be read", self.path, "restore the file or its rights"):
            status, fix = Path(self.path).stat(), "point the row at an image file"
            require(stat.S_ISREG(status.st_mode), "not a regular file", self.path, fix)
            _check_size(status.st_size, self.path, fix)
            return Path(self.path).read_bytes()


class RemoteImage(FileImage):
    """An image file below a URL that the user gave. It is read each time its bytes are asked for."""

    __slots__ = ()

    def read_bytes(self) -> bytes:
        return read_bytes(self.path, MAX_BYTES)


class UrlImage(FileImage):
    """An image behind http(s). It is fetched each time its bytes are read; built only where the user allowed it."""

    __slots__ = ()

    def read_bytes(self) -> bytes:
        return fetch(self.path)


@dataclass(frozen=True, slots=True)
class BytesImage(ImageSource):
    """The bytes of an image file, in memory."""

    data: bytes
    where: str = field(default="image bytes", compare=False)

    def read_bytes(self) -> bytes:
        return self.data


@dataclass(frozen=True, slots=True)
class Base64Image(ImageSource):
    """Base64 text, bare or as a ``data:`` URI; decoded when the image is read."""

    text: str
    where: str = field(default="base64 image", compare=False)

    def read_bytes(self) -> bytes:
        body = self.text
        if body[:5].lower() == "data:":
            head, comma, body = body.partition(",")
            encoded = comma and head.lower().endswith(";base64")
            fix = "encode it as data:image/png;base64,..."
            require(encoded, f"data URI {head[:40]!r} is not base64", self.where, fix)
        with explained(ValueError, DataError, "bad base64", self.where, "encode the image again, or remove the row"):
            return base64.b64decode("".join(body.split()), validate=True)


@dataclass(frozen=True, slots=True)
class TarImage(ImageSource):
    """A member of an uncompressed tar: its bytes are read by offset, without unpacking."""

    member: Member

    @property
    def where(self) -> str:
        return f"{self.member.path}::{self.member.name}"

    def read_bytes(self) -> bytes:
        path, size = self.member.path, self.member.size
        _check_size(size, self.where, "remove the member")
        fix = "restore the file or its rights"
        with explained(OSError, DataError, "the tar cannot be read", path, fix), open(local(path), "rb") as file:
            file.seek(self.member.offset)
            data = file.read(size)
        require(len(data) == size, "the tar ends inside this member", self.where, "copy the shard again")
        return data


@dataclass(frozen=True, slots=True)
class CellImage(ImageSource):
    """A cell of a Parquet or Arrow file."""

    cell: Cell

    @property
    def where(self) -> str:
        return f"{self.cell.path} row {self.cell.row + 1} column {self.cell.column!r}"

    def read_bytes(self) -> bytes:
        return read_cell(self.cell)


@dataclass(frozen=True, slots=True)
class MemoryImage(ImageSource):
    """A PIL image that the caller holds. Its bytes are a PNG of it."""

    image: Image

    @property
    def where(self) -> str:
        return f"{self.image.mode} image of {self.image.size[0]} x {self.image.size[1]} in memory"

    def load(self, sized: Callable[[int], None] | None = None) -> Image:
        check_pixels(self.image.size, self.max_pixels, self.where)
        kinds = (ValueError, OSError)
        with explained(kinds, DataError, "cannot be converted to RGB", self.where, "pass an RGB image"):
            return to_rgb(self.image)

    def read_bytes(self) -> bytes:
        buffer = BytesIO()
        self.load().save(buffer, format="PNG")
        return buffer.getvalue()


@dataclass(frozen=True, slots=True, repr=False)
class LazyImages(Sequence["Image"]):
    """The images of a sample. The length costs nothing; an index decodes that image; a slice stays lazy.

    Two are equal when their sources are.
    """

    sources: tuple[ImageSource, ...]

    def __len__(self) -> int:
        return len(self.sources)

    @overload
    def __getitem__(self, index: int) -> Image: ...
    @overload
    def __getitem__(self, index: slice) -> LazyImages: ...
    def __getitem__(self, index: int | slice) -> Image | LazyImages:
        return LazyImages(self.sources[index]) if isinstance(index, slice) else self.sources[index].load()

    def __repr__(self) -> str:
        return f"LazyImages({', '.join(source.where for source in self.sources)})"


def image_sources(images: Sequence[Image]) -> tuple[ImageSource, ...]:
    """The sources behind a sample's images; PIL images held in memory become sources themselves."""
    if isinstance(images, LazyImages):
        return images.sources
    return tuple(MemoryImage(image) for image in images)


def broken_images(sources: Iterable[ImageSource]) -> Iterator[tuple[int, DataError]]:
    """Decode images, one after another: the number, from 1, of each that cannot be, and why.

    ``any(broken_images(row.sources))`` tells whether a row has one, and stops at it.
    """
    for number, source in enumerate(sources, 1):
        try:
            source.load()
        except DataError as error:
            yield number, error


def _check_size(size: int, where: str, fix: str) -> None:
    require(size <= MAX_BYTES, f"{size} bytes are too many for an image (limit {MAX_BYTES})", where, fix)
