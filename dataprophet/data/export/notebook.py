"""Small HTML tables, which notebooks show in place of a ``repr``.

For datasets, profiles, matrices and rankings. It knows cells of text alone, and escapes each of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

MOST_SHOWN = 20
"""Rows or columns of a table; those behind are counted in its caption."""

_COLOUR = "rgba(31, 119, 180, {:.2f})"  # over the notebook's own background, dark or light
_FAINT, _FULL = 0.04, 0.45


class Cell(NamedTuple):
    """A cell: its text, and how strong its background is, 0 to 1; None leaves it out."""

    text: str
    shade: float | None = None


def html_table(head: Sequence[str], rows: Iterable[Sequence[str | Cell]], caption: str) -> str:
    """A table whose first column names its rows."""
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "".join(f"<tr><th>{escape(str(name))}</th>{''.join(map(_cell, rest))}</tr>" for name, *rest in rows)
    top = f"<thead><tr>{cells}</tr></thead>" if head else ""
    return f"<table><caption>{escape(caption)}</caption>{top}<tbody>{body}</tbody></table>"


def _cell(given: str | Cell) -> str:
    text, shade = given if isinstance(given, Cell) else (given, None)
    colour = "" if shade is None else f' style="background: {_COLOUR.format(_FAINT + (_FULL - _FAINT) * shade)}"'
    return f"<td{colour}>{escape(text)}</td>"
