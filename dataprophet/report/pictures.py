"""Charts as PNG or SVG files, without a browser; and the heatmap of a matrix, which the page shows as a table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from dataprophet.errors import DataProphetError, MetricError, require
from dataprophet.files import atomic_file
from dataprophet.metric.matrix import TransferMatrix
from dataprophet.report import charts
from dataprophet.report.page import Columns
from dataprophet.report.palette import LIGHT, in_light
from dataprophet.report.scores import shades
from dataprophet.report.values import number, rounded

SUFFIXES = (".png", ".svg")
_WIDTH, _SCALE = 720, 2.0
_LONGEST_NAME = 220  # pixels
_MISSING = ("#dddddd", "#444444")


def picture(spec: dict[str, Any], rows: Columns, path: str | os.PathLike[str]) -> None:
    """Write a chart of these rows, in the colours of the light page.

    Raises:
        DataProphetError: the file is neither .png nor .svg, or cannot be written.
        MissingDependencyError: vl-convert-python is not installed.
    """
    check_suffix(path)
    charts.altair()
    import vl_convert

    records = [dict(zip(rows, line, strict=True)) for line in zip(*rows.values(), strict=True)]
    whole = in_light({**spec, "datasets": {charts.ROWS: rounded(records)}})
    whole["config"]["background"] = "white"
    if whole.get("width") == "container":
        whole["width"] = _WIDTH
    if Path(path).suffix.lower() == ".svg":
        made = vl_convert.vegalite_to_svg(whole).encode()
    else:
        made = vl_convert.vegalite_to_png(whole, scale=_SCALE)
    with atomic_file(path) as temporary:
        temporary.write_bytes(made)


def check_suffix(path: str | os.PathLike[str]) -> None:
    """Refuse a picture that is neither .png nor .svg."""
    known = Path(path).suffix.lower() in SUFFIXES
    require(known, "is neither .png nor .svg", os.fspath(path), "name it so", DataProphetError)


def save_heatmap(matrix: TransferMatrix, path: str | os.PathLike[str], *, title: str | None = None) -> None:
    """Write the heatmap of a score matrix: values in the cells, coloured within each target, its best source framed.

    Args:
        matrix: S sources, T targets, values (S, T); those that are not finite are missing.
        path: the .png or .svg file, written atomically.
        title: text above the plot.

    Raises:
        MissingDependencyError: Altair or vl-convert-python is not installed.
        MetricError: the matrix is empty.
        DataProphetError: the file cannot be written.
    """
    if not all(matrix.shape):
        what = "{} sources and {} targets".format(*matrix.shape)
        raise MetricError(what, where="save_heatmap", fix="give one or more of each")
    picture(heatmap(title), heatmap_rows(matrix), path)


def heatmap_rows(matrix: TransferMatrix) -> Columns:
    """A row for each cell, with its colours and its text."""
    steps = shades(matrix.values)
    best = [int(matrix.order(target)[0]) for target in matrix.targets]
    made: Columns = {name: [] for name in ("source", "target", "text", "ground", "ink", "best")}
    for (i, j), step in np.ndenumerate(steps):
        text = number(float(matrix.values[i, j]), 3) if step >= 0 else "n/a"
        colours = (LIGHT[f"h{step}"], LIGHT[f"t{step}"]) if step >= 0 else _MISSING
        cell = (matrix.sources[i], matrix.targets[j], text, *colours, bool(step >= 0 and i == best[j]))
        for column, value in zip(made.values(), cell, strict=True):
            column.append(value)
    return made


def heatmap(title: str | None = None) -> dict[str, Any]:
    """Cells with their colours and texts; the best source of each target is framed."""
    alt = charts.altair()
    axes = {"sort": None, "axis": alt.Axis(labelLimit=_LONGEST_NAME, domain=False, ticks=False)}
    base = alt.Chart(alt.NamedData(charts.ROWS)).encode(
        x=alt.X("target:N", title="target (framed: its best source; coloured within each target)", **axes),
        y=alt.Y("source:N", title="source", **axes),
    )
    cells = base.mark_rect(stroke="white").encode(color=alt.Color("ground:N", scale=None))
    text = base.mark_text(fontSize=11).encode(text="text:N", color=alt.Color("ink:N", scale=None))
    frames = base.transform_filter("datum.best").mark_rect(fill=None, stroke="#16202b", strokeWidth=2)
    layers = alt.layer(cells, text, frames)
    return charts.finished(
        layers.properties(width=alt.Step(62), height=alt.Step(30), **({"title": title} if title else {}))
    )
