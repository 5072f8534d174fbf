"""Factors that other packages add: their values, and what their standard errors follow from.

``transfer_matrix`` calls it for the factors that are asked for by name. It knows profiles, and no matrix.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dataprophet.data.formats.plugins import Extensible
from dataprophet.errors import MetricError, choose, first_line, require
from dataprophet.metric.factors import FACTORS, Floats
from dataprophet.profiling.jackknife import influence
from dataprophet.profiling.profile import Profile
from dataprophet.profiling.sketch import N_GROUPS


@dataclass(frozen=True)
class Factor:
    """A factor of the score that a package adds, as an entry point of ``dataprophet.factors``.

    Attributes:
        value: (source, target) profiles -> a finite number above 0, larger for a better source.
        grouped: whether ``value`` reads sums alone (``count``, ``n_tokens``, ``perplexity``, ``directions``), and not
            the diversity. It is then also called with profiles that lack one of the 64 groups of samples, 128 times
            for each pair, and the factor has standard errors. Without them no score that it is part of has an interval.
    """

    value: Callable[[Profile, Profile], float]
    grouped: bool = False


ADDED: Extensible[Factor] = Extensible(
    {}, group="dataprophet.factors", fits=lambda value: isinstance(value, Factor), what="Factor"
)
"""Factors of installed packages by name."""

_COLUMNS = ("target", "source", "rank", "score", "low", "high", "log", "next", "answer_tokens", "similarity", "gain")
_TAKEN = {*FACTORS, *_COLUMNS, "perplexity", "target_perplexity"}
_NAME = re.compile(r"(?!.*_error$)[a-z][a-z0-9_]*")


def require_added(names: Iterable[str]) -> list[str]:
    """The names, each once. Raises MetricError for one that no package adds, or that a table has for something else."""
    wanted = list(dict.fromkeys(names))
    for name in wanted:
        fix = choose(name, ADDED, "" if len(ADDED) else "install the package that adds it")
        require(name in ADDED, f"no package adds a factor {name!r}", "factors", fix, MetricError)
        usable = _NAME.fullmatch(name) and name not in _TAKEN
        fix = "its package must use other small letters, digits and _"
        require(usable, f"{name!r} cannot be the name of a factor", "factors", fix, MetricError)
    return wanted


def values_of(name: str, sources: Sequence[Profile], targets: Sequence[Profile]) -> Floats:
    """(S, T) values of a factor."""
    return np.array([[_value(name, source, target) for target in targets] for source in sources], np.float64)


def influences_of(
    name: str, values: Floats, sources: Sequence[Profile], targets: Sequence[Profile]
) -> tuple[Floats, Floats] | None:
    """Two (S, T, 64) relative influences of groups, of the sources and of the targets; None where they are not had."""
    if not ADDED[name].grouped:
        return None
    of_sources, of_targets = np.empty((*values.shape, N_GROUPS)), np.empty((*values.shape, N_GROUPS))
    for i, source in enumerate(sources):
        less = [values_of(name, [part], targets)[0] if part else values[i] for part in _without_each(source)]
        of_sources[i] = influence(values[i], np.stack(less, -1), source.count)
    for j, target in enumerate(targets):
        less = [values_of(name, sources, [part])[:, 0] if part else values[:, j] for part in _without_each(target)]
        of_targets[:, j] = influence(values[:, j], np.stack(less, -1), target.count)
    return of_sources / values[..., None], of_targets / values[..., None]


def _without_each(profile: Profile) -> Iterable[Profile | None]:
    """The profile without each of its groups in turn, and without its sketch; None for groups that hold no sample."""
    for group in range(N_GROUPS):
        kept = np.arange(N_GROUPS) != group
        if not profile.count[group] or not profile.count[kept].any():
            yield None
            continue
        yield replace(
            profile,
            count=profile.count * kept,
            nll_sum=profile.nll_sum * kept,
            tokens=profile.tokens * kept,
            field_count={name: count * kept for name, count in profile.field_count.items()},
            field_sum={name: sums * kept[:, None] for name, sums in profile.field_sum.items()},
            sketch=None,
            _diversity=None,
        )


def _value(name: str, source: Profile, target: Profile) -> float:
    pair = f"{source.name!r} -> {target.name!r}"
    try:
        value = float(ADDED[name].value(source, target))
    except Exception as error:  # whatever a package's function may raise
        what = f"factor {name!r} fails ({first_line(error)})"
        fix = "repair its package, where a grouped factor has no diversity to read, or leave it out of factors="
        raise MetricError(what, where=pair, fix=fix) from error
    if math.isinf(value):
        raise MetricError(f"factor {name!r} is {value}", where=pair, fix="its package must give a finite number")
    return value
