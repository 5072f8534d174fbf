"""Reads samples a window at a time: pictures decoded once, chats rendered, a reason for each sample left out.

Batching takes the windows. Nothing here knows batches, budgets or the device.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from dataprophet.data.images.decode import to_rgb
from dataprophet.data.images.sources import ImageSource, LazyImages, MemoryImage
from dataprophet.data.sample import Problem, Sample
from dataprophet.errors import DataError, DataProphetError, ModelError, first_line
from dataprophet.model.chat import Rendered, TextMismatch
from dataprophet.model.encode import Encoder
from dataprophet.model.memory import Budget
from dataprophet.model.prefetch import Room, Workers

if TYPE_CHECKING:
    from PIL.Image import Image

WINDOW_SAMPLES = 1024
WINDOW_PIXELS = 1 << 26  # decoded by Pillow: 256 MiB
WINDOW_LETTERS = 1 << 24
RECENT_PICTURES = 8
LETTERS_OF_TOKEN = 8  # where a text has fewer for each token that the model takes, all of it is tokenised at once
_UNENCODABLE = TypeError, UnicodeError  # what tokenizers raise
_BAD_ENCODING = "bad_encoding", "its text holds half of a surrogate pair", "repair the row or remove it"
MORE = "give memory=16G or more, and try it again; or remove the row"


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
        pictures: of the items, while it is being filled.
        pixels: of the pictures.
        letters: characters of the items.
    """

    items: list[Item] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    ends_cell: bool = False
    texts: list[str] = field(default_factory=list)
    pictures: dict[object, list[Image]] = field(default_factory=dict)
    pixels: int = 0
    letters: int = 0

    @property
    def taken(self) -> int:
        """How many samples it took from the input."""
        return len(self.items) + len(self.refused)

    @property
    def full(self) -> bool:
        """Whether it has no room for another sample."""
        counts = (self.taken, WINDOW_SAMPLES), (self.pixels, WINDOW_PIXELS), (self.letters, WINDOW_LETTERS)
        return any(count >= most for count, most in counts)

    def hold(self, pictures: Mapping[object, list[Image]]) -> None:
        """Keep pictures for the samples to come, and count those that are new."""
        self.pixels += sum(_pixels(images) for key, images in pictures.items() if key not in self.pictures)
        self.pictures.update(pictures)

    def closed(self) -> Window:
        """It, without the pictures, which go as the items are encoded."""
        self.pictures.clear()
        return self


Pictures = list[tuple[object, object, "Future[list[Image]]"]]  # of each the identity, the place, what it decodes to


def with_cell_ends(cells: Iterable[Iterable[Sample]]) -> Iterator[Sample | CellEnd]:
    """The samples of all cells, and behind those of each its end."""
    for cell in cells:
        yield from cell
        yield CellEnd()


def read_windows(
    samples: Iterable[Sample | CellEnd],
    encoder: Encoder,
    workers: Workers,
    *,
    share: bool,
    max_tokens: int,
    budget: Budget,
) -> Generator[Window]:
    """Samples in windows of bounded number and size.

    Args:
        samples: read once. What stands between two cell ends depends on nothing outside of them.
        encoder: the model's encoder.
        workers: decode pictures.
        share: whether samples that begin alike are of one group.
        max_tokens: longest sample that the model takes.
        budget: of memory.
    """
    limits: Any = {"share": share, "max_tokens": max_tokens, "budget": budget}
    window, place = Window(), 0
    with closing(_decoded(samples, workers, budget)) as decoded:
        for sample, pictures in decoded:
            if isinstance(sample, CellEnd):
                window.ends_cell = True
                yield window.closed()
                window, place = Window(), 0
                continue
            if window.full:  # not before, or a cell's end would stand alone
                yield window.closed()
                window = Window()
            found = _prepare(sample, place, pictures, window, encoder, **limits)
            place += 1
            if isinstance(found, Refused):
                window.refused.append(found)
            else:
                window.items.append(found)
                window.letters += len(found.rendered.text)
    if window.taken:
        yield window.closed()


def _decoded(
    samples: Iterable[Sample | CellEnd], workers: Workers, budget: Budget
) -> Generator[tuple[Sample | CellEnd, Pictures]]:
    """Samples with their pictures, decoded a few ahead; a picture that comes again soon is decoded once."""
    waiting: deque[tuple[int, Sample | CellEnd, Pictures]] = deque()
    # With the samples, so that no picture is freed and its identity used again.
    recent: dict[object, tuple[Sample, Future[list[Image]]]] = {}
    sizes: dict[object, int] = {}  # pixels of those that are decoded
    here, room = Workers(0), Room(budget.ahead_pixels)
    for number, sample in enumerate(samples):
        pictures: Pictures = []
        limit = _limited(budget.sample_pixels, partial(room.take, number) if workers.count else None)
        for key, picture in () if isinstance(sample, CellEnd) else _pictures(sample):
            # What a caller holds may stand in several samples, and must not be decoded by two threads at once.
            pool = workers if isinstance(picture, ImageSource) and picture is key else here
            if key in recent:
                recent[key] = recent.pop(key)  # the last one used stands last
            else:
                future = pool.submit(_load, picture, partial(_note, sizes, key, limit))
                recent[key] = cast(Sample, sample), future
            pictures.append((key, picture, recent[key][1]))
            while len(recent) > RECENT_PICTURES or sum(map(sizes.get, recent, repeat(0))) > budget.recent_pixels:
                sizes.pop(oldest := next(iter(recent)), None)
                recent.pop(oldest)
        waiting.append((number, sample, pictures))
        while len(waiting) > 4 * workers.count or (waiting and room.scarce):
            first, taken, decoded = waiting.popleft()
            yield taken, decoded
            room.leave(first)
    for _, taken, decoded in waiting:
        yield taken, decoded


