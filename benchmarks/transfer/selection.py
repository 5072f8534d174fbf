"""The selection experiment: fine-tune a base on what each strategy chooses from a pool, and test it on a target.

The pool holds the training rows of all sources but the target's own dataset: with these in it, every strategy that can
tell them apart has won. It is there twice, with the labels as they are and with a tenth of the answers exchanged.
A seed draws its part of the pool, the order of training, and test items that no strategy has seen.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from dataprophet.errors import MetricError
from dataprophet.metric.calibration import calibrate
from dataprophet.metric.matrix import TransferMatrix
from transfer.agreement import interval, points
from transfer.cache import Cache
from transfer.exchange import WRONG, exchanged
from transfer.learner import Measured, Row, RowLearner
from transfer.predictors import matrix_of
from transfer.report import made_on
from transfer.stages import Lab, Results, Workers, measured_file
from transfer.strategies import STRATEGIES, Choice, choose

POOLS = ("clean", "exchanged")
SHARE = 8  # the budget is the pool over this
TARGETS = 8  # in the order of `in_order`
PARTS = 10  # of a target, which vote in the consensus of gradients

Chosen: TypeAlias = dict[str, list[Row]]  # strategy -> rows


@dataclass(frozen=True)
class Drawn:
    """A seed's part of a pool: its measurements, each row's source, and where it lies."""

    pool: Measured
    owner: np.ndarray
    rows: list[Row]
    cosines: np.ndarray


def in_order(lab: Lab) -> list[str]:
    """The targets: the first one of each task, and then the others."""
    first = {lab.tasks[name]: name for name in reversed(lab.targets)}.values()
    return sorted(lab.targets, key=lambda name: name not in first)


def run(
    lab: Lab, found: Results, folder: Path, *, count: int = TARGETS, seeds: int = 3, processes: int = 1
) -> dict[str, Any]:
    """Everything that is not there yet, and the report.

    Args:
        lab: whose learner is a `RowLearner`.
        found: what was measured on its first base.
        folder: of the cache.
        count: targets, in their order.
        seeds: how many.
        processes: of one thread each.
    """
    base, targets = lab.bases[0], in_order(lab)[:count]
    gains = tuple(map(tuple, found.gains().mean(0).tolist()))
    keys = [(target, seed, pool) for target in targets for seed in range(seeds) for pool in POOLS]
    with Workers(lab, folder, processes) as workers:
        workers.do("selection: gradients of targets", [(target_gradients, base, target) for target in lab.targets])
        jobs = [(source_cosines, base, name, split) for split in _SPLITS for name in lab.sources]
        workers.do("selection: gradients of rows", jobs)
        made = workers.do("selection: choices", [(choices, base, *key, gains) for key in keys])
        chosen = {key: made[(choices, base, *key, gains)] for key in keys}
        jobs = [(trained, base, target, seed, ()) for target in targets for seed in range(seeds)]
        jobs += [(trained, base, *key[:2], _frozen(rows)) for key in keys for rows in chosen[key].values()]
        scores = workers.do("selection: fine-tuning", list(dict.fromkeys(jobs)))
    after = {
        key: {name: scores[trained, base, *key[:2], _frozen(rows)] for name, rows in chosen[key].items()}
        for key in keys
    }
    before = {(target, seed): scores[trained, base, target, seed, ()] for target in targets for seed in range(seeds)}
    told = {"preset": "selection", "lab": lab.name, "base": base, "sources": lab.sources, "targets": targets}
    told |= {"tasks": lab.tasks, "seeds": list(range(seeds)), "share": SHARE, "wrong": WRONG, **made_on()}
    told["fine_tuning_cpu_s"] = round(sum(each["cpu_s"] for each in scores.values()))
    told["budget"] = len(next(iter(chosen[keys[0]].values())))
    told["before"] = {
        what: [[_mean(before[t, seed], what) for seed in range(seeds)] for t in targets] for what in _GAINS
    }
    return told | {"pools": {pool: _pool(lab, targets, seeds, pool, chosen, before, after) for pool in POOLS}}


_SPLITS, _GAINS = ("train", "exchanged"), ("right", "logprob")


def _frozen(rows: list[Row]) -> tuple[Row, ...]:
    return tuple((name, split, place) for name, split, place in rows)


# the jobs; each is a file of the cache


def target_gradients(lab: Lab, cache: Cache, learner: RowLearner, target: str) -> Path:
    """(PARTS, k) unit gradients of parts of the target's first test items, which are not those it is tested on."""

    def make(path: Path) -> None:
        found = np.array(list(learner.gradients(target, "test0", PARTS)))
        _save(path, found / np.linalg.norm(found, axis=1, keepdims=True))

    inputs = {"learner": learner.identity, "data": learner.data_identity(target), "target": target, "parts": PARTS}
    return cache.file("target_gradients", inputs, ".npy", make)


