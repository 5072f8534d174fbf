"""The one budget of memory of a worker, and what of it each thing may take that is read, decoded or tokenised.

Reading and batching ask it. No number depends on it: where a window or a cell ends is fixed, and what does not fit is
refused by name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from dataprophet.errors import ModelError, require

USUAL = 4 << 30
LEAST = 1 << 30

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", re.IGNORECASE)
_UNITS = {unit: 1 << (10 * power) for power, unit in enumerate(("", "K", "M", "G", "T"))}


@dataclass(frozen=True)
class Budget:
    """Bytes that a worker may take beside the model, and what follows from them.

    Attributes:
        memory: the bytes.
    """

    memory: int = USUAL

    @classmethod
    def of(cls, memory: Any) -> Budget:
        """The budget of so many bytes, or of a text such as ``8G``.

        Raises:
            ModelError: it is no size, or below 1 GiB, which a large picture takes.
        """
        found = _SIZE.fullmatch(str(memory).strip())
        size = int(float(found[1]) * _UNITS[found[2].upper()]) if found else 0
        require(size >= LEAST, f"memory is {memory!r}", "memory", "give 1G or more, such as 8G", ModelError)
        return cls(size)

    @property
    def sample_pixels(self) -> int:
        """Pixels of all pictures of one sample: Pillow takes 4 bytes for each, and processors as much again."""
        return self.memory // 8

    @property
    def ahead_pixels(self) -> int:
        """Pixels that are decoded ahead of the samples that are read."""
        return self.memory // 16

    @property
    def recent_pixels(self) -> int:
        """Pixels of pictures that are kept because they may come again."""
        return self.memory // 64

    @property
    def letters(self) -> int:
        """Characters of one sample, whose tokens take up to a hundred times as much."""
        return self.memory // 256

    @property
    def windows(self) -> int:
        """Windows that are read ahead."""
        return 2 if self.memory >= USUAL else 1
