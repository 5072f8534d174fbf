"""Mixtures that meet a budget exactly: shares in proportion to the scores, within capacities and minimums.

``dp.allocate``, which mixtures are made with. It knows weights and names, and nothing of scores or datasets.
All arithmetic is on integers, so that no rounding can break the sum or the order of the shares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, SupportsInt

import numpy as np
import numpy.typing as npt

from dataprophet.errors import BudgetError, MetricError, checked
from dataprophet.ops.arrays import as_numpy

_LARGEST = 2**63 - 1


@checked()
def allocate(
    weights: Any,
    budget: SupportsInt,
    *,
    capacity: Any = None,
    minimum: Any = 0,
    names: Sequence[str] | None = None,
    temperature: float = 1.0,
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
        temperature: weights are raised to 1 / temperature: above 1 the shares are more even, below 1 sharper.

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
    if not (math.isfinite(temperature) and temperature > 0):
        raise BudgetError(f"it is {temperature}", where="temperature", fix="use a number above 0; 1 changes nothing")
    if temperature != 1 and w.max() > 0:
        w = (w.astype(np.float64) / float(w.max())) ** (1 / temperature)
    total = whole_number(budget, "budget")
    lower = _bounds(minimum, "minimum", labels)
    upper = _bounds(capacity, "capacity", labels, unlimited=total)
    ratios = [value.as_integer_ratio() for value in w.tolist()]
    finest = max(denominator for _, denominator in ratios)  # a power of two: a multiple of all the others
    integers = [numerator * (finest // denominator) for numerator, denominator in ratios]
    _check_feasible(integers, total, lower, upper, labels)
    return np.array(_fill(integers, total, lower, upper), dtype=np.int64)


def whole_number(value: Any, where: str) -> int:
    """A number of samples as an integer, whatever type it came in.

    Raises:
        BudgetError: it is not a whole number from 0 to 2**63 - 1.
    """
    try:
        whole = int(value)
        exact = whole == value and not isinstance(value, str)
    except (TypeError, ValueError, OverflowError):
        exact = False
    if not exact or not 0 <= whole <= _LARGEST:
        what, fix = f"{value!r} is not a number of samples", "use a whole number from 0 to 2**63 - 1"
        raise BudgetError(what, where=where, fix=fix)
    return whole


def _bounds(bound: Any, argument: str, labels: list[str], *, unlimited: int | None = None) -> list[int]:
    """Return one integer per source; None and inf become ``unlimited`` where that is given."""
    values = bound.tolist() if hasattr(bound, "tolist") else bound
    if not isinstance(values, Sequence) or isinstance(values, str):
        values = [values] * len(labels)
    if len(values) != len(labels):
        what, fix = f"{len(values)} values for {len(labels)} sources", "give one number, or one per source"
        raise BudgetError(what, where=argument, fix=fix)
    if unlimited is not None:
        values = [unlimited if value in (None, math.inf) else value for value in values]
    return [whole_number(value, f"{argument} of {label}") for label, value in zip(labels, values, strict=True)]


def _check_feasible(w: list[int], budget: int, lower: list[int], upper: list[int], labels: list[str]) -> None:
    for label, low, high in zip(labels, lower, upper, strict=True):
        for name, most in (("budget", budget), ("capacity", high)):
            if low > most:
                what = f"the minimum {low} is above the {name} {most}"
                raise BudgetError(what, where=label, fix=f"lower the minimum or raise the {name}")
    reachable = sum(high if weight else low for weight, low, high in zip(w, lower, upper, strict=True))
    if sum(lower) > budget:
        largest = labels[lower.index(max(lower))]
        what = f"the minimums sum to {sum(lower)}, above the budget {budget} (largest: {max(lower)} of {largest})"
        where, fix = "minimum", "lower the minimums or raise the budget"
    elif sum(upper) < budget:
        smallest = labels[upper.index(min(upper))]
        what = f"the capacities sum to {sum(upper)}, below the budget {budget} (smallest: {min(upper)} of {smallest})"
        where, fix = "capacity", "lower the budget or add data"
    elif budget and not any(w):
        what = f"every weight is 0, from {labels[0]} on"
        where, fix = "weights", "give at least one source a positive weight"
    elif budget and reachable < budget:
        idle = labels[w.index(0)]
        what = f"sources of positive weight can give {reachable} of the budget {budget}, and {idle} has weight 0"
        where, fix = "weights", f"give {idle} a positive weight or lower the budget"
    else:
        return
    raise BudgetError(what, where=where, fix=fix)


def _fill(w: list[int], budget: int, lower: list[int], upper: list[int]) -> list[int]:
    """Water-fill in real numbers, then round by largest remainder. All arguments are feasible."""
    shares, free = list(lower), [i for i, weight in enumerate(w) if weight]
    left, weight = budget - sum(lower) + sum(lower[i] for i in free), sum(w)
    filled: dict[int, int] = {}
    while free:
        # the shares, times `weight`, at the level where the free sources would give what is left without any bounds
        filled = {i: min(max(left * w[i], lower[i] * weight), upper[i] * weight) for i in free}
        excess = sum(filled.values()) - left * weight
        if not excess:
            break
        # bounds give too much, so the level must fall, and who is at its minimum stays there; or else the reverse
        held = {i for i in free if (filled[i] - left * w[i]) * excess > 0}
        for i in held:
            shares[i] = filled[i] // weight
        left, weight = left - sum(shares[i] for i in held), weight - sum(w[i] for i in held)
        free = [i for i in free if i not in held]
    for i in free:
        shares[i] = filled[i] // weight
    for i in sorted(free, key=lambda i: -(filled[i] % weight))[: budget - sum(shares)]:  # ties stay in order
        shares[i] += 1
    return shares
