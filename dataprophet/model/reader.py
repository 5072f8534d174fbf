"""From samples to batches: bounded windows over the input, samples that share images grouped, pictures decoded once."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from dataprophet.data.images.decode import to_rgb
from dataprophet.data.images.sources import ImageSource, LazyImages, MemoryImage
from dataprophet.data.sample import Problem, Sample
from dataprophet.errors import DataError, DataProphetError, ModelError
from dataprophet.model.adapter import Adapter
from dataprophet.model.batching import Cost, plan
from dataprophet.model.chat import Rendered
from dataprophet.model.encode import Encoder
from dataprophet.model.prefetch import Workers, ahead
from dataprophet.model.processor import first_line
from dataprophet.model.rows import Batch, Row, assemble
from dataprophet.model.token_tree import common_prefix, sort_key
from dataprophet.model.tokens import Encoded

if TYPE_CHECKING:
    from PIL.Image import Image

WINDOW_SAMPLES = 1024
WINDOW_PIXELS = 1 << 26  # decoded by Pillow: 256 MiB
ROW_TOKENS = 1024  # a row takes no further sample beyond this, or twice its first: attention grows with the square
TEXT_ROW_TOKENS = 256
RECENT_PICTURES = 8

Key = tuple[object, ...]
T = TypeVar("T")


class CellEnd:
    """Stands among samples where a cell ends: no window goes beyond it."""


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
    """

    sample: Sample
    place: int
    images: list[Image]
    rendered: Rendered
    ids: NDArray[np.int64]
    answer_tokens: int
    group: Key


@dataclass(slots=True)
class Packed:
    """Rows to be computed together.

    Attributes:
        rows: the rows. Members are places in the window: of samples, or of texts.
        batch: the same as tensors.
        texts: whether they are texts to embed, rather than samples to score.
        budget: the bound on tokens that they were planned under.
    """

    rows: list[Row]
    batch: Batch
    texts: bool
    budget: int

    @classmethod
    def of(cls, rows: list[Row], image_token_id: int, *, texts: bool, budget: int) -> Packed:
        return cls(rows, assemble(rows, image_token_id, content=texts), texts, budget)

    def halves(self, image_token_id: int, budget: int) -> list[Packed]:
        """The same in two parts, each with half of the rows or, of a single row, half of its members."""
        middle = len(self.rows) // 2
        parts = [self.rows[:middle], self.rows[middle:]] if middle else [[half] for half in self.rows[0].halves()]
        return [Packed.of(part, image_token_id, texts=self.texts, budget=budget) for part in parts]


@dataclass(slots=True)
class Refused:
    """A sample that cannot be used: its place in the cell, and why."""

    place: int
    problem: Problem


@dataclass(slots=True)
class WindowEnd:
    """All batches of a window have gone out.

    Attributes:
        items: its usable samples, in order of the input; those refused since then were never in a batch.
        texts: the texts of its text batches.
        taken: how many samples it took from the input.
        ends_cell: whether a cell ends with it.
    """

    items: list[Item]
    texts: list[str]
    taken: int
    ends_cell: bool


Work = Refused | Packed | WindowEnd


@dataclass(slots=True)
class Window:
    """Samples that were read and decoded, and what to do with them.

    Attributes:
        items: the usable ones, in order of the input.
        refused: the others.
        batches: of each batch the bundles, of each bundle the rows, of each row the places of its samples.
        texts: tokens of their questions and answers.
        budget: the bound on tokens that they were planned under.
        ends_cell: whether a cell ends with it.
    """

    items: list[Item]
    refused: list[Refused]
    batches: list[list[list[list[int]]]]
    texts: dict[str, Encoded]
    budget: int
    ends_cell: bool


