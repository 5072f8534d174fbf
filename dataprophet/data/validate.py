"""Every bad row of a dataset, found before any model runs."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from dataprophet.data.dataset import Dataset
from dataprophet.data.images.sources import BytesImage, CellImage, ImageSource
from dataprophet.data.sample import Conversation, Problem
from dataprophet.errors import DataError

_THREADS = 8
_AHEAD = 4 * _THREADS


@dataclass
class ValidationReport:
    """What ``validate`` found.

    Attributes:
        name: the dataset's name.
        format: its format.
        rows: rows read, good and bad.
        good: rows that can be used.
        samples: samples in the good rows, one for each answered turn.
        images: images in the good rows.
        problems: one or more for each bad row, in file order.
        counts: problems by code.
    """

    name: str
    format: str
    rows: int = 0
    good: int = 0
    samples: int = 0
    images: int = 0
    problems: list[Problem] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def ok(self) -> bool:
        """Whether every row is good and there is at least one."""
        return self.good > 0 and not self.problems

    def to_json(self) -> dict[str, Any]:
        """The report as plain values."""
        return {
            "name": self.name,
            "format": self.format,
            "rows": self.rows,
            "good": self.good,
            "samples": self.samples,
            "images": self.images,
            "counts": dict(sorted(self.counts.items())),
            "problems": [asdict(problem) for problem in self.problems],
        }


def validate(
    dataset: Dataset, *, decode: bool = True, progress: Callable[[int], Any] | None = None
) -> ValidationReport:
    """Read every row and, unless ``decode`` is off, decode every image; ``progress`` is called with the rows done.

    Raises:
        DataError: a file as a whole cannot be read.
        MissingDependencyError: ``decode`` without Pillow.
    """
    report = ValidationReport(dataset.name, dataset.format)
    for row, broken in _decoded(dataset) if decode else ((row, []) for row in dataset.rows()):
        report.rows += 1
        if progress is not None:
            progress(report.rows)
        found = [row] if isinstance(row, Problem) else broken
        for problem in found:
            report.problems.append(problem)
            report.counts[problem.code] += 1
        if isinstance(row, Conversation) and not found:
            report.good += 1
            report.samples += len(row.turns)
            report.images += len(row.sources)
    return report


def _decoded(dataset: Dataset) -> Iterator[tuple[Conversation | Problem, list[Problem]]]:
    """Rows in order with the problems of their images; a few rows are decoded ahead, on threads."""
    waiting: deque[tuple[Conversation | Problem, Future[list[Problem]] | None]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        for row in dataset.rows():
            if isinstance(row, Conversation):
                waiting.append((row, pool.submit(_broken_images, row, [_in_order(source) for source in row.sources])))
            else:
                waiting.append((row, None))
            if len(waiting) > _AHEAD:
                yield _finished(waiting)
        while waiting:
            yield _finished(waiting)


def _finished(
    waiting: deque[tuple[Conversation | Problem, Future[list[Problem]] | None]],
) -> tuple[Conversation | Problem, list[Problem]]:
    row, future = waiting.popleft()
    return row, future.result() if future else []


def _in_order(source: ImageSource) -> ImageSource:
    """Table cells are cheap to read in file order only, so their bytes are read here, before the threads share rows."""
    if isinstance(source, CellImage):
        return BytesImage(source.read_bytes(), source.where, source.max_pixels)
    return source


def _broken_images(row: Conversation, sources: Sequence[ImageSource]) -> list[Problem]:
    problems = []
    for number, source in enumerate(sources, 1):
        try:
            source.load()
        except DataError as error:
            message = f"image {number}: {error.what}"
            problems.append(Problem("undecodable_image", message, error.fix, row.file, row.row, row.id))
    return problems
