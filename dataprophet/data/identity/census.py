"""What goes by as rows are read: how many there are, what they hold, and marks of their texts and image files.

For whoever profiles, scores or mixes a dataset, and for ``identity``, which compares. It opens no data file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache

import xxhash

from dataprophet.data.dataset import Dataset
from dataprophet.data.images.sources import FileImage
from dataprophet.data.sample import Conversation, Problem, Tally

RULE = "w"
"""How image files are compared: whole up to 1 MiB, beyond that in three parts. Marks begin with it; older ones, which
compare the first 16 KiB, with nothing."""

_WHOLE, _PART, _START = 1 << 20, 1 << 18, 1 << 14  # bytes
_DIGITS = 16  # of a mark


class Census:
    """The rows so far, before any is left out since it is there already.

    Marks are sums, so that they are the same for any order, and those of the parts add up.

    Attributes:
        tally: what the rows hold.
        texts: mark of the questions and answers.
        images: mark of the image files, see ``image_mark``.
        file: the file of the last row.
        rule: that of ``images``.

    Args:
        until: the number of rows behind which nothing is counted.
        rule: how image files are compared, as of the mark that theirs is to be compared with.
    """

    def __init__(self, until: int | None = None, rule: str = RULE) -> None:
        self.tally, self.texts, self.images, self.file = Tally(), 0, 0, ""
        self._until, self.rule = until, rule

    def add(self, row: Conversation | Problem) -> int:
        """Count a row; returns the mark of its image files."""
        if self.tally.rows == self._until:
            return 0
        self.tally.add(row)
        self.file = row.file
        if isinstance(row, Problem):
            return 0
        turns = [[turn.question, turn.answer, turn.image_offsets, turn.scored] for turn in row.turns]
        self.texts += _mark(json.dumps([row.row, turns]).encode())
        images = image_mark(row, self.rule)
        self.images += images
        return images

    def watching(self, dataset: Dataset) -> Dataset:
        """The dataset, every row of which is counted when it is read."""

        def read() -> Iterator[Conversation | Problem]:
            for row in dataset.read():
                self.add(row)
                yield row

        return replace(dataset, read=read)


def as_text(mark: int, rule: str = "") -> str:
    """A mark in hexadecimal, behind its rule; texts have none."""
    return f"{rule}{mark % 2**64:0{_DIGITS}x}"


def _mark(data: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def added(marks: Iterable[str]) -> str:
    """The sum of marks in hexadecimal; empty where one is not known, or they follow different rules."""
    known = list(marks)
    rules = {rule_of(mark) for mark in known}
    if not all(known) or len(rules) != 1:
        return ""
    return as_text(sum(int(mark[-_DIGITS:], 16) for mark in known), rules.pop())


def rule_of(mark: str) -> str:
    """The rule that a mark in hexadecimal begins with."""
    return mark[:-_DIGITS]


def image_mark(row: Conversation, rule: str = RULE) -> int:
    """Mark of a row's image files, 64 bits each: of their places in the row, their sizes and their bytes, see ``RULE``.

    Images that lie in the data file are covered by its digest, and those behind addresses by nothing.
    """
    total = 0
    for place, source in enumerate(row.sources):
        if type(source) is FileImage:
            with suppress(OSError):  # it can be read at least in part, or the row would not be good
                status = os.stat(source.path)
                content = _digest(source.path, rule, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
                text = f"{row.row} {place} {status.st_size} ".encode()
                total += _mark(text + content)
    return total


@lru_cache(1024)  # several questions about one picture stand together
def _digest(path: str, rule: str, size: int, *_: int) -> bytes:
    """Digest of what counts of a file's bytes."""
    with open(path, "rb", buffering=0) as file:
        if rule != RULE:
            return hashlib.blake2b(file.read(_START), digest_size=16).digest()
        digest = xxhash.xxh3_128()
        for start, count in [(0, size)] if size <= _WHOLE else [(at, _PART) for at in _parts(size)]:
            file.seek(start)
            digest.update(file.read(count))
        return digest.digest()


def _parts(size: int) -> tuple[int, int, int]:
    """Where head, middle and tail of a large file begin."""
    return 0, (size - _PART) // 2, size - _PART