class Reader:
    """Reads samples a window at a time and makes the batches of each window. All of it happens on the CPU.

    Args:
        adapter: what the batches are for.
        encoder: the model's encoder.
        share: put samples that begin alike into one row where the model allows it, and each image through the vision
            tower once.
        max_tokens: longest sample that the model takes.
        max_answer_tokens: bound on the answer tokens of a batch; None without.
    """

    def __init__(
        self, adapter: Adapter, encoder: Encoder, *, share: bool, max_tokens: int, max_answer_tokens: int | None
    ) -> None:
        self._adapter, self._encoder = adapter, encoder
        self.share = share
        self._place_id = int(encoder.tokenizer.convert_tokens_to_ids(encoder.chat.image_token))
        self.max_tokens, self.max_answer_tokens = max_tokens, max_answer_tokens

    def work(
        self, samples: Iterable[Sample | CellEnd], batch_tokens: Callable[[], int], workers: Workers, *, texts: bool
    ) -> Iterator[Work]:
        """Everything to be done for samples, in order: refusals and batches, and behind each window its end.

        With workers, the next windows are read, decoded and planned while the batches of one are made.

        Args:
            samples: read once. What stands between two cell ends depends on nothing outside of them.
            batch_tokens: bound on the padded tokens of a batch, asked when a window has been read.
            workers: decode pictures and encode samples.
            texts: whether questions and answers are embedded.
        """
        planned = (
            self._planned(items, ends_cell, batch_tokens(), texts=texts)
            for items, ends_cell in self._windows(samples, workers)
        )
        # Two, as the last window of a cell may be small.
        with ahead(planned, 2 if workers.count else 0) as windows:
            for window in windows:
                yield from window.refused
                refused: set[int] = set()
                yield from self._score_batches(window, workers, refused)
                unique: list[str] = []
                if texts:
                    kept = [item.sample for place, item in enumerate(window.items) if place not in refused]
                    unique = _unique_texts(kept)
                    yield from self._text_batches([window.texts[text] for text in unique], window.budget)
                taken = len(window.items) + len(window.refused)
                yield WindowEnd(window.items, unique, taken, window.ends_cell)

    def _windows(
        self, samples: Iterable[Sample | CellEnd], workers: Workers
    ) -> Iterator[tuple[list[Item | Refused], bool]]:
        """Samples prepared or found wanting, in windows, each with whether a cell ends there."""
        items: list[Item | Refused] = []
        place, pixels, pictures = 0, 0, set[int]()
        for sample, decoded in self._decoded(samples, workers):
            if isinstance(sample, CellEnd):
                yield items, True
                items, place, pixels, pictures = [], 0, 0, set()
                continue
            if len(items) >= WINDOW_SAMPLES or pixels >= WINDOW_PIXELS:  # not before, or a cell's end would stand alone
                yield items, False
                items, pixels, pictures = [], 0, set()
            found = self._prepare(sample, place, decoded)
            items.append(found if isinstance(found, Item) else Refused(place, found))
            place += 1
            if isinstance(found, Item):
                for image in found.images:
                    if id(image) not in pictures:
                        pictures.add(id(image))
                        pixels += image.width * image.height
        if items:
            yield items, False

    def _decoded(
        self, samples: Iterable[Sample | CellEnd], workers: Workers
    ) -> Iterator[tuple[Sample | CellEnd, list[Future[list[Image]]]]]:
        """Samples with their pictures, decoded a few ahead; a picture that comes again soon is decoded once."""
        depth = 4 * workers.count
        waiting: deque[tuple[Sample | CellEnd, list[Future[list[Image]]]]] = deque()
        # With the samples, so that no picture is freed and its identity used again. Of one size for any number of
        # workers, since the pixels of a window are counted by picture.
        recent: dict[object, tuple[Sample, Future[list[Image]]]] = {}
        for sample in samples:
            futures = []
            for key, load, picture, alone in () if isinstance(sample, CellEnd) else _pictures(sample):
                if key in recent:
                    first, future = recent.pop(key)
                else:
                    first, future = cast(Sample, sample), (Workers(0) if alone else workers).submit(load, picture)
                recent[key] = (first, future)  # the last one used stands last
                if len(recent) > RECENT_PICTURES:
                    recent.pop(next(iter(recent)))
                futures.append(future)
            waiting.append((sample, futures))
            if len(waiting) > depth:
                yield waiting.popleft()
        yield from waiting

    def _prepare(self, sample: Sample, place: int, decoded: Sequence[Future[list[Image]]]) -> Item | Problem:
        """A sample rendered, or why it cannot be used."""
        if not sample.answer.strip():
            return _problem(sample, "empty_answer", "the answer is empty", "fill it in or remove the row")
        turns = sample.turns()
        expected = sum(len(turn.image_offsets) for turn in turns)
        if expected != len(sample.images):
            what = f"{len(sample.images)} images for {expected} places in the text"
            return _problem(sample, "image_count", what, "give one image for each place")
        try:
            images = [image for future in decoded for image in future.result()]
        except (OSError, ValueError, SyntaxError, MemoryError) as error:  # what image decoders raise
            return _undecodable(sample, error)
        chat = self._encoder.chat
        if not images and chat.uses_suffix:
            return _problem(sample, "no_image", "this model takes no text without an image", "use another model")
        try:
            rendered = chat.render(sample)
        except ModelError as error:  # the template takes other samples: those of the start-up checks
            return _problem(sample, "unprocessable", error.what, "change or remove the row, or pass another template=")
        places = rendered.prompt.count(chat.image_token)
        if places != len(images):
            what = f"the chat template renders {places} of {len(images)} images"
            return _problem(sample, "image_count", what, "pass a template= that takes several images per message")
        if not rendered.answer:
            return _problem(
                sample, "empty_answer", "the chat template leaves no answer", "fill it in or remove the row"
            )
        prompt, answer = self._encoder.text_ids([rendered.prompt, rendered.answer + rendered.end])
        group: Key = (_identity(sample), "" if images else turns[0].question) if self.share else (object(),)
        return Item(sample, place, images, rendered, np.concatenate([prompt, answer]), len(answer), group)

    def _planned(self, found: Sequence[Item | Refused], ends_cell: bool, budget: int, *, texts: bool) -> Window:
        """A window with all that can be done before its batches are made."""
        items = [item for item in found if isinstance(item, Item)]
        bundles = [part for group in _groups(items) for part in self._bundles(items, group, budget)]
        batches = plan([cost for _, cost in bundles], max_tokens=budget, max_answer_tokens=self.max_answer_tokens)
        unique = _unique_texts([item.sample for item in items]) if texts else []
        encoded = self._encoder.texts([self._encoder.chat.text(text) for text in unique]) if unique else []
        return Window(
            items,
            [item for item in found if isinstance(item, Refused)],
            [[bundles[number][0] for number in chosen] for chosen in batches],
            dict(zip(unique, encoded, strict=True)),
            budget,
            ends_cell,
        )

    def _score_batches(self, window: Window, workers: Workers, refused: set[int]) -> Iterator[Refused | Packed]:
        items = window.items

        def started() -> Iterator[list[Future[tuple[list[Row], dict[int, Problem]]]]]:
            for bundles in window.batches:
                yield [workers.submit(self._rows, items, bundle) for bundle in bundles]

        for futures in _one_ahead(started(), workers.count > 0):
            rows: list[Row] = []
            for future in futures:
                found, problems = future.result()
                for place, problem in problems.items():
                    refused.add(place)
                    yield Refused(items[place].place, problem)
                rows += found
            if rows:
                yield self._ready(Packed.of(rows, self._adapter.image_token_id, texts=False, budget=window.budget))

    def _bundles(
        self, items: Sequence[Item], group: list[int], batch_tokens: int
    ) -> Iterator[tuple[list[list[int]], Cost]]:
        """The samples of a group as rows, those with the same pictures together as long as the budget allows it."""
        images = sum(self._encoder.image_tokens(image) for image in items[group[0]].images)
        has_images = bool(items[group[0]].images)
        rows = []
        if self._adapter.branches:
            rows = _packed([items[index].ids for index in group], images, ROW_TOKENS, batch_tokens, self._place_id)
        else:
            rows = [([place], len(items[index].ids) + images) for place, index in enumerate(group)]
        answers = [sum(items[group[place]].answer_tokens for place in places) for places, _ in rows]
        bundle: list[list[int]] = []
        cost = Cost(0, 0, 0, has_images)
        for (places, tokens), count in zip(rows, answers, strict=True):
            larger = Cost(max(cost.tokens, tokens), cost.rows + 1, cost.answer_tokens + count, has_images)
            full = larger.tokens * larger.rows > batch_tokens or (
                self.max_answer_tokens is not None and larger.answer_tokens > self.max_answer_tokens
            )
            if bundle and full:
                yield bundle, cost
                bundle, larger = [], Cost(tokens, 1, count, has_images)
            bundle.append([group[place] for place in places])
            cost = larger
        yield bundle, cost

    def _rows(self, items: Sequence[Item], bundle: list[list[int]]) -> tuple[list[Row], dict[int, Problem]]:
        """Encodes rows with the same pictures; samples that are refused or too long are left out."""
        members = [index for row in bundle for index in row]
        encoded, images = self._encoder.group(
            [items[index].rendered for index in members], items[members[0]].images, self._adapter.image_token_id
        )
        for index in members:
            items[index].images = []  # pixels of the whole window would stay in memory until it ends
        kept: dict[int, Encoded] = {}
        problems: dict[int, Problem] = {}
        for index, result in zip(members, encoded, strict=True):
            sample = items[index].sample
            if isinstance(result, Exception):
                what = f"the model's processor refuses it ({first_line(result)})"
                problems[index] = _problem(sample, "unprocessable", what, "replace the image or remove the row")
            elif len(result) > self.max_tokens:
                what = f"it takes {len(result)} tokens, the model at most {self.max_tokens}"
                problems[index] = _problem(sample, "too_long", what, "shorten it or use a model with more context")
            elif result.mask[0]:
                what = "no token stands before its answer, to predict its first one"
                problems[index] = _problem(sample, "unprocessable", what, "give a question, or a template with a start")
            else:
                self._adapter.place(result, images)
                kept[index] = result
        left = [[index for index in row if index in kept] for row in bundle]
        return [Row.pack(row, [kept[index] for index in row], images) for row in left if row], problems

    def _text_batches(self, encoded: Sequence[Encoded], batch_tokens: int) -> Iterator[Packed]:
        if not encoded:
            return
        if self.share and self._adapter.branches:
            rows = _packed([item.ids for item in encoded], 0, TEXT_ROW_TOKENS, batch_tokens)
        else:
            rows = [([place], len(item)) for place, item in enumerate(encoded)]
        for chosen in plan([Cost(tokens) for _, tokens in rows], max_tokens=batch_tokens):
            packed = [Row.pack(rows[number][0], [encoded[place] for place in rows[number][0]]) for number in chosen]
            yield self._ready(Packed.of(packed, self._adapter.image_token_id, texts=True, budget=batch_tokens))

    def _ready(self, packed: Packed) -> Packed:
        """In pinned memory where it goes to a CUDA device, which then copies it while it computes."""
        if self._adapter.device.type == "cuda":
            packed.batch = packed.batch.tensors(lambda value: value.pin_memory())
        return packed


