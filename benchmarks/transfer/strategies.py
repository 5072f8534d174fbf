"""How rows are chosen from a pool for a target, under a budget: a name and a function of a `Choice`.

"cheats" marks what reads the target's own gains, "backward" what takes gradients, "gains" what reads gains of others.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow.parquet as pq

import dataprophet as dp
from dataprophet.features.features import FIELDS, Features
from dataprophet.metric.calibration import weighted
from dataprophet.metric.matrix import TransferMatrix
from dataprophet.selection import Settings, select_pool
from transfer.learner import Measured
from transfer.predictors import matrix_of

Rows: TypeAlias = np.ndarray | None  # places in the pool; None where a strategy lacks what it needs


@dataclass
class Choice:
    """What strategies choose from.

    Attributes:
        sources: names, in the order of the pool.
        owner: (n,) number of each row's source.
        pool: measurements of the rows.
        target: its name.
        test: measurements of the target.
        budget: rows to choose, exactly.
        seed: of all that is drawn.
        gains: (S,) measured gains of the sources on the target.
        cosines: (n, k) of the gradients of rows and of k parts of the target; empty where they were not taken.
        weights: exponents of the factors, fitted to the gains of other targets; None where there were too few.
        folder: for the scored pool.
    """

    sources: list[str]
    owner: np.ndarray
    pool: Measured
    target: str
    test: Measured
    budget: int
    seed: int
    gains: np.ndarray
    cosines: np.ndarray
    weights: Mapping[str, float] | None
    folder: Path

    @cached_property
    def order(self) -> np.ndarray:
        """(n,) the rows in an order that the seed draws: all that is left to chance follows it."""
        return np.random.default_rng(self.seed).permutation(len(self.owner))

    @cached_property
    def matrix(self) -> TransferMatrix:
        """(S, 1) the published metric."""
        parts = {name: self.pool.of(self.owner == number) for number, name in enumerate(self.sources)}
        return matrix_of(parts, {self.target: self.test}, "pool")

    @cached_property
    def scored(self) -> Path:
        """The pool as `dataprophet score --features --embeddings` leaves it."""
        vectors = {name: getattr(self.pool, name).astype(np.float32) for name in FIELDS}
        numbers = {"nll": self.pool.nll.clip(0), "n_tokens": self.pool.n_tokens.astype(np.int64)}
        np.savez(self.folder / "pool.npz", id=np.array(self.pool.ids), **numbers, **vectors)
        test, at = self.test, {name: getattr(self.test, name).astype(np.float32) for name in FIELDS}
        given = Features(test.ids, test.nll.clip(0), at, n_tokens=test.n_tokens.astype(np.int64))
        target = dp.profile(given, "pool", name=self.target)
        arguments: dict[str, Any] = {"features": True, "embeddings": True}
        dp.score(self.folder / "pool.npz", [target], "pool", out=self.folder / "scores", **arguments)
        return self.folder / "scores"


def _uniform(at: Choice) -> Rows:
    return at.order[: at.budget]


def _counted(at: Choice, counts: np.ndarray) -> np.ndarray:
    """So many rows of each source, at random."""
    owner = at.owner[at.order]
    return np.concatenate([at.order[owner == number][:count] for number, count in enumerate(counts)])


def _oracle(at: Choice) -> Rows:
    """All of the source with the largest gain, then of the next, until the budget is met."""
    left, counts = at.budget, np.zeros(len(at.sources), np.int64)
    for number in np.argsort(-at.gains, kind="stable"):
        counts[number] = min(left, int((at.owner == number).sum()))
        left -= counts[number]
    return _counted(at, counts)


def _mixture(without: tuple[str, ...], at: Choice) -> Rows:
    return _mixed(at, at.matrix.without(*without) if without else at.matrix)


def _calibrated(at: Choice) -> Rows:
    return None if at.weights is None else _mixed(at, weighted(at.matrix, at.weights))


def _mixed(at: Choice, matrix: TransferMatrix) -> np.ndarray:
    """In proportion to the scores; a source without a score gives nothing."""
    held = np.bincount(at.owner, minlength=len(at.sources))
    return _counted(at, dp.allocate(np.nan_to_num(matrix.values[:, 0]), at.budget, capacity=held, names=at.sources))


def _best(rules: dict[str, Any], at: Choice) -> Rows:
    """`dataprophet select`: the rows with the highest scores, under its own limits of noise."""
    return _ranked(rules, at, at.budget)


def _ranked(rules: dict[str, Any], at: Choice, count: int) -> np.ndarray:
    """So many rows with the highest scores, the highest first."""
    out = at.folder / "selection"
    select_pool(at.scored, Settings([at.target], count, **rules), out, format="ids", overwrite=True)
    rows = pq.read_table(out / "_selected.parquet").sort_by([("score", "descending"), ("id", "ascending")])
    return rows.column("position").to_numpy()


def _seen(rules: dict[str, Any], at: Choice) -> Rows:
    """The same among rows whose answer is likelier with its picture than without it (after MAGIC, arXiv 2605.26004).

    Where these are fewer than the budget, the best of the others follow.
    """
    ranked = _ranked(rules, at, len(at.owner))
    helped = (at.pool.blind_nll > at.pool.nll)[ranked]
    return np.concatenate([ranked[helped], ranked[~helped]])[: at.budget]


def _consensus(at: Choice) -> Rows:
    """After ICONS (arXiv 2501.00654): each part of the target votes for the rows whose gradients point most its way.

    As many rows as the budget get a part's vote. Equal votes are ordered by the mean cosine.
    """
    if not at.cosines.size:
        return None
    places = np.argsort(np.argsort(-at.cosines, axis=0, kind="stable"), axis=0)
    votes = (places < at.budget).sum(1)
    return np.lexsort((-at.cosines.mean(1), -votes))[: at.budget]


_PLAIN, _QUANTILES, _AGREE = {"without": ["PPL(s)"]}, {"nll_quantiles": (0.05, 0.9)}, {"drop_inconsistent": True}

STRATEGIES: dict[str, Callable[[Choice], Rows]] = {
    "uniform": _uniform,
    "oracle (cheats)": _oracle,
    "consensus of gradients (backward)": _consensus,
    "mixture by M": partial(_mixture, ()),
    "mixture by M without PPL(s)": partial(_mixture, ("source_perplexity",)),
    "mixture by calibrated M (gains)": _calibrated,
    "best rows by M": partial(_best, {}),
    "best rows by M, quantiles": partial(_best, _QUANTILES),
    "best rows by M, consistent": partial(_best, _AGREE),
    "best rows by M, multimodal gain": partial(_seen, {}),
    "best rows by M without PPL(s)": partial(_best, _PLAIN),
    "best rows by M without PPL(s), consistent": partial(_best, {**_PLAIN, **_AGREE}),
    "best rows by M without PPL(s), multimodal gain": partial(_seen, _PLAIN),
}
"""The order is that of reports."""


def choose(at: Choice) -> dict[str, np.ndarray]:
    """Strategy -> (budget,) places in the pool, in ascending order."""
    os.makedirs(at.folder, exist_ok=True)
    found = {}
    for name, function in STRATEGIES.items():
        rows = function(at)
        if rows is not None:
            found[name] = np.sort(rows)
            assert len(np.unique(rows)) == at.budget, f"{name} chose {len(rows)} of {at.budget} rows"
    return found
