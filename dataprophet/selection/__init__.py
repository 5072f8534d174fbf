"""Selection of samples: the best of an array of scores, or of scored pools of any size."""

from dataprophet.selection.best import select

__all__ = ["select"]
