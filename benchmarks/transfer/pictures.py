"""Pictures of a lab's first base, as SVG: a map of its gains, and the published score against them."""

from __future__ import annotations

from typing import Any

import numpy as np

CELL, LABEL, HEAD = 44, 140, 110
WIDE, HIGH, LEFT = 460, 320, 60
_KINDS = {"own": "on itself", "same": "the same task", "other": "another task"}
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#222}.middle{text-anchor:middle}.end{text-anchor:end}"
    ".grid{stroke:#8884}.zero{stroke:#888}.more{fill:#1f6ebe}.less{fill:#c85032}"
    ".own{fill:none;stroke:#1f6ebe;stroke-width:2}.same{fill:#1f6ebe}.other{fill:#c85032;fill-opacity:.6}"
    "@media(prefers-color-scheme:dark){text{fill:#ddd}}"
)


def heatmap(told: dict[str, Any]) -> str:
    """Gains in accuracy, in points: a row for each source, a column for each target."""
    mean = 100 * np.mean(next(iter(told["bases"].values()))["gains"]["right"], 0)
    most, marks = np.abs(mean).max(), list[str]()
    for j, target in enumerate(told["targets"]):
        marks.append(_text(LABEL + (j + 0.5) * CELL, HEAD - 6, target, turned=-50))
    for i, source in enumerate(told["sources"]):
        y = HEAD + i * CELL
        marks.append(_text(LABEL - 6, y + CELL / 2 + 4, source, "end"))
        for j, value in enumerate(mean[i]):
            x, kind = LABEL + j * CELL, "more" if value > 0 else "less"
            square = f'x="{x}" y="{y}" width="{CELL - 2}" height="{CELL - 2}"'
            marks.append(f'<rect {square} class="{kind}" fill-opacity="{abs(value) / most:.2f}"/>')
            marks.append(_text(x + CELL / 2 - 1, y + CELL / 2 + 4, f"{value:+.0f}", "middle"))
    return _svg(LABEL + CELL * len(told["targets"]) + 70, HEAD + CELL * len(told["sources"]) + 6, marks)


def scatter(told: dict[str, Any]) -> str:
    """The published score, each target's as a share of its mean, against the gain; a dataset on itself is a ring."""
    each = next(iter(told["bases"].values()))
    mean, scores = 100 * np.mean(each["gains"]["right"], 0), np.array(each["scores"])
    share = np.log2(scores / scores.mean(0))
    low, high, first, last = mean.min() - 3, mean.max() + 3, share.min() - 0.05, share.max() + 0.05

    def across(value: float) -> float:
        return LEFT + (value - first) / (last - first) * WIDE

    def down(value: float) -> float:
        return 14 + (high - value) / (high - low) * HIGH

    marks = []
    for tick in range(int(np.ceil(low / 10)) * 10, int(high) + 1, 10):
        y, kind = down(tick), "grid" if tick else "zero"
        marks.append(f'<line x1="{LEFT}" x2="{LEFT + WIDE}" y1="{y:.1f}" y2="{y:.1f}" class="{kind}"/>')
        marks.append(_text(LEFT - 6, y + 4, f"{tick:+d}", "end"))
    for step in range(int(np.ceil(first)), int(last) + 1):
        marks.append(_text(across(step), HIGH + 18, f"{step:+d}", "middle"))
    for i, source in enumerate(told["sources"]):
        for j, target in enumerate(told["targets"]):
            kind = "own" if source == target else "same" if told["tasks"][source] == told["tasks"][target] else "other"
            title = f"{source} on {target}: {mean[i, j]:+.1f} points"
            marks.append(_circle(across(share[i, j]), down(mean[i, j]), kind, title))
    for place, (kind, text) in enumerate(_KINDS.items()):
        marks += [_circle(70 + 130 * place, HIGH + 52, kind), _text(80 + 130 * place, HIGH + 56, text)]
    marks.append(_text(LEFT + WIDE / 2, HIGH + 34, "log2 of M over the mean of its target", "middle"))
    marks.append(_text(14, HIGH / 2 + 14, "gain in accuracy, points", "middle", turned=-90))
    return _svg(WIDE + 80, HIGH + 68, marks)


def _text(x: float, y: float, text: str, kind: str = "start", *, turned: int = 0) -> str:
    place = f'transform="translate({x:.0f} {y:.0f}) rotate({turned})"' if turned else f'x="{x:.0f}" y="{y:.0f}"'
    return f'<text {place} class="{kind}">{text}</text>'


def _circle(x: float, y: float, kind: str, title: str = "") -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" class="{kind}"><title>{title or _KINDS[kind]}</title></circle>'


def _svg(width: float, height: float, marks: list[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    return "\n".join([head, f"<style>{_STYLE}</style>", *marks, "</svg>"]) + "\n"
