"""Drawn pictures of 128 x 128 pixels: shapes on a grid, signs, and bars, in six styles.

A picture comes with its parts, what is drawn where: questions are made of them, and so is the projector's first task.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

SIZE = 128
COLOURS = {
    "red": (222, 38, 38),
    "green": (34, 168, 58),
    "blue": (44, 84, 226),
    "yellow": (238, 214, 40),
    "purple": (158, 52, 178),
    "orange": (245, 130, 30),
    "pink": (250, 150, 190),
    "brown": (120, 72, 30),
}
SHAPES = ("circle", "square", "triangle", "cross", "star", "ring")
ROWS, COLUMNS = ("top", "middle", "bottom"), ("left", "center", "right")
STYLES = ("plain", "dark", "noise", "stripes", "clouds", "sketch")
MAX_HEIGHT = 8
_GRID, _FIRST, _STEP = 3, 21, 43


@dataclass(frozen=True)
class Part:
    """Something drawn: its box in pixels, and what it is; fields that do not apply are empty."""

    box: tuple[int, int, int, int]
    words: tuple[str, ...]
    colour: str = ""
    shape: str = ""
    where: str = ""
    digit: str = ""
    height: int = 0


@dataclass(frozen=True)
class Picture:
    image: Image.Image
    parts: tuple[Part, ...]


def draw(rng: random.Random, scene: str, style: str) -> Picture:
    """A picture of a scene: "shapes", "sign" or "bars"."""
    image = Image.fromarray(_background(rng, style))
    parts = {"shapes": _shapes, "sign": _sign, "bars": _bars}[scene](rng, ImageDraw.Draw(image), style == "sketch")
    return Picture(image, tuple(parts))


def _background(rng: random.Random, style: str) -> np.ndarray:
    pixels = np.empty((SIZE, SIZE, 3), np.float64)
    if style == "dark":
        pixels[:] = [rng.randint(5, 40) for _ in range(3)]
    elif style == "noise":
        pixels[:] = 140 + np.frombuffer(rng.randbytes(SIZE * SIZE), np.uint8).reshape(SIZE, SIZE, 1) % 90
    elif style == "stripes":
        down, across = np.mgrid[:SIZE, :SIZE]
        light = (down + rng.choice((-1, 0, 1)) * across + rng.randrange(16)) % 16 < 8
        pixels[:] = np.where(light, rng.randint(180, 205), rng.randint(225, 255))[..., None]
    elif style == "clouds":
        coarse = np.frombuffer(rng.randbytes(6 * 6 * 3), np.uint8).reshape(6, 6, 3)
        smooth = Image.fromarray(coarse).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
        pixels[:] = np.asarray(smooth) * 0.45 + rng.choice((20, 120))
    elif style == "sketch":
        pixels[:] = (rng.randint(235, 250), rng.randint(222, 238), rng.randint(180, 205))
    else:
        pixels[:] = [rng.randint(228, 255) for _ in range(3)]
    return pixels.clip(0, 255).astype(np.uint8)


def _shade(rng: random.Random, colour: str) -> tuple[int, ...]:
    return tuple(min(255, max(0, value + rng.randint(-14, 14))) for value in COLOURS[colour])


def _shapes(rng: random.Random, canvas: ImageDraw.ImageDraw, hollow: bool) -> list[Part]:
    count, parts = rng.randint(2, 5), []
    looks = rng.sample([(colour, shape) for colour in COLOURS for shape in SHAPES], count)
    places = rng.sample([(i, j) for i in range(_GRID) for j in range(_GRID)], count)
    for (i, j), (colour, shape) in zip(places, looks, strict=True):
        x, y = (_FIRST + _STEP * k + rng.randint(-4, 4) for k in (i, j))
        radius = rng.randint(13, 17)
        _shape(canvas, shape, x, y, radius, _shade(rng, colour), hollow)
        box = (x - radius, y - radius, x + radius, y + radius)
        parts.append(Part(box, (colour, shape), colour, shape, f"{ROWS[j]} {COLUMNS[i]}"))
    return parts


def _shape(
    canvas: ImageDraw.ImageDraw, shape: str, x: int, y: int, radius: int, ink: tuple[int, ...], hollow: bool
) -> None:
    fill, width = (None, 4) if hollow else (ink, 1)
    box = (x - radius, y - radius, x + radius, y + radius)
    if shape == "circle":
        canvas.ellipse(box, fill=fill, outline=ink, width=width)
    elif shape == "square":
        canvas.rectangle(box, fill=fill, outline=ink, width=width)
    elif shape == "triangle":
        canvas.polygon([(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)], fill, ink, width)
    elif shape == "cross":
        arm = radius // (4 if hollow else 3)
        canvas.rectangle((x - arm, y - radius, x + arm, y + radius), fill=ink)
        canvas.rectangle((x - radius, y - arm, x + radius, y + arm), fill=ink)
    elif shape == "star":
        reach = [radius if k % 2 == 0 else radius * 0.42 for k in range(10)]
        corners = [(x + r * np.sin(k * np.pi / 5), y - r * np.cos(k * np.pi / 5)) for k, r in enumerate(reach)]
        canvas.polygon(corners, fill, ink, width)
    else:
        canvas.ellipse(box, outline=ink, width=max(4, radius // 3))


@lru_cache(maxsize=4)
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=size)


def _sign(rng: random.Random, canvas: ImageDraw.ImageDraw, hollow: bool) -> list[Part]:
    """Three digits without repeats, each in a colour of its own, on a white plate."""
    top, left, parts = rng.randint(20, 60), rng.randint(4, 12), []
    canvas.rectangle((left - 3, top - 4, left + 112, top + 46), fill=(245, 245, 240))
    looks = zip(rng.sample("0123456789", 3), rng.sample(list(COLOURS), 3), strict=True)
    for place, (digit, colour) in enumerate(looks):
        x, y = left + place * 37, top + rng.randint(-2, 2)
        stroke = {"stroke_width": 1, "stroke_fill": _shade(rng, colour)} if hollow else {}
        ink = (245, 245, 240) if hollow else _shade(rng, colour)
        canvas.text((x + 18, y + 21), digit, font=_font(44), fill=ink, anchor="mm", **stroke)
        parts.append(Part((x, y, x + 36, y + 42), (colour, digit), colour, digit=digit))
    return parts


def _bars(rng: random.Random, canvas: ImageDraw.ImageDraw, hollow: bool) -> list[Part]:
    count = rng.randint(3, 4)
    step, parts = SIZE // count, []
    heights = rng.sample(range(1, MAX_HEIGHT + 1), count)
    for place, (colour, height) in enumerate(zip(rng.sample(list(COLOURS), count), heights, strict=True)):
        left, ink = place * step + 4, _shade(rng, colour)
        box = (left, SIZE - 4 - height * 14, left + step - 9, SIZE - 4)
        canvas.rectangle(box, fill=None if hollow else ink, outline=ink, width=4)
        parts.append(Part(box, (colour, str(height)), colour, height=height))
    return parts
