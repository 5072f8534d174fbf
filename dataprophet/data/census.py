"""What goes by as rows are read: how many there are of which kind, and a mark of the image files that they name.

For whoever profiles, scores or mixes a dataset, and for ``identity``, which compares. It opens no data file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache

from dataprophet.data.dataset import Dataset
from dataprophet.data.images.sources import FileImage
from dataprophet.data.sample import Conversation, Problem

COUNTS = ("rows", "good", "with_images", "images", "turns")
_START = 1 << 14  # bytes of an image that count beside its size: all of them would have to be read to mix a few rows


class Census:
    """The rows so far, before any is left out since its id occurs again.

    Attributes:
        counts: ``rows``, ``good`` ones among them (images are not decoded), and of those the ones ``with_images``,
            ``images`` and ``turns``.
        mark: sum of the marks of rows: the same for any order, and the sum of those of the parts.
        file: the file of the last row.

    Args:
        until: the number of rows behind which nothing is counted.
    """

    def __init__(self, until: int | None = None) -> None:
        self.counts, self.mark, self.file, self._until = dict.fromkeys(COUNTS, 0), 0, "", until

    def add(self, row: Conversation | Problem) -> None:
        """Count a row."""
        if self.counts["rows"] == self._until:
            return
        self.counts["rows"] += 1
        self.file = row.file
        if isinstance(row, Conversation):
            images = len(row.sources)
            found = {"good": 1, "with_images": int(images > 0), "images": images, "turns": len(row.turns)}
            self.counts |= {name: self.counts[name] + count for name, count in found.items()}
            self.mark += image_mark(row)

    def add_all(self, rows: Iterable[Conversation | Problem]) -> str:
        """Count rows; returns their own mark, in hexadecimal."""
        before = self.mark
        for row in rows:
            self.add(row)
        return as_text(self.mark - before)

    def watching(self, dataset: Dataset) -> Dataset:
        """The dataset, every row of which is counted when it is read."""

        def read() -> Iterator[Conversation | Problem]:
            for row in dataset.read():
                self.add(row)
                yield row

        return replace(dataset, read=read)


def as_text(mark: int) -> str:
    """A mark in hexadecimal."""
    return f"{mark % 2**64:016x}"


def image_mark(row: Conversation) -> int:
    """Mark of a row's image files, 64 bits each: of their places in the row, their sizes and their first bytes.

    Images that lie in the data file are covered by its digest, and those behind addresses by nothing.
    """
    total = 0
    for place, source in enumerate(row.sources):
        if type(source) is FileImage:
            with suppress(OSError):  # it can be read at least in part, or the row would not be good
                status = os.stat(source.path)
                start = _start(source.path, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
                text = f"{row.row} {place} {status.st_size} ".encode()
                total += int.from_bytes(hashlib.blake2b(text + start, digest_size=8).digest(), "little")
    return total


@lru_cache(1024)  # several questions about one picture stand together
def _start(path: str, *_: int) -> bytes:
    """Digest of a file's first bytes."""
    with open(path, "rb", buffering=0) as file:
        return hashlib.blake2b(file.read(_START), digest_size=16).digest()
