"""What a dataset holds: rows (conversations), the samples they are scored as, and the problems found in them.

For everyone who takes rows or samples. It knows nothing of files and formats.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

from dataprophet.errors import require

if TYPE_CHECKING:
    from PIL.Image import Image

    from dataprophet.data.images.sources import ImageSource, LazyImages


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and its answer.

    ``image_offsets`` are the character offsets of ``question`` at which the turn's images stand, in order and
    non-decreasing. The question itself holds no image marker. An answer that is not ``scored`` is context only.
    """

    question: str
    answer: str
    image_offsets: tuple[int, ...] = ()
    scored: bool = True


@dataclass(frozen=True, slots=True)
class Sample:
    """One scored unit: a question about zero or more images, and its answer.

    Attributes:
        id: unique within its dataset. Row id, with ``#<turn>`` (from 1) behind it where a row has several turns.
        images: PIL images, decoded when they are read; those of the context come first.
        question: text of the last turn, without image markers.
        answer: the text whose perplexity is measured.
        context: earlier turns of the conversation.
        image_offsets: where the images of the last turn stand in ``question``; None puts all of them before it.
        place: file and row, for messages.
    """

    id: str
    images: Sequence[Image]
    question: str
    answer: str
    context: tuple[Turn, ...] = ()
    image_offsets: tuple[int, ...] | None = None
    place: str = ""

    def turns(self) -> tuple[Turn, ...]:
        """Context and last turn, each with the offsets of its own images."""
        offsets = self.image_offsets
        if offsets is None:
            used = sum(len(turn.image_offsets) for turn in self.context)
            offsets = (0,) * (len(self.images) - used)
        return (*self.context, Turn(self.question, self.answer, offsets))


@dataclass(frozen=True, slots=True)
class Conversation:
    """One row of a dataset file: its images, and one or more answered turns. The unit that a mixture is made of.

    Attributes:
        id: the row's own id as text, or ``<file stem>:<row>`` where it has none.
        sources: where each image's bytes are, in order of use.
        turns: answered turns; their image offsets add up to ``len(sources)``.
        file: name of the file, as given by the user or found in the folder.
        row: row of that file, counted from 1 (the line number in JSONL).
        extra: keys of the row that trainers read and samples do not show, such as ms-swift's ``objects``.
    """

    id: str
    sources: tuple[ImageSource, ...]
    turns: tuple[Turn, ...]
    file: str = ""
    row: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def place(self) -> str:
        return f"{self.file} row {self.row}" if self.file else ""

    def scored(self) -> list[int]:
        """Numbers, from 1, of the turns that give a sample."""
        return [number for number, turn in enumerate(self.turns, 1) if turn.scored]

    def samples(self) -> Iterator[Sample]:
        """One sample for each turn that is scored, the turns before it as its context."""
        used = 0
        for index, turn in enumerate(self.turns):
            used += len(turn.image_offsets)
            if not turn.scored:
                continue
            name = self.id if len(self.turns) == 1 else f"{self.id}#{index + 1}"
            images, context = _lazy_images()(self.sources[:used]) if used else (), self.turns[:index]
            yield Sample(name, images, turn.question, turn.answer, context, turn.image_offsets, self.place)


@cache
def _lazy_images() -> type[LazyImages]:
    """The class, which needs Arrow: a sample is had without it."""
    from dataprophet.data.images.sources import LazyImages

    return LazyImages


DUPLICATE = "duplicate_row"
"""Code of a row that is equal to an earlier one: it is left out, though nothing is wrong with it."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A row or sample that cannot be used: a stable code, what is wrong, and the fix.

    ``row`` counts from 1. ``id`` is the row's or the sample's id, where it is known.
    """

    code: str
    message: str
    fix: str
    file: str = ""
    row: int = 0
    id: str = ""

    def __str__(self) -> str:
        place = f"{self.file} row {self.row}" if self.row else self.file
        name = f" (id {self.id})" if self.id else ""
        return " ".join(f"{place}{name}: {self.message}; {self.fix}".split())


@dataclass
class ProblemLog:
    """Counts every problem by code and keeps the first ``keep`` of them, so that a report comes once, at the end."""

    keep: int = 20
    counts: Counter[str] = field(default_factory=Counter)
    first: list[Problem] = field(default_factory=list)

    def add(self, problem: Problem) -> None:
        self.counts[problem.code] += 1
        if len(self.first) < self.keep:
            self.first.append(problem)

    def __len__(self) -> int:
        return self.counts.total()

    def summary(self) -> str:
        """One line, such as ``3 left out: 1 empty_answer, 2 missing_image``; empty when there is nothing to say."""
        parts = ", ".join(f"{count} {code}" for code, count in sorted(self.counts.items()))
        return f"{len(self)} left out: {parts}" if len(self) else ""


@dataclass
class Tally:
    """How many rows of a dataset there are, and what they hold.

    Attributes:
        rows: rows read, good and bad.
        good: those of them that can be used; images are not decoded.
        with_images: good rows with an image or more.
        images: images of good rows.
        turns: turns of good rows that are scored, which are its samples.
    """

    rows: int = 0
    good: int = 0
    with_images: int = 0
    images: int = 0
    turns: int = 0

    def add(self, row: Conversation | Problem) -> None:
        """Count a row."""
        self.rows += 1
        if isinstance(row, Conversation):
            self.good += 1
            self.with_images += bool(row.sources)
            self.images += len(row.sources)
            self.turns += len(row.scored())

    def guesses(self, format: str) -> list[str]:
        """How rows of a dataset of that format are read that may be meant otherwise, a line for each kind."""
        if format != "webdataset" or not 0 < self.with_images < self.good:
            return []
        return [f"{self.good - self.with_images:,} of {self.good:,} keys have no image: read as text rows"]

    def __str__(self) -> str:
        return f"{self.rows:,} rows, {self.with_images:,} with images, {self.images:,} images, {self.turns:,} turns"


COUNTS = tuple(asdict(Tally()))
"""Names of what a ``Tally`` counts."""

MAX_BAD = 0.05
"""Share of bad rows from which on a dataset is refused unless more are allowed."""


def check_bad(counts: Mapping[str, int], rows: int, max_bad: float, where: str, kept: str = "") -> None:
    """Refuse a dataset of which more than a share of rows cannot be used.

    Args:
        counts: problems by code; duplicates are left out, and no problem.
        rows: all rows.
        max_bad: the share that is allowed, 0 to 1.
        where: the dataset.
        kept: where results lie that are not lost.

    Raises:
        DataError: there are more, or ``max_bad`` is no share.
    """
    require(0 <= max_bad <= 1, f"max_bad is {max_bad}", where, "use a share of 0 to 1")
    counted = {code: count for code, count in sorted(counts.items()) if code != DUPLICATE}
    bad, why = sum(counted.values()), ", ".join(f"{count:,} {code}" for code, count in counted.items())
    what = f"{bad:,} of {rows:,} rows cannot be used, more than {100 * max_bad:.3g}% ({why})"
    fix = "see `dataprophet validate`, or allow a larger share (max_bad=0.2)"
    require(bad <= max_bad * rows, what, where, f"{fix}; {kept}" if kept else fix)
