"""z of chosen units, from the embeddings that scoring kept."""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dataprophet.errors import DataProphetError
from dataprophet.features.features import FIELDS, Features, measure, sketch_vectors
from dataprophet.scoring.pool import MAKE_ANEW
from dataprophet.selection.candidates import Units

_DTYPES = {"F16": np.float16, "U8": np.uint8, "I64": np.int64}


def unit_vectors(units: Units, table: pa.Table) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """Vectors z of units: of a sample, the average of its normalised diversity fields, normalised; of a row, of its z.

    Args:
        units: where they come from.
        table: m units, as ``Units.details`` gives them, in any order.

    Returns:
        (m, d) float16 unit vectors, and (m,) whether a unit has one; the others' are zero.

    Raises:
        DataProphetError: the pool was scored without ``--embeddings``.
    """
    count = table.num_rows
    lines = table.column("lines").to_numpy()
    made: NDArray[np.float16] = np.empty((count, 0), np.float16)
    usable = np.zeros(count, np.bool_)
    for where, features in kept_features(units, table):
        pool = units.pools[units.parts[int(table.column("part")[int(where[0])].as_py())].pool]
        z, has = sketch_vectors(
            measure(features, pool.name).fields,
            pool.config.sketch["diversity_fields"],
            np.arange(len(where)),
            pool.name,
        )
        if not made.shape[1]:
            made = np.zeros((count, z.shape[1]), np.float16)
        single = has & (lines[where] == 1)
        made[where[single]], usable[where[single]] = z[single], True
        for unit in np.unique(where[has & (lines[where] > 1)]):
            total = z[has & (where == unit)].astype(np.float64).sum(0)
            length = np.sqrt(total @ total)
            if length > 1e-9:  # turns that cancel have no place on the sphere
                made[unit], usable[unit] = total / length, True
    return made, usable


def kept_features(units: Units, table: pa.Table) -> Iterator[tuple[NDArray[np.int64], Features]]:
    """Embeddings of units, part by part; their ``nll`` is zero.

    Args:
        units: where they come from.
        table: units, as ``Units.details`` gives them.

    Yields:
        For each part, the unit that each of its samples belongs to, as a row of ``table``, and the samples' features.
    """
    part_of, line, lines = (table.column(name).to_numpy() for name in ("part", "line", "lines"))
    for number in np.unique(part_of):
        part = units.parts[int(number)]
        path = part.scored.embeddings
        if path is None:
            raise DataProphetError(
                "no embeddings were kept, and they are needed here",
                where=units.pools[part.pool].folder,
                fix="score with --embeddings, or leave out near-duplicates, diversity and leakage",
            )
        here = np.flatnonzero(part_of == number)
        owner = np.repeat(here, lines[here])
        within = np.arange(len(owner)) - np.repeat(np.cumsum(lines[here]) - lines[here], lines[here])
        tensors = mapped(path)
        wanted = np.repeat(line[here], lines[here]) + within
        places = np.searchsorted(tensors["row"], wanted)
        embeddings = {name: tensors[name][places] for name in FIELDS if name in tensors}
        present = {name: tensors[f"{name}_present"][places].astype(np.bool_) for name in embeddings}
        ids = [str(place) for place in range(len(owner))]
        yield owner, Features(ids, np.zeros(len(owner)), embeddings, present)


def mapped(path: str) -> dict[str, NDArray[np.generic]]:
    """Tensors of a safetensors file, mapped rather than read: rows that nobody asks for stay on the disk.

    Raises:
        DataProphetError: the file is cut short or damaged.
    """
    try:
        return _tensors(path)
    except (KeyError, TypeError, ValueError) as error:
        raise DataProphetError(f"damaged embeddings ({error})", where=path, fix=MAKE_ANEW) from error


def _tensors(path: str) -> dict[str, NDArray[np.generic]]:
    with open(path, "rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    start = 8 + int.from_bytes(data[:8], "little")
    found = {}
    for name, entry in json.loads(data[8:start]).items():
        if name != "__metadata__":
            first, stop = entry["data_offsets"]
            dtype = _DTYPES[entry["dtype"]]
            count = (stop - first) // np.dtype(dtype).itemsize
            found[name] = np.frombuffer(data, dtype, count, start + first).reshape(entry["shape"])
    return found
