"""The division of a pool into shards: consecutive cells of one file, named by what they hold."""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any


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
        repeated: positions in the file of rows that are left out since their id occurs before. Only a pass over single
            datasets looks for them (see ``scan.py``).
    """

    key: str
    file: int
    name: str
    first: int
    last: int
    rows: int
    repeated: tuple[int, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass
class ShardResult:
    """What became of a shard.

    Attributes:
        key: the shard's key.
        outcome: ``done``, ``skipped`` (committed before), ``lost`` (another process was first), ``unreadable``, or
            ``failed`` (every process that tried it died).
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
            ``rows``; where the pool was scanned also ``marks``, what each cell depends on beside the file, and
            ``repeated``, as in a shard.
        cells: cells of a shard; the last one may have fewer.
        cell_rows: rows of a cell.
        config: hash of the configuration.
    """
    name, rows, marks = str(file["name"]), int(file["rows"]), file.get("marks")
    repeated: list[int] = file.get("repeated", [])
    total = -(-rows // cell_rows)
    for first in range(0, total, cells):
        last = min(first + cells, total)
        start, behind = first * cell_rows, min(last * cell_rows, rows)
        identity = [name, str(file["digest"]), first, last, config]
        if marks is not None:
            identity.append([behind, *marks[first:last]])
        text = json.dumps(identity).encode("utf-8", "surrogatepass")
        key = hashlib.blake2b(text, digest_size=16).hexdigest()
        here = repeated[bisect_left(repeated, start) : bisect_left(repeated, behind)]
        yield Shard(key, number, name, first, last, behind - start, tuple(here))
