"""Every bad row of a dataset, found before any model runs: for the command ``validate``."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

from dataprophet.data.dataset import Dataset
from dataprophet.data.images.sources import BytesImage, CellImage, ImageSource, broken_images
from dataprophet.data.sample import Conversation, Problem

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
        counts: problems by code.
        problems: one or more for each bad row, in file order.
    """

    name: str
    format: str
    rows: int = 0
    good: int = 0
    samples: int = 0
    images: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every row is good and there is at least one."""
        return self.good > 0 and not self.problems

    def to_json(self) -> dict[str, Any]:
        """The report as plain values."""
        problems = [asdict(problem) for problem in self.problems]
        return {**vars(self), "counts": dict(sorted(self.counts.items())), "problems": problems}


def validate(
    dataset: Dataset, *, decode: bool = True, progress: Callable[[int], Any] | None = None
) -> ValidationReport:
    """Read every row and, unless ``decode`` is off, decode every image; ``progress`` is called with the rows done.

    Raises:
        DataError: a file as a whole cannot be read.
        MissingDependencyError: ``decode`` without Pillow.
    """
    report = ValidationReport(dataset.name, dataset.format)
    for row, problems in _checked(dataset, decode):
        report.rows += 1
        if progress is not None:
            progress(report.rows)
        report.problems += problems
        report.counts.update(problem.code for problem in problems)
        if isinstance(row, Conversation) and not problems:
            report.good += 1
            report.samples += len(row.scored())
            report.images += len(row.sources)
    return report


def _checked(dataset: Dataset, decode: bool) -> Iterator[tuple[Conversation | Problem, list[Problem]]]:
    """Rows in order with their problems; the images of a few rows are decoded ahead, on threads."""
    waiting: deque[tuple[Conversation | Problem, Future[list[Problem]]]] = deque()
    with ThreadPoolExecutor(_THREADS) as pool:
        for row in dataset.rows():
            sources = [_in_order(source) for source in row.sources] if decode and isinstance(row, Conversation) else []
            waiting.append((row, pool.submit(_problems, row, sources)))
            if len(waiting) > _AHEAD:
                done, future = waiting.popleft()
                yield done, future.result()
        for done, future in waiting:
            yield done, future.result()


def _in_order(source: ImageSource) -> ImageSource:
    """Table cells are cheap to read in file order only, so their bytes are read here, before the threads share rows."""
    if isinstance(source, CellImage):
        return BytesImage(source.read_bytes(), source.where, max_pixels=source.max_pixels)
    return source


def _problems(row: Conversation | Problem, sources: Sequence[ImageSource]) -> list[Problem]:
    if isinstance(row, Problem):
        return [row]
    return [
        Problem("undecodable_image", f"image {number}: {error.what}", error.fix, row.file, row.row, row.id)
        for number, error in broken_images(sources)
    ]
