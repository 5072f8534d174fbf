"""Every bad row of a dataset, found before any model runs: for the command ``validate``."""

from __future__ import annotations

import itertools
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from dataprophet.data.dataset import Dataset
from dataprophet.data.files.tar import IMAGE_SUFFIXES
from dataprophet.data.images.sources import BytesImage, CellImage, ImageSource, broken_images
from dataprophet.data.remote import is_url, names_in
from dataprophet.data.sample import Conversation, Problem, Tally

_THREADS = 8
_AHEAD = 4 * _THREADS
_LOOKED_AT, _SUGGESTED = 200, 3  # names of a folder, and folders that are named


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
        with_images: good rows with an image or more.
        counts: problems by code.
        problems: one or more for each bad row, in file order.
        hints: what lies beside the dataset and may be what is missing.
    """

    name: str
    format: str
    rows: int = 0
    good: int = 0
    samples: int = 0
    images: int = 0
    with_images: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    problems: list[Problem] = field(default_factory=list)
    hints: list[str] = field(default_factory=list)

    @property
    def held(self) -> Tally:
        """What the rows hold, counted as every command counts it."""
        return Tally(self.rows, self.good, self.with_images, self.images, self.samples)

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
            report.with_images += bool(row.sources)
    if report.counts.keys() & {"missing_image", "outside_root"}:
        report.hints += [f"{folder} holds images: --image-root {folder}" for folder in image_folders(dataset)]
    return report


def image_folders(dataset: Dataset) -> list[str]:
    """Folders that hold images, or folders of images, beside the data files; or else beside their folder."""
    folders = dict.fromkeys(os.path.dirname(os.path.abspath(file)) for file in dataset.files if not is_url(file))
    for near in (folders, dict.fromkeys(map(os.path.dirname, folders))):
        names = [os.path.join(folder, name) for folder in near for name in names_in(folder)[:_LOOKED_AT]]
        if found := [name for name in names if os.path.isdir(name) and _holds_images(name)]:
            return found[:_SUGGESTED]
    return []


def _holds_images(folder: str, *, deeper: bool = True) -> bool:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in itertools.islice(entries, _LOOKED_AT):
            if entry.name.rpartition(".")[2].lower() in IMAGE_SUFFIXES and entry.is_file():
                return True
            if deeper and entry.is_dir() and _holds_images(entry.path, deeper=False):
                return True
    return False


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
