"""TransferMatrix: the score of every source for every target, with each factor and its uncertainty.

`transfer_matrix` makes it, rankings and mixtures read it. It knows nothing of profiles.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from itertools import pairwise, zip_longest
from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from dataprophet.data.identity import compare as identity
from dataprophet.errors import MetricError, MissingDependencyError, checked, choose, explained, pip_install
from dataprophet.metric import matrix_csv
from dataprophet.metric.factors import (
    FACTORS,
    Floats,
    factors_named,
    places_within,
    product,
    remarks_of,
    require_varied,
)
from dataprophet.metric.ranking import Ranked, Ranking, matrix_html
from dataprophet.ops.arrays import as_numpy
from dataprophet.profiling.jackknife import standard_error

if TYPE_CHECKING:
    import pandas as pd


class Influences(NamedTuple):
    """Relative influences of one factor: (S or 1, T or 1, 65), zero where the factor does not depend on that side.

    One for each of the 64 groups, and a last one for what the clustering of the source adds.
    """

    source: Floats
    target: Floats


@checked()
@dataclass(eq=False, repr=False)
class TransferMatrix:
    """Scores M(s -> t) of S sources for T targets.

    Attributes:
        sources: S names.
        targets: T names.
        values: (S, T) float64 scores; NaN where a factor made the score meaningless and that was allowed.
        factors: factor name -> (S, T) float64; their product is ``values``. Empty for a matrix that was only read.
        errors: factor name -> (S, T) float64 standard errors. Empty when they were not computed.
        log_error: (S, T) float64 standard error of log M, or None.
        next_error: (S, T) float64 standard error of the log-ratio to the next-ranked source for that target, or None.
        answer_tokens: (S,) float64 mean answer tokens of a source's samples, 0 where they are not known, or None.
        identities: ``sources`` and ``targets`` -> name -> what its profile was made of, as far as it is known.
    """

    sources: list[str]
    targets: list[str]
    values: Floats
    factors: dict[str, Floats] = field(default_factory=dict)
    errors: dict[str, Floats] = field(default_factory=dict)
    log_error: Floats | None = None
    next_error: Floats | None = None
    influences: Mapping[str, Influences] = field(default_factory=dict, repr=False)
    same: NDArray[np.bool_] | None = field(default=None, repr=False)
    answer_tokens: Floats | None = field(default=None, repr=False)
    identities: identity.Known = field(default_factory=dict, repr=False)

    __hash__ = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.sources, self.targets = [str(name) for name in self.sources], [str(name) for name in self.targets]
        self.values = _matrix("values", self.values, self.shape)
        self.factors = {name: _matrix(name, part, self.shape) for name, part in self.factors.items()}
        for side, names in (("source", self.sources), ("target", self.targets)):
            if twice := sorted(name for name, count in Counter(names).items() if count > 1):
                raise MetricError(f"{side} {twice[0]!r} occurs more than once", fix="give each dataset its own name")
        if self.influences and self.log_error is None:
            self._derive_errors()

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.sources), len(self.targets)

    def __repr__(self) -> str:
        known = [word for word, part in (("factors", self.factors), ("errors", self.errors)) if part]
        beside = f", with {' and '.join(known)}" if known else ""
        return f"<TransferMatrix: {self.shape[0]:,} sources x {self.shape[1]:,} targets{beside}>"

    def _repr_html_(self) -> str:
        return matrix_html(self.sources, self.targets, self.values)

    def __eq__(self, other: object) -> bool:
        """Equal names, values and factors, to the bit; NaN equals NaN."""
        return (
            isinstance(other, TransferMatrix)
            and (self.sources, self.targets) == (other.sources, other.targets)
            and np.array_equal(self.values, other.values, equal_nan=True)
            and self.factors.keys() == other.factors.keys()
            and all(np.array_equal(part, other.factors[name], equal_nan=True) for name, part in self.factors.items())
        )

    @checked()
    def column(self, target: str) -> int:
        """Index of a target.

        Raises:
            MetricError: when there is no such target, naming those there are.
        """
        if target not in self.targets:
            raise MetricError(f"no target {target!r}", fix=choose(target, self.targets))
        return self.targets.index(target)

    @checked()
    def order(self, target: str) -> NDArray[np.int64]:
        """Indices of the sources, best first; ties by name, NaN last."""
        column = self.values[:, self.column(target)]
        column = np.where(np.isnan(column), -np.inf, column)
        return np.array(sorted(range(len(column)), key=lambda row: (-column[row], self.sources[row])), np.int64)

    @checked()
    def rank(self, target: str, *, level: float = 0.95) -> Ranking:
        """Sources for a target, best first, with intervals at a level.

        Raises:
            MetricError: for an unknown target, a level outside (0, 1), or a column in which no score is defined.
        """
        ranking = self._ranking(self.column(target), level)
        if ranking and math.isnan(ranking[0].score):
            raise MetricError(f"no score for target {target!r} is defined", fix="drop the factor that is not positive")
        return ranking

    def _ranking(self, j: int, level: float) -> Ranking:
        """Sources for the target of a column."""
        if not 0 < level < 1:
            raise MetricError(f"level is {level}", fix="use a number between 0 and 1, such as 0.95")
        z, order, entries = NormalDist().inv_cdf((1 + level) / 2), self.order(self.targets[j]), list[Ranked]()
        for row, behind in zip_longest(order, order[1:]):
            score = float(self.values[row, j])
            width = z * float(self.log_error[row, j]) if self.log_error is not None else np.nan
            resolved = None
            if self.next_error is not None and behind is not None:
                gap, error = abs(np.log(score) - np.log(self.values[behind, j])), self.next_error[row, j]
                resolved = None if np.isnan(error) or np.isnan(gap) else bool(gap > z * error)
            low, high = (float(score * np.exp(side * width)) for side in (-1, 1))
            entries.append(Ranked(self.sources[row], score, low, high, resolved))
        return Ranking(entries, self.targets[j], level)

    @checked()
    def without(self, *names: str) -> TransferMatrix:
        """The matrix with factors left out of the product.

        Args:
            names: factor names, their signs in the formula (QSim, ASim, ISim, PPL(s), Sil+H, 1/PPL(t)), or
                ``perplexity`` for both perplexities.

        Raises:
            MetricError: for an unknown factor, or when the matrix holds no factors.
        """
        drop = factors_named(names)
        if unknown := sorted(drop - self.factors.keys()):
            signs = [FACTORS.get(name, name) for name in self.factors]
            fix = "there are none: read the matrix together with its .factors.csv file"
            fix = choose(unknown[0], [*signs, *self.factors, "perplexity"]) if signs else fix
            raise MetricError(f"no factor {unknown[0]!r}", fix=fix)
        kept = {name: part for name, part in self.factors.items() if name not in drop}
        if drop:
            require_varied(kept)
        values = product(kept, self.shape)
        influences = {name: part for name, part in self.influences.items() if name in kept}
        errors = {name: part for name, part in self.errors.items() if name in kept}
        beside: dict[str, Any] = {"same": self.same, "answer_tokens": self.answer_tokens, "identities": self.identities}
        return TransferMatrix(self.sources, self.targets, values, kept, errors, influences=influences, **beside)

    @checked()
    def within(
        self,
        *,
        max_nll: float | None = None,
        nll_quantiles: Sequence[float] | None = None,
        min_answer_tokens: float | None = None,
    ) -> TransferMatrix:
        """The matrix without the sources that are beyond limits of noise.

        Args:
            max_nll: most mean negative log-likelihood of a source's samples, log PPL(s), in nats.
            nll_quantiles: (low, high), 0 <= low < high <= 1: of S sources, the floor(low S) of the least and the
                floor((1 - high) S) of the largest mean negative log-likelihood are left out, but not their equals.
            min_answer_tokens: least mean number of answer tokens of a source's samples.

        Raises:
            MetricError: no source is left, or the matrix does not hold the numbers.
        """
        kept = np.ones(len(self.sources), np.bool_)
        if max_nll is not None and np.isnan(max_nll):
            raise MetricError("it is nan", where="max_nll", fix="give a number")
        if max_nll is not None or nll_quantiles is not None:
            if "source_perplexity" not in self.factors:
                fix = "read it with its .factors.csv file, and leave sources out before factors"
                raise MetricError("holds no PPL(s) to limit", where="max_nll and nll_quantiles", fix=fix)
            nll = np.log(self.factors["source_perplexity"][:, 0])
            first, last = places_within(nll_quantiles, len(nll))
            kept &= (nll >= np.sort(nll)[first]) & (nll <= np.sort(nll)[last])
            kept &= nll <= (np.inf if max_nll is None else max_nll)
        if min_answer_tokens is not None:
            if self.answer_tokens is None or not self.answer_tokens.all():
                fix = "make the profiles with the numbers of tokens, and the matrix again"
                raise MetricError("does not know the answer tokens of each source", where="min_answer_tokens", fix=fix)
            kept &= self.answer_tokens >= min_answer_tokens
        if not kept.any():
            raise MetricError(f"none of the {len(kept)} sources is within the limits", fix="ease a limit")
        return self if kept.all() else self._of(np.flatnonzero(kept))

    def _of(self, rows: NDArray[np.int64]) -> TransferMatrix:
        """The matrix of some of the sources. Where it was only read, no errors are known between new neighbours."""

        def cut(part: Any) -> Any:  # what does not depend on the source has one row for all
            return part if part is None or len(part) == 1 else part[rows]

        made = TransferMatrix(
            [self.sources[row] for row in rows],
            self.targets,
            cut(self.values),
            {name: cut(part) for name, part in self.factors.items()},
            {name: cut(part) for name, part in self.errors.items()},
            None if self.influences else cut(self.log_error),
            influences={name: Influences(*map(cut, part)) for name, part in self.influences.items()},
            same=cut(self.same),
            answer_tokens=cut(self.answer_tokens),
            identities=self.identities,
        )
        if self.next_error is not None and not self.influences:
            made.next_error = np.full(made.shape, np.nan)
            for j, name in enumerate(self.targets):
                behind = dict(pairwise(self.order(name).tolist()))
                for a, b in pairwise(made.order(name)):
                    if behind.get(int(rows[a])) == rows[b]:
                        made.next_error[a, j] = self.next_error[rows[a], j]
        return made

    @checked()
    def remarks(self, target: str | None = None) -> list[str]:
        """What makes a target's ranking doubtful, or those of all, a line each; see ``factors.remarks_of``."""
        columns = range(len(self.targets)) if target is None else [self.column(target)]
        unknown = [FACTORS.get(name, name) for name in self.factors if self.errors and name not in self.errors]
        blind = [f"{name} has no standard error, so that scores have no interval" for name in unknown]
        return [*blind, *remarks_of(self.factors, self.sources, self.targets, columns)]

    def _derive_errors(self) -> None:
        """Standard errors of the factors, of log M, and of the log-ratio of neighbours, from the influences."""
        shape = self.shape
        same = self.same if self.same is not None else np.zeros(shape, np.bool_)
        for name, part in self.influences.items():
            error = np.broadcast_to(_combine(part.source, part.target, same), shape)
            self.errors[name] = np.abs(self.factors[name]) * error
        if not self.influences.keys() >= self.factors.keys():
            return  # an interval without the part of a factor would be too narrow
        totals = [reduce(np.add, parts) for parts in zip(*self.influences.values(), strict=True)]
        source, target = (np.broadcast_to(total, (*shape, total.shape[-1])) for total in totals)
        self.log_error = np.where(np.isnan(self.values), np.nan, _combine(source, target, same))
        self.next_error = np.full(shape, np.nan)
        for j, name in enumerate(self.targets):
            order = self.order(name)
            for a, b in pairwise(order):
                own, its = source[a, j], source[b, j]
                shared = target[a, j] - target[b, j]
                if same[a, j]:  # the target is this source: one set of samples, so influences add before they square
                    own, shared = np.zeros_like(own), shared + own
                elif same[b, j]:
                    its, shared = np.zeros_like(its), shared - its
                self.next_error[a, j] = np.sqrt((own**2).sum() + (its**2).sum() + (shared**2).sum())

    @checked()
    def to_csv(self, path: str | os.PathLike[str]) -> None:
        r"""Write the matrix, ``source\target`` in its corner.

        Its factors, if any, go to ``<stem>.factors.csv``, what its profiles were made of to ``<stem>.identity.json``.
        """
        known = self._beside_scores()
        lines: list[list[object]] = [["target", "rank", "source", "score", *known]]
        for j, place, i in self._pairs() if self.factors else ():
            numbers = (float(part[i, j]) for part in (self.values, *known.values()))
            told = ("" if math.isnan(number) else number for number in numbers)
            lines.append([self.targets[j], place, self.sources[i], *told])
        matrix_csv.write(matrix_csv.factors_path(path), lines if self.factors else None)
        rows = zip(self.sources, self.values.tolist(), strict=True)
        matrix_csv.write(path, [[matrix_csv.CORNER, *self.targets], *([name, *row] for name, row in rows)])
        identity.save(path, self.identities, matrix_csv.digests(path))

    def _pairs(self) -> Iterator[tuple[int, int, int]]:
        """Column, rank from 1, and row of every pair: target by target, best first."""
        for j, target in enumerate(self.targets):
            yield from ((j, place, i) for place, i in enumerate(self.order(target).tolist(), 1))

    def _beside_scores(self) -> dict[str, Floats]:
        """What is known of every pair beside its score, (S, T) each: NaN where it is not known."""
        errors = {f"{name}_error": self.errors.get(name) for name in self.factors}
        known = {"log_error": self.log_error, "next_error": self.next_error, **self.factors, **errors}
        if self.answer_tokens is not None:
            known[matrix_csv.TOKENS] = np.repeat(self.answer_tokens[:, None], self.shape[1], axis=1)
        return {name: np.full(self.shape, np.nan) if part is None else part for name, part in known.items()}

    def to_pandas(self) -> pd.DataFrame:
        """The scores as a ``pandas.DataFrame``: a row for each source, a column for each target.

        Raises:
            MissingDependencyError: pandas is not installed.
        """
        install = pip_install(["pandas"])
        with explained(ImportError, MissingDependencyError, "pandas is not there", "to_pandas", install):
            import pandas as pd
        sources, targets = pd.Index(self.sources, name="source"), pd.Index(self.targets, name="target")
        return pd.DataFrame(self.values.copy(), sources, targets)

    @checked()
    def to_arrow(self, *, level: float = 0.95) -> pa.Table:
        """A row for each pair, target by target, best first.

        Columns: ``target``, ``rank`` from 1, ``source``, ``score``, ``low`` and ``high`` (bounds of the score at
        ``level``), ``resolved`` (from the next source), ``log_error`` (standard error of log M), ``next_error`` (of the
        log-ratio to the next source), each factor, each with ``_error`` behind its name, and ``answer_tokens`` where
        they are known. What is not known is null.
        """
        entries = [entry for j in range(len(self.targets)) for entry in self._ranking(j, level)]
        j, place, i = np.array(list(self._pairs()), np.int64).reshape(-1, 3).T
        columns: dict[str, Any] = {"target": pa.array([self.targets[at] for at in j], pa.string()), "rank": place}
        columns |= {"source": pa.array([entry.source for entry in entries], pa.string()), "score": self.values[i, j]}
        columns |= {side: np.array([getattr(entry, side) for entry in entries], np.float64) for side in ("low", "high")}
        columns["resolved"] = pa.array([entry.resolved for entry in entries], pa.bool_())
        columns |= {name: part[i, j] for name, part in self._beside_scores().items()}
        return pa.table({name: pa.array(column, from_pandas=True) for name, column in columns.items()})

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """The rows of :meth:`to_arrow`, for whoever reads the Arrow PyCapsule interface: polars, DuckDB, pandas."""
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    @classmethod
    @checked()
    def from_csv(cls, path: str | os.PathLike[str]) -> TransferMatrix:
        """Read a matrix, and what lies beside it: its factors and identities. Values round-trip exactly.

        Raises:
            MetricError: when the file is missing or malformed, naming row and column.
        """
        given = matrix_csv.read(path, FACTORS)
        try:
            return cls(**given, identities=identity.load(path, matrix_csv.digests(path)))
        except MetricError as error:
            raise MetricError(error.what, where=str(path), fix=error.fix) from error


def _combine(source: Floats, target: Floats, same: NDArray[np.bool_]) -> Floats:
    apart = np.sqrt(standard_error(source) ** 2 + standard_error(target) ** 2)
    return np.where(same, standard_error(source + target), apart) if same.any() else apart


def _matrix(name: str, values: ArrayLike, shape: tuple[int, int]) -> Floats:
    array = as_numpy(values, where=name, ndim=2).astype(np.float64)
    if array.shape != shape:
        what, fix = f"{name} has shape {array.shape}, expected {shape}", "give a row per source and a column per target"
        raise MetricError(what, fix=fix)
    return array
