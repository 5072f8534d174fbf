"""Every predictor of gains through one interface: a name and a function of a `Context` that gives (S, T) scores.

Higher means that training on the source should help the target more. Those that read gains never read the gains of the
target that they score. A predictor that lacks what it needs returns None.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import TypeAlias

import numpy as np

from dataprophet.errors import MetricError
from dataprophet.features.features import Features
from dataprophet.metric.calibration import calibrate, weighted
from dataprophet.metric.factors import FACTORS
from dataprophet.metric.matrix import TransferMatrix
from dataprophet.metric.transfer import transfer_matrix
from dataprophet.profiling.profile import Profile
from transfer.distances import evidence, mmd, transport, unit
from transfer.learner import Measured

MOST = 150  # samples of a dataset in what takes every pair of samples
NEAR = 0.1  # share of a source's questions that count as near a target
_FIELDS = ("question", "answer", "image")

Scores: TypeAlias = np.ndarray | None


@dataclass
class Context:
    """What predictors may read.

    Attributes:
        sources, targets: names.
        matrix: the published metric with its factors, or its scores alone.
        gains: (S, T) mean measured gains.
        tasks: dataset -> its task.
        trains, tests: measurements of sources and targets; empty for matrices that were only read.
        readable: targets whose gains may be read; by default all.
        seed: of random scores.
    """

    sources: list[str]
    targets: list[str]
    matrix: TransferMatrix
    gains: np.ndarray
    tasks: dict[str, str]
    trains: list[Measured] = field(default_factory=list)
    tests: list[Measured] = field(default_factory=list)
    readable: list[str] | None = None
    seed: int = 0

    def others(self, *names: str) -> list[int]:
        """The targets whose gains may be read, but for some."""
        allowed = self.targets if self.readable is None else self.readable
        return [j for j, target in enumerate(self.targets) if target in allowed and target not in names]

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.sources), len(self.targets)

    def pairs(self, score: Callable[[Measured, Measured], float]) -> Scores:
        if not self.trains:
            return None
        return np.array([[score(s, t) for t in self.tests] for s in self.trains])

    def of_sources(self, score: Callable[[Measured], float]) -> Scores:
        if not self.trains:
            return None
        return np.repeat([[score(s)] for s in self.trains], len(self.targets), axis=1)

    @cached_property
    def centre(self) -> dict[str, np.ndarray]:
        """Per field, the mean over sources of their mean embeddings."""
        return {name: np.mean([getattr(s, name).mean(0) for s in self.trains], 0) for name in _FIELDS}


def matrix_of(sources: dict[str, Measured], targets: dict[str, Measured], label: str) -> TransferMatrix:
    """The published metric, by the package itself."""

    def profiled(name: str, of: Measured) -> Profile:
        made = Profile.empty(name, label, {})
        embeddings = {each: getattr(of, each).astype(np.float32) for each in _FIELDS}
        made.update(Features(of.ids, of.nll.clip(0), embeddings, n_tokens=of.n_tokens.astype(np.int64)))
        return made

    made = ([profiled(*pair) for pair in part.items()] for part in (sources, targets))
    return transfer_matrix(*made, allow_nonpositive=True)


def _published(context: Context) -> Scores:
    return context.matrix.values


def _without(names: tuple[str, ...], context: Context) -> Scores:
    known = [name for name in names if name in context.matrix.factors]
    return context.matrix.without(*known).values if known else None


def _alone(name: str, context: Context) -> Scores:
    return context.matrix.factors.get(name)


def _task(context: Context) -> Scores:
    return np.array([[float(context.tasks[s] == context.tasks[t]) for t in context.targets] for s in context.sources])


def _source_mean(context: Context) -> Scores:
    """The source's mean gain over the other targets; its own test is left out, too."""
    found = np.empty(context.shape)
    for i, source in enumerate(context.sources):
        for j, target in enumerate(context.targets):
            found[i, j] = context.gains[i, context.others(target, source)].mean()
    return found


def _random(context: Context) -> Scores:
    return np.random.default_rng(context.seed).random(context.shape)


def _least(of: Measured, name: str) -> np.ndarray:
    rows = unit(getattr(of, name))
    return rows[np.linspace(0, len(rows) - 1, min(MOST, len(rows))).astype(int)]


