"""Images: every kind decodes to RGB, nothing dangerous is opened."""

from __future__ import annotations

import base64
import io
import os
import pickle
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import sample_files as files
from PIL import Image

from dataprophet.data import open_dataset, validate
from dataprophet.data.images.decode import decode, image_suffix
from dataprophet.data.images.sources import Base64Image, BytesImage, FileImage, LazyImages, MemoryImage
from dataprophet.errors import DataError


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


SQUARE = Image.new("RGB", (8, 8), (250, 10, 20))


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        ("JPEG", ".jpg"),
        ("PNG", ".png"),
        ("WEBP", ".webp"),
        ("GIF", ".gif"),
        ("BMP", ".bmp"),
        ("TIFF", ".tif"),
        ("PPM", ".ppm"),
    ],
)
def test_formats(kind: str, suffix: str) -> None:
    data = encoded(SQUARE, kind)
    assert image_suffix(data) == suffix
    image = decode(data)
    assert (image.mode, image.size) == ("RGB", (8, 8))
    assert np.abs(np.asarray(image).astype(int) - (250, 10, 20)).max() <= 12


def test_modes_become_rgb() -> None:
    clear = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
    clear.putpixel((1, 0), (255, 0, 0, 255))
    half = Image.new("LA", (1, 1), (0, 128))
    deep = Image.fromarray(np.array([[0, 0x7FFF, 0xFFFF]], np.uint16))
    palette = Image.new("P", (1, 1), 0)
    palette.putpalette([9, 8, 7])
    cases = [
        (encoded(clear, "PNG"), [(255, 255, 255), (255, 0, 0)]),
        (encoded(half, "PNG"), [(127, 127, 127)]),
        (encoded(deep, "PNG"), [(0, 0, 0), (127, 127, 127), (255, 255, 255)]),
        (encoded(palette, "PNG"), [(9, 8, 7)]),
        (encoded(palette, "PNG", transparency=0), [(255, 255, 255)]),
        (encoded(Image.new("1", (1, 1), 1), "PNG"), [(255, 255, 255)]),
        (encoded(Image.new("CMYK", (1, 1), (0, 0, 0, 0)), "TIFF"), [(255, 255, 255)]),
    ]
    for data, pixels in cases:
        image = decode(data)
        assert image.mode == "RGB"
        assert [tuple(pixel) for pixel in np.asarray(image)[0].tolist()] == pixels


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (3, 3), color) for color in ((255, 0, 0), (0, 0, 255))]
    for kind in ("GIF", "WEBP", "PNG"):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        red, _, blue = decode(data).getpixel((1, 1))  # type: ignore[misc]
        assert red > 200
        assert blue < 60


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_orientation_is_applied_once(orientation: int, kind: str) -> None:
    from PIL import ImageOps

    stored = Image.fromarray(np.kron([[0, 80, 160], [255, 120, 40]], np.ones((8, 8))).astype(np.uint8)).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, kind, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    image = decode(data)
    assert np.array_equal(np.asarray(image), np.asarray(upright))
    assert np.array_equal(np.asarray(ImageOps.exif_transpose(image)), np.asarray(upright))
    assert np.array_equal(np.asarray(MemoryImage(Image.open(io.BytesIO(data))).load()), np.asarray(upright))


def exif_of(kind: int, value: int) -> bytes:
    """EXIF of a maker whose name lies beyond its end, and an orientation."""
    maker, turn = struct.pack(">HHII", 0x010F, 2, 99, 9999), struct.pack(">HHI", 0x0112, kind, 1)
    number = struct.pack(">HH", value, 0) if kind == 3 else struct.pack(">I", value)
    return b"Exif\0\0MM\0*\0\0\0\x08\0\2" + maker + turn + number


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


@pytest.mark.parametrize(
    ("options", "turned"),
    [
        ({"exif": exif_of(3, 6)}, True),
        ({"exif": exif_of(4, 6)}, True),
        ({"exif": exif_of(2, 6)}, False),
        ({"xmp": XMP}, True),
        ({"exif": exif_of(3, 1), "xmp": XMP}, False),
    ],
)
def test_orientation_beside_a_damaged_tag_as_a_long_and_in_xmp(options: dict[str, bytes], turned: bool) -> None:
    image = decode(encoded(Image.new("RGB", (8, 4)), "JPEG", **options))
    assert image.size == ((4, 8) if turned else (8, 4))


