"""Mixtures that meet a budget exactly: shares in proportion to the scores, within capacities and minimums.

All arithmetic is on integers, so that no rounding can break the sum or the order of the shares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from dataprophet.errors import BudgetError, MetricError
from dataprophet.ops.arrays import as_numpy

_LARGEST = 2**63 - 1


def allocate(
    weights: Any, budget: int, *, capacity: Any = None, minimum: Any = 0, names: Sequence[str] | None = None
) -> npt.NDArray[np.int64]:
    """Split a budget of samples over sources in proportion to their weights (arXiv 2603.19688, the mixture).

    The real-valued shares are x_i = clip(level * w_i, minimum_i, capacity_i), with the level at which they sum to the
    budget (water-filling). They are rounded down, and the samples still missing go one each to the largest remainders,
    ties to the lowest index. Without a binding bound every share is thus within 1 of budget * w_i / sum(w).

    Args:
        weights: (S,) scores, finite and not negative: NumPy, torch, DLPack or a sequence. Taken at their exact value.
        budget: number of samples, a whole number from 0 to 2**63 - 1.
        capacity: how many samples a source can give: one number for all, or (S,). None or inf: no limit.
        minimum: how many samples a source gives at least: one number for all, or (S,). A source with weight 0 gets
            exactly its minimum.
        names: (S,) names for messages; by default "source 0", "source 1", ...

    Returns:
        (S,) int64 counts that sum to ``budget``.

    Raises:
        BudgetError: no allocation can meet the request; the message names the source and the fix.
    """
    try:
        w = as_numpy(weights, where="weights", ndim=1)
    except MetricError as error:
        raise BudgetError(error.what, where=error.where, fix=error.fix) from error
    if names is not None and len(names) != len(w):
        raise BudgetError(f"{len(names)} names for {len(w)} weights", where="names", fix="give one name per weight")
    labels = [f"source {i}" for i in range(len(w))] if names is None else [str(name) for name in names]
    if not labels:
        raise BudgetError("there is no source to draw from", where="weights", fix="give at least one weight")
    for label, value in zip(labels, w.tolist(), strict=True):
        if not math.isfinite(value) or value < 0:
            raise BudgetError(f"the weight is {value}", where=label, fix="give a finite weight that is not negative")
    total = _whole(budget, "budget", None)
    lower = _bounds(minimum, "minimum", labels, unlimited=None)
    upper = _bounds(capacity, "capacity", labels, unlimited=total)
    scaled = _integers(w)
    _check_feasible(scaled, total, lower, upper, labels)
    return np.array(_fill(scaled, total, lower, upper), dtype=np.int64)


def _whole(value: Any, argument: str, label: str | None) -> int:
    where = argument if label is None else f"{argument} of {label}"
    try:
        whole = int(value)
        exact = whole == value and not isinstance(value, str)
    except (TypeError, ValueError, OverflowError):
        exact = False
    if not exact or not 0 <= whole <= _LARGEST:
        raise BudgetError(
            f"{value!r} is not a number of samples", where=where, fix="use a whole number from 0 to 2**63 - 1"
        )
    return whole


def _bounds(bound: Any, argument: str, labels: list[str], *, unlimited: int | None) -> list[int]:
    """Return one integer per source; None and inf become ``unlimited`` where that is given."""
    if hasattr(bound, "tolist"):
        bound = bound.tolist()
    values = list(bound) if isinstance(bound, Sequence) and not isinstance(bound, str) else [bound] * len(labels)
    if len(values) != len(labels):
        raise BudgetError(
            f"{len(values)} values for {len(labels)} sources", where=argument, fix="give one number, or one per source"
        )
    free = (None, math.inf) if unlimited is not None else ()
    return [
        unlimited if unlimited is not None and value in free else _whole(value, argument, label)
        for label, value in zip(labels, values, strict=True)
    ]


def _integers(w: npt.NDArray[Any]) -> list[int]:
    """Return integers in exactly the proportions of the weights: floats are whole multiples of a power of two."""
    if w.dtype.kind in "iu":
        return [int(value) for value in w.tolist()]
    ratios = [value.as_integer_ratio() for value in w.astype(np.float64).tolist()]
    finest = max(denominator for _, denominator in ratios)
    return [numerator * (finest // denominator) for numerator, denominator in ratios]


def _check_feasible(w: list[int], budget: int, lower: list[int], upper: list[int], labels: list[str]) -> None:
    for label, low, high in zip(labels, lower, upper, strict=True):
        if low > budget:
            raise BudgetError(
                f"the minimum {low} is above the budget {budget}",
                where=label,
                fix="lower the minimum or raise the budget",
            )
        if low > high:
            raise BudgetError(
                f"the minimum {low} is above the capacity {high}",
                where=label,
                fix="lower the minimum or raise the capacity",
            )
    if sum(lower) > budget:
        largest = labels[lower.index(max(lower))]
        raise BudgetError(
            f"the minimums sum to {sum(lower)}, above the budget {budget} (largest: {max(lower)} of {largest})",
            where="minimum",
            fix="lower the minimums or raise the budget",
        )
    if sum(upper) < budget:
        smallest = labels[upper.index(min(upper))]
        raise BudgetError(
            f"the capacities sum to {sum(upper)}, below the budget {budget} (smallest: {min(upper)} of {smallest})",
            where="capacity",
            fix="lower the budget or add data",
        )
    if budget and not any(w):
        raise BudgetError(
            f"every weight is 0, from {labels[0]} on", where="weights", fix="give at least one source a positive weight"
        )
    reachable = sum(high if weight else low for weight, low, high in zip(w, lower, upper, strict=True))
    if budget and reachable < budget:
        idle = labels[w.index(0)]
        raise BudgetError(
            f"sources of positive weight can give {reachable} of the budget {budget}, and {idle} has weight 0",
            where="weights",
            fix=f"give {idle} a positive weight or lower the budget",
        )


def _fill(w: list[int], budget: int, lower: list[int], upper: list[int]) -> list[int]:
    """Water-fill in real numbers, then round by largest remainder. All arguments are feasible."""
    shares = list(lower)
    free = _free_sources(w, budget, lower, upper, shares)
    weight = sum(w[i] for i in free)
    left = budget - (sum(shares) - sum(shares[i] for i in free))
    if not weight:
        return shares
    remainders = []
    for i in free:
        shares[i], remainder = divmod(left * w[i], weight)
        remainders.append((-remainder, i))
    missing = left - sum(shares[i] for i in free)
    for _, i in sorted(remainders)[:missing]:
        shares[i] += 1
    return shares


def _free_sources(w: list[int], budget: int, lower: list[int], upper: list[int], shares: list[int]) -> list[int]:
    """Find the sources that no bound holds at the final level; write the bound of every other one into ``shares``.

    The sum of clip(level * w_i, lower_i, upper_i) grows with the level and bends only where a source meets a bound.
    A bisection over those levels, sorted, finds the two that enclose the budget; between them nobody changes sides.
    """
    bends = {Fraction(low, weight) for weight, low in zip(w, lower, strict=True) if weight and low}
    # a capacity at or above the budget cannot bind: the others give at least 0
    bends |= {Fraction(high, weight) for weight, high in zip(w, upper, strict=True) if weight and high < budget}
    levels = sorted(bends)
    first, last = 0, len(levels)  # the budget is met at or above levels[first - 1], and below levels[last]
    while first < last:
        middle = (first + last) // 2
        p, q = levels[middle].numerator, levels[middle].denominator
        if (
            sum(min(max(p * weight, low * q), high * q) for weight, low, high in zip(w, lower, upper, strict=True))
            <= budget * q
        ):
            first = middle + 1
        else:
            last = middle
    free = []
    floor = levels[first - 1] if first else Fraction(0)
    p, q = floor.numerator, floor.denominator
    for i, (weight, low, high) in enumerate(zip(w, lower, upper, strict=True)):
        if weight and p * weight >= high * q:
            shares[i] = high
        elif weight and p * weight >= low * q:
            free.append(i)
    return free
