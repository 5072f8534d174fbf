"""Quotas: how many candidates are taken by which score, and from which sources.

Settings say it in words; ``pick`` fills what ``quotas_of`` makes of them, one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from dataprophet.errors import BudgetError, MetricError, choose
from dataprophet.selection.candidates import Candidates
from dataprophet.selection.settings import Settings, combined


@dataclass(frozen=True)
class Quota:
    """So many candidates, by one score, from some sources.

    Attributes:
        name: of the target or the source that it is for; empty for the only one.
        count: candidates to take.
        score: (n, T) scores for the targets -> (n,) the score that ranks, NaN where there is none.
        sources: which sources; None for all.
    """

    name: str
    count: int
    score: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    sources: Collection[str] | None = None


def quotas_of(candidates: Candidates, settings: Settings) -> tuple[list[Quota], dict[str, float]]:
    """The quotas of a selection, in the order in which they take, and the mean score of each target, if it is used.

    Raises:
        BudgetError: a quota for a source that there is not.
        MetricError: a target for which nothing has a score.
    """
    names = list(settings.targets)
    means = means_of(candidates) if len(names) > 1 else np.ones(1)
    for name, mean in zip(names, means, strict=True):
        if not mean > 0:
            raise MetricError("no unit has a score for it", where=f"target {name!r}", fix="leave it out")
    told = dict(zip(names, means.tolist(), strict=True)) if len(names) > 1 else {}
    if settings.combine == "quota" and told:
        return [
            Quota(name, settings.per_target[name], lambda values, place=place: values[:, place] / means[place])  # type: ignore[misc]
            for place, name in enumerate(names)
        ], told

    def score(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return combined(values, means, settings.combine)

    if unknown := [name for name in settings.quotas if name not in candidates.sources]:
        fix = choose(unknown[0], candidates.sources)
        raise BudgetError("no such source", where=f"quota of {unknown[0]!r}", fix=fix)
    if not settings.quotas:
        return [Quota("", settings.budget, score)], told
    rest = settings.budget - sum(settings.quotas.values())
    others = set(candidates.sources) - settings.quotas.keys()
    quotas = [Quota(name, count, score, {name}) for name, count in sorted(settings.quotas.items())]
    return [*quotas, Quota("the other sources", rest, score, others)], told


def means_of(candidates: Candidates) -> NDArray[np.float64]:
    """(T,) mean over all candidates that have a score for the target, rounded once: their order does not matter."""
    totals, counts = [Fraction()] * len(candidates.targets), [0] * len(candidates.targets)
    for part in candidates.parts:
        for place, values in enumerate(candidates.values(part).T):
            own = values[~np.isnan(values)]
            totals[place] += exact_sum(own)
            counts[place] += len(own)
    return np.array([float(total / count) if count else math.nan for total, count in zip(totals, counts, strict=True)])


def exact_sum(values: NDArray[np.float64]) -> Fraction:
    """The sum of finite numbers, at most 2^31 of them, without rounding."""
    mantissas, exponents = np.frexp(values)
    whole = (mantissas * 2.0**53).astype(np.int64)
    total = Fraction()
    for exponent in np.unique(exponents).tolist():
        own = whole[exponents == exponent]
        # in halves, whose sums fit into 64 bits
        total += (int((own >> 32).sum()) * 2**32 + int((own & (2**32 - 1)).sum())) * Fraction(2) ** (exponent - 53)
    return total
