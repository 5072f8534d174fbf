"""Vectors z of candidates, and how near they come to the samples of targets, from what scoring has kept.

``pick`` compares candidates by them. Nothing here decides what is too near.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dataprophet.errors import DataProphetError
from dataprophet.features.columns import safetensors_columns
from dataprophet.features.features import FIELDS, Features, measure, same_as_one, sketch_vectors
from dataprophet.scoring.folder.pool import ScoredPool
from dataprophet.scoring.targets import Targets
from dataprophet.selection.candidates import Candidates, lines_of


def vectors_of(candidates: Candidates, table: pa.Table) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """Vectors z: of a sample, the average of its normalised diversity fields, normalised; of a row, of its z.

    Args:
        candidates: where they come from.
        table: m candidates, as ``Candidates.details`` gives them, in any order.

    Returns:
        (m, d) float16 unit vectors, and (m,) whether a candidate has one; the others' are zero.

    Raises:
        DataProphetError: the pool was scored without ``--embeddings``.
    """
    count, lines = table.num_rows, table.column("lines").to_numpy()
    made: NDArray[np.float16] = np.empty((count, 0), np.float16)
    usable = np.zeros(count, np.bool_)
    for pool, owner, features in features_of(candidates, table):
        fields, every = measure(features, pool.name).fields, np.arange(len(owner))
        z, has = sketch_vectors(fields, pool.config.sketch["diversity_fields"], every, pool.name)
        if not made.shape[1]:
            made = np.zeros((count, z.shape[1]), np.float16)
        single = has & (lines[owner] == 1)
        made[owner[single]], usable[owner[single]] = z[single], True
        for row in np.unique(owner[has & (lines[owner] > 1)]):
            total = z[has & (owner == row)].astype(np.float64).sum(0)
            length = np.sqrt(total @ total)
            if length > 1e-9:  # turns that cancel have no place on the sphere
                made[row], usable[row] = total / length, True
    return made, usable


def nearest_to_targets(candidates: Candidates, table: pa.Table) -> NDArray[np.float32]:
    """Largest cosine of z of a candidate's samples to z of a sample of any of the targets.

    It is read where scoring has stored it, and else computed from the embeddings that scoring has kept.

    Args:
        candidates: where they come from.
        table: m candidates, as ``Candidates.details`` gives them.

    Returns:
        (m,) float32, minus infinity for candidates without a z.

    Raises:
        DataProphetError: a pool was scored with neither.
    """
    nearest = np.full(table.num_rows, -np.inf, np.float32)
    names = [f"Nearest:{target}" for target in candidates.targets]
    by_part = np.array([candidates.pools[part.pool].config.nearest for part in candidates.parts], np.bool_)
    stored = by_part[table.column("part").to_numpy()] & all(name in table.column_names for name in names)
    if stored.any():
        nearest[stored] = np.stack([table.column(name).to_numpy()[stored] for name in names]).max(0)
    others = np.flatnonzero(~stored)
    targets: dict[str, Targets] = {}
    for pool, owner, features in features_of(candidates, table.take(pa.array(others)).combine_chunks()):
        if pool.name not in targets:
            targets[pool.name] = pool.target_profiles()
        its = targets[pool.name]
        found = its.nearest(features)[:, [its.names.index(name) for name in candidates.targets]].max(1)
        np.maximum.at(nearest, others[owner], np.nan_to_num(found, nan=-np.inf))
    return same_as_one(nearest)  # scores of earlier versions may hold less for a copy


def features_of(candidates: Candidates, table: pa.Table) -> Iterator[tuple[ScoredPool, NDArray[np.int64], Features]]:
    """Stored embeddings of candidates, part by part; their ``nll`` is zero.

    Yields:
        For each part, its pool, the candidate that each of its samples belongs to, as a row of ``table``, and the
        samples' features.
    """
    part_of, line, lines = (table.column(name).to_numpy() for name in ("part", "line", "lines"))
    for number in np.unique(part_of):
        part = candidates.parts[int(number)]
        pool, path = candidates.pools[part.pool], part.scored.embeddings
        if path is None:
            what = "no embeddings were kept, and they are needed here"
            fix = "score with embeddings=True, or leave out near-duplicates, diversity and leakage"
            raise DataProphetError(what, where=pool.folder, fix=fix)
        here = np.flatnonzero(part_of == number)
        owner, wanted = lines_of(line[here], lines[here])
        try:  # the file is mapped: rows that nobody asks for stay on the disk
            columns = safetensors_columns(Path(path)).items()
            tensors = {name: column.read(0, column.shape[0]) for name, column in columns}
            places = np.searchsorted(tensors["row"], wanted)
            embeddings = {name: tensors[name][places] for name in FIELDS if name in tensors}
            present = {name: tensors[f"{name}_present"][places].astype(np.bool_) for name in embeddings}
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise DataProphetError(f"damaged embeddings ({error})", where=path, fix=part.scored.store.remedy) from error
        ids = [str(place) for place in range(len(owner))]
        yield pool, here[owner], Features(ids, np.zeros(len(owner)), embeddings, present)