def _mmd(context: Context) -> Scores:
    return context.pairs(lambda s, t: -sum(mmd(_least(s, name), _least(t, name)) for name in _FIELDS))


def _transport(context: Context) -> Scores:
    def near(s: Measured, t: Measured) -> float:
        asked = [np.hstack([_least(each, "question"), _least(each, "image")]) for each in (s, t)]
        return -transport(asked[0], _least(s, "answer"), asked[1], _least(t, "answer"))

    return context.pairs(near)


def _log_evidence(context: Context) -> Scores:
    """LogME of the source's answers' embeddings given questions and images, in the 32 directions they vary most in.

    It says how well the frozen features explain a source; it does not depend on the target.
    """

    def score(s: Measured) -> float:
        given = np.hstack([unit(s.question), unit(s.image)])
        answers = unit(s.answer)
        parts = []
        for rows in (given, answers):
            centred = rows - rows.mean(0)
            parts.append(centred @ np.linalg.svd(centred, full_matrices=False)[2][:32].T)
        return evidence(parts[0], parts[1] / max(parts[1].std(), 1e-12))

    return context.of_sources(score)


def _gradient(context: Context) -> Scores:
    def cosine(s: Measured, t: Measured) -> float:
        return float(s.gradient @ t.gradient / (np.linalg.norm(s.gradient) * np.linalg.norm(t.gradient)))

    known = context.trains and all(each.gradient.size for each in (*context.trains, *context.tests))
    return context.pairs(cosine) if known else None


def _consensus(context: Context) -> Scores:
    """Votes: for how many targets a source is in the third with the highest cosines of gradients (after ICONS).

    It does not depend on the target; equal votes are ordered by the mean cosine.
    """
    cosines = _gradient(context)
    if cosines is None:
        return None
    places = np.argsort(np.argsort(-cosines, axis=0, kind="stable"), axis=0)
    votes = (places < max(1, round(len(cosines) / 3))).sum(1) + 0.1 * cosines.mean(1)
    return np.repeat(votes[:, None], len(context.targets), axis=1)


def _alignment(context: Context) -> Scores:
    """How well a source's mean embeddings agree with those of all sources (after MaD-Mix, arXiv 2602.07790).

    Row sums of the kernel of the means, summed over fields, whose eigenvalues are thresholded softly at their mean.
    It does not depend on the target. The paper's own formula has more to it.
    """
    if not context.trains:
        return None
    means = np.hstack([[unit(getattr(s, name)).mean(0) for s in context.trains] for name in _FIELDS])
    values, vectors = np.linalg.eigh(means @ means.T)
    kept = (vectors * np.maximum(values - values.mean(), 0)) @ vectors.T
    return np.repeat(kept.sum(1)[:, None], len(context.targets), axis=1)


def _centred(names: tuple[str, ...], context: Context) -> Scores:
    """Sum over fields of the similarity of mean directions, once the mean of all sources is taken off."""
    if not context.trains:
        return None
    total = np.zeros(context.shape)
    for name in names:
        centre = context.centre[name]
        s, t = (
            [unit(getattr(each, name) - centre).mean(0) for each in part] for part in (context.trains, context.tests)
        )
        total += np.array(s) @ np.array(t).T
    return total


def _standardised(context: Context) -> Scores:
    """Sum over the similarities of their z-scores over the sources of a target: each counts as much as the others."""
    names = [f"{name}_similarity" for name in _FIELDS]
    if not all(name in context.matrix.factors for name in names):
        return None
    parts = [context.matrix.factors[name] for name in names]
    return sum((part - part.mean(0)) / np.maximum(part.std(0), 1e-12) for part in parts)


def _capped(context: Context) -> Scores:
    """M with PPL(s) no higher than its median over the sources."""
    ppl = context.matrix.factors.get("source_perplexity")
    return None if ppl is None else context.matrix.values / ppl * np.minimum(ppl, np.median(ppl[:, 0]))


def _as_hard(context: Context) -> Scores:
    """M with the nearness of both perplexities in place of PPL(s): the best difficulty is the target's own."""
    ppl, inverse = (context.matrix.factors.get(name) for name in ("source_perplexity", "inverse_target_perplexity"))
    if ppl is None or inverse is None:
        return None
    return context.matrix.values / ppl * np.exp(-np.abs(np.log(ppl * inverse)))


