"""Features of samples: what a model pass yields, and all that a profile needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

FIELDS = ("question", "answer", "image")


@dataclass
class Features:
    """Features of n samples, in order.

    Attributes:
        ids: n sample ids.
        nll: (n,) float64, the mean over answer tokens of minus the natural log of their probability, in nats.
        embeddings: field name -> (n, d) float32, not normalised. Rows of absent fields are zero.
        present: field name -> (n,) bool, False where the sample lacks the field (a text-only row has no image).
        n_tokens: (n,) int64 answer tokens, 0 where unknown.
    """

    ids: list[str]
    nll: NDArray[np.float64]
    embeddings: Mapping[str, NDArray[np.float32]]
    present: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    n_tokens: NDArray[np.int64] | None = None
