"""``write_report``: reads what is there, makes the sections in their order, and writes the page and its charts."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataprophet.files import atomic_file, check_replaced
from dataprophet.report.agreement import add_agreement
from dataprophet.report.data import add_data
from dataprophet.report.inputs import Inputs, read_inputs
from dataprophet.report.mixtures import add_mixtures
from dataprophet.report.page import Page, html
from dataprophet.report.pictures import picture, save_heatmap
from dataprophet.report.pool import add_pool
from dataprophet.report.samples import Gallery
from dataprophet.report.scores import add_scores
from dataprophet.report.values import file_name

MOST_BYTES = 15_000_000


def write_report(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    gains: str | os.PathLike[str] | None = None,
    selection: str | os.PathLike[str] | None = None,
    pictures: Mapping[str, str | os.PathLike[str]] | None = None,
    model: Any = None,
) -> Page:
    """Write a report of a run's or demo's folder, a scored pool or a matrix file.

    Args:
        path: the folder or file.
        out: the HTML file.
        gains: matrix file of measured gains.
        selection: folder that ``dataprophet select`` wrote, of the scored pool.
        pictures: ``png`` and ``svg`` -> a folder for a file of each chart.
        model: gives the probability of each token of the answers that are shown.

    Returns:
        What was written.

    Raises:
        DataProphetError: nothing to report is there, what is there is damaged, or a file cannot be written.
        MissingDependencyError: Altair, vl-convert-python or Jinja2 is not installed.
    """
    check_replaced(out, "report", _is_report)
    page = build(read_inputs(path, gains=gains, selection=selection), model)
    made = html(page)
    with atomic_file(out) as temporary:
        temporary.write_bytes(made)
    for suffix, folder in (pictures or {}).items():
        save_pictures(page, suffix, folder)
    return page


def _is_report(path: Path) -> bool:
    with path.open("rb") as stream:
        return b": DataProphet report</title>" in stream.read(1 << 14)


def build(inputs: Inputs, model: Any = None) -> Page:
    """The sections of a report."""
    page, gallery = Page(inputs), Gallery(model)
    add_scores(page)
    add_agreement(page)
    add_pool(page, gallery)
    groups = add_mixtures(page)
    add_data(page, groups, gallery)
    if gallery.full:
        page.missing.append("Some images: there is no room for more in a page of this size.")
    page.values["lead"] = _lead(inputs, gallery)
    return page


def _lead(inputs: Inputs, gallery: Gallery) -> str:
    """What the page is about, in one sentence."""
    parts = []
    if inputs.pool is not None:
        parts.append(f"{inputs.pool.n_samples:,} scored samples")
    if inputs.matrix is not None:
        counts = zip(inputs.matrix.shape, ("source", "target"), strict=True)
        parts += [f"{count} {word}{'s' * (count != 1)}" for count, word in counts]
    if inputs.mixtures:
        parts.append(f"{len(inputs.mixtures)} mixture{'s' * (len(inputs.mixtures) != 1)}")
    if inputs.gains is not None:
        parts.append("measured gains")
    if gallery.model:
        parts.append(f"tokens coloured by {gallery.model}")
    return ", ".join(parts)


def save_pictures(page: Page, suffix: str, folder: str | os.PathLike[str]) -> list[Path]:
    """Write each chart, and the heatmap, as a file of the folder.

    Returns:
        The files.
    """
    written: list[Path] = []
    taken, figures = {"heatmap"}, page.figures
    if page.inputs.matrix is not None:
        written.append(Path(folder, f"heatmap.{suffix}"))
        save_heatmap(page.inputs.matrix, written[-1])
    for name, kind, key in figures.files:
        stem = file_name(name, taken)
        taken.add(stem)
        written.append(Path(folder, f"{stem}.{suffix}"))
        picture(figures.charts[kind], figures.rows[key], written[-1])
    return written
