"""Estimates with 95% intervals: ratios by the bootstrap over what was drawn, rare events by Wilson, sums of both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtrit

DRAWS = 2000
_Z = 1.959963984540054  # of 95%


@dataclass(frozen=True)
class Estimate:
    """A number with the ends of its 95% interval, which are the number itself where it is known."""

    value: float
    low: float
    high: float

    @classmethod
    def known(cls, value: float) -> Estimate:
        return cls(value, value, value)

    @property
    def exact(self) -> bool:
        return self.low == self.value == self.high


@dataclass(frozen=True, eq=False)
class Spread:
    """A number and draws from what it might be. Sums and products of independent ones are taken draw by draw.

    Attributes:
        value: the estimate.
        draws: (DRAWS,) values around it.
    """

    value: float
    draws: NDArray[np.float64]

    @classmethod
    def known(cls, value: float) -> Spread:
        return cls(value, np.full(DRAWS, float(value)))

    def __add__(self, other: Spread | float) -> Spread:
        given = other if isinstance(other, Spread) else Spread.known(other)
        return Spread(self.value + given.value, self.draws + given.draws)

    def __mul__(self, other: Spread | float) -> Spread:
        given = other if isinstance(other, Spread) else Spread.known(other)
        return Spread(self.value * given.value, self.draws * given.draws)

    def estimate(self) -> Estimate:
        """The value, and the middle 95% of the draws."""
        low, high = np.percentile(self.draws, [2.5, 97.5])
        return Estimate(self.value, min(float(low), self.value), max(float(high), self.value))


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
        return Spread.known(value)
    if n < 2:
        raise ValueError("a spread needs two units or more")
    times = rng.multinomial(n, np.full(n, 1 / n), DRAWS)
    under = times @ b
    draws = np.divide(times @ a, under, out=np.full(DRAWS, value), where=under > 0)
    widen = math.sqrt(n / (n - 1) * (1 - fraction)) * stdtrit(n - 1, 0.975) / _Z
    return Spread(value, np.maximum(value + (draws - value) * widen, 0.0))


def wilson(found: float, n: float) -> Estimate:
    """Share of events of which ``found`` were seen in ``n`` independent trials, with Wilson's interval."""
    share = found / n
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n * n))
    return Estimate(share, max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)))


def clustered_trials(found: ArrayLike, sizes: ArrayLike) -> float:
    """How many independent trials clusters of trials are worth: fewer than there are, where clusters differ.

    Args:
        found: (n,) events in each cluster.
        sizes: (n,) trials of each cluster.
    """
    events, trials = np.asarray(found, np.float64), np.asarray(sizes, np.float64)
    n, total = len(events), float(trials.sum())
    share = float(events.sum()) / total
    if n < 2 or share in {0.0, 1.0}:
        return total
    variance = n / (n - 1) * float(((events - share * trials) ** 2).sum()) / total**2
    plain = share * (1 - share) / total
    return total / max(1.0, variance / plain)


def added(parts: Sequence[Estimate]) -> Estimate:
    """Sum of independent estimates; the distances to the ends add up as squares do (MOVER)."""
    value = sum(part.value for part in parts)
    below = math.sqrt(sum((part.value - part.low) ** 2 for part in parts))
    above = math.sqrt(sum((part.high - part.value) ** 2 for part in parts))
    return Estimate(value, value - below, value + above)