def _targeted(context: Context) -> Scores:
    """The mean loss of the tenth of a source's answers whose questions and pictures are nearest to the target."""

    def score(s: Measured, t: Measured) -> float:
        near = sum(unit(getattr(s, name) - context.centre[name]) @ _towards(t, name, context) for name in _FIELDS[::2])
        count = max(5, int(NEAR * len(s.nll)))
        return float(s.nll[np.argsort(-near, kind="stable")[:count]].mean())

    return context.pairs(score)


def _towards(t: Measured, name: str, context: Context) -> np.ndarray:
    return unit(getattr(t, name) - context.centre[name]).mean(0)


def _multimodal(context: Context) -> Scores:
    """How much the picture helps: mean log-likelihood of the source's answers with it, less that without."""
    return context.of_sources(lambda s: float((s.blind_nll - s.nll).mean()))


def _multimodal_similarity(context: Context) -> Scores:
    """Minus the difference of two datasets in how much the picture helps."""
    return context.pairs(lambda s, t: -abs(float((s.blind_nll - s.nll).mean() - (t.blind_nll - t.nll).mean())))


def _calibrated(diagonal: bool, context: Context) -> Scores:
    """Each target by the weights that the gains of the other targets give (`dataprophet calibrate`)."""
    if not context.matrix.factors or len(context.others()) < 4:
        return None
    found, matrix = np.empty(context.shape), context.matrix
    for j, target in enumerate(context.targets):
        others = context.others(target)
        gains = TransferMatrix(context.sources, [context.targets[k] for k in others], context.gains[:, others])
        try:
            made = weighted(matrix, calibrate(matrix, gains, diagonal=diagonal).weights)
        except MetricError:  # too few targets have gains that differ
            return None
        found[:, j] = made.values[:, made.column(target)]
    return found


def _source_term(context: Context) -> Scores:
    """log M(s, t) - log M(t, s) is a term of s less a term of t: the term of s, 2 log PPL + log(Sil + H)."""
    if context.sources != context.targets:
        return None
    logs = np.log(context.matrix.values)
    return np.repeat((logs - logs.T).mean(1)[:, None], len(context.targets), axis=1)


def _symmetric(context: Context) -> Scores:
    """M over that term's root: the similarities, times the root of the diversity."""
    term = _source_term(context)
    return None if term is None else np.log(context.matrix.values) - term / 2


PREDICTORS: dict[str, Callable[[Context], Scores]] = {
    "M as published": _published,
    **{f"M without {FACTORS[name]}": partial(_without, (name,)) for name in FACTORS if not name.startswith("inverse")},
    "QSim * ASim * ISim": partial(_without, tuple(FACTORS)[3:]),
    **{f"{FACTORS[name]} alone": partial(_alone, name) for name in FACTORS if not name.startswith("inverse")},
    "same task": _task,
    "source mean (gains of other targets)": _source_mean,
    "random": _random,
    "maximum mean discrepancy": _mmd,
    "optimal transport of datasets": _transport,
    "LogME of the source": _log_evidence,
    "gradient cosine (backward)": _gradient,
    "consensus of gradients (backward)": _consensus,
    "alignment of all sources": _alignment,
    "centred similarities": partial(_centred, _FIELDS),
    "centred questions": partial(_centred, ("question",)),
    "centred answers": partial(_centred, ("answer",)),
    "centred images": partial(_centred, ("image",)),
    "z-scored similarities": _standardised,
    "M with PPL(s) capped": _capped,
    "M with PPL(s) near the target's": _as_hard,
    "target-conditional perplexity": _targeted,
    "multimodal gain": _multimodal,
    "nearness of multimodal gain": _multimodal_similarity,
    "calibrated (gains of other targets)": partial(_calibrated, True),
    "calibrated off the diagonal": partial(_calibrated, False),
    "source term of M": _source_term,
    "M without its source term": _symmetric,
}
"""The order is that of reports. "backward" marks what takes gradients, "gains" what takes measured gains."""


def predict(context: Context) -> dict[str, np.ndarray]:
    """Scores of every predictor that can be computed; where a score is not defined it ranks last."""
    found = {}
    for name, function in PREDICTORS.items():
        scores = function(context)
        if scores is not None:
            found[name] = np.where(np.isnan(scores), -np.inf, scores)
    return found
