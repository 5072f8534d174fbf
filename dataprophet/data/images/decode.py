"""Image bytes to RGB: a fixed list of formats, the pixel limit checked on the header, no guess from a broken file."""

from __future__ import annotations

import importlib
import struct
from io import BytesIO
from typing import TYPE_CHECKING, Any, NamedTuple

from dataprophet.errors import DataError, MissingDependencyError

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 89_478_485
"""Pixels (width times height) above which an image is refused, unless the caller sets another limit; Pillow's own."""


class _Kind(NamedTuple):
    """One image format: the bytes it starts with, and the Pillow class that reads it."""

    magic: bytes
    offset: int
    suffix: str
    module: str
    reader: str


# The plugin classes are called directly, not through PIL.Image.open: only these formats are ever tried (none that runs
# another program), and Pillow's own limit, which warns through process-wide state, is replaced by the caller's.
_KINDS = (
    _Kind(b"\xff\xd8\xff", 0, ".jpg", "JpegImagePlugin", "JpegImageFile"),
    _Kind(b"\x89PNG\r\n\x1a\n", 0, ".png", "PngImagePlugin", "PngImageFile"),
    _Kind(b"WEBP", 8, ".webp", "WebPImagePlugin", "WebPImageFile"),
    _Kind(b"GIF8", 0, ".gif", "GifImagePlugin", "GifImageFile"),
    _Kind(b"BM", 0, ".bmp", "BmpImagePlugin", "BmpImageFile"),
    _Kind(b"II*\x00", 0, ".tif", "TiffImagePlugin", "TiffImageFile"),
    _Kind(b"MM\x00*", 0, ".tif", "TiffImagePlugin", "TiffImageFile"),
    _Kind(b"ftypavif", 4, ".avif", "AvifImagePlugin", "AvifImageFile"),
    _Kind(b"\x00\x00\x00\x0cjP  ", 0, ".jp2", "Jpeg2KImagePlugin", "Jpeg2KImageFile"),
    _Kind(b"P5", 0, ".pgm", "PpmImagePlugin", "PpmImageFile"),
    _Kind(b"P6", 0, ".ppm", "PpmImagePlugin", "PpmImageFile"),
)

# EXIF orientation -> the name of the PIL.Image.Transpose that undoes it.
_UPRIGHT = {
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}

_REPLACE = "replace the file with an intact image, or remove the row"


def image_suffix(data: bytes) -> str:
    """File suffix of the image format that ``data`` starts with, such as ``.png``; empty when it is none we read."""
    kind = _kind(data)
    return kind.suffix if kind else ""


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS, where: str = "") -> Image:
    """Decode an image: first frame, upright, RGB, alpha composited on white.

    Args:
        data: the bytes of an image file.
        max_pixels: images with more pixels are refused before any pixel is decoded.
        where: file and row, for messages.

    Raises:
        DataError: unknown format, damaged or truncated data, or too many pixels.
        MissingDependencyError: Pillow is not installed.
    """
    kind = _kind(data)
    if kind is None:
        what = "empty image" if not data else f"not an image in a known format (starts with {data[:8]!r})"
        raise DataError(what, where=where, fix="use JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, JPEG 2000 or PPM")
    try:
        importlib.import_module("PIL.Image")
    except ImportError as error:
        raise MissingDependencyError(
            "Pillow is needed to decode images", where=where, fix="pip install 'dataprophet[data]'"
        ) from error
    try:
        reader = getattr(importlib.import_module(f"PIL.{kind.module}"), kind.reader)
    except (ImportError, AttributeError) as error:
        raise DataError(
            f"this Pillow cannot read {kind.suffix} images", where=where, fix="upgrade Pillow, or convert the image"
        ) from error
    if kind.suffix == ".gif":
        check_pixels(_gif_size(data), max_pixels, where)
    try:
        image: Image = _quiet(reader)(BytesIO(data), f"image{kind.suffix}")
    except Exception as error:  # plugins raise SyntaxError, struct.error, KeyError and more on damaged headers
        raise DataError(f"damaged image header ({_reason(error)})", where=where, fix=_REPLACE) from error
    check_pixels(image.size, max_pixels, where)
    from PIL import ImageFile

    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise DataError(
            "Pillow has been told to fill cut images with grey",
            where=where,
            fix="unset ImageFile.LOAD_TRUNCATED_IMAGES",
        )
    try:
        image.load()
        return to_rgb(image, copy=False)
    except Exception as error:
        raise DataError(f"the image cannot be decoded ({_reason(error)})", where=where, fix=_REPLACE) from error