def source_cosines(lab: Lab, cache: Cache, learner: RowLearner, source: str, split: str) -> Path:
    """(n, T, PARTS) cosines of the gradients of a source's rows with those of the targets' parts."""

    def make(path: Path) -> None:
        towards = np.array([np.load(target_gradients(lab, cache, learner, target)) for target in lab.targets])
        each = (row / max(np.linalg.norm(row), 1e-12) for row in learner.gradients(source, split))
        _save(path, np.array([towards @ row.astype(np.float32) for row in each]))

    data = {name: learner.data_identity(name) for name in (source, *lab.targets)}
    inputs = {"learner": learner.identity, "data": data, "source": source, "split": split, "targets": lab.targets}
    return cache.file("source_cosines", {**inputs, "parts": PARTS, "wrong": WRONG}, ".npy", make)


def choices(
    lab: Lab,
    cache: Cache,
    learner: RowLearner,
    target: str,
    seed: int,
    pool: str,
    gains: tuple[tuple[float, ...], ...],
) -> Chosen:
    """What each strategy chooses from one pool."""

    def make() -> Chosen:
        sources = [name for name in lab.sources if name != target]
        drawn = _drawn(lab, cache, learner, sources, target, seed, pool)
        with tempfile.TemporaryDirectory() as folder:
            found = choose(
                Choice(
                    sources=sources,
                    owner=drawn.owner,
                    pool=drawn.pool,
                    target=target,
                    test=Measured.load(measured_file(cache, learner, target, "test0")),
                    budget=len(drawn.rows) // SHARE,
                    seed=seed,
                    gains=np.array(gains)[[lab.sources.index(name) for name in sources], lab.targets.index(target)],
                    cosines=drawn.cosines,
                    weights=_weights(lab, cache, learner, target, np.array(gains)),
                    folder=Path(folder),
                )
            )
        return {name: [drawn.rows[place] for place in places] for name, places in found.items()}

    data = {name: learner.data_identity(name) for name in dict.fromkeys([*lab.sources, *lab.targets])}
    inputs = {"learner": learner.identity, "data": data, "target": target, "seed": seed, "pool": pool}
    inputs["training"] = asdict(learner.training)
    settings = {"share": SHARE, "parts": PARTS, "wrong": WRONG, "strategies": list(STRATEGIES)}
    return cache.json("choices", {**inputs, **settings, "gains": gains}, make)


def trained(
    lab: Lab, cache: Cache, learner: RowLearner, target: str, seed: int, rows: tuple[Row, ...]
) -> dict[str, Any]:
    """Scores of the target's items after training on rows, or of the base where there are none."""

    def make() -> dict[str, Any]:
        began, losses = time.process_time(), list[float]()
        if rows:
            losses = learner.train_rows(rows, seed)
        else:
            learner.reset()
        score = learner.evaluate(target, f"test{1 + seed}")
        return {**score._asdict(), "losses": losses, "cpu_s": round(time.process_time() - began, 1)}

    data = {name: learner.data_identity(name) for name in sorted({target, *(name for name, *_ in rows)})}
    inputs = {"learner": learner.identity, "data": data, "target": target, "seed": seed, "wrong": WRONG}
    return cache.json("trained", {**inputs, "rows": rows, "training": asdict(learner.training)}, make)


