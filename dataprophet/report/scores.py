"""Sections of a matrix: its scores, rankings and factors, target by target."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from dataprophet.errors import MetricError
from dataprophet.metric.factors import FACTORS, Floats
from dataprophet.metric.matrix import TransferMatrix
from dataprophet.metric.ranking import Ranked
from dataprophet.report import charts
from dataprophet.report.page import Columns, Page
from dataprophet.report.palette import STEPS
from dataprophet.report.values import number

SIMILARITIES = ("question_similarity", "answer_similarity", "image_similarity")
_ROUNDING = 1e-9  # so that a score between two steps has the same colour in each target


def of_source(matrix: TransferMatrix) -> list[str]:
    """Factors that can change a ranking of sources."""
    return [name for name in matrix.factors if name != "inverse_target_perplexity"]


def lessened(matrix: TransferMatrix) -> dict[str, TransferMatrix]:
    """Factor -> the matrix without it, for those that can change a ranking of sources where others are left."""
    found = {}
    for name in of_source(matrix):
        if len(matrix.factors) > 1:
            with suppress(MetricError):  # what is left is the same for all
                found[name] = matrix.without(name)
    return found


def target_rows(
    matrix: TransferMatrix, target: str, less: Mapping[str, TransferMatrix], gains: Floats | None = None
) -> Columns:
    """Rank, interval and factors of every source for a target, best first.

    ``not resolved`` says whether a source is not resolved from the next; ``without X`` is the rank without factor X.

    Args:
        matrix: the scores.
        target: one of its targets.
        less: as of ``lessened``.
        gains: (S, T) measured gains, NaN where there is none; None without any.
    """
    j, order = matrix.column(target), matrix.order(target).tolist()
    ranking = ranking_of(matrix, target)
    score = matrix.values[order, j]
    rows: Columns = {"source": [matrix.sources[i] for i in order], "rank": list(range(1, len(order) + 1))}
    rows |= {"M": score.tolist()}
    if matrix.log_error is not None:
        rows |= {"low": [each.low for each in ranking], "high": [each.high for each in ranking]}
        rows |= {"not resolved": [each.resolved is False for each in ranking]}
    for name, part in matrix.factors.items():
        rows[FACTORS.get(name, name)] = part[order, j].tolist()
    similarities = [matrix.factors[name][order, j] for name in SIMILARITIES if name in matrix.factors]
    if similarities and "source_perplexity" in matrix.factors:
        rows["similarity"] = np.prod(similarities, axis=0).tolist()
    for name, other in less.items():
        places = _places(other, target)
        rows[f"without {FACTORS.get(name, name)}"] = [places[i] + 1 for i in order]
    if gains is not None:
        rows["gain"] = gains[order, j].tolist()
    return rows


def ranking_of(matrix: TransferMatrix, target: str) -> list[Ranked]:
    """As ``TransferMatrix.rank``; a target without any score has a ranking without numbers."""
    try:
        return matrix.rank(target)
    except MetricError:
        return [Ranked(matrix.sources[i], np.nan) for i in matrix.order(target)]


def aligned(gains: TransferMatrix, matrix: TransferMatrix) -> Floats:
    """(S, T) gains in the order of a matrix, NaN where there is none."""
    made = np.full(matrix.shape, np.nan)
    for name, row in zip(gains.sources, gains.values, strict=True):
        for target, value in zip(gains.targets, row, strict=True):
            if name in matrix.sources and target in matrix.targets:
                made[matrix.sources.index(name), matrix.targets.index(target)] = value
    return made


def shades(values: Floats) -> NDArray[np.int64]:
    """(S, T) step of colour of each score within its target, 0 to 8; -1 where there is none.

    By the logarithm where all scores of a target are positive: PPL(t) scales them, and moves no colour then.
    """
    steps = np.full(values.shape, -1, np.int64)
    for column, made in zip(values.T, steps.T, strict=True):
        known = np.isfinite(column)
        if not known.any():
            continue
        given = np.log(column[known]) if (column[known] > 0).all() else column[known]
        spread = float(np.ptp(given))
        share = (given - given.min()) / spread if spread > 0 else np.full(given.shape, 0.5)
        made[known] = np.minimum((share * STEPS + _ROUNDING).astype(np.int64), STEPS - 1)
    return steps


def add_scores(page: Page) -> None:
    """Sections of a matrix, if there is one: scores, rankings, and factors where they are known."""
    matrix = page.inputs.matrix
    if matrix is None:
        return
    less, figures = lessened(matrix), page.figures
    factors = [FACTORS.get(name, name) for name in of_source(matrix)]
    gains = aligned(page.inputs.gains.matrix, matrix) if page.inputs.gains is not None else None
    first = target_rows(matrix, matrix.targets[0], less, gains)
    for place, target in enumerate(matrix.targets):
        rows = first if not place else target_rows(matrix, target, less, gains)
        key = f"target/{place}"
        figures.add("ranking", key, rows, target)
        if less:
            figures.add("factors", key, rows, target, lambda: charts.factors(factors))
        if "similarity" in rows:
            figures.add("similarity", key, rows, target)
    values = {
        "targets": matrix.targets,
        "factors": [FACTORS.get(name, name) for name in less],
        "lines": _lines(matrix),
        "glance": [_glance(matrix, target) for target in matrix.targets],
        "spreads": spreads(matrix, less),
        "similarity": "similarity" in first,
        "intervals": matrix.log_error is not None,
    }
    page.section("scores", "Scores", values)
    if not less:
        page.missing.append("Factors and intervals: the matrix's .factors.csv file beside it.")
    if len(matrix.sources) > 1:
        page.section("ranking", "Ranking", values)
        if less:
            page.section("factors", "Factors", values)
    page.warnings += matrix.remarks()
    if apart := _ranked_apart(page.inputs.recipe):
        page.warnings.append(f"rankings.csv was made with {apart}; rankings here are of all factors, sources, at 95%")


def _ranked_apart(recipe: str) -> str:
    """What a run's recipe asks of its rankings that a ranking of its matrix does not know."""
    try:
        told = yaml.safe_load(recipe)
    except yaml.YAMLError:  # a file that somebody edited; the report shows it
        return ""
    asked = told if isinstance(told, dict) else {}
    usual: dict[str, Any] = {
        "without": [],
        "max_nll": None,
        "nll_quantiles": [],
        "min_answer_tokens": None,
        "level": 0.95,
    }
    said = [key for key, value in usual.items() if asked.get(key, value) not in (value, None)]
    return ", ".join(f"{key}: {asked[key]}" for key in said)


