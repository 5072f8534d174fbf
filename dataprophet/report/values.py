"""Numbers, names and data as a report writes them."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection
from typing import Any

from dataprophet.metric.ranking import as_text

_DIGITS = 6  # significant, of the numbers behind the charts


number = as_text


def rounded(value: Any) -> Any:
    """A value for the page's data: floats to six significant digits, those that are not finite as None."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list | tuple) else value


def as_script(value: Any) -> str:
    """JSON, in ASCII, that may stand in a script element whatever its texts hold."""
    text = json.dumps(rounded(value), separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def file_name(text: str, taken: Collection[str] = ()) -> str:
    """A text as a file's name, other than those that are taken."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", text).strip("._")[:80] or "_"
    others = (f"{name}-{count}" for count in range(2, len(taken) + 3))
    return name if name not in taken else next(other for other in others if other not in taken)


def shortened(text: str, most: int = 600) -> str:
    """The beginning of a text, and how much of it is left out."""
    return text if len(text) <= most else f"{text[:most]} … ({len(text) - most:,} more characters)"
