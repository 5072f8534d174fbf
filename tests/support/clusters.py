"""Rows in clusters, made up for tests."""

from __future__ import annotations

import numpy as np


def blobs(n: int, d: int, k: int, seed: int = 0, spread: float = 1.0) -> np.ndarray:
    """Rows around k centres drawn ``spread`` apart, of unit variance in each direction, float32."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((k, d)) * spread
    return (centres[rng.integers(0, k, n)] + rng.standard_normal((n, d))).astype(np.float32)
