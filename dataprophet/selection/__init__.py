"""Selection of samples: the best of an array of scores, or of scored pools of any size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dataprophet.selection.best import select

if TYPE_CHECKING:
    from dataprophet.selection.select_pool import Selection, select_pool
    from dataprophet.selection.settings import Settings

_HOME = {"Selection": "select_pool", "Settings": "settings", "select_pool": "select_pool"}

__all__ = ["Selection", "Settings", "select", "select_pool"]


def __getattr__(name: str) -> Any:
    """The names for pools load on first use: an array of scores needs none of what they need."""
    if name in _HOME:
        from importlib import import_module

        return getattr(import_module(f"dataprophet.selection.{_HOME[name]}"), name)
    raise AttributeError(f"module 'dataprophet.selection' has no attribute {name!r}")
