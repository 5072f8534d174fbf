"""Matrix products that are the same bits for any number of BLAS threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

ROWS = 2048
_DEPTH = 128


def product(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> Array:
    """Return ``a @ b`` in float64 for a (n, d) and b (d, m).

    A BLAS may cut a long inner dimension at places that depend on its number of threads. Blocks of 128 are shorter than
    what any BLAS cuts, so each element is one chain of additions, and the blocks are added here, in order.
    """
    total: Array = np.zeros((a.shape[0], b.shape[1]))
    for start in range(0, a.shape[1], _DEPTH):
        stop = start + _DEPTH
        total += np.asarray(a[:, start:stop], np.float64) @ np.asarray(b[start:stop], np.float64)
    return total