def _drawn(lab: Lab, cache: Cache, learner: RowLearner, sources: list[str], target: str, seed: int, pool: str) -> Drawn:
    """The same share of each source as a fine-tuning on it draws; the same rows for every target."""
    parts, owner, rows, cosines = list[Measured](), list[int](), list[Row](), list[np.ndarray]()
    for number, name in enumerate(sources):
        whole, near = (
            _measured(cache, learner, name, "train"),
            np.load(source_cosines(lab, cache, learner, name, "train")),
        )
        places = [(name, "train", place) for place in range(len(whole.ids))]
        if pool == "exchanged":
            wrong = exchanged_places(learner, name)
            whole = whole.replaced(wrong, _measured(cache, learner, name, "exchanged"))
            near[wrong] = np.load(source_cosines(lab, cache, learner, name, "exchanged"))
            for at, place in enumerate(wrong):
                places[place] = (name, "exchanged", at)
        rng = np.random.default_rng([seed, lab.sources.index(name)])
        kept = np.sort(rng.permutation(len(places))[: int(len(places) * learner.training.share)])
        parts.append(whole.of(kept))
        owner += [number] * len(kept)
        rows += [places[place] for place in kept]
        cosines.append(near[kept, lab.targets.index(target)])
    return Drawn(Measured.joined(parts), np.array(owner), rows, np.concatenate(cosines))


def exchanged_places(learner: RowLearner, name: str) -> list[int]:
    return list(exchanged(learner.samples(name, "train"), name))


def _measured(cache: Cache, learner: RowLearner, name: str, split: str) -> Measured:
    found = Measured.load(measured_file(cache, learner, name, split))
    assert len(found.ids) == len(learner.samples(name, split)), f"{name}: samples of {split} were refused or left out"
    return found


def _weights(lab: Lab, cache: Cache, learner: RowLearner, target: str, gains: np.ndarray) -> dict[str, float] | None:
    """Fitted to the gains of the other sources on the other targets, off the diagonal, from clean rows."""
    sources, targets = ([name for name in names if name != target] for names in (lab.sources, lab.targets))
    trains = {name: _measured(cache, learner, name, "train") for name in sources}
    matrix = matrix_of(trains, {name: _measured(cache, learner, name, "test0") for name in targets}, lab.name)
    rows, columns = [lab.sources.index(name) for name in sources], [lab.targets.index(name) for name in targets]
    try:
        return calibrate(matrix, TransferMatrix(sources, targets, gains[np.ix_(rows, columns)]), diagonal=False).weights
    except MetricError:  # too few targets have gains that differ
        return None


def _save(path: Path, value: np.ndarray) -> None:
    with path.open("wb") as file:
        np.save(file, value.astype(np.float32))


# the report


def _mean(score: dict[str, Any], what: str) -> float:
    return round(float(np.mean(score[what])), 5)


def _gain(before: Any, after: Any, key: tuple[str, int, str], name: str, what: str) -> float:
    return _mean(after[key][name], what) - _mean(before[key[:2]], what)


def _pool(
    lab: Lab, targets: list[str], seeds: int, pool: str, chosen: dict[Any, Chosen], before: Any, after: Any
) -> dict[str, Any]:
    """Strategy -> its gains over targets and seeds, what it is above uniform, and what it chose."""
    names = [
        name for name in STRATEGIES if all(name in chosen[t, seed, pool] for t in targets for seed in range(seeds))
    ]

    def gains(name: str, what: str) -> np.ndarray:
        return np.array([[_gain(before, after, (t, seed, pool), name, what) for seed in range(seeds)] for t in targets])

    made = {}
    for name in names:
        rows = {t: [row for seed in range(seeds) for row in chosen[t, seed, pool][name]] for t in targets}
        alike = [lab.tasks[source] == lab.tasks[t] for t in targets for source, *_ in rows[t]]
        wrong = [split == "exchanged" for t in targets for _, split, _ in rows[t]]
        made[name] = {"same_task": round(float(np.mean(alike)), 4), "wrong": round(float(np.mean(wrong)), 4)}
        for what in _GAINS:
            own, uniform = gains(name, what), gains("uniform", what)
            made[name][what] = {
                "gains": np.round(own, 5).tolist(),
                "gain": interval(own),
                "above_uniform": interval(own - uniform),
            }
    return made


def summary(told: dict[str, Any]) -> str:
    """Gain in points of every strategy on each pool, and what it is above uniform, as text."""
    lines = ["".join([f"{'gain in points, above uniform':44}", *(f"{pool:>46}" for pool in told["pools"])])]
    for name in told["pools"][POOLS[0]]:
        found = (pool[name]["right"] for pool in told["pools"].values())
        texts = (f"{points(each['gain'])}  {points(each['above_uniform'])}" for each in found)
        lines.append("".join([f"{name:44}", *(f"{text:>46}" for text in texts)]))
    return "\n".join(lines)
