"""What is asked of a selection, and whether it can be asked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from dataprophet.errors import BudgetError, MetricError
from dataprophet.selection.candidates import UNITS

COMBINE = ("mean", "worst", "quota")
"""How the scores for several targets become one."""


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

    def __post_init__(self) -> None:
        """Check what needs no pool.

        Raises:
            BudgetError: a number is out of its range, or two options contradict each other.
            MetricError: no target, or one given twice.
        """
        if not self.targets or len(set(self.targets)) < len(self.targets):
            raise MetricError("no target, or one given twice", where="targets", fix="give each target once")
        _whole(self.budget, "budget", least=1)
        _whole(self.candidates, "candidates", least=1)
        _one_of(self.unit, UNITS, "unit")
        _one_of(self.combine, COMBINE, "combine")
        for name, low, high in (("max_share", 0, 1), ("diverse", 0, 1), ("near_duplicates", -1, 1), ("leakage", -1, 1)):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise BudgetError(f"it is {value}", where=name, fix=f"give a number from {low} to {high}")
        if self.minimum is not None and math.isnan(self.minimum):
            raise BudgetError("it is NaN", where="minimum", fix="give a number or leave it out")
        for name, count in {**self.quotas, **self.target_quotas}.items():
            _whole(count, f"quota of {name!r}", least=0)
        if sum(self.quotas.values()) > self.budget:
            raise BudgetError(
                f"the quotas come to {sum(self.quotas.values())}, and the budget is {self.budget}",
                where="quotas",
                fix="raise the budget or lower the quotas",
            )
        if self.target_quotas and (
            set(self.target_quotas) != set(self.targets) or sum(self.target_quotas.values()) != self.budget
        ):
            raise BudgetError(
                f"they come to {sum(self.target_quotas.values())} of {self.budget}",
                where="target_quotas",
                fix="give one for each target, and the budget in all",
            )
        if self.combine != "quota" and self.target_quotas:
            raise BudgetError(f"need combine 'quota', not {self.combine!r}", where="target_quotas", fix="set combine")
        if self.combine == "quota" and self.quotas:
            raise BudgetError("do not go with quotas of targets", where="quotas", fix="use one kind of quota")

    @property
    def per_target(self) -> dict[str, int]:
        """Units for each target under ``quota``: those asked for, or equal ones, the first targets getting the rest."""
        if self.target_quotas:
            return {name: self.target_quotas[name] for name in self.targets}
        each, rest = divmod(self.budget, len(self.targets))
        return {name: each + (place < rest) for place, name in enumerate(self.targets)}

    def to_json(self) -> dict[str, Any]:
        document = asdict(self)
        return {**document, "targets": list(self.targets), "quotas": dict(sorted(self.quotas.items()))}

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


def _whole(value: Any, where: str, *, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise BudgetError(
            f"{value!r} is not a number of units", where=where, fix=f"use a whole number, {least} or more"
        )


def _one_of(value: str, allowed: Sequence[str], where: str) -> None:
    if value not in allowed:
        raise BudgetError(f"unknown {where} {value!r}", where=where, fix=f"use {', '.join(allowed)}")
