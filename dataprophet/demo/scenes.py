"""Procedurally drawn 32 x 32 scenes: coloured shapes, signs with short texts, and bar charts.

A `Scene` describes everything that is seen, so every right answer can be computed from it. `draw` is a pure function
of the scene: background texture and small shifts come from the scene's own seed.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dataprophet.errors import MissingDependencyError, explained, install

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw

SIZE = 32
"""Width and height of every scene, in pixels."""

Colour = tuple[int, int, int]

COLOURS: dict[str, Colour] = {
    "red": (222, 38, 38),
    "green": (34, 168, 58),
    "blue": (44, 84, 226),
    "yellow": (238, 214, 40),
    "purple": (158, 52, 178),
}
SHAPES = ("circle", "square", "triangle", "cross")
ROWS, COLUMNS = ("top", "bottom"), ("left", "right")
KINDS = ("shapes", "sign", "bars")
STYLES = ("plain", "dark", "noise", "stripes", "sketch")
MAX_HEIGHT = 5

_FONT = "A25755 C74447 E74647 H55755 K56465 L44447 T72222 X55255 126227 271747 455711 674757 771222"
GLYPHS = {glyph[0]: glyph[1:] for glyph in _FONT.split()}
"""A font of 3 x 5 pixels: of each character five octal digits, its rows from the top; a row's bits are its pixels."""


@dataclass(frozen=True, slots=True)
class Thing:
    """A coloured shape in one quarter of the picture; ``row`` and ``column`` are 0 or 1."""

    row: int
    column: int
    colour: str
    shape: str

    @property
    def where(self) -> str:
        return f"{ROWS[self.row]} {COLUMNS[self.column]}"

    @property
    def name(self) -> str:
        return f"{self.colour} {self.shape}"


@dataclass(frozen=True, slots=True)
class Scene:
    """What one picture shows.

    Attributes:
        kind: one of `KINDS`; says which of the fields below are filled.
        style: one of `STYLES`: background, and outlines in place of filled areas for "sketch".
        seed: fixes the texture and the small shifts.
        things: shapes in reading order, no two with the same colour and shape.
        text: two or three characters of `GLYPHS`.
        ink: colour of the text.
        bars: (colour, height) from left to right, colours distinct, heights from 1 to `MAX_HEIGHT`.
    """

    kind: str
    style: str
    seed: int
    things: tuple[Thing, ...] = ()
    text: str = ""
    ink: str = ""
    bars: tuple[tuple[str, int], ...] = ()


def make_scene(rng: random.Random, kind: str, style: str) -> Scene:
    """Draw the contents of a scene of the given kind and style at random.

    Args:
        rng: the only source of randomness.
        kind: one of `KINDS`.
        style: one of `STYLES`.
    """
    seed = rng.getrandbits(32)
    if kind == "shapes":
        places = sorted(rng.sample(list(itertools.product(range(2), range(2))), rng.randint(1, 4)))
        looks = rng.sample(list(itertools.product(COLOURS, SHAPES)), len(places))
        return Scene(kind, style, seed, things=tuple(Thing(*p, *look) for p, look in zip(places, looks, strict=True)))
    if kind == "sign":
        text = "".join(rng.choices(sorted(GLYPHS), k=3 if rng.random() < 0.3 else 2))
        return Scene(kind, style, seed, text=text, ink=rng.choice(list(COLOURS)))
    if kind == "bars":
        colours = rng.sample(list(COLOURS), rng.randint(2, 4))
        return Scene(kind, style, seed, bars=tuple((colour, rng.randint(1, MAX_HEIGHT)) for colour in colours))
    raise ValueError(f"kind must be one of {KINDS}, not {kind!r}")