def _packed(
    ids: Sequence[NDArray[np.int64]], images: int, row_tokens: int, batch_tokens: int, place_id: int = -1
) -> list[tuple[list[int], int]]:
    """Splits sequences into rows of a limited number of tree nodes.

    Args:
        ids: token ids.
        images: further tokens that each sequence has at its image places.
        row_tokens: most nodes of a row, where twice its first sequence is not more.
        batch_tokens: half of the most nodes of a row of several sequences: better one row beyond the budget than a
            large image twice.
        place_id: the token that stands for an image.

    Returns:
        For each row its sequences, by place, and its number of nodes.
    """
    rows: list[tuple[list[int], int]] = []
    bound = 0
    for place in sorted(range(len(ids)), key=lambda place: sort_key(ids[place])):
        whole = len(ids[place]) + images
        if rows:
            row, tokens = rows[-1]
            common = common_prefix(ids[row[-1]], ids[place])
            places = ids[place] == place_id
            behind = int(places[common:].sum())  # images that the row must hold once more
            fresh = len(ids[place]) - common + images * behind // max(1, int(places.sum()))
            if tokens + fresh <= bound:
                rows[-1] = ([*row, place], tokens + fresh)
                continue
        rows.append(([place], whole))
        bound = min(max(row_tokens, 2 * whole), 2 * batch_tokens)
    return rows


