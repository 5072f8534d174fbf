"""The division of a pool into shards: consecutive cells of one file, named by what they hold."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from dataprophet.data.ids import duplicate, qualified
from dataprophet.data.sample import Conversation, Problem


@dataclass(frozen=True, slots=True)
class Shard:
    """A unit of work.

    Attributes:
        key: hash of the file's name and content, of the cells and of the configuration.
        file: number of the file in the pool.
        name: its name, relative to the pool's folder.
        first: first cell.
        last: the cell behind the last one.
        rows: rows of the file that it covers, good and bad.
        duplicates: for each cell, which of its rows are left out since an earlier one is equal: bits of a hexadecimal
            number, the lowest for the first row; empty for none.
        renamed: the same of rows whose id occurs before, so that their place stands behind it (see ``scan.py``).
    """

    key: str
    file: int
    name: str
    first: int
    last: int
    rows: int
    duplicates: tuple[str, ...] = ()
    renamed: tuple[str, ...] = ()

    def settle(self, cell: int, entries: list[Conversation | Problem]) -> None:
        """Have the rows of a cell be what they are among all rows of the dataset."""
        own = slice(cell - self.first, cell - self.first + 1)
        settle(self.name, entries, "".join(self.duplicates[own]), "".join(self.renamed[own]))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def settle(file: str, entries: list[Conversation | Problem], duplicates: str, renamed: str) -> None:
    """Have the rows of a cell of a file be what they are among all rows of the dataset; see ``Shard``."""
    for mask, change in ((duplicates, duplicate), (renamed, lambda row: qualified(row, file))):
        bits = int(mask or "0", 16)
        for place in range(bits.bit_length()):
            if bits >> place & 1 and isinstance(row := entries[place], Conversation):
                entries[place] = change(row)


UNDER_WAY = "under way"


@dataclass
class ShardResult:
    """What became of a shard, or how far it is.

    Attributes:
        key: the shard's key.
        outcome: ``done``, ``skipped`` (committed before), ``lost`` (another process was first), ``unreadable``, or
            ``failed`` (every process that tried it died). Or ``under way``, after each cell.
        rows: input rows accounted for.
        samples: samples scored.
        seconds: wall time.
        detail: why it is unreadable, or was given up.
    """

    key: str
    outcome: str
    rows: int = 0
    samples: int = 0
    seconds: float = 0.0
    detail: str = ""


def shards_of(number: int, file: Mapping[str, Any], *, cells: int, cell_rows: int, config: str) -> Iterator[Shard]:
    """Shards of one file.

    Args:
        number: the file's number in the pool.
        file: its entry in ``files.json``: ``name``, relative to the pool's folder, ``digest`` of its content and raw
            ``rows``; where the pool was scanned also ``duplicates`` and ``renamed``, as in a shard, and ``marks``, what
            each cell depends on beside the file.
        cells: cells of a shard; the last one may have fewer.
        cell_rows: rows of a cell.
        config: hash of the configuration.
    """
    name, rows, marks = str(file["name"]), int(file["rows"]), file.get("marks")
    told = [file.get(kind) or [] for kind in ("duplicates", "renamed")]
    total = -(-rows // cell_rows)
    for first in range(0, total, cells):
        last = min(first + cells, total)
        start, behind = first * cell_rows, min(last * cell_rows, rows)
        identity = [name, str(file["digest"]), first, last, config]
        if marks is not None:
            identity.append([behind, *marks[first:last]])
        here = [tuple(kind[first:last]) for kind in told]
        if any(map(any, here)):
            identity.append(here)
        text = json.dumps(identity).encode("utf-8", "surrogatepass")
        key = hashlib.blake2b(text, digest_size=16).hexdigest()
        yield Shard(key, number, name, first, last, behind - start, *here)
