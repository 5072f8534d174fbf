"""Image bytes to RGB: a fixed list of formats, the pixel limit checked on the header, no guess from a broken file.

For ``images.sources`` and for the model's reader. It knows nothing of where the bytes come from.
"""

from __future__ import annotations

import importlib
import re
import struct
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any

from dataprophet.errors import DataError, MissingDependencyError, explained, install, require

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_PIXELS = 89_478_485
"""Pixels (width times height) above which an image is refused, unless the caller sets another limit; Pillow's own."""

# The bytes that an image format starts with, at which place, its suffix, and the Pillow plugin that reads it. Plugins
# are called directly, not through PIL.Image.open, whose own limit of pixels is one for the process: it would refuse
# what a caller allows, and warn of what a caller's limit refuses. (The frame of a GIF is held against it all the same.)
_FORMATS = (
    (b"\xff\xd8\xff", 0, ".jpg", "Jpeg"),
    (b"\x89PNG\r\n\x1a\n", 0, ".png", "Png"),
    (b"WEBP", 8, ".webp", "WebP"),
    (b"GIF8", 0, ".gif", "Gif"),
    (b"BM", 0, ".bmp", "Bmp"),
    (b"II*\x00", 0, ".tif", "Tiff"),
    (b"MM\x00*", 0, ".tif", "Tiff"),
    (b"ftypavif", 4, ".avif", "Avif"),
    (b"\x00\x00\x00\x0cjP  ", 0, ".jp2", "Jpeg2K"),
    (b"P5", 0, ".pgm", "Ppm"),
    (b"P6", 0, ".ppm", "Ppm"),
)
_UPRIGHT = ("FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90")
"""Transpositions that undo the EXIF orientations 2 to 8."""

_REPLACE = "replace the file with an intact image, or remove the row"


def image_suffix(data: bytes) -> str:
    """File suffix of the image format that ``data`` starts with, such as ``.png``; empty when it is none we read."""
    return _format(data)[0]


def decode(
    data: bytes, *, max_pixels: int = MAX_PIXELS, where: str = "", sized: Callable[[int], None] | None = None
) -> Image:
    """Decode an image: first frame, upright, RGB, alpha composited on white.

    Args:
        data: the bytes of an image file.
        max_pixels: images with more pixels are refused before any pixel is decoded.
        where: file and row, for messages.
        sized: called with the number of pixels before any is decoded; what it raises is passed on.

    Raises:
        DataError: unknown format, damaged or truncated data, or too many pixels.
        MissingDependencyError: Pillow is not installed.
    """
    suffix, plugin = _format(data)
    if not suffix:
        what = "empty image" if not data else f"not an image in a known format (starts with {data[:8]!r})"
        raise DataError(what, where=where, fix="use JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF, JPEG 2000 or PPM")
    need = "Pillow is needed to decode images"
    with explained(ImportError, MissingDependencyError, need, where, install("data")):
        from PIL import Image as module
        from PIL import ImageFile
    fix = "upgrade Pillow, or convert the image"
    with explained((ImportError, AttributeError), DataError, f"this Pillow cannot read {suffix} images", where, fix):
        reader: Any = getattr(importlib.import_module(f"PIL.{plugin}ImagePlugin"), f"{plugin}ImageFile")
    if plugin == "Jpeg":  # it looks for the resolution in EXIF, which is not needed here and may be damaged
        reader = type("Jpeg", (reader,), {"_read_dpi_from_exif": lambda self: None})
    bombs = (module.DecompressionBombError, module.DecompressionBombWarning)  # a GIF's frame beyond its screen
    fix = "convert the image if it is genuine"
    with (  # plugins raise SyntaxError, struct.error, KeyError and more on damaged headers
        explained(Exception, DataError, "damaged image header", where, _REPLACE),
        explained(bombs, DataError, "a frame is too large", where, fix),
    ):
        image: Image = reader(BytesIO(data), f"image{suffix}")
    check_pixels(image.size, max_pixels, where)
    if sized is not None:
        sized(image.size[0] * image.size[1])
    fix = "unset ImageFile.LOAD_TRUNCATED_IMAGES"
    require(not ImageFile.LOAD_TRUNCATED_IMAGES, "Pillow has been told to fill cut images with grey", where, fix)
    with explained(Exception, DataError, "the image cannot be decoded", where, _REPLACE):
        return to_rgb(image, copy=False)


