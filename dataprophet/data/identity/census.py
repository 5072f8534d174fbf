"""What goes by as rows are read: how many there are, what they hold, and marks of their texts and image files.

For whoever profiles, scores or mixes a dataset, and for ``identity``, which compares. It opens no data file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from functools import lru_cache

from dataprophet.data.dataset import Dataset
from dataprophet.data.images.sources import FileImage
from dataprophet.data.sample import Conversation, Problem, Tally

COUNTS = ("rows", "good", "with_images", "images", "turns")
_START = 1 << 14  # bytes of an image that count beside its size: all of them would have to be read to mix a few rows


class Census:
    """The rows so far, before any is left out since it is there already.

    Marks are sums, so that they are the same for any order, and those of the parts add up.

    Attributes:
        tally: what the rows hold.
        good: those of them that can be used; images are not decoded.
        texts: mark of the questions and answers.
        images: mark of the image files, see ``image_mark``.
        file: the file of the last row.

    Args:
        until: the number of rows behind which nothing is counted.
    """

    def __init__(self, until: int | None = None) -> None:
        self.tally, self.good, self.texts, self.images, self.file, self._until = Tally(), 0, 0, 0, "", until

    @property
    def counts(self) -> dict[str, int]:
        """Counts by the names of ``COUNTS``."""
        found = {"good": self.good, **asdict(self.tally)}
        return {name: found[name] for name in COUNTS}

    def add(self, row: Conversation | Problem) -> int:
        """Count a row; returns the mark of its image files."""
        if self.tally.rows == self._until:
            return 0
        self.tally.add(row)
        self.file = row.file
        if isinstance(row, Problem):
            return 0
        self.good += 1
        turns = [[turn.question, turn.answer, turn.image_offsets, turn.scored] for turn in row.turns]
        self.texts += _mark(json.dumps([row.row, turns]).encode())
        images = image_mark(row)
        self.images += images
        return images

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


def _mark(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


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
                total += _mark(text + start)
    return total


@lru_cache(1024)  # several questions about one picture stand together
def _start(path: str, *_: int) -> bytes:
    """Digest of a file's first bytes."""
    with open(path, "rb", buffering=0) as file:
        return hashlib.blake2b(file.read(_START), digest_size=16).digest()