def draw(scene: Scene) -> Image:
    """The picture of a scene: RGB, `SIZE` x `SIZE`, the same pixels for the same scene.

    Raises:
        MissingDependencyError: Pillow is not installed.
    """
    need = "drawing needs Pillow"
    with explained(ImportError, MissingDependencyError, need, "dataprophet.demo", install("model")):
        from PIL import Image, ImageDraw

    rng = random.Random(scene.seed)
    image = Image.fromarray(_background(rng, scene.style))
    canvas = ImageDraw.Draw(image)
    hollow = scene.style == "sketch"
    for thing in scene.things:
        _draw_thing(canvas, rng, thing, hollow)
    if scene.text:
        _draw_text(canvas, rng, scene.text, _shade(rng, scene.ink))
    if scene.bars:
        _draw_bars(canvas, rng, scene.bars, hollow)
    return image


def _shade(rng: random.Random, colour: str) -> Colour:
    red, green, blue = (min(255, max(0, value + rng.randint(-16, 16))) for value in COLOURS[colour])
    return red, green, blue


def _background(rng: random.Random, style: str) -> npt.NDArray[np.uint8]:
    pixels = np.empty((SIZE, SIZE, 3), np.int16)
    if style == "dark":
        pixels[:] = [rng.randint(8, 40) for _ in range(3)]
    elif style == "noise":
        grain = np.frombuffer(rng.randbytes(SIZE * SIZE), np.uint8).reshape(SIZE, SIZE, 1)
        pixels[:] = 150 + grain % 80
    elif style == "stripes":
        first, second = rng.randint(190, 215), rng.randint(230, 255)
        slope, shift = rng.choice((-1, 0, 1)), rng.randrange(6)
        down, across = np.mgrid[:SIZE, :SIZE]
        pixels[:] = np.where((down + slope * across + shift) % 6 < 3, first, second)[..., None]
    elif style == "sketch":
        pixels[:] = (rng.randint(235, 250), rng.randint(222, 238), rng.randint(180, 205))
    elif style == "plain":
        pixels[:] = [rng.randint(228, 255) for _ in range(3)]
    else:
        raise ValueError(f"style must be one of {STYLES}, not {style!r}")
    return pixels.astype(np.uint8)


def _draw_thing(canvas: ImageDraw, rng: random.Random, thing: Thing, hollow: bool) -> None:
    radius = rng.randint(5, 6)
    x, y = 8 + 16 * thing.column + rng.randint(-1, 1), 8 + 16 * thing.row + rng.randint(-1, 1)
    colour = _shade(rng, thing.colour)
    fill, width = (None, 2) if hollow else (colour, 1)
    box = (x - radius, y - radius, x + radius, y + radius)
    if thing.shape == "circle":
        canvas.ellipse(box, fill=fill, outline=colour, width=width)
    elif thing.shape == "square":
        canvas.rectangle(box, fill=fill, outline=colour, width=width)
    elif thing.shape == "triangle":
        canvas.polygon(
            [(x, y - radius), (x - radius, y + radius), (x + radius, y + radius)],
            fill=fill,
            outline=colour,
            width=width,
        )
    else:
        arm = 1 if hollow else 2
        canvas.rectangle((x - arm, y - radius, x + arm, y + radius), fill=colour)
        canvas.rectangle((x - radius, y - arm, x + radius, y + arm), fill=colour)


def _draw_text(canvas: ImageDraw, rng: random.Random, text: str, ink: Colour) -> None:
    scale = 3 if len(text) == 2 else 2
    width = (4 * len(text) - 1) * scale
    left, top = (SIZE - width) // 2 + rng.randint(0, 1), (SIZE - 5 * scale) // 2 + rng.randint(0, 1)
    for index, character in enumerate(text):
        for row, column in itertools.product(range(5), range(3)):
            if int(GLYPHS[character][row]) & 4 >> column:
                x, y = left + (4 * index + column) * scale, top + row * scale
                canvas.rectangle((x, y, x + scale - 1, y + scale - 1), fill=ink)


def _draw_bars(canvas: ImageDraw, rng: random.Random, bars: tuple[tuple[str, int], ...], hollow: bool) -> None:
    step = SIZE // len(bars)
    for index, (name, height) in enumerate(bars):
        colour = _shade(rng, name)
        left = index * step + 1 + rng.randint(0, 1)
        box = (left, SIZE - 1 - 6 * height, left + step - 4, SIZE - 1)
        canvas.rectangle(box, fill=None if hollow else colour, outline=colour, width=2)
