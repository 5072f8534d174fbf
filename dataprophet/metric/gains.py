"""Measured gains from a table, in the shapes in which people keep them; for ``dataprophet evaluate``.

It knows names and numbers, and nothing of scores.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dataprophet.errors import MetricError
from dataprophet.metric.matrix import TransferMatrix
from dataprophet.metric.matrix_csv import read_cells

SHAPE = (
    "write a line for each source and a column for each target, or the columns source, target and gain, "
    "or source, target, before and after"
)
_BEFORE = ("before", "baseline", "base")
_GAIN = ("gain", "delta", "improvement")
_BLANK = {"", "-", "na", "n/a", "nan", "null", "none"}

Cell = tuple[str, str, str, float]  # source, target, place, value


@dataclass(frozen=True)
class Gains:
    """What was measured.

    Attributes:
        matrix: gains of shape (sources, targets), NaN where nothing was measured.
        read_as: in words, how the file was read and what it holds.
    """

    matrix: TransferMatrix
    read_as: str


def read_gains(path: str | os.PathLike[str]) -> Gains:
    """Read a CSV file of gains: a matrix, or a line for each pair of source and target.

    A blank cell, ``-`` or ``NA`` is a pair that was not measured. Accuracies before and after training give gains, too:
    columns ``before`` (or ``baseline``) and ``after`` of a list, or a line ``baseline`` of a matrix.

    Raises:
        MetricError: not one of these shapes, a cell that is no number, a pair or a name that occurs twice, or no gains.
    """
    head, rows = read_cells(path)
    names = [name.strip().lower() for name in head]
    is_list = {"source", "target"} <= set(names)
    counts = Counter(names if is_list else map(str.strip, head))
    if twice := [name for name, count in counts.items() if name and count > 1]:
        raise MetricError(f"the column {twice[0]!r} occurs twice", where=f"{path} row 1", fix="keep one of them")
    if is_list:
        cells, how = _of_list(names, rows, str(path))
    else:
        cells, how = _of_matrix([name.strip() for name in head], rows, str(path))
    sources = list(dict.fromkeys(source for source, *_ in cells))
    targets = list(dict.fromkeys(target for _, target, *_ in cells))
    values = np.full((len(sources), len(targets)), math.nan)
    for source, target, where, value in cells:
        place = sources.index(source), targets.index(target)
        if not (source and target):
            raise MetricError("a name is empty", where=where, fix="name every source and target")
        if not math.isnan(values[place]):
            raise MetricError(f"{source!r} -> {target!r} occurs twice", where=where, fix="keep one of the lines")
        values[place] = value
    count = int(np.isfinite(values).sum())
    if not count:
        raise MetricError("holds no gains", where=str(path), fix=SHAPE)
    blank = f", {values.size - count} not measured" if count < values.size else ""
    told = f"{how}: {count} gains of {len(sources)} sources on {len(targets)} targets{blank}"
    return Gains(TransferMatrix(sources, targets, values), told)


def _of_list(names: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]], path: str) -> tuple[list[Cell], str]:
    """Lines of source, target and gain, or of accuracies before and after."""
    gain = next((name for name in _GAIN if name in names), "")
    before = next((name for name in _BEFORE if name in names), "")
    if not gain and not (before and "after" in names):
        what = f"columns {', '.join(names)}: neither gain nor before and after"
        raise MetricError(what, where=f"{path} row 1", fix=SHAPE)
    cells = []
    for where, row in rows:
        cell = dict(zip(names, row, strict=True))
        value = _number(cell, gain, where) if gain else _number(cell, "after", where) - _number(cell, before, where)
        cells.append((cell["source"].strip(), cell["target"].strip(), where, value))
    return cells, f"a list of {'gains' if gain else f'accuracies, after - {before}'}"


def _of_matrix(head: Sequence[str], rows: Iterable[tuple[str, Sequence[str]]], path: str) -> tuple[list[Cell], str]:
    """A line for each source and a column for each target, and perhaps a line of what was there before."""
    targets, lines, base = head[1:], [], None
    if not targets:
        raise MetricError("has one column", where=f"{path} row 1", fix=SHAPE)
    for where, row in rows:
        numbers = {name: _number(dict(zip(targets, row[1:], strict=True)), name, where) for name in targets}
        if row[0].strip().lower() in _BEFORE:
            if base is not None:
                raise MetricError("a second line of the baseline", where=where, fix="keep one of them")
            base = numbers
        else:
            lines.append((row[0].strip(), where, numbers))
    cells = [
        (source, target, where, value - (base[target] if base else 0.0))
        for source, where, numbers in lines
        for target, value in numbers.items()
    ]
    return cells, "a matrix of accuracies, less the line of the baseline" if base else "a matrix of gains"


def _number(cells: Mapping[str, str], name: str, where: str) -> float:
    text = cells[name].strip()
    if text.lower() in _BLANK:
        return math.nan
    try:
        value = float(text.removesuffix("%"))
    except ValueError:
        value = math.inf
    if math.isinf(value):
        what = f"{text!r} is not a finite number"
        raise MetricError(what, where=f"{where}, column {name!r}", fix=f"correct the cell, or leave it blank; {SHAPE}")
    return value