def check_pixels(size: tuple[int, int], max_pixels: int, where: str) -> None:
    """Refuse an image of more than ``max_pixels`` pixels."""
    if size[0] * size[1] > max_pixels:
        raise DataError(
            f"the image has {size[0]} x {size[1]} pixels, more than the limit of {max_pixels}",
            where=where,
            fix="raise max_pixels if the image is genuine",
        )


def to_rgb(image: Image, *, copy: bool = True) -> Image:
    """An 8-bit RGB copy of a PIL image of any mode, upright: alpha composited on white, of 16 bits the upper 8.

    Args:
        image: a loaded image.
        copy: whether an image that is RGB already has to stay as it is.

    Raises:
        ValueError: pixels without a fixed range (32-bit integers and floats).
    """
    import numpy as np
    from PIL import Image as module

    image = _upright(image)
    if image.mode in {"I", "I;16", "I;16B", "I;16L", "I;16N"}:
        values = np.asarray(image).astype(np.int64)
        if values.size and (values.min() < 0 or values.max() > 0xFFFF):
            raise ValueError("integer pixels beyond 16 bits")
        image = module.fromarray((values >> 8).astype(np.uint8))
    elif image.mode == "F":
        raise ValueError("floating-point pixels have no fixed range")
    elif image.mode in {"RGBA", "LA", "PA", "La", "RGBa"} or "transparency" in image.info:
        layer = image.convert("RGBA")
        image = module.alpha_composite(module.new("RGBA", layer.size, (255, 255, 255, 255)), layer)
    if copy or image.mode != "RGB":
        image = image.convert("RGB")
    image.info = {}  # the orientation is applied, the palette and profile are used up
    return image


def _kind(data: bytes) -> _Kind | None:
    for kind in _KINDS:
        if data[kind.offset : kind.offset + len(kind.magic)] == kind.magic:
            return kind
    return None


def _quiet(reader: Any) -> Any:
    """The JPEG reader looks for the resolution in EXIF, and warns when that is damaged. It is not needed here."""
    return type("Jpeg", (reader,), {"_read_dpi_from_exif": lambda self: None}) if reader.format == "JPEG" else reader


def _gif_size(data: bytes) -> tuple[int, int]:
    """Extent of the screen and the first frame. Pillow lets a frame enlarge the screen, and warns itself."""
    try:
        width, height, flags = struct.unpack_from("<HHB", data, 6)
        at = 13 + (3 << (flags % 8 + 1) if flags & 0x80 else 0)
        while data[at] == 0x21:  # an extension: a label, then blocks up to an empty one
            at += 2
            while data[at]:
                at += data[at] + 1
            at += 1
        left, top, frame_width, frame_height = struct.unpack_from("<HHHH", data, at + 1)
    except (struct.error, IndexError):
        return (0, 0)  # cut short: the reader says so
    return max(width, left + frame_width), max(height, top + frame_height)


def _upright(image: Image) -> Image:
    exif = image.info.get("exif", b"")
    turn = _UPRIGHT.get(_orientation(exif)) if isinstance(exif, bytes) else None
    if turn is None:
        return image
    from PIL.Image import Transpose

    return image.transpose(Transpose[turn])


def _orientation(exif: bytes) -> int:
    """Tag 0x0112 of the first directory, or 1. Read here because Pillow's EXIF parser warns about what it dislikes."""
    body = exif.removeprefix(b"Exif\x00\x00")
    order = {b"II": "<", b"MM": ">"}.get(body[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", body, 4)
        (count,) = struct.unpack_from(f"{order}H", body, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", body, entry)
            if tag == 0x0112 and kind == 3:
                return int(value)
    except struct.error:
        return 1
    return 1


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