@pytest.mark.parametrize(("raw", "turned"), [(exif_of(3, 6).hex(), True), ("no hex", False), ("", False)])
def test_orientation_in_the_raw_profile_that_imagemagick_writes(raw: str, turned: bool) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(raw) // 2:8}\n{raw[:20]}\n{raw[20:]}\n", zip=True)
    assert decode(encoded(Image.new("RGB", (8, 4)), "PNG", pnginfo=info)).size == ((4, 8) if turned else (8, 4))


@pytest.mark.parametrize(
    "exif",
    [b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0", b"junk", b"Exif\0\0XX" * 9],
)
def test_damaged_exif_is_no_obstacle(exif: bytes) -> None:
    data = encoded(SQUARE, "JPEG", exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode(data).size == (8, 8)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_truncated_images_are_refused(kind: str, kept: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    data = encoded(noise, kind)
    with pytest.raises(DataError, match="place: ") as caught:
        decode(data[: int(kept * len(data))], where="place")
    assert caught.value.fix


def test_grey_filling_is_not_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import ImageFile

    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(DataError, match=r"grey; unset ImageFile\.LOAD_TRUNCATED_IMAGES"):
        decode(files.RED)


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    body = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


BOMBS = {
    "png": png_header(60_000, 60_000),
    "gif": b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + b"\0\0\0" + b",\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;",
    "gif frame": b"GIF89a\x08\0\x08\0\0\0\0!\xfe\x02hi\0,\0\0\0\0"
    + struct.pack("<HH", 60_000, 2_000)
    + b"\0\x02\x02D\x01\0;",
    "bmp": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0),
    "ppm": b"P6 60000 60000 255\n" + bytes(30),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_bombs_are_refused_from_the_header(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import ImageFile

    def refuse(*_: object) -> None:
        raise AssertionError("pixels were decoded")

    monkeypatch.setattr(ImageFile.ImageFile, "load", refuse)
    with pytest.raises(DataError, match=r"limit of 89478485.*; raise max_pixels=|too large .*; convert the image"):
        decode(BOMBS[kind])


def test_the_pixel_limit_is_the_callers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # Pillow would warn from 10 pixels on, and refuse from 20 on
    for kind in ("JPEG", "PNG", "GIF", "BMP"):
        assert decode(encoded(SQUARE, kind), max_pixels=64).size == (8, 8)
        with pytest.raises(DataError, match="8 x 8 pixels, more than the limit of 63"):
            decode(encoded(SQUARE, kind), max_pixels=63)
    for case, (_, write) in files.CHAT_WRITERS.items():
        folder = tmp_path / case
        folder.mkdir()
        dataset = open_dataset(write(folder), subset="plain" if case == "llamafactory" else None, max_pixels=30)
        assert validate(dataset).counts == {"undecodable_image": 1}  # the blue one has 45 pixels
    with pytest.raises(DataError, match="more than the limit of 63"):
        MemoryImage(SQUARE, max_pixels=63).load()


def test_other_formats_are_not_tried() -> None:
    for data in (b"%!PS-Adobe-3.0 EPSF-3.0\n", b"%PDF-1.4", b"<svg xmlns='x'/>", b"\0\0\1\0icon", b""):
        with pytest.raises(DataError, match=r"known format|empty image"):
            decode(data)


def test_sources_are_values(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(files.RED)
    text = base64.b64encode(files.RED).decode()
    sources = (
        FileImage(str(path)),
        BytesImage(files.RED),
        Base64Image(text),
        Base64Image(f"data:image/png;base64,\n{text}"),
    )
    for source in sources:
        assert source.read_bytes() == files.RED
        assert source.digest() == sources[0].digest()
        assert pickle.loads(pickle.dumps(source)) == source
        assert source.load().size == (6, 4)
    images = LazyImages(sources)
    assert images[1:] == LazyImages(sources[1:])
    assert images != LazyImages(sources[1:])
    assert len({images, LazyImages(sources)}) == 1
    assert images[-1].mode == "RGB"
    with pytest.raises(IndexError):
        images[4]


def test_a_source_must_be_a_regular_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    for name in ("pipe.png", "."):
        with pytest.raises(DataError, match="not a regular file"):
            FileImage(str(tmp_path / name)).read_bytes()
    with pytest.raises(DataError, match="cannot be read"):
        FileImage(str(tmp_path / "gone.png")).read_bytes()
