"""Matrix products that are the same bits for any number of BLAS threads."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Clusters = npt.NDArray[np.integer]  # numbers of clusters, of any width

ROWS = 2048
_DEPTH = 128
# Multiply-adds below which OpenBLAS starts no threads: for thin products they cost more than they give.
_SMALL = 1 << 18
_COARSE, _FINE = 2.0**26, 2.0**46


def exact_dots(a: Array, b: Array) -> Array:
    """Dot products (n, m) of vectors a (n, d) and b (m, d) no longer than 1, each the same bits beside any others.

    A BLAS adds up in an order that depends on the place in the matrix. Here no addition rounds, so that no order
    matters: vectors are cut into multiples of 2**-26 and rests in multiples of 2**-46, whose products are multiples of
    2**-52, 2**-72 and 2**-92, and by Cauchy and Schwarz sum to less than 2**53 times that, for d up to 2**15. What is
    cut off changes a dot product by less than sqrt(d) 2**-46.
    """
    return exact_dots_with(a)(b)


def exact_dots_with(a: Array) -> Callable[[Array], Array]:
    """Function b -> ``exact_dots(a, b)`` that cuts ``a`` once."""
    a_high, a_low = _cut(a)

    def dots(b: Array) -> Array:
        b_high, b_low = _cut(b.T)
        return np.asarray(a_high @ b_high + (a_high @ b_low + a_low @ b_high) + a_low @ b_low)

    return dots


def _cut(values: Array) -> tuple[Array, Array]:
    high = np.rint(values * _COARSE) / _COARSE
    return high, np.rint((values - high) * _FINE) / _FINE


def product(a: npt.NDArray[Any], b: npt.NDArray[Any], dtype: npt.DTypeLike = np.float64) -> npt.NDArray[Any]:
    """Return ``a @ b`` for a (n, d) and b (d, m), computed in float64 or, on request, in float32.

    A BLAS may cut a long inner dimension at places that depend on its number of threads. Blocks of 128 are shorter than
    what any BLAS cuts, so each element is one chain of additions, and the blocks are added here, in order.
    """
    n, m = a.shape[0], b.shape[1]
    if n == 1 or m == 1:  # as a matrix by a matrix: matrix-by-vector routines do cut the inner dimension
        wide = product(np.repeat(a, 2, axis=0) if n == 1 else a, np.repeat(b, 2, axis=1) if m == 1 else b, dtype)
        return wide[:n, :m]
    total = np.zeros((n, m), dtype)
    rows = max(2, _SMALL // (_DEPTH * m)) if m <= 32 else max(n, 2)
    # A rest of one row joins the block before it.
    edges = [*range(0, n - 1, rows), n]
    blocks = list(itertools.pairwise(edges))
    for start in range(0, a.shape[1], _DEPTH):
        stop = start + _DEPTH
        right = np.asarray(b[start:stop], dtype)
        for first, last in blocks:
            total[first:last] += np.asarray(a[first:last, start:stop], dtype) @ right
    return total
