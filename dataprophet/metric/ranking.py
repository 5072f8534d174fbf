"""A ranking of sources for one target, as text and as a table for notebooks, and the matrix as such a table.

``TransferMatrix`` makes them. This knows names and numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from dataprophet.data.export.notebook import MOST_SHOWN, Cell, html_table
from dataprophet.metric.factors import Floats


class Ranked(tuple[str, float]):
    """One source in a ranking: the pair (source, score), so that ``dict(matrix.rank(target))`` maps source to score.

    Attributes:
        low, high: bounds of the score at the level asked for, NaN without standard errors.
        resolved: whether the score differs from that of the next source at that level; None where it is not known
            (no standard errors, or the last).
    """

    low: float
    high: float
    resolved: bool | None

    def __new__(
        cls, source: str, score: float, low: float = np.nan, high: float = np.nan, resolved: bool | None = None
    ) -> Ranked:
        self = super().__new__(cls, (source, score))
        self.low, self.high, self.resolved = low, high, resolved
        return self

    def __getnewargs__(self) -> tuple[str, float, float, float, bool | None]:
        return *self, self.low, self.high, self.resolved

    def __repr__(self) -> str:
        known = "" if math.isnan(self.low) else f", low={as_text(self.low)}, high={as_text(self.high)}"
        resolved = "" if self.resolved is None else f", resolved={self.resolved}"
        return f"Ranked({self.source!r}, {as_text(self.score)}{known}{resolved})"

    def __str__(self) -> str:
        return " ".join(self.cells()).rstrip()

    @property
    def source(self) -> str:
        return self[0]

    @property
    def score(self) -> float:
        return self[1]

    def as_dict(self) -> dict[str, str | float | bool | None]:
        """All of it, by name."""
        return dict(zip(("source", "score", "low", "high", "resolved"), self.__getnewargs__(), strict=True))

    def cells(self) -> list[str]:
        """Source, score, interval, and ``~`` where the score is not resolved from the next one."""
        interval = "" if math.isnan(self.low) else f"{as_text(self.low)} .. {as_text(self.high)}"
        return [self.source, as_text(self.score), interval, "~" if self.resolved is False else ""]


class Ranking(list[Ranked]):
    """Sources for a target, best first. ``str`` gives it as a table, and so do notebooks.

    Attributes:
        target: the target's name.
        level: of the intervals.
    """

    def __init__(self, entries: Iterable[Ranked], target: str, level: float) -> None:
        super().__init__(entries)
        self.target, self.level = target, level

    def __reduce__(self) -> tuple[type[Ranking], tuple[list[Ranked], str, float]]:
        return Ranking, (list(self), self.target, self.level)

    def __str__(self) -> str:
        lines = [self._head, *([str(place), *entry.cells()] for place, entry in enumerate(self, 1))]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        form = "{:>%d} {:<%d}  {:>%d}  {:>%d}  {}" % tuple(widths[:4])  # noqa: UP031 (braces are the form's own)
        return "\n".join(form.format(*line).rstrip() for line in lines)

    def _repr_html_(self) -> str:
        rows = [[str(place), *entry.cells()] for place, entry in enumerate(self[:MOST_SHOWN], 1)]
        rest = f", the first {MOST_SHOWN} of {len(self):,}" if len(self) > MOST_SHOWN else ""
        return html_table(self._head, rows, f"M of sources for {self.target}{rest}; ~ is not resolved from the next")

    @property
    def _head(self) -> list[str]:
        return ["", f"sources for {self.target}", "M", f"{100 * self.level:g}% interval", ""]


def as_text(value: float, digits: int = 4) -> str:
    """A number to so many significant digits, large ones as whole numbers; a dash where it is not defined."""
    if 1e4 <= abs(value) < 1e9:
        return f"{value:,.0f}"
    return "-" if math.isnan(value) else f"{value:#.{digits}g}".rstrip(".")


def matrix_html(sources: Sequence[str], targets: Sequence[str], values: Floats) -> str:
    """The first scores of a matrix, each the stronger in colour the larger its logarithm is within its target."""
    shown = values[:MOST_SHOWN, :MOST_SHOWN]
    positive = np.where(values > 0, values, np.nan)
    shades = [_shades(np.log(column)) for column in positive.T[:MOST_SHOWN]]
    rows: list[list[str | Cell]] = [
        [name, *(Cell(as_text(value), shades[j][i]) for j, value in enumerate(row))]
        for i, (name, row) in enumerate(zip(sources, shown.tolist(), strict=False))
    ]
    of = zip(shown.shape, values.shape, ("sources", "targets"), strict=True)
    counts = (f"{few} of {all_:,} {word}" if few < all_ else f"{all_} {word}" for few, all_, word in of)
    return html_table(["", *targets[:MOST_SHOWN]], rows, f"M, {' x '.join(counts)}; colours compare within a target")


def _shades(logs: Floats) -> list[float | None]:
    """0 for the least, 1 for the largest; None for what is not defined."""
    known = logs[np.isfinite(logs)]
    if not known.size:
        return [None] * len(logs)
    low, width = float(known.min()), float(np.ptp(known)) or 1.0
    return [(value - low) / width if math.isfinite(value) else None for value in logs.tolist()]
