"""Colours of the page and its charts, light and dark. Text on each of its grounds has a contrast of 4.5 or more."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

LIGHT = {
    "page": "#ffffff",
    "panel": "#f6f7f9",
    "ink": "#16202b",
    "soft": "#4d5a68",
    "line": "#d5dae0",
    "link": "#0b5cad",
    "bar": "#2f74b5",
    "pale": "#9db9d4",
    "cut": "#b3261e",
    "warn": "#7a4b00",
    "warn-ground": "#fff4de",
    "mark": "#16202b",
}
DARK = {
    "page": "#0f151c",
    "panel": "#18212b",
    "ink": "#e6ebf1",
    "soft": "#a3b0be",
    "line": "#33404e",
    "link": "#82bdf5",
    "bar": "#5ba3e0",
    "pale": "#3d5a77",
    "cut": "#ff8a80",
    "warn": "#ffcf87",
    "warn-ground": "#35280f",
    "mark": "#ffffff",
}
_HEAT_LIGHT = ["#f7fbff", "#e3eef8", "#cfe1f2", "#b0d2e8", "#8bbfdd", "#5fa5d2", "#2f75b0", "#165794", "#08356e"]
_HEAT_DARK = ["#15212e", "#17304a", "#1a4063", "#1d507c", "#236092", "#3f8fc6", "#6ba9d8", "#95c4ea", "#c2dff6"]
_CLUSTERS_LIGHT = [
    "#2f74b5",
    "#c8551b",
    "#2e8b57",
    "#b3261e",
    "#7b57b2",
    "#8a6d1b",
    "#c2488f",
    "#5d6b78",
    "#127f8c",
    "#6f8f1f",
]
_CLUSTERS_DARK = [
    "#6bb0ee",
    "#f0934e",
    "#5cc48a",
    "#ff8a80",
    "#b79bea",
    "#d9bb55",
    "#ee8cc4",
    "#aab6c2",
    "#4fc3d0",
    "#afd05a",
]

STEPS, CLUSTERS = len(_HEAT_LIGHT), len(_CLUSTERS_LIGHT)
LIGHT |= {f"h{i}": colour for i, colour in enumerate(_HEAT_LIGHT)}
DARK |= {f"h{i}": colour for i, colour in enumerate(_HEAT_DARK)}
LIGHT |= {f"k{i}": colour for i, colour in enumerate(_CLUSTERS_LIGHT)}
DARK |= {f"k{i}": colour for i, colour in enumerate(_CLUSTERS_DARK)}


def luminance(colour: str) -> float:
    """Relative luminance of an sRGB colour such as ``#16202b``, as WCAG 2 defines it."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Contrast of two colours, 1 to 21, as WCAG 2 defines it."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


for _theme in (LIGHT, DARK):  # beside each step of the heatmap the black or white that stands out more on it
    for _step in range(STEPS):
        _theme[f"t{_step}"] = max(("#10161d", "#ffffff"), key=partial(contrast, _theme[f"h{_step}"]))


def declarations(theme: dict[str, str]) -> str:
    """The colours as custom properties of CSS."""
    return " ".join(f"--{name}: {colour};" for name, colour in theme.items())


def in_light(spec: Any) -> Any:
    """A chart's specification with the colours of the light page in the place of ``var(--name)``, for a picture."""
    if isinstance(spec, str):
        return re.sub(r"var\(--([\w-]+)\)", lambda found: LIGHT[found[1]], spec)
    if isinstance(spec, dict):
        return {key: in_light(item) for key, item in spec.items()}
    return [in_light(item) for item in spec] if isinstance(spec, list) else spec
