"""Samples and images as a processor encodes them.

The encoder makes them, rows and the adapter take them. They know nothing of batches.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]


@dataclass(slots=True)
class Encoded:
    """T tokens of one sample or text.

    Attributes:
        ids: (T,) int64.
        mask: (T,) bool, True at the answer of a sample, at the content of a text.
        types: (T,) int64 token types, by the name under which the model takes them.
        positions: (A, T) int64 on A axes, None where they are 0, 1, 2 ...
    """

    ids: Ints
    mask: NDArray[np.bool_]
    types: dict[str, Ints] = field(default_factory=dict)
    positions: Ints | None = None

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(slots=True, eq=False)
class ImageSet:
    """The images of a sample, as the vision tower takes them, shared by all samples with the same images.

    Attributes:
        inputs: tensors, the first dimension over tiles, patches or images.
        tokens: how many image tokens they fill.
        token_id: the token that vision features stand on.
    """

    inputs: dict[str, Any]
    tokens: int
    token_id: int


def tail_mask(offsets: Ints, tail: int) -> NDArray[np.bool_]:
    """(T,) bool: tokens that hold any of a text's last ``tail`` characters.

    ``offsets`` (T, 2) are the first character of each token and the one behind its last.
    """
    begins, ends = offsets.T
    return np.asarray((ends > ends.max(initial=0) - tail) & (ends > begins))
