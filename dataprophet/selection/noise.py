"""Limits against noise, and scores without some factors, for the candidates of a selection.

``Candidates`` asks here which of its units are beyond the limits that ``Settings`` name, and what a sample scores.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from dataprophet.errors import BudgetError
from dataprophet.metric.factors import factors_named, places_within
from dataprophet.scoring.folder.pool import ScoredPool
from dataprophet.scoring.folder.rows import SIMILARITIES
from dataprophet.selection.settings import Settings

NLL, TOKENS = "mean_nll", "answer_tokens"
MAX_NLL, NLL_QUANTILES, MIN_TOKENS = "max_nll", "nll_quantiles", "min_answer_tokens"

Numbers = tuple[NDArray[np.float32], NDArray[np.float64]]  # mean nll, and answer tokens, of units


class Scores:
    """Scores of a pool's samples with some factors left out.

    Args:
        pool: the scored pool.
        targets: names of the targets.
        without: factors to leave out; with none, the scores are those that were stored.
    """

    def __init__(self, pool: ScoredPool, targets: Sequence[str], without: Sequence[str]) -> None:
        self._targets, drop = list(targets), factors_named(without)
        self._plain = not drop
        self._signs = [SIMILARITIES[name] for name in pool.fields if f"{name}_similarity" not in drop]
        self._of_source, of_target = "source_perplexity" not in drop, "inverse_target_perplexity" not in drop
        self._offsets = dict.fromkeys(targets, 0.0)
        if of_target and not self._plain:
            known = pool.target_profiles()
            self._offsets.update(zip(known.names, known.mean_nll.tolist(), strict=True))

    @property
    def columns(self) -> list[str]:
        """Columns of the rows files that the scores are made of."""
        if self._plain:
            return [f"M:{target}" for target in self._targets]
        return [NLL, *(f"{sign}:{target}" for target in self._targets for sign in self._signs)]

    def of(self, table: pa.Table) -> NDArray[np.float64]:
        """(n, T) scores of samples, NaN where a factor that counts is missing or not positive."""
        if self._plain:
            return np.stack([floats(table.column(name)) for name in self.columns], axis=1)
        nll = floats(table.column(NLL))
        made = []
        for target in self._targets:
            with np.errstate(over="ignore"):
                total = np.exp((nll if self._of_source else np.where(np.isnan(nll), nll, 0)) - self._offsets[target])
            for sign in self._signs:
                part = floats(table.column(f"{sign}:{target}"))
                total *= np.where(part > 0, part, np.nan)
            made.append(np.where(np.isfinite(total), total, np.nan))
        return np.stack(made, axis=1)


@dataclass(frozen=True)
class Limits:
    """Which units are beyond the limits.

    Attributes:
        least, most: of the mean negative log-likelihood, both allowed: where the quantiles lie.
        max_nll: most of it, None for any.
        tokens: least answer tokens.
        left_out: rule -> units with a score that it leaves out.
    """

    least: float = -np.inf
    most: float = np.inf
    max_nll: float | None = None
    tokens: int = 0
    left_out: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, settings: Settings, units: Callable[[], Iterable[Numbers]]) -> Limits:
        """The limits that settings name.

        Args:
            settings: what is asked.
            units: gives the numbers of the units that have a score, part by part; called several times.

        Raises:
            BudgetError: a limit of answer tokens where a unit's are not known.
        """
        least, most = -np.inf, np.inf
        if settings.nll_quantiles is not None:
            least, most = _between(lambda: (nll for nll, _ in units()), settings.nll_quantiles)
        made = cls(least, most, settings.max_nll, settings.min_answer_tokens)
        if made != cls():
            for numbers in units():
                if made.tokens and not numbers[1].all():
                    what, fix = "a pool does not know the answer tokens of each sample", "score features with n_tokens"
                    raise BudgetError(what, where=MIN_TOKENS, fix=fix)
                made.left_out.update({rule: int(beyond.sum()) for rule, beyond in made._beyond(numbers).items()})
        return made

    def allow(self, numbers: Numbers) -> NDArray[np.bool_]:
        """(n,) whether units are within all limits."""
        return np.asarray(~np.any([*self._beyond(numbers).values()], axis=0), np.bool_)

    def _beyond(self, numbers: Numbers) -> dict[str, NDArray[np.bool_]]:
        """Rule -> (n,) which units it leaves out; each is counted by the first of them."""
        nll, tokens = numbers
        over = nll > np.float32(np.inf if self.max_nll is None else self.max_nll)
        outside = ~over & ((nll < self.least) | (nll > self.most))
        return {MAX_NLL: over, NLL_QUANTILES: outside, MIN_TOKENS: ~over & ~outside & (tokens < self.tokens)}


def _between(nll: Callable[[], Iterable[NDArray[np.float32]]], quantiles: Sequence[float]) -> tuple[float, float]:
    """The numbers at two quantiles, exactly, by counts of their upper and of their lower bits.

    Bits of floats that are not negative are in the order of the floats.
    """

    def counts(keep: Callable[[NDArray[np.uint32]], NDArray[np.uint32]]) -> NDArray[np.int64]:
        total = np.zeros(1 << 16, np.int64)
        for values in nll():
            total += np.bincount(keep(np.abs(np.maximum(values, np.float32(0))).view(np.uint32)), minlength=1 << 16)
        return np.cumsum(total)

    upper = counts(lambda bits: bits >> np.uint32(16))
    if not upper[-1]:
        return -np.inf, np.inf
    found = []
    for place in places_within(quantiles, int(upper[-1])):
        high = int(np.searchsorted(upper, place, side="right"))
        lower = counts(lambda bits, high=high: (bits & np.uint32(0xFFFF))[bits >> np.uint32(16) == high])  # type: ignore[misc]
        low = int(np.searchsorted(lower, place - (upper[high - 1] if high else 0), side="right"))
        found.append(float(np.array(high << 16 | low, np.uint32).view(np.float32)))
    return found[0] or -np.inf, found[1]


def floats(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """A column as float64, NaN where it is null."""
    return pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False) if len(column) else np.empty(0)
