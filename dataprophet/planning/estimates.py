"""Numbers with what else they might be: ratios by the bootstrap over what was drawn, rare events by Jeffreys.

`amounts.py` calculates with them. Nothing here knows of rows or models.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

DRAWS = 2000
_Z = 1.959963984540054  # of 95%

Spread: TypeAlias = NDArray[np.float64]
"""(1 + DRAWS,): a number, and draws from what it might be. Independent ones add and multiply draw by draw."""


@dataclass(frozen=True)
class Estimate:
    """A number with the ends of its 95% interval, which are the number itself where it is known."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, spread: Spread) -> Estimate:
        """The number, and the middle 95% of the draws."""
        value = float(spread[0])
        low, high = np.percentile(spread[1:], [2.5, 97.5])
        return cls(value, min(float(low), value), max(float(high), value))


def known(value: float) -> Spread:
    """A number that cannot be another."""
    return np.full(1 + DRAWS, float(value))


def ratio(above: ArrayLike, below: ArrayLike, rng: np.random.Generator, *, fraction: float = 0.0) -> Spread:
    """Sum of ``above`` over sum of ``below``, from units that were drawn.

    Draws are those of the bootstrap over units, their distance from the value corrected for few units (by Student's t)
    and for a sample that is a large part of everything.

    Args:
        above: (n,) a number of each unit, such as the tokens of a cell.
        below: (n,) another, such as its rows; not all zero.
        rng: for the draws.
        fraction: how much of everything the units are; 1 for all of it, which makes the ratio known.
    """
    a, b = np.asarray(above, np.float64), np.asarray(below, np.float64)
    n = len(a)
    value = float(a.sum() / b.sum())
    if fraction >= 1:
        return known(value)
    if n < 2:
        raise ValueError("a spread needs two units or more")
    times = rng.multinomial(n, np.full(n, 1 / n), DRAWS)
    under = times @ b
    draws = np.divide(times @ a, under, out=np.full(DRAWS, value), where=under > 0)
    widen = math.sqrt(n / (n - 1) * (1 - fraction)) * stdtrit(n - 1, 0.975) / _Z
    return np.append(value, np.maximum(value + (draws - value) * widen, 0.0))


def share(found: ArrayLike, sizes: ArrayLike, rng: np.random.Generator) -> Spread:
    """Share of events among trials that come in clusters.

    Draws are those of Jeffreys's interval (Brown, Cai and DasGupta 2001), which holds for rare events and for none,
    with as many trials as the clusters are worth: fewer than there are, where clusters differ.

    Args:
        found: (n,) events in each cluster.
        sizes: (n,) trials of each cluster.
        rng: for the draws.
    """
    events, trials = np.asarray(found, np.float64), np.asarray(sizes, np.float64)
    n, total = len(events), float(trials.sum())
    value = float(events.sum()) / total
    worth = total
    if n > 1 and 0 < value < 1:
        variance = n / (n - 1) * float(((events - value * trials) ** 2).sum()) / total**2
        worth = total / max(1.0, variance * total / (value * (1 - value)))
    return np.append(value, rng.beta(value * worth + 0.5, (1 - value) * worth + 0.5, DRAWS))