def _lines(matrix: TransferMatrix) -> list[tuple[str, list[tuple[str, int, bool]]]]:
    """Source -> of each target the score as text, its step of colour, and whether it is the best."""
    steps, values = shades(matrix.values).tolist(), matrix.values.tolist()
    best = [int(matrix.order(target)[0]) for target in matrix.targets]
    return [
        (
            name,
            [(number(cell), step, i == best[j] and step >= 0) for j, (cell, step) in enumerate(zip(*row, strict=True))],
        )
        for i, (name, *row) in enumerate(zip(matrix.sources, values, steps, strict=True))
    ]


def _glance(matrix: TransferMatrix, target: str) -> list[str]:
    """The best source of a target, the next, and how many neighbours are not resolved."""
    ranking = ranking_of(matrix, target)
    best, following = ranking[0], ranking[1] if len(ranking) > 1 else None
    interval = f"{number(best.low)} to {number(best.high)}" if np.isfinite(best.low) else "-"
    after = [following.source, number(following.score)] if following is not None else ["-", "-"]
    pairs = [each.resolved for each in ranking if each.resolved is not None]
    unresolved = f"{pairs.count(False)} of {len(pairs)}" if pairs else "-"
    resolved = {True: "yes", False: "no", None: "-"}[best.resolved]
    known = [interval, resolved, unresolved] if matrix.log_error is not None else []
    return [target, best.source, number(best.score), *after, *known]


def spreads(matrix: TransferMatrix, less: Mapping[str, TransferMatrix]) -> list[list[str]]:
    """What each factor does to the rankings, in the mean over the targets.

    The largest over the smallest value among the sources (the geometric mean of it), and the share of the pairs of
    sources that change places without the factor.
    """
    found = []
    for name, other in less.items():
        part = np.where(matrix.factors[name] > 0, matrix.factors[name], np.nan)
        known = part[:, ~np.isnan(part).all(0)]
        ratio = np.exp(np.mean(np.log(np.nanmax(known, 0) / np.nanmin(known, 0)))) if known.size else np.nan
        moved = [_moved(matrix.order(target), _places(other, target)) for target in matrix.targets]
        found.append([FACTORS.get(name, name), number(float(ratio)), f"{np.mean(moved):.1%}"])
    return found


def _places(matrix: TransferMatrix, target: str) -> dict[int, int]:
    """Row of a source -> its place, from 0."""
    return {int(row): place for place, row in enumerate(matrix.order(target))}


def _moved(order: NDArray[np.int64], places: Mapping[int, int]) -> float:
    """Share of the pairs of an order that have the other order among ``places``."""
    then = np.array([places[int(row)] for row in order])
    pairs = len(then) * (len(then) - 1) // 2
    return float(np.triu(then[:, None] > then[None, :]).sum() / pairs) if pairs else 0.0
