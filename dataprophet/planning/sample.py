"""Rows drawn from all over a dataset: some cells of it, and some rows of each."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from dataprophet.data.dataset import Dataset
from dataprophet.data.index import CELL_ROWS
from dataprophet.data.sample import Conversation, Problem
from dataprophet.planning.count import Count

MOST_CELLS = 32
"""Cells that rows are drawn from: each is read up to the last row that is wanted of it."""


@dataclass
class Drawn:
    """Rows that were drawn.

    Attributes:
        rows: they, good and bad, in the order of the dataset.
        cell: for each, the number of its cell among those drawn.
        file: for each, the name of its file.
        cells: cells drawn.
    """

    rows: list[Conversation | Problem] = field(default_factory=list)
    cell: list[int] = field(default_factory=list)
    file: list[str] = field(default_factory=list)
    cells: int = 0


def draw(dataset: Dataset, count: Count, rows: int, rng: np.random.Generator) -> Drawn:
    """Draw rows of what was counted of a dataset; all of them where it has no more.

    Args:
        dataset: it.
        count: of its rows.
        rows: about how many.
        rng: for the draws.

    Raises:
        DataError: a file is damaged.
    """
    places = [(file, cell) for file, index in enumerate(count.files) for cell in range(-(-index.rows // CELL_ROWS))]
    sizes = np.array([min(CELL_ROWS, count.files[file].rows - cell * CELL_ROWS) for file, cell in places], np.int64)
    everything = count.rows <= rows
    few = len(places) if everything else min(MOST_CELLS, len(places))
    chosen = np.sort(rng.choice(len(places), few, replace=False)) if few else np.empty(0, np.int64)
    share = 1.0 if everything else rows / max(1, int(sizes[chosen].sum()))
    drawn = Drawn(cells=few)
    for number, place in enumerate(chosen):
        file, cell = places[place]
        wanted = min(int(sizes[place]), max(1, round(share * int(sizes[place]))))
        offsets = np.sort(rng.choice(int(sizes[place]), wanted, replace=False))
        entries = next(dataset.read_cells(count.files[file], cell, cell + 1))
        drawn.rows += [entries[offset] for offset in offsets]
        drawn.cell += [number] * wanted
        drawn.file += [count.files[file].name] * wanted
    return drawn