def check_pixels(size: tuple[int, int], max_pixels: int, where: str) -> None:
    """Refuse an image of more than ``max_pixels`` pixels."""
    if size[0] * size[1] > max_pixels:
        what = f"the image has {size[0]} x {size[1]} pixels, more than the limit of {max_pixels}"
        raise DataError(what, where=where, fix="raise max_pixels= if the image is genuine")


def to_rgb(image: Image, *, copy: bool = True) -> Image:
    """An 8-bit RGB copy of a PIL image of any mode, upright: alpha composited on white, of 16 bits the upper 8.

    Args:
        image: it, loaded or not.
        copy: whether an image that is RGB already has to stay as it is.

    Raises:
        ValueError: pixels without a fixed range (floats, and 32-bit integers beyond 16 bits or within 8).
        OSError: the image cannot be loaded.
    """
    import numpy as np
    from PIL import Image as module

    of_16_bits = image.mode != "I" or image.format in {"PNG", "PPM", "JPEG2000"}  # as Pillow has them
    image = _upright(image)
    if image.mode in {"I", "I;16", "I;16B", "I;16L", "I;16N"}:
        values = np.asarray(image).astype(np.int64)
        if values.size and (values.min() < 0 or values.max() > 0xFFFF):
            raise ValueError("integer pixels beyond 16 bits")
        if not of_16_bits and 0 < values.max(initial=0) < 256:
            raise ValueError("32-bit integer pixels below 256, which may be of 8 bits or of 16")
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


def _format(data: bytes) -> tuple[str, str]:
    """Suffix and plugin of the format that ``data`` starts with; empty where it is none of ours."""
    return next(((suffix, plugin) for magic, at, suffix, plugin in _FORMATS if data.startswith(magic, at)), ("", ""))


def _upright(image: Image) -> Image:
    image.load()  # a TIFF turns itself then, and forgets its orientation
    orientation = 1 if image.format == "TIFF" else _orientation(image)
    if not 2 <= orientation <= 8:
        return image
    from PIL.Image import Transpose

    return image.transpose(Transpose[_UPRIGHT[orientation - 2]])


def _orientation(image: Image) -> int:
    """Tag 0x0112 of the first EXIF directory, else what XMP says, else 1."""
    # Not Pillow's EXIF: it drops the orientation where the value of another tag is damaged, which is common, and says
    # so by warnings, which are one list of filters for the process.
    exif, xmp = image.info.get("exif"), image.info.get("XML:com.adobe.xmp") or image.info.get("xmp") or b""
    if exif is None and (text := image.info.get("Raw profile type exif")):  # ImageMagick's PNG: a head, and hexadecimal
        with suppress(ValueError):
            exif = bytes.fromhex("".join(text.split("\n")[3:]))
    body = exif.removeprefix(b"Exif\x00\x00") if isinstance(exif, bytes) else b""
    order = {b"II": "<", b"MM": ">"}.get(body[:2])
    try:
        (start,) = struct.unpack_from(f"{order}I", body, 4) if order else (0,)
        (count,) = struct.unpack_from(f"{order}H", body, start) if order else (0,)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(f"{order}HH", body, entry)
            if tag == 0x0112 and kind in {3, 4}:  # SHORT or LONG
                return int(struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", body, entry + 8)[0])
    except struct.error:  # cut short
        pass
    found = re.search(rb'tiff:Orientation(?:="|>)([0-9])', xmp.encode() if isinstance(xmp, str) else xmp)
    return int(found[1]) if found else 1