def _note(sizes: dict[object, int], key: object, limit: Callable[[int], None], pixels: int) -> None:
    sizes[key] = pixels
    limit(pixels)


def _limited(most: int, take: Callable[[int], bool] | None = None) -> Callable[[int], None]:
    """What is told the pixels of each picture of a sample before it is decoded; raises _TooLarge."""
    seen: list[int] = []

    def limit(pixels: int) -> None:
        seen.append(pixels)
        if sum(seen) > most or (take is not None and not take(pixels)):
            raise _TooLarge

    return limit


class _TooLarge(Exception):
    """The pictures of a sample have more pixels than it may have, or than there is room for ahead of it."""


def _pictures(sample: Sample) -> list[tuple[object, object]]:
    """For each picture its identity, equal where the pictures come from the same place, and what it is loaded from."""
    if isinstance(sample.images, LazyImages):
        return [(id(s.image) if isinstance(s, MemoryImage) else s, s) for s in sample.images.sources]
    if isinstance(sample.images, list | tuple):
        return [(id(image), image) for image in sample.images]
    return [(id(sample), sample)]  # a sequence of the caller's own: all of it at once


def _load(picture: object, sized: Callable[[int], None]) -> list[Image]:
    if isinstance(picture, Sample):
        return [_rgb(image) for image in picture.images]
    return [picture.load(sized) if isinstance(picture, ImageSource) else _rgb(picture)]


def _images(pictures: Pictures, window: Window, most: int) -> dict[object, list[Image]]:
    """The pictures of a sample, those that the window has and others. Raises _TooLarge."""
    found: dict[object, list[Image]] = {}
    limit = _limited(most)
    for key, picture, future in pictures:
        if key in found:
            continue
        if key in window.pictures:
            found[key] = window.pictures[key]
        else:
            try:
                found[key] = future.result()
            except _TooLarge:  # perhaps ahead of the sample only, or of another one that has it
                found[key] = _load(picture, limit)
                continue
        limit(_pixels(found[key]))
    return found


def _pixels(images: Iterable[Image]) -> int:
    return sum(image.width * image.height for image in images)


def _rgb(image: Any) -> Image:
    if not hasattr(image, "load"):
        raise DataError(f"an image is a {type(image).__name__}", fix="give PIL images, such as Image.fromarray(pixels)")
    image.load()
    made_here = image.mode == "RGB" and image.format is None and not image.info  # nothing says that it lies on its side
    return image if made_here else to_rgb(image)


def _prepare(
    sample: Sample,
    place: int,
    pictures: Pictures,
    window: Window,
    encoder: Encoder,
    *,
    share: bool,
    max_tokens: int,
    budget: Budget,
) -> Item | Refused:
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
    texts = [text for turn in turns for text in (turn.question, turn.answer)]
    letters = sum(map(len, texts))
    try:
        too_long = letters > LETTERS_OF_TOKEN * max_tokens and encoder.takes_more(texts, max_tokens)
    except _UNENCODABLE:
        return refused(*_BAD_ENCODING)
    if too_long:
        what = f"it takes more than {max_tokens} tokens, the most that the model takes"
        return refused("too_long", what, "shorten it or use a model with more context")
    if letters > budget.letters:
        return refused("out_of_memory", f"its {letters} characters do not fit into the memory of a worker", MORE)
    try:
        found = _images(pictures, window, budget.sample_pixels)
    except _TooLarge:
        what = f"its pictures have more than {budget.sample_pixels} pixels, too many for the memory of a worker"
        return refused("out_of_memory", what, MORE)
    except DataProphetError as error:
        what = f"{error.where}: {error.what}" if error.where else error.what
        return refused("undecodable_image", what, error.fix or "replace the file or remove the row")
    except (OSError, ValueError, SyntaxError, MemoryError) as error:  # what image decoders raise
        what = f"an image does not decode ({first_line(error)})"
        return refused("undecodable_image", what, "replace the file or remove the row")
    images = [image for key, _, _ in pictures for image in found[key]]
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
    except _UNENCODABLE:
        return refused(*_BAD_ENCODING)
    same = (*(key for key, _, _ in pictures), "" if images else turns[0].question) if share else (object(),)
    window.hold(found)
    return Item(sample, place, images, rendered, np.concatenate([prompt, answer]), len(answer), same)


def _problem(sample: Sample, code: str, what: str, fix: str) -> Problem:
    """A problem of a sample, at its file and row where these are known."""
    file, _, row = sample.place.rpartition(" row ")
    known = row.isdigit()
    return Problem(code, what, fix, file=file if known else sample.place, row=int(row) if known else 0, id=sample.id)
