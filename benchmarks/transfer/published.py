"""The paper's matrices as one more lab: every predictor that can be computed from scores and gains alone."""

from __future__ import annotations

import csv
import importlib.metadata
from typing import Any

import numpy as np

from dataprophet.metric import published
from transfer.agreement import agreement, cells, interval
from transfer.predictors import Context, predict
from transfer.report import random_range


def told() -> dict[str, Any]:
    """The report: agreement of each predictor with the published gains, one measurement without repeats."""
    scores, gains = published.matrix("metric_scores"), published.matrix("relative_improvement_percent")
    with published.path("kendall_tau").open(newline="", encoding="utf-8") as file:
        families = {row["dataset"]: row["family"] for row in csv.DictReader(file)}
    tasks = {name: families[name] for name in scores.sources}
    rows = [gains.sources.index(name) for name in scores.sources]
    columns = [gains.targets.index(name) for name in scores.targets]
    measured = gains.values[rows][:, columns]
    predicted = predict(Context(scores.sources, scores.targets, scores, measured, tasks))
    found: dict[str, Any] = {}
    for where, diagonal in (("all cells", True), ("off the diagonal", False)):
        used = cells(scores.sources, scores.targets, diagonal)
        every = list(range(len(scores.targets)))
        found[where] = {
            "relative": {
                "ceilings": {},
                "random_95": random_range(measured[None], used, every),
                "predictors": {name: agreement(each, measured[None], used, every) for name, each in predicted.items()},
            }
        }
    return {
        "preset": "published",
        "sources": scores.sources,
        "targets": scores.targets,
        "tasks": tasks,
        "held_out": [],
        "seeds": [0],
        "selection": selections(),
        "versions": {"dataprophet": importlib.metadata.version("dataprophet")},
        "bases": {
            "InternVL3-2B": {
                "scores": scores.values.tolist(),
                "gains": {"relative": [measured.tolist()]},
                "agreement": {"all": found},
            }
        },
    }


def selections() -> dict[str, Any]:
    """Data and method -> mean of the benchmarks, as printed, and above uniform with an interval over benchmarks."""
    with published.path("selection_results").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = {name: np.array([float(row[name]) for row in rows]) for name in rows[0] if name != "benchmark"}
    return {
        name: {
            "mean": round(float(each.mean()), 4),
            "printed": published.PRINTED_AVERAGES.get(name),
            "above_uniform": interval((each - columns[f"{name.split('_')[0]}_uniform"])[:, None]),
        }
        for name, each in columns.items()
    }
