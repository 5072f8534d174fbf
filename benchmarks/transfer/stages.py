"""The stages of a lab, in processes: what bases share, bases, fine-tuning with gains, and what predictors read.

Each piece of work is one file of the cache, so a run goes on where it was stopped.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transfer.cache import Cache
from transfer.learner import Learner, Measured, Score

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "DATAPROPHET_NUM_THREADS")


@dataclass(frozen=True)
class Lab:
    """What a run measures.

    Attributes:
        name: of the preset.
        sources, targets: names of datasets; a dataset may be both.
        tasks: task of each dataset, for the predictor that knows nothing else.
        held_out: targets that no predictor was chosen on.
        bases: names of bases; predictors are chosen on the first alone.
        seeds: each draws its own part of a source, and has test items of its own.
        learner: makes the learner of a base. It goes to other processes, so it is a function of a module.
    """

    name: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    tasks: dict[str, str]
    held_out: tuple[str, ...]
    bases: tuple[str, ...]
    seeds: tuple[int, ...]
    learner: Callable[[Cache, str], Learner]


@dataclass
class Results:
    """What was measured on one base. Scores are of the targets' items, by seed.

    Attributes:
        before: target -> seed -> score of the base.
        after: source -> target -> seed -> score.
        measured: "train" of each source, and "test0" of each target.
        cpu_s: of all fine-tuning and its evaluation, in seconds of one core.
    """

    before: dict[str, list[Score]]
    after: dict[str, dict[str, list[Score]]]
    measured: dict[tuple[str, str], Measured]
    cpu_s: float

    def gains(self, what: str = "right", items: slice = slice(None)) -> np.ndarray:
        """(seeds, S, T) mean gain over items: "right" in accuracy, "logprob" in nats.

        Accuracy in two parts, which sum to it: "won" are items that training set right, "kept" those that it set wrong,
        as a negative share.
        """

        def mean(after: Score, before: Score) -> float:
            kind = "logprob" if what == "logprob" else "right"
            gained = np.subtract(getattr(after, kind)[items], getattr(before, kind)[items])
            return float(np.mean(_PARTS.get(what, np.array)(gained)))

        seeds = range(len(next(iter(self.before.values()))))
        return np.array(
            [
                [
                    [mean(scores[seed], self.before[target][seed]) for target, scores in row.items()]
                    for row in self.after.values()
                ]
                for seed in seeds
            ]
        )


_PARTS = {"won": lambda gained: np.maximum(gained, 0), "kept": lambda gained: np.minimum(gained, 0)}

_learners: dict[str, Learner] = {}
_lab: Lab | None = None
_cache: Cache | None = None


def _start(lab: Lab, folder: Path) -> None:
    global _lab, _cache  # of the process, which serves one lab
    _lab, _cache = lab, Cache(folder)
    _learners.clear()


def _do(job: tuple[Any, ...]) -> tuple[tuple[Any, ...], Any]:
    """One piece of work in a process, and what came of it."""
    assert _lab is not None
    assert _cache is not None
    kind, base, *rest = job
    if base not in _learners:
        _learners[base] = _lab.learner(_cache, base)
    learner = _learners[base]
    if callable(kind):  # work of another module
        return job, kind(_lab, _cache, learner, *rest)
    if kind == "prepare":
        learner.prepare(*rest)
        return job, None
    if kind == "base":
        learner.reset()
        return job, None
    if kind == "measure":
        return job, measured_file(_cache, learner, *rest)
    source, seed = rest
    return job, _cache.json("gains", _gain_inputs(_lab, learner, source, seed), lambda: _gains(learner, source, seed))


def measured_file(cache: Cache, learner: Learner, name: str, split: str) -> Path:
    inputs = {"learner": learner.identity, "data": learner.data_identity(name), "name": name, "split": split}
    return cache.file("measured", inputs, ".npz", lambda path: learner.measure(name, split).save(path))


def _gain_inputs(lab: Lab, learner: Learner, source: str, seed: int) -> dict[str, Any]:
    names = [*lab.targets, *([source] if source else [])]
    data = {name: learner.data_identity(name) for name in names}
    inputs = {"learner": learner.identity, "source": source, "seed": seed, "targets": lab.targets, "data": data}
    return {**inputs, "training": asdict(learner.training)} if source else inputs


def _gains(learner: Learner, source: str, seed: int) -> dict[str, Any]:
    """Scores on every target after training on a source, or of the base where there is no source."""
    assert _lab is not None
    began, losses = time.process_time(), list[float]()
    if source:
        losses = learner.train(source, seed)
    else:
        learner.reset()
    scores = {target: learner.evaluate(target, f"test{seed}")._asdict() for target in _lab.targets}
    return {"scores": scores, "losses": losses, "cpu_s": round(time.process_time() - began, 1)}


def run(lab: Lab, folder: Path, *, processes: int = 1, bases: Iterable[str] | None = None) -> dict[str, Results]:
    """Everything of a lab that is not there yet, base by base."""
    found = {}
    with Workers(lab, folder, processes) as workers:
        names = dict.fromkeys([*lab.sources, *lab.targets])
        splits = [("prepare", lab.bases[0], name, f"test{seed}") for name in lab.targets for seed in lab.seeds]
        splits += [("prepare", lab.bases[0], name, "train") for name in names if name in lab.sources]
        workers.do("data", splits[:1])  # what everything shares is made once
        chosen = list(bases or lab.bases)
        workers.do("data and bases", [*(("base", base) for base in chosen), *splits[1:]])
        for base in chosen:
            jobs = [("gains", base, source, seed) for seed in lab.seeds for source in ("", *lab.sources)]
            scores = workers.do(f"base {base}: fine-tuning", jobs)
            jobs = [("measure", base, name, "train") for name in lab.sources]
            jobs += [("measure", base, name, "test0") for name in lab.targets]
            paths = workers.do(f"base {base}: features", jobs)
            measured = {(name, split): Measured.load(path) for (_, _, name, split), path in paths.items()}
            found[base] = _results(lab, base, scores, measured)
    return found


def _results(lab: Lab, base: str, scores: dict[Any, Any], measured: dict[tuple[str, str], Measured]) -> Results:
    def of(source: str, target: str) -> list[Score]:
        return [Score(**scores["gains", base, source, seed]["scores"][target]) for seed in lab.seeds]

    before = {target: of("", target) for target in lab.targets}
    after = {source: {target: of(source, target) for target in lab.targets} for source in lab.sources}
    return Results(before, after, measured, sum(each["cpu_s"] for each in scores.values()))


class Workers:
    """Processes of one thread each; with one, the work is done here.

    A job is the name of a stage, or a function of a module (lab, cache, learner, ...), then a base, and what it takes.
    """

    def __init__(self, lab: Lab, folder: Path, processes: int) -> None:
        self.pool = None
        if processes > 1:
            os.environ.update(dict.fromkeys(_THREADS, "1"))
            self.pool = multiprocessing.get_context("spawn").Pool(processes, _start, (lab, folder))
        else:
            _start(lab, folder)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        if self.pool is not None:
            self.pool.terminate()

    def do(self, stage: str, jobs: list[tuple[Any, ...]]) -> dict[tuple[Any, ...], Any]:
        began, found = time.monotonic(), {}
        for job, value in self.pool.imap_unordered(_do, jobs) if self.pool is not None else map(_do, jobs):
            found[job] = value
            line = f"{stage}: {len(found)} of {len(jobs)}, {time.monotonic() - began:.0f} s"
            print(line, file=sys.stderr, flush=True)
        return found
