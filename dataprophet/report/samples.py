"""Samples as the page shows them: texts, a thumbnail, and the probability of each token of the answer where asked for.

Data is opened again as its identity says, and only where it is what it was: what lies elsewhere now, or has changed, is
told and not shown.
"""

from __future__ import annotations

import base64
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from dataprophet.data import Dataset, open_dataset
from dataprophet.data.identity.compare import PERMISSIONS, Identity
from dataprophet.data.sample import Conversation, Problem, Sample, Tally
from dataprophet.errors import DataError, DataProphetError, MissingDependencyError
from dataprophet.profiling.sketch import hash_ids
from dataprophet.report.palette import STEPS
from dataprophet.report.values import number, shortened

if TYPE_CHECKING:
    from dataprophet.model import Model

MOST_ROWS = 50_000
"""Rows of a dataset that are read for its examples."""

_SIDE, _QUALITY = 160, 72  # pixels, and WebP's quality
_THUMBNAIL_BYTES = 7_000_000  # of all of them: the page is to stay below 15 MB
_LEAST_LOG = np.log(1e-4)  # tokens that are less likely have the darkest colour
_SHOWN_PROBLEMS = 4
_BATCH = 1_000


@dataclass
class Shown:
    """A sample, or a row that gave none, as a card of the page.

    Attributes:
        tag: what stands above it.
        id: of the sample, or of the row.
        place: file and row.
        question, answer: shortened.
        context: earlier turns.
        thumbnail: data URI of the first image; empty without.
        no_image: why there is none.
        problem: why a row was left out.
        tokens: text, step of colour and probability of each token of the answer.
        sample: what the model is to see.
    """

    tag: str
    id: str
    place: str = ""
    question: str = ""
    answer: str = ""
    context: int = 0
    thumbnail: str = ""
    no_image: str = ""
    problem: str = ""
    tokens: list[tuple[str, int, str]] = field(default_factory=list)
    sample: Sample | None = None


class Gallery:
    """Makes cards, and thumbnails as long as there is room for them.

    Args:
        model: gives the probabilities of tokens; None for plain answers.
    """

    def __init__(self, model: Model | None = None) -> None:
        self._model, self._room = model, _THUMBNAIL_BYTES

    @property
    def model(self) -> str:
        """Name of the model; empty without."""
        return self._model.name if self._model is not None else ""

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the model; empty without."""
        return self._model.fingerprint if self._model is not None else ""

    @property
    def full(self) -> bool:
        """Whether thumbnails have been left out."""
        return self._room < 0

    def card(self, sample: Sample, tag: str) -> Shown:
        """A card of a sample."""
        question, answer = shortened(sample.question), shortened(sample.answer)
        place = os.path.basename(sample.place)  # a page that is passed on tells no folders
        card = Shown(tag, sample.id, place, question, answer, len(sample.context), sample=sample)
        images = len(sample.images)
        if not images:
            card.no_image = "without an image"
            return card
        if images > 1:
            card.tag += f"{' · ' * bool(tag)}first of {images} images"
        if self._room < 0:
            card.no_image = "no room for its image"
            return card
        try:
            card.thumbnail = _thumbnail(sample.images[0])
        except MissingDependencyError:
            card.no_image = "its image is not shown: Pillow is not installed"
        except DataError as error:
            card.no_image = f"its image is not shown: {error.what}"
        self._room -= len(card.thumbnail)
        return card

    def row(self, row: Conversation, tag: str) -> Shown | None:
        """A card of the first sample of a row."""
        sample = next(row.samples(), None)
        return None if sample is None else self.card(sample, tag)

    def problem(self, row: Problem, tag: str) -> Shown:
        """A card of a row that gave no sample."""
        place = f"{os.path.basename(row.file)} row {row.row}" if row.file else ""
        return Shown(tag, row.id or f"row {row.row}", place, problem=shortened(f"{row.message}; {row.fix}"))

    def colour(self, cards: Iterable[Shown]) -> None:
        """Give the answers of cards the probabilities of their tokens, where there is a model."""
        if self._model is None:
            return
        for card in cards:
            if card.sample is None or len(card.sample.answer) != len(card.answer):
                continue
            try:
                tokens = self._model.token_logprobs(card.sample)
            except DataProphetError:  # such as an image that does not decode: the card says so
                continue
            card.tokens = [(text, _step(log), number(float(np.exp(log)))) for text, log in tokens]


def _step(log: float) -> int:
    """Step of colour of a token: 0 for one that is sure, 8 for one in ten thousand or less."""
    return int(min(STEPS - 1, max(0.0, log / _LEAST_LOG) * STEPS))


def _thumbnail(image: Any) -> str:
    small = image.copy()
    small.thumbnail((_SIDE, _SIDE))
    stream = BytesIO()
    small.save(stream, "WEBP", quality=_QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(stream.getvalue()).decode()}"


def reopened(name: str, identities: Sequence[Identity]) -> Dataset:
    """A dataset that was profiled, opened as it was then.

    Raises:
        DataProphetError: it is not known, not there, or not what it was; the error says why in one line.
    """
    if len(identities) != 1:
        what = "was made of several datasets" if identities else "does not tell what it was made of"
        raise DataError(what, where=name)
    identity = identities[0]
    if identity.kind != "samples":
        raise DataError("was made of features, which hold no samples", where=name)
    if lifted := sorted(PERMISSIONS & identity.reading.keys()):
        raise DataError(f"was read with {', '.join(lifted)}, which a report does not repeat", where=name)
    dataset = open_dataset(**identity.arguments({}, name), name=name)
    identity.require_files(dataset, name, {})
    return dataset


@dataclass
class Look:
    """What one pass over a dataset found.

    Attributes:
        tally: what its rows hold.
        problems: code -> rows that cannot be used.
        first: cards of the first of them.
        guesses, warnings: of the readers.
        whole: whether all rows were read.
    """

    tally: Tally = field(default_factory=Tally)
    problems: Counter[str] = field(default_factory=Counter)
    first: list[Shown] = field(default_factory=list)
    guesses: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    whole: bool = True


def look_through(
    dataset: Dataset, gallery: Gallery, rows: Mapping[str, Callable[[Conversation], None]], samples: Callable[..., None]
) -> Look:
    """Read the first rows of a dataset once.

    Args:
        dataset: what is read.
        gallery: makes the cards.
        rows: id of a row -> called with it.
        samples: called with a list of samples and the (n,) uint64 hashes of their ids, batch by batch.
    """
    found, waiting = Look(), list[Sample]()
    for row in dataset.rows():
        if found.tally.rows == MOST_ROWS:
            found.whole = False
            break
        found.tally.add(row)
        if isinstance(row, Problem):
            found.problems[row.code] += 1
            if len(found.first) < _SHOWN_PROBLEMS:
                found.first.append(gallery.problem(row, f"{dataset.name} · {row.code}"))
            continue
        if row.id in rows:
            rows[row.id](row)
        waiting += row.samples()
        if len(waiting) >= _BATCH:
            samples(waiting, hash_ids([sample.id for sample in waiting]))
            waiting = []
    if waiting:
        samples(waiting, hash_ids([sample.id for sample in waiting]))
    told = dataset.told()
    found.guesses, found.warnings = told.guesses, told.warnings
    return found
