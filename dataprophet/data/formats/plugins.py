"""Tables that other packages add to: they name what they add as entry points, and are loaded when it is asked for.

For ``formats.detect`` (formats that are read) and ``export.write`` (formats that are written).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from typing import TypeVar

from dataprophet.errors import DataError, explained, require

T = TypeVar("T")


class Extensible(Mapping[str, T]):
    """A table by name: our own entries, and behind them those of installed packages.

    Args:
        own: our entries. No package replaces one.
        group: of the entry points, such as ``dataprophet.formats``.
        fits: whether what an entry point names is an entry.
        what: an entry, in a few words.
    """

    def __init__(self, own: Mapping[str, T], group: str, fits: Callable[[object], bool], what: str) -> None:
        self._own, self._group, self._fits, self._what = dict(own), group, fits, what
        self._added: dict[str, T] | None = None

    def __getitem__(self, name: str) -> T:
        return self._own[name] if name in self._own else self._load()[name]

    def __iter__(self) -> Iterator[str]:
        return iter([*self._own, *self._load()])

    def __len__(self) -> int:
        return len(self._own) + len(self._load())

    def _load(self) -> dict[str, T]:
        """Entries of packages. Raises DataError for one that cannot be loaded, is none, or has the name of another."""
        if self._added is None:
            added: dict[str, T] = {}
            for point in sorted(metadata.entry_points(group=self._group), key=lambda each: each.name):
                where = f"{point.name!r} in {self._group} of {point.dist.name if point.dist else point.value}"
                fix = "repair or uninstall that package"
                with explained(Exception, DataError, "cannot be loaded", where, fix):
                    value = point.load()
                require(self._fits(value), f"{point.value} is no {self._what}", where, fix)
                require(point.name not in {*self._own, *added}, "the name is taken", where, fix)
                added[point.name] = value
            self._added = added
        return self._added
