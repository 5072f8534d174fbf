"""A source x target heatmap of scores, as a PNG whose bytes depend on the matrix and the Matplotlib version only.

The demo and ``dataprophet matrix --heatmap`` call it. Matplotlib is optional, so it is imported when a picture is made.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dataprophet.errors import MetricError, MissingDependencyError
from dataprophet.files import atomic_file
from dataprophet.metric.matrix import TransferMatrix

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = "cividis"
"""Even in lightness, and the same to readers with and without colour vision deficiency."""

MISSING_FILL, MISSING_TEXT = "#dddddd", "n/a"
EVEN_CONTRAST = 0.179
"""Relative luminance at which black and white text stand out equally."""

WIDE_RANGE = 10.0
"""Ratio of the largest to the smallest positive score above which colours follow the logarithm."""

LONGEST_NAME = 32
CELL_WIDTH, CELL_HEIGHT = 0.72, 0.42
LETTER_WIDTH = 0.085


def save_heatmap(matrix: TransferMatrix, path: str | os.PathLike[str], *, title: str | None = None) -> None:
    """Write the heatmap of a score matrix: values in the cells, the best source of each target framed.

    Args:
        matrix: S sources, T targets, values (S, T); those that are not finite are missing.
        path: the PNG file, written atomically.
        title: text above the plot.

    Raises:
        MissingDependencyError: Matplotlib is not installed.
        MetricError: the matrix is empty, or its values do not match its names.
        DataProphetError: the file cannot be written.
    """
    try:
        import matplotlib.style
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.colors import LogNorm, Normalize
        from matplotlib.figure import Figure
    except ImportError as error:
        what, fix = "a heatmap needs Matplotlib", "pip install 'dataprophet[report]'"
        raise MissingDependencyError(what, where="save_heatmap", fix=fix) from error

    values = np.asarray(matrix.values, np.float64)
    rows, columns = len(matrix.sources), len(matrix.targets)
    if not rows or not columns:
        raise MetricError(f"{rows} sources and {columns} targets", where="save_heatmap", fix="give one or more of each")
    sources, targets = ([_shorten(name) for name in names] for names in (matrix.sources, matrix.targets))
    # The user's own style files must not reach the picture.
    with matplotlib.style.context("default"):
        figure = Figure(figsize=_size(sources, targets), dpi=150, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        masked: Any = np.ma  # untyped before NumPy 2.4
        shown = masked.masked_invalid(values)
        low, high = (float(shown.min()), float(shown.max())) if shown.count() else (0.0, 1.0)
        wide = low > 0 and high / low > WIDE_RANGE
        if low == high:
            low, high = low - 0.5, high + 0.5
        norm = LogNorm(low, high) if wide else Normalize(low, high)
        image = axes.imshow(shown, cmap=COLOURS, norm=norm, aspect="auto")
        axes.set_facecolor(MISSING_FILL)
        _label_cells(axes, values, image.to_rgba(shown), wide=wide)
        _frame_best(axes, shown)
        _label_axes(axes, sources, targets)
        label = "M(source → target)" + (", log scale" if wide else "")
        figure.colorbar(image, ax=axes, label=label, fraction=0.05, pad=0.03)
        if title:
            figure.suptitle(_plain(title), fontsize=11, wrap=True)
        with atomic_file(path) as temporary:
            figure.savefig(temporary, format="png", metadata={"Software": None})


def _size(sources: Sequence[str], targets: Sequence[str]) -> tuple[float, float]:
    """Width and height in inches: the cells, and room for the longest names and the colour bar."""
    left = LETTER_WIDTH * max(map(len, sources)) + 0.5
    below = 0.7 * LETTER_WIDTH * max(map(len, targets)) + 0.9
    return max(4.5, left + CELL_WIDTH * len(targets) + 1.2), max(2.8, below + CELL_HEIGHT * len(sources) + 0.5)


def _label_cells(axes: Axes, values: NDArray[np.float64], colours: NDArray[np.float64], *, wide: bool) -> None:
    digits = _decimals(values)
    for (row, column), value in np.ndenumerate(values):
        if not np.isfinite(value):
            axes.text(column, row, MISSING_TEXT, ha="center", va="center", fontsize=8, color="#555555", style="italic")
            continue
        text = f"{value:.2g}" if wide else f"{value:.1e}" if digits is None else f"{value:.{digits}f}"
        ink = "black" if _luminance(colours[row, column]) > EVEN_CONTRAST else "white"
        axes.text(column, row, text, ha="center", va="center", fontsize=8.5, color=ink)


def _luminance(colour: NDArray[np.float64]) -> float:
    """Relative luminance of an sRGB colour, as WCAG 2 defines it."""
    rgb = colour[:3]
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def _decimals(values: NDArray[np.float64]) -> int | None:
    """Decimal places that give the largest value three digits; None where the values call for an exponent."""
    finite = np.abs(values[np.isfinite(values)])
    largest = float(finite.max()) if finite.size else 0.0
    if largest == 0.0:
        return 2
    exponent = int(np.floor(np.log10(largest)))
    return min(4, max(0, 2 - exponent)) if -3 <= exponent <= 4 else None


def _frame_best(axes: Axes, shown: np.ma.MaskedArray) -> None:
    from matplotlib.patches import Rectangle

    for column in range(shown.shape[1]):
        if shown[:, column].count():
            row = int(shown[:, column].argmax())
            for colour, width in (("white", 3.0), ("black", 1.4)):
                corner = (column - 0.47, row - 0.46)
                axes.add_patch(Rectangle(corner, 0.94, 0.92, fill=False, edgecolor=colour, linewidth=width))


def _label_axes(axes: Axes, sources: Sequence[str], targets: Sequence[str]) -> None:
    axes.set_xticks(range(len(targets)), targets, rotation=35, ha="right", rotation_mode="anchor", fontsize=9)
    axes.set_yticks(range(len(sources)), sources, fontsize=9)
    axes.set_xlabel("target (framed: its best source)")
    axes.set_ylabel("source")
    axes.set_xticks(np.arange(len(targets) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(sources) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.0)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)


def _shorten(name: str) -> str:
    return _plain(name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…")


def _plain(text: str) -> str:
    """Text that Matplotlib does not read as mathematics."""
    return text.replace("$", r"\$")
