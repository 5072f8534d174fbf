"""What goes by as rows are read: how many there are of which kind, and a mark of the image files that they name.

For whoever profiles, scores or mixes a dataset, and for ``identity``, which compares. It opens no data file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace

from dataprophet.data.dataset import Dataset
from dataprophet.data.images.sources import FileImage
from dataprophet.data.sample import Conversation, Problem
from dataprophet.errors import DataError

COUNTS = ("rows", "good", "with_images", "images", "turns")
_FIRST, _EACH = 32, 64  # of a file, images of the first rows are read to the last byte, and of each 64th


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
    """Mark of a row's image files, 64 bits each: of their places in the row and sizes, in some rows of their bytes too.

    Images that lie in the data file are covered by its digest, and those behind addresses by nothing.
    """
    total = 0
    for place, source in enumerate(row.sources):
        if type(source) is not FileImage:
            continue
        size, data = -1, b""
        with suppress(OSError, DataError):
            size = os.stat(source.path).st_size
            data = source.read_bytes() if row.row <= _FIRST or row.row % _EACH == 0 else b""
        digest = hashlib.blake2b(f"{row.row} {place} {size}\n".encode() + data, digest_size=8)
        total += int.from_bytes(digest.digest(), "little")
    return total
