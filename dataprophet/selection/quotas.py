"""Which units are ranked by which score, and how many of them are taken."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dataprophet.errors import BudgetError, MetricError
from dataprophet.selection.candidates import Units
from dataprophet.selection.ranking import Score
from dataprophet.selection.settings import Settings


@dataclass(frozen=True)
class Lane:
    """So many units, by one score, from some sources.

    Attributes:
        name: of the target or the source that it is for; empty for the only one.
        count: units to take.
        score: (n, T) -> (n,).
        sources: which sources; None for all.
    """

    name: str
    count: int
    score: Score
    sources: Collection[str] | None = None


def lanes_of(units: Units, settings: Settings) -> tuple[list[Lane], dict[str, float]]:
    """The lanes of a selection, in the order in which they take, and the mean score of each target, if it is used.

    Raises:
        BudgetError: a quota for a source that there is not.
        MetricError: a target for which nothing has a score.
    """
    names = list(settings.targets)
    if len(names) == 1:
        return _by_source(units, settings, lambda values: values[:, 0].copy()), {}
    means = means_of(units)
    for name, mean in zip(names, means, strict=True):
        if not mean > 0:
            raise MetricError("no unit has a score for it", where=f"target {name!r}", fix="leave it out")
    found = dict(zip(names, means.tolist(), strict=True))
    if settings.combine == "quota":
        return [
            Lane(name, settings.per_target[name], _one(place, mean))
            for place, (name, mean) in enumerate(zip(names, means, strict=True))
        ], found
    score = _mean_of(means) if settings.combine == "mean" else _worst_of(means)
    return _by_source(units, settings, score), found


def _mean_of(means: NDArray[np.float64]) -> Score:
    def score(values: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.zeros(len(values))
        for place, mean in enumerate(means):  # in this order for every row, whatever the shape
            total += values[:, place] / mean
        return total / len(means)

    return score


def _worst_of(means: NDArray[np.float64]) -> Score:
    return lambda values: np.asarray((values / means).min(axis=1))


def _one(place: int, mean: float) -> Score:
    return lambda values: values[:, place] / mean


def _by_source(units: Units, settings: Settings, score: Score) -> list[Lane]:
    if not settings.quotas:
        return [Lane("", settings.budget, score)]
    for name in settings.quotas:
        if name not in units.sources:
            shown = ", ".join(units.sources[:10])
            raise BudgetError("no such source", where=f"quota of {name!r}", fix=f"the sources are {shown}")
    lanes = [Lane(name, count, score, {name}) for name, count in sorted(settings.quotas.items())]
    rest = settings.budget - sum(settings.quotas.values())
    return [*lanes, Lane("the other sources", rest, score, set(units.sources) - settings.quotas.keys())]


def means_of(units: Units) -> NDArray[np.float64]:
    """(T,) mean over all units that have a score for the target: exact sums, so that their order does not matter."""
    sums = [ExactSum() for _ in units.targets]
    for part in units.parts:
        values = units.values(part)
        for place, total in enumerate(sums):
            own = values[:, place]
            total.add(own[~np.isnan(own)])
    return np.array([total.mean() for total in sums])


class ExactSum:
    """A sum of float64 numbers without rounding, the same for any order of them."""

    def __init__(self) -> None:
        self.count = 0
        self._units: dict[int, int] = {}  # exponent -> sum of the integers that it scales

    def add(self, values: NDArray[np.float64]) -> None:
        """Add finite numbers, at most 2^26 at a time."""
        if not len(values):
            return
        self.count += len(values)
        mantissa, exponent = np.frexp(values)
        whole = (mantissa * 2.0**53).astype(np.int64)
        low = exponent.min()
        # halves of the integers, so that the float64 sums of bincount are exact
        high = np.bincount(exponent - low, weights=(whole >> 26).astype(np.float64))
        rest = np.bincount(exponent - low, weights=(whole & ((1 << 26) - 1)).astype(np.float64))
        for place in np.flatnonzero((high != 0) | (rest != 0)).tolist():
            key = int(low) + place - 53
            self._units[key] = self._units.get(key, 0) + (int(high[place]) << 26) + int(rest[place])

    def mean(self) -> float:
        """The mean, rounded once; NaN of nothing."""
        if not self.count:
            return math.nan
        least = min(self._units, default=0)
        total = sum(whole << (key - least) for key, whole in self._units.items())
        if least >= 0:
            return (total << least) / self.count
        return total / (self.count << -least)
