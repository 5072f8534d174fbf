"""Delete-one-group jackknife for groups of unequal size (Busing, Meijer and van der Leeden, 1999).

An influence is an array whose last axis is the group, scaled so that the variance of the statistic is the sum of its
squares. Influences of statistics of one dataset add up linearly; those of independent datasets add up in variance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def influence(
    value: NDArray[np.float64], replicates: NDArray[np.float64], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Influence of each group on a statistic.

    Args:
        value: (...) the statistic on all samples.
        replicates: (..., G) the statistic without each group.
        counts: (..., G) samples in each group; shapes broadcast. Empty groups have no influence.

    Returns:
        (..., G) float64, NaN where fewer than two groups hold samples.
    """
    counts = np.broadcast_to(counts, replicates.shape)
    value = np.broadcast_to(value[..., None], replicates.shape)
    used = counts > 0
    total = counts.sum(-1, keepdims=True)
    n_groups = used.sum(-1, keepdims=True)
    change = np.where(used, value - np.where(used, replicates, value), 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(used, total / np.maximum(counts, 1), 2.0)
        # With pseudo-values p_g = value + (ratio - 1) change and J = value + sum (1 - 1/ratio) change:
        estimate = ((1 - 1 / ratio) * change).sum(-1, keepdims=True)
        deviation = ((ratio - 1) * change - estimate) / np.sqrt(n_groups * (ratio - 1))
    return np.where(n_groups < 2, np.nan, np.where(used, deviation, 0.0))


def standard_error(influences: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard error (...) of a statistic from its influences (..., G)."""
    return np.asarray(np.sqrt((influences * influences).sum(-1)))
