"""Reads samples a window at a time: pictures decoded once, chats rendered, a reason for each sample left out.

Batching takes the windows. Nothing here knows batches, budgets or the device.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from dataprophet.data.images.decode import to_rgb
from dataprophet.data.images.sources import ImageSource, LazyImages, MemoryImage
from dataprophet.data.sample import Problem, Sample
from dataprophet.errors import DataError, DataProphetError, ModelError, first_line
from dataprophet.model.chat import Rendered, TextMismatch
from dataprophet.model.encode import Encoder
from dataprophet.model.prefetch import Workers

if TYPE_CHECKING:
    from PIL.Image import Image

WINDOW_SAMPLES = 1024
WINDOW_PIXELS = 1 << 26  # decoded by Pillow: 256 MiB
RECENT_PICTURES = 8


class CellEnd:
    """Stands among samples where a cell ends: no window goes beyond it."""


class Refused(NamedTuple):
    """A sample that cannot be used: its place in the cell, and why."""

    place: int
    problem: Problem


@dataclass(slots=True)
class Item:
    """A sample that passed every check, ready to be encoded.

    Attributes:
        sample: the sample.
        place: its place in the cell.
        images: its pictures in RGB, the same objects for samples with the same images; none once it is encoded.
        rendered: its text.
        ids: (T,) tokens of the text, image tokens not expanded.
        answer_tokens: how many of them are the answer's.
        group: equal for samples that begin alike.
        problem: why it was refused when it was encoded.
    """

    sample: Sample
    place: int
    images: list[Image]
    rendered: Rendered
    ids: NDArray[np.int64]
    answer_tokens: int
    group: tuple[object, ...]
    problem: Problem | None = None

    def refuse(self, code: str, what: str, fix: str) -> None:
        self.problem = _problem(self.sample, code, what, fix)


@dataclass(slots=True)
class Window:
    """Samples that were read and decoded.

    Attributes:
        items: the usable ones, in order of the input.
        refused: the others.
        ends_cell: whether a cell ends with it.
        texts: the questions and answers that were put into batches, once they were.
    """

    items: list[Item] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    ends_cell: bool = False
    texts: list[str] = field(default_factory=list)

    @property
    def taken(self) -> int:
        """How many samples it took from the input."""
        return len(self.items) + len(self.refused)


Pictures = list[tuple[object, "Future[list[Image]]"]]  # of each the identity, and what is or will be decoded


def with_cell_ends(cells: Iterable[Iterable[Sample]]) -> Iterator[Sample | CellEnd]:
    """The samples of all cells, and behind those of each its end."""
    for cell in cells:
        yield from cell
        yield CellEnd()


def read_windows(
    samples: Iterable[Sample | CellEnd], encoder: Encoder, workers: Workers, *, share: bool
) -> Generator[Window]:
    """Samples in windows of bounded number and size.

    Args:
        samples: read once. What stands between two cell ends depends on nothing outside of them.
        encoder: the model's encoder.
        workers: decode pictures.
        share: whether samples that begin alike are of one group.
    """
    window = Window()
    place, pixels = 0, dict[int, int]()  # of each picture of the window
    for sample, decoded in _decoded(samples, workers):
        if isinstance(sample, CellEnd):
            window.ends_cell = True
            yield window
            window, place, pixels = Window(), 0, {}
            continue
        # not before, or a cell's end would stand alone
        if window.taken >= WINDOW_SAMPLES or sum(pixels.values()) >= WINDOW_PIXELS:
            yield window
            window, pixels = Window(), {}
        found = _prepare(sample, place, decoded, encoder, share=share)
        place += 1
        if isinstance(found, Refused):
            window.refused.append(found)
        else:
            window.items.append(found)
            pixels |= {id(image): image.width * image.height for image in found.images}
    if window.taken:
        yield window


def _decoded(samples: Iterable[Sample | CellEnd], workers: Workers) -> Iterator[tuple[Sample | CellEnd, Pictures]]:
    """Samples with their pictures, decoded a few ahead; a picture that comes again soon is decoded once."""
    waiting: deque[tuple[Sample | CellEnd, Pictures]] = deque()
    # With the samples, so that no picture is freed and its identity used again. Of one size for any number of workers,
    # since the pixels of a window are counted by picture.
    recent: dict[object, tuple[Sample, Future[list[Image]]]] = {}
    here = Workers(0)
    for sample in samples:
        pictures: Pictures = []
        for key, picture in () if isinstance(sample, CellEnd) else _pictures(sample):
            # What a caller holds may stand in several samples, and must not be decoded by two threads at once.
            pool = workers if isinstance(picture, ImageSource) and picture is key else here
            # The last one used stands last.
            recent[key] = recent.pop(key) if key in recent else (cast(Sample, sample), pool.submit(_load, picture))
            if len(recent) > RECENT_PICTURES:
                recent.pop(next(iter(recent)))
            pictures.append((key, recent[key][1]))
        waiting.append((sample, pictures))
        if len(waiting) > 4 * workers.count:
            yield waiting.popleft()
    yield from waiting


def _pictures(sample: Sample) -> list[tuple[object, object]]:
    """For each picture its identity, equal where the pictures come from the same place, and what it is loaded from."""
    if isinstance(sample.images, LazyImages):
        return [(id(s.image) if isinstance(s, MemoryImage) else s, s) for s in sample.images.sources]
    if isinstance(sample.images, list | tuple):
        return [(id(image), image) for image in sample.images]
    return [(id(sample), sample)]  # a sequence of the caller's own: all of it at once


def _load(picture: object) -> list[Image]:
    if isinstance(picture, Sample):
        return [_rgb(image) for image in picture.images]
    return [picture.load() if isinstance(picture, ImageSource) else _rgb(picture)]


def _rgb(image: Any) -> Image:
    if not hasattr(image, "load"):
        raise DataError(f"an image is a {type(image).__name__}", fix="give PIL images, such as Image.fromarray(pixels)")
    image.load()
    return image if image.mode == "RGB" else to_rgb(image)


def _prepare(sample: Sample, place: int, pictures: Pictures, encoder: Encoder, *, share: bool) -> Item | Refused:
    """A sample rendered, or why it cannot be used."""

    def refused(code: str, what: str, fix: str) -> Refused:
        return Refused(place, _problem(sample, code, what, fix))

    chat = encoder.chat
    if not sample.answer.strip():
        return refused("empty_answer", "the answer is empty", "fill it in or remove the row")
    turns = sample.turns()
    expected = sum(len(turn.image_offsets) for turn in turns)
    if expected != len(sample.images):
        what = f"{len(sample.images)} images for {expected} places in the text"
        return refused("image_count", what, "give one image for each place")
    try:
        images = [image for _, future in pictures for image in future.result()]
    except DataProphetError as error:
        what = f"{error.where}: {error.what}" if error.where else error.what
        return refused("undecodable_image", what, error.fix or "replace the file or remove the row")
    except (OSError, ValueError, SyntaxError, MemoryError) as error:  # what image decoders raise
        what = f"an image does not decode ({first_line(error)})"
        return refused("undecodable_image", what, "replace the file or remove the row")
    if not images and chat.uses_suffix:
        return refused("no_image", "this model takes no text without an image", "use another model")
    try:
        rendered = chat.render(sample)
    except TextMismatch as error:
        return refused("text_mismatch", error.what, error.fix)
    except ModelError as error:  # the template takes other samples: those of the start-up checks
        return refused("unprocessable", error.what, "change or remove the row, or pass another template=")
    places = rendered.prompt.count(chat.image_token)
    if places != len(images):
        what = f"the chat template renders {places} of {len(images)} images"
        return refused("image_count", what, "pass a template= that takes several images per message")
    if not rendered.answer:
        return refused("empty_answer", "the chat template leaves no answer", "fill it in or remove the row")
    try:
        prompt, answer = encoder.text_ids([rendered.prompt, rendered.answer + rendered.end])
    except (TypeError, UnicodeError):  # what tokenizers raise
        return refused("bad_encoding", "its text holds half of a surrogate pair", "repair the row or remove it")
    same = (*(key for key, _ in pictures), "" if images else turns[0].question) if share else (object(),)
    return Item(sample, place, images, rendered, np.concatenate([prompt, answer]), len(answer), same)


def _problem(sample: Sample, code: str, what: str, fix: str) -> Problem:
    """A problem of a sample, at its file and row where these are known."""
    file, _, row = sample.place.rpartition(" row ")
    known = row.isdigit()
    return Problem(code, what, fix, file=file if known else sample.place, row=int(row) if known else 0, id=sample.id)