def _one_ahead(source: Iterator[T], ahead: bool) -> Iterator[T]:
    """The same, with the next one taken before this one is given out."""
    waiting = deque(itertools.islice(source, int(ahead)))
    for item in source:
        waiting.append(item)
        yield waiting.popleft()
    yield from waiting


def _groups(items: Sequence[Item]) -> list[list[int]]:
    """Places of items of the same group, groups in order of their first item."""
    groups: dict[Key, list[int]] = {}
    for index, item in enumerate(items):
        groups.setdefault(item.group, []).append(index)
    return list(groups.values())


def _unique_texts(samples: Iterable[Sample]) -> list[str]:
    return sorted({text for sample in samples for text in (sample.question, sample.answer) if text.strip()})


def _identity(sample: Sample) -> Key:
    """Equal for samples whose pictures come from the same places."""
    if isinstance(sample.images, LazyImages):
        return tuple(id(s.image) if isinstance(s, MemoryImage) else s for s in sample.images.sources)
    return tuple(id(image) for image in sample.images) if isinstance(sample.images, list | tuple) else (id(sample),)


def _pictures(sample: Sample) -> Iterator[tuple[object, Callable[[Any], list[Image]], Any, bool]]:
    """For each picture its identity, how it is loaded and from what, and whether only by the reading thread.

    A PIL image that a caller holds may stand in several samples, and must not be decoded by two threads at once.
    """
    if isinstance(sample.images, LazyImages):
        for source in sample.images.sources:
            if isinstance(source, MemoryImage):
                yield id(source.image), _loaded, source, True
            else:
                yield source, _loaded, source, False
    elif isinstance(sample.images, list | tuple):
        for image in sample.images:
            yield id(image), _decoded_image, image, True
    else:
        yield id(sample), _all_images, sample, True


def _loaded(source: ImageSource) -> list[Image]:
    return [source.load()]


def _decoded_image(image: Image) -> list[Image]:
    return [_rgb(image)]


def _all_images(sample: Sample) -> list[Image]:
    return [_rgb(image) for image in sample.images]


def _rgb(image: Image) -> Image:
    if not hasattr(image, "load"):
        raise DataError(f"an image is a {type(image).__name__}", fix="give PIL images, such as Image.fromarray(pixels)")
    image.load()
    return image if image.mode == "RGB" else to_rgb(image)


def _undecodable(sample: Sample, error: Exception) -> Problem:
    if isinstance(error, DataProphetError):
        what = f"{error.where}: {error.what}" if error.where else error.what
        return _problem(sample, "undecodable_image", what, error.fix or "replace the file or remove the row")
    what = f"an image does not decode ({first_line(error)})"
    return _problem(sample, "undecodable_image", what, "replace the file or remove the row")


def _problem(sample: Sample, code: str, message: str, fix: str) -> Problem:
    file, _, row = sample.place.rpartition(" row ")
    known = row.isdigit()
    return Problem(code, message, fix, file=file if known else sample.place, row=int(row) if known else 0, id=sample.id)
