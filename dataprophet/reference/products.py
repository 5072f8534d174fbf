"""Matrix products that are the same bits for any number of BLAS threads."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

ROWS = 2048
_DEPTH = 128
_SMALL = (
    1 << 18
)  # multiply-adds below which OpenBLAS starts no threads: for thin products they cost more than they give


def product(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> Array:
    """Return ``a @ b`` in float64 for a (n, d) and b (d, m).

    A BLAS may cut a long inner dimension at places that depend on its number of threads. Blocks of 128 are shorter than
    what any BLAS cuts, so each element is one chain of additions, and the blocks are added here, in order.
    """
    n, m = a.shape[0], b.shape[1]
    if n == 1 or m == 1:  # as a matrix by a matrix: matrix-by-vector routines do cut the inner dimension
        wide = product(np.repeat(a, 2, axis=0) if n == 1 else a, np.repeat(b, 2, axis=1) if m == 1 else b)
        return wide[:n, :m]
    total: Array = np.zeros((n, m))
    rows = max(2, _SMALL // (_DEPTH * m)) if m <= 64 else max(n, 2)
    # A rest of one row joins the block before it.
    edges = [*range(0, n - 1, rows), n]
    blocks = list(itertools.pairwise(edges))
    for start in range(0, a.shape[1], _DEPTH):
        stop = start + _DEPTH
        right = np.asarray(b[start:stop], np.float64)
        for first, last in blocks:
            total[first:last] += np.asarray(a[first:last, start:stop], np.float64) @ right
    return total
