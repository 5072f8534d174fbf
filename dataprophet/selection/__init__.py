"""Selection of samples: the best of an array of scores (``top_k``), of scored pools of any size (``pools``), of a
stream (``selector``), or a mixture of whole datasets in proportion to their scores (``mixture``, ``allocation``).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dataprophet.selection.top_k import select

if TYPE_CHECKING:
    from dataprophet.selection.pools import Selection, select_pool
    from dataprophet.selection.settings import Settings

# no module is called select_pool: once imported, it would hide the function of that name
_HOME = {"Selection": "pools", "Settings": "settings", "select_pool": "pools"}

__all__ = ["Selection", "Settings", "select", "select_pool"]


def __getattr__(name: str) -> Any:
    """The names for pools load on first use: an array of scores needs none of what they need."""
    if name in _HOME:
        return getattr(import_module(f"dataprophet.selection.{_HOME[name]}"), name)
    raise AttributeError(f"module 'dataprophet.selection' has no attribute {name!r}")
