"""The factors of the metric: their names, their product, and what tells that a ranking is doubtful.

The matrix and what reads it call this. It knows names and arrays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from fractions import Fraction
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from dataprophet.errors import MetricError

FACTORS = {
    "question_similarity": "QSim",
    "answer_similarity": "ASim",
    "image_similarity": "ISim",
    "source_perplexity": "PPL(s)",
    "diversity": "Sil+H",
    "inverse_target_perplexity": "1/PPL(t)",
}
"""Name of each factor -> its sign in the formula. The score is the product of all of them."""

Floats: TypeAlias = NDArray[np.float64]

_GROUPS = {
    "perplexity": ("source_perplexity", "inverse_target_perplexity"),
    "target_perplexity": ("inverse_target_perplexity",),
    **{sign: (name,) for name, sign in FACTORS.items()},
}

_HIGH_PERPLEXITY, _DECISIVE = 1000, 0.95
_WHY_HIGH = "the model does not know such answers, rows are garbled or mislabelled, or nll is not in nats per token"


def factors_named(names: Iterable[str]) -> set[str]:
    """Names of the factors that users call by their names, their signs, or together ``perplexity``."""
    return {factor for name in names for factor in _GROUPS.get(name, (name,))}


def require_varied(left: Collection[str]) -> None:
    """Refuse factors of which none differs between sources, or samples: every score for a target would be the same.

    Raises:
        MetricError: none is left, or 1/PPL(t) alone.
    """
    if left and not set(left) <= {"inverse_target_perplexity"}:
        return
    what = "no factor is left in which sources or samples differ"
    raise MetricError(what, where="without", fix="leave fewer factors out")


def product(factors: Mapping[str, Floats], shape: tuple[int, int]) -> Floats:
    """Product of the factors in the order of the formula, NaN where one of them is not positive."""
    total = np.ones(shape)
    for name in [name for name in FACTORS if name in factors] + sorted(factors.keys() - FACTORS.keys()):
        total = total * np.where(factors[name] > 0, factors[name], np.nan)
    return total


def whole_share(share: float, count: int) -> int:
    """The whole part of a share of a number, to 12 digits of the share: 0.29 of 100,000,000 is 29,000,000."""
    return int(Fraction(f"{share:.12g}") * count)


def places_within(quantiles: Sequence[float] | None, count: int) -> tuple[int, int]:
    """The first and the last place, of so many in ascending order, that lie within quantiles (low, high).

    Raises:
        MetricError: they are no two numbers, 0 <= low < high <= 1.
    """
    given = (0.0, 1.0) if quantiles is None else tuple(quantiles)
    if len(given) != 2 or not 0 <= given[0] < given[1] <= 1:
        fix = "give LOW and HIGH with 0 <= LOW < HIGH <= 1"
        raise MetricError(f"it is {', '.join(map(str, given))}", where="nll_quantiles", fix=fix)
    first, behind = whole_share(given[0], count), whole_share(1 - given[1], count)
    return min(first, count - 1), max(first, count - 1 - behind)


def remarks_on_perplexity(name: str, value: float) -> list[str]:
    """A line that says what a dataset's perplexity may mean, where it is above 1,000."""
    return [f"PPL of {name!r} is {value:,.0f}: {_WHY_HIGH}"] if value > _HIGH_PERPLEXITY else []


def remarks_of(
    factors: Mapping[str, Floats], sources: Sequence[str], targets: Sequence[str], columns: Iterable[int]
) -> list[str]:
    """What makes rankings doubtful, a line each: perplexities above 1,000, and a factor that decides alone.

    A factor decides alone where it orders the sources, three or more, as M does (Spearman's rank correlation is above
    0.95) and its logarithms spread more than those of what the other factors make together.

    Args:
        factors: factor -> (S, T) values.
        sources: S names.
        targets: T names.
        columns: which targets matter.
    """
    wanted, told = list(columns), list[str]()
    known: list[tuple[str, float]] = []
    if "source_perplexity" in factors:
        known += zip(sources, factors["source_perplexity"][:, 0].tolist(), strict=True)
    if "inverse_target_perplexity" in factors:
        known += ((targets[j], 1 / float(factors["inverse_target_perplexity"][0, j])) for j in wanted)
    told += [line for pair in dict(known).items() for line in remarks_on_perplexity(*pair)]
    decided: dict[str, list[str]] = {}
    for j in wanted:
        if (one := _decisive({name: part[:, j] for name, part in factors.items()})) is not None:
            decided.setdefault(FACTORS.get(one, one), []).append(targets[j])
    for sign, of in decided.items():
        whose = repr(of[0]) if len(of) == 1 else f"{len(of)} of {len(targets)} targets"
        what = f"{sign} alone decides the ranking for {whose} (rank correlation with M above {_DECISIVE})"
        told.append(f"{what}: compare rank --without '{sign}'")
    return told


def _decisive(factors: Mapping[str, Floats]) -> str | None:
    """The factor that alone decides the order of the sources, if one does; ``factors`` are (S,) each."""
    with np.errstate(invalid="ignore", divide="ignore"):
        logs = np.array([np.log(part) for part in factors.values()])
    logs = logs[..., np.isfinite(logs).all(0)]
    if logs.size < 3 * len(logs) or not len(logs):
        return None
    total, widest = logs.sum(0), int(logs.std(1).argmax())
    own = logs[widest]
    if not own.std() > (total - own).std():
        return None
    return list(factors)[widest] if np.corrcoef(_ranks(own), _ranks(total))[0, 1] > _DECISIVE else None


def _ranks(values: Floats) -> Floats:
    """Ranks, equals sharing their mean."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[places.ravel()])
