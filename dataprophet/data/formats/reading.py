"""How rows of data files, and of objects in memory, become conversations, and where each sample is among them.

For ``opening``, which gives a dataset one of the two readings. Which format the rows are in is known here already.
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, TypeAlias

from dataprophet.data.files.columns import Wanted
from dataprophet.data.files.containers import read_rows
from dataprophet.data.files.rows import Rows
from dataprophet.data.formats.base import Format, Options, parse_row
from dataprophet.data.formats.memory import Held
from dataprophet.data.index import FileIndex, in_cells, index_file, read_range, relative_name, state_of
from dataprophet.data.sample import Conversation, Problem, Sample
from dataprophet.errors import NotCountedError, require

Entry: TypeAlias = Conversation | Problem
Cell: TypeAlias = tuple[Callable[[], Iterable[Entry]], list[Entry]]
"""What reads a cell of rows again, and the rows."""

_CELL_ROWS = 64  # that are read for one of them: few, since samples are asked for in any order


@dataclass(frozen=True)
class _Reading:
    format: Format
    options: Options

    def _parsed(self, path: str, rows: Rows, options: Options) -> Iterator[Entry]:
        """These raw rows of a file, or of an object of this name."""
        for number, row in self.format.prepare(rows, path):
            yield parse_row(row, path, number, self.format, options)


@dataclass(frozen=True)
class FileReading(_Reading):
    """Rows of data files, and the folder that the files' names are relative to."""

    folder: str
    files: tuple[str, ...]

    def rows(self, path: str, rows: Rows) -> Iterator[Entry]:
        """These raw rows of a file, whose folder is the first in which their images are looked for."""
        options = self.options
        if self.format.columns is None:  # LLaMA-Factory's images count from its own folder
            options = replace(options, policy=options.policy.beside(os.path.dirname(path) or "."))
        return self._parsed(path, rows, options)

    def all(self) -> Iterator[Entry]:
        """Every row of all files."""
        for path in self.files:
            self.options.check_columns(path)
            yield from self.rows(path, read_rows(path, self.wanted()))

    def cells(self) -> Iterator[Cell]:
        """All rows, a cell after another."""
        for path in self.files:
            self.options.check_columns(path)
            state, name = state_of(path), relative_name(path, self.folder)
            index = index_file(path, name, hashed=False, cell_rows=_CELL_ROWS)
            rows = self.part(index, 0, -(-index.rows // _CELL_ROWS), _CELL_ROWS)
            for number, cell in enumerate(in_cells(rows, _CELL_ROWS)):
                yield partial(self._cell, index, state, number), cell

    def part(self, index: FileIndex, first: int, last: int, cell_rows: int | None = None) -> Iterator[Entry]:
        """Rows of the cells [first, last) of a file."""
        return self.rows(index.path, read_range(index, first, last, self.wanted(), cell_rows))

    def wanted(self) -> Collection[str]:
        """Columns worth reading: those of the format, or of the dataset's own description."""
        return Wanted(self.options.wanted().union((self.format.columns or {}).values()))

    def _cell(self, index: FileIndex, state: Any, number: int) -> Iterator[Entry]:
        what = "the file has changed since its samples were counted"
        require(state_of(index.path) == state, what, index.path, "open the dataset again")
        return self.part(index, number, number + 1, _CELL_ROWS)


@dataclass(frozen=True)
class HeldReading(_Reading):
    """Rows of an object in memory, and the name that they have in messages and ids."""

    held: Held
    name: str

    def all(self, start: int = 0) -> Iterator[Entry]:
        """Every row behind the first so many."""
        return self._parsed(self.name, self.held.rows(start), self.options)

    def cells(self) -> Iterator[Cell]:
        """All rows, a cell after another."""
        counted = self.held.count is not None
        require(counted, "its rows come in order alone", self.name, "give a datasets.Dataset", NotCountedError)
        for number, cell in enumerate(in_cells(self.all(), _CELL_ROWS)):
            yield partial(self._cell, number), cell

    def _cell(self, number: int) -> Iterator[Entry]:
        return islice(self.all(number * _CELL_ROWS), _CELL_ROWS)


class SampleIndex(Sequence[Sample]):
    """The samples of a dataset by number: all rows are read when it is made, and then the cell of the one asked for.

    Args:
        cells: all rows.
        settle: is given each row in order, and gives the row that counts, or None where it is left out.
        limit: good rows that count.
    """

    def __init__(
        self, cells: Iterable[Cell], settle: Callable[[Entry], Conversation | None], limit: int | None
    ) -> None:
        self._reads: list[Callable[[], Iterable[Entry]]] = []
        self._ends: list[int] = []  # samples up to the end of each cell
        self._changed: dict[tuple[int, int], str | None] = {}  # cell and place of a row -> its id; None: left out
        self._latest: tuple[int, list[Sample]] = (-1, [])
        good, total = 0, 0
        for read, rows in cells if limit != 0 else ():
            for place, row in enumerate(rows):
                settled = settle(row)
                if settled is not row:
                    self._changed[len(self._reads), place] = None if settled is None else settled.id
                if settled is not None:
                    good, total = good + 1, total + len(settled.scored())
                if good == limit:
                    break
            self._reads.append(read)
            self._ends.append(total)
            if good == limit:
                break

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, number: Any) -> Any:
        """The sample of a number from 0 to the length less 1."""
        cell = bisect_right(self._ends, number)
        known, samples = self._latest  # most often the next one is asked for
        if known != cell:
            samples = [sample for row in self._rows(cell) for sample in row.samples()]
            self._latest = cell, samples
        return samples[number - (self._ends[cell - 1] if cell else 0)]

    def _rows(self, cell: int) -> Iterator[Conversation]:
        """Good rows of a cell, each under the id that it had when all were read."""
        for place, row in enumerate(self._reads[cell]()):
            name = self._changed.get((cell, place), "")
            if isinstance(row, Conversation) and name is not None:
                yield replace(row, id=name) if name else row
