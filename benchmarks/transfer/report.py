"""From what was measured to one JSON file: gains, base scores, ceilings, and the agreement of every predictor.

A file holds all that docs/evidence.md tells of a lab; `evidence.py` renders it.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from transfer.agreement import agreement, ceilings, cells, taus
from transfer.predictors import Context, matrix_of, predict
from transfer.stages import Lab, Results

Gains: TypeAlias = dict[str, np.ndarray]  # a kind of gain -> (seeds, S, T)

KINDS = ("right", "logprob", "won", "kept")  # of gains, as in `Results.gains`

_PACKAGES = ("dataprophet", "numpy", "scipy", "torch", "transformers")


def told(lab: Lab, results: dict[str, Results]) -> dict[str, Any]:
    """The report of a lab."""
    bases = {}
    for base, found in results.items():
        context = _context(lab, found, lab.sources, lab.targets)
        matrix = context.matrix
        halves = {what: [found.gains(what, slice(k, None, 2)) for k in (0, 1)] for what in KINDS}
        gains = {what: found.gains(what) for what in KINDS}
        bases[base] = {
            "fine_tuning_cpu_s": round(found.cpu_s),
            "base_accuracy": _means(found, "right"),
            "base_logprob": _means(found, "logprob"),
            "items": {name: [len(score.right) for score in scores] for name, scores in found.before.items()},
            "perplexity": {
                name: round(float(np.exp(each.nll.mean())), 4)
                for name, each in zip(lab.sources, context.trains, strict=True)
            },
            "factors": {name: np.round(part, 6).tolist() for name, part in matrix.factors.items()},
            "scores": np.round(matrix.values, 6).tolist(),
            "gains": {what: np.round(each, 5).tolist() for what, each in gains.items()},
            "agreement": _agreements(lab, found, gains, halves),
        }
    lists = {"sources": lab.sources, "targets": lab.targets, "tasks": lab.tasks, "held_out": lab.held_out}
    return {"preset": lab.name, **lists, "seeds": lab.seeds, **made_on(), "bases": bases}


def made_on() -> dict[str, Any]:
    """When, on what machine, and with which versions."""
    machine = {"processor": _processor(), "python": platform.python_version()}
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"date": datetime.date.today().isoformat(), "machine": machine, "versions": versions}


def _context(lab: Lab, found: Results, sources: Sequence[str], targets: Sequence[str]) -> Context:
    trains = {name: found.measured[name, "train"] for name in sources}
    tests = {name: found.measured[name, "test0"] for name in targets}
    places = np.ix_([lab.sources.index(name) for name in sources], [lab.targets.index(name) for name in targets])
    return Context(
        sources=list(sources),
        targets=list(targets),
        matrix=matrix_of(trains, tests, lab.name),
        gains=found.gains().mean(0)[places],
        tasks=lab.tasks,
        trains=list(trains.values()),
        tests=list(tests.values()),
    )


def _agreements(lab: Lab, found: Results, gains: Gains, halves: dict[str, list[np.ndarray]]) -> dict[str, Any]:
    """Part of the lab -> which cells -> which gain -> ceilings, and the agreement of each predictor.

    "development" is what would have been measured without the datasets that are held out. "held out" are their
    targets, over all sources; what reads gains reads those of the other targets.
    """
    told = {"all": _agreement(lab, _context(lab, found, lab.sources, lab.targets), gains, halves, lab.targets)}
    if lab.held_out:
        kept = [[name for name in names if name not in lab.held_out] for names in (lab.sources, lab.targets)]
        told["development"] = _agreement(lab, _context(lab, found, *kept), gains, halves, kept[1])
        context = _context(lab, found, lab.sources, lab.targets)
        context.readable = kept[1]
        told["held out"] = _agreement(lab, context, gains, halves, lab.held_out)
    return told


def _agreement(
    lab: Lab, context: Context, gains: Gains, halves: dict[str, list[np.ndarray]], targets: Sequence[str]
) -> dict[str, Any]:
    predicted, columns = predict(context), [context.targets.index(name) for name in targets]
    rows = [lab.sources.index(name) for name in context.sources]
    places = np.ix_(rows, [lab.targets.index(name) for name in context.targets])
    told: dict[str, Any] = {}
    for where, diagonal in (("all cells", True), ("off the diagonal", False)):
        used = cells(context.sources, context.targets, diagonal)
        if not diagonal and used.all():
            continue
        told[where] = {}
        for what, every in gains.items():
            if diagonal and what in ("won", "kept"):  # forgetting is of others' datasets
                continue
            gain = np.array([each[places] for each in every])
            parts = [np.array([each[places] for each in half]) for half in halves[what]]
            told[where][what] = {
                "ceilings": ceilings(gain, parts, used, columns),
                "random_95": random_range(gain, used, columns),
                "predictors": {name: agreement(each, gain, used, columns) for name, each in predicted.items()},
            }
    return told


def random_range(gains: np.ndarray, used: np.ndarray, columns: Sequence[int]) -> list[float]:
    """What 95% of random scores reach."""
    rng = np.random.default_rng(0)
    mean = gains.mean(0)[:, columns]
    drawn = [taus(rng.random(mean.shape), mean, used[:, columns]).mean() for _ in range(500)]
    return [round(float(each), 3) for each in np.percentile(drawn, [2.5, 97.5])]


def summary(told: dict[str, Any]) -> str:
    """The agreement of every predictor, as a table of text for each base."""
    lines = []
    for base, each in told["bases"].items():
        for part, cells_ in each["agreement"].items():
            columns = [(where, what, rows) for where, kinds in cells_.items() for what, rows in kinds.items()]
            lines += ["", f"{told['preset']}, base {base}, {part} targets: tau over targets, and 95% interval"]
            lines += ["".join([f"{'':38}", *(f"{f'{where}, {what}':>34}" for where, what, _ in columns)])]
            for name in columns[0][2]["ceilings"]:
                cells__ = (rows["ceilings"][name] for *_, rows in columns)
                texts = ("-" if cell is None else f"{cell:.2f}" for cell in cells__)
                lines.append("".join([f"{'ceiling: ' + name:38}", *(f"{text:>34}" for text in texts)]))
            for name in columns[0][2]["predictors"]:
                rows_ = (rows["predictors"][name] for *_, rows in columns)
                texts = (f"{row['tau']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f})" for row in rows_)
                lines.append("".join([f"{name:38}", *(f"{text:>34}" for text in texts)]))
    return "\n".join(lines[1:])


def _means(found: Results, what: str) -> dict[str, list[float]]:
    return {
        name: [round(float(np.mean(getattr(score, what))), 4) for score in scores]
        for name, scores in found.before.items()
    }


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {len(names)} cores" if names else platform.processor()
