"""Tables on a terminal, within its width and in colour. Elsewhere they are plain: see ``table`` in ``common.py``.

A table that is too wide has its names and heads shortened, and then goes on below with the columns that are left.
"""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from io import StringIO
from typing import Literal

Shades = Sequence[Sequence[float]]
"""For each row of a table the numbers that colour its cells, from the second on, each within its column."""

_LEAST, _GAP = 12, 2  # characters that a name or a head keeps at least; spaces between columns
_SCALE = ((0, 34, 78), (124, 123, 120), (254, 232, 56))  # lowest, middle and highest of cividis, as in the heatmaps


def is_terminal() -> bool:
    """Whether standard output is a terminal that takes more than plain text."""
    return sys.stdout is not None and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def terminal_table(head: Sequence[str], rows: Sequence[Sequence[str]], shades: Shades = ()) -> str:
    """A table as lines that fit the terminal: names to the left, the rest to the right; no colours with NO_COLOR."""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    coloured, width = not os.environ.get("NO_COLOR"), shutil.get_terminal_size().columns
    lengths = [[cell_len(line[column]) for line in (head, *rows)] for column in range(len(head))]
    styles = list(zip(*map(_styles, zip(*shades, strict=True)), strict=True)) if coloured else []
    blocks = []
    for columns, widths in _blocks(lengths, width):
        made = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold" if coloured else "")
        for column, size in zip(columns, widths, strict=True):
            justify: Literal["right", "left"] = "right" if column else "left"
            made.add_column(Text(head[column]), justify=justify, width=size, no_wrap=True, overflow="ellipsis")
        for place, cells in enumerate(rows):
            own = ["", *styles[place]] if styles else []
            made.add_row(*(Text(cells[column], own[column] if column < len(own) else "") for column in columns))
        console = Console(file=StringIO(), force_terminal=coloured, width=max(width, sum(widths) + _GAP * len(widths)))
        with console.capture() as shown:
            console.print(made)
        blocks.append("\n".join(line.rstrip() for line in shown.get().splitlines()))
    return "\n\n".join(blocks)


def _blocks(lengths: Sequence[Sequence[int]], width: int) -> Iterator[tuple[list[int], list[int]]]:
    """The columns of each part of a table, the names first, and how wide they are; the lengths are those of all cells.

    Heads may be cut to the width of what is below them, names to what the numbers leave of the line.
    """
    widths = [max(column) for column in lengths]
    if sum(widths) + _GAP * (len(widths) - 1) > width:
        least = [max(_LEAST, *column[1:]) if column[1:] else _LEAST for column in lengths]
        widths[1:] = [min(pair) for pair in zip(widths[1:], least[1:], strict=True)]
        left = width - sum(widths[1:]) - _GAP * (len(widths) - 1)
        widths[0] = min(widths[0], left if left >= _LEAST else max(width // 3, _LEAST))
    part, used = list[int](), widths[0]
    for column in range(1, len(widths)):
        if part and used + _GAP + widths[column] > width:
            yield [0, *part], [widths[each] for each in (0, *part)]
            part, used = [], widths[0]
        part.append(column)
        used += _GAP + widths[column]
    yield [0, *part], [widths[each] for each in (0, *part)]


def _styles(values: Sequence[float]) -> list[str]:
    """Colours of a column's cells: by the logarithm where all numbers are positive, since scores are products."""
    known = [value for value in values if math.isfinite(value)]
    scale = math.log if known and min(known) > 0 else float
    low, high = (scale(pick(known)) if known else 0.0 for pick in (min, max))
    return [_colours((scale(v) - low) / (high - low)) if math.isfinite(v) and high > low else "" for v in values]


def _colours(share: float) -> str:
    """Ink and ground of a cell, ``share`` of the way from the lowest to the highest of its column."""
    place = min(int(2 * share), 1)
    part = 2 * share - place
    mixed = [round(a + part * (b - a)) for a, b in zip(_SCALE[place], _SCALE[place + 1], strict=True)]
    red, green, blue = mixed
    ink = "black" if 0.299 * red + 0.587 * green + 0.114 * blue > 128 else "bright_white"
    return f"{ink} on rgb({red},{green},{blue})"
