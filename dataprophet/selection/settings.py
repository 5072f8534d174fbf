"""What is asked of a selection, whether it can be asked, and how the scores for several targets become one.

Commands and callers make ``Settings``; ``pools`` does what they say. Nothing here opens a pool.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataprophet.errors import BudgetError, MetricError, choose
from dataprophet.metric.factors import FACTORS, factors_named, places_within, require_varied

UNITS = ("row", "sample")
"""What may be chosen: conversations with all their turns, or single turns with those before them."""

COMBINE = ("mean", "worst", "quota")
"""How the scores for several targets become one."""

SAMPLE_FACTORS = {name: sign for name, sign in FACTORS.items() if name != "diversity"}
"""Factors of the score of a sample, and their signs."""

_LISTS = ("targets", "without", "nll_quantiles")


@dataclass(frozen=True)
class Settings:
    """A selection, apart from where its pools and its output lie.

    Attributes:
        targets: names of the targets.
        budget: units to choose, exactly.
        unit: ``row``: conversations, each scored by the mean over its turns; ``sample``: single turns, each with the
            turns before it.
        combine: for several targets: ``mean`` of the scores, the ``worst`` of them, or a ``quota`` of the budget for
            each target.
        target_quotas: units for each target under ``quota``; equal ones where it is empty.
        minimum: least score.
        quotas: exactly so many units of a source; the others share what is left of the budget by score.
        max_share: most units of one source, as a share of the budget.
        near_duplicates: cosine of z from which a unit counts as the copy of a better one, and is left out.
        leakage: cosine of z to a sample of a target from which a unit is left out.
        diverse: weight, 0 to 1, of the difference from what is chosen already; None chooses by score alone.
        candidates: under ``diverse``, choose among the best ``candidates`` times as many as are asked for.
        without: factors left out of the scores, by the names that ``TransferMatrix.without`` takes; samples have no
            diversity.
        max_nll: most mean negative log-likelihood of a unit, in nats; of a row, the mean over its turns.
        nll_quantiles: (low, high), 0 <= low < high <= 1: of n units with a score, the floor(low n) of the least and the
            floor((1 - high) n) of the largest mean negative log-likelihood are left out, but not their equals.
        min_answer_tokens: least answer tokens of a unit; of a row, those of all its turns.
        drop_inconsistent: leave out units whose answers disagree with those of their near neighbours in question and
            image.
    """

    targets: Sequence[str]
    budget: int
    unit: str = "row"
    combine: str = "mean"
    target_quotas: Mapping[str, int] = field(default_factory=dict)
    minimum: float | None = None
    quotas: Mapping[str, int] = field(default_factory=dict)
    max_share: float | None = None
    near_duplicates: float | None = None
    leakage: float | None = None
    diverse: float | None = None
    candidates: int = 4
    without: Sequence[str] = ()
    max_nll: float | None = None
    nll_quantiles: Sequence[float] | None = None
    min_answer_tokens: int = 0
    drop_inconsistent: bool = False

    def __post_init__(self) -> None:
        """Check what needs no pool.

        Raises:
            BudgetError: a number is out of its range, or two options contradict each other.
            MetricError: no target, or one given twice.
        """
        if not self.targets or len(set(self.targets)) < len(self.targets):
            raise MetricError("no target, or one given twice", where="targets", fix="give each target once")
        counts = {f"quota of {name!r}": count for name, count in {**self.quotas, **self.target_quotas}.items()}
        counts["min_answer_tokens"] = self.min_answer_tokens
        for where, count in {"budget": self.budget, "candidates": self.candidates, **counts}.items():
            least = int(where not in counts)
            if isinstance(count, bool) or not isinstance(count, int) or count < least:
                fix = f"use a whole number, {least} or more"
                raise BudgetError(f"{count!r} is not a number of units", where=where, fix=fix)
        for where, value, allowed in (("unit", self.unit, UNITS), ("combine", self.combine, COMBINE)):
            if value not in allowed:
                raise BudgetError(f"unknown {where} {value!r}", where=where, fix=f"use {', '.join(allowed)}")
        ranges = {"max_share": (0, 1), "diverse": (0, 1), "near_duplicates": (-1, 1), "leakage": (-1, 1)}
        for where, (low, high) in {**ranges, **dict.fromkeys(("minimum", "max_nll"), (-math.inf, math.inf))}.items():
            number = getattr(self, where)
            if number is not None and not low <= number <= high:
                raise BudgetError(f"it is {number}", where=where, fix=f"give a number from {low} to {high}")
        if unknown := sorted(factors_named(self.without) - SAMPLE_FACTORS.keys()):
            fix = choose(unknown[0], [*SAMPLE_FACTORS.values(), "perplexity"])
            raise MetricError(f"{unknown[0]!r} is no factor of a sample's score", where="without", fix=fix)
        require_varied(SAMPLE_FACTORS.keys() - factors_named(self.without))
        places_within(self.nll_quantiles, 1)
        total, of_targets = sum(self.quotas.values()), sum(self.target_quotas.values())
        if total > self.budget:
            what = f"the quotas come to {total}, and the budget is {self.budget}"
            raise BudgetError(what, where="quotas", fix="raise the budget or lower the quotas")
        if self.quotas and self.combine == "quota":
            raise BudgetError("do not go with quotas of targets", where="quotas", fix="use one kind of quota")
        if not self.target_quotas:
            return
        if set(self.target_quotas) != set(self.targets) or of_targets != self.budget:
            what, fix = f"they come to {of_targets} of {self.budget}", "give one for each target, and the budget in all"
            raise BudgetError(what, where="target_quotas", fix=fix)
        if self.combine != "quota":
            raise BudgetError(f"need combine 'quota', not {self.combine!r}", where="target_quotas", fix="set combine")

    @property
    def per_target(self) -> dict[str, int]:
        """Units for each target under ``quota``: those asked for, or equal ones, the first targets getting the rest."""
        if self.target_quotas:
            return {name: self.target_quotas[name] for name in self.targets}
        each, rest = divmod(self.budget, len(self.targets))
        return {name: each + (place < rest) for place, name in enumerate(self.targets)}

    def to_json(self) -> dict[str, Any]:
        lists = {name: given and list(given) for name, given in asdict(self).items() if name in _LISTS}
        return {**asdict(self), **lists, "quotas": dict(sorted(self.quotas.items()))}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Settings:
        """What ``to_json`` gave.

        Raises:
            BudgetError: it has other entries, or values of other types.
        """
        try:
            return cls(**document)
        except TypeError as error:
            raise BudgetError(f"damaged ({error})", where="settings", fix="select again") from error


def combined(values: NDArray[np.floating], divisors: NDArray[np.float64], combine: str) -> NDArray[np.float64]:
    """One score of each sample: the mean, or the worst, of its scores for the targets.

    Args:
        values: (n, T) scores.
        divisors: (T,) what each target's scores are divided by, since they have different units.
        combine: ``worst``; anything else gives the mean.
    """
    scaled = values.astype(np.float64) / divisors
    if combine == "worst":
        return np.asarray(scaled.min(axis=1))
    total = np.zeros(len(scaled))
    for column in scaled.T:  # in this order for every sample, whatever the shape
        total += column
    return np.asarray(total / len(divisors))
