"""How near units come to a sample of the targets they are chosen for."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dataprophet.scoring.targets import Targets
from dataprophet.selection.candidates import Units
from dataprophet.selection.vectors import kept_features


def nearest_to_targets(units: Units, table: pa.Table) -> NDArray[np.float32]:
    """Largest cosine of z of a unit's samples to z of a sample of any of the targets.

    It is read where scoring has stored it, and else computed from the embeddings that scoring has kept.

    Args:
        units: where they come from.
        table: m units, as ``Units.details`` gives them.

    Returns:
        (m,) float32, minus infinity for units without a z.

    Raises:
        DataProphetError: a pool was scored with neither.
    """
    nearest = np.full(table.num_rows, -np.inf, np.float32)
    names = [f"Nearest:{target}" for target in units.targets]
    by_part = np.array([units.pools[part.pool].config.nearest for part in units.parts], np.bool_)
    stored = by_part[table.column("part").to_numpy()] & all(name in table.column_names for name in names)
    if stored.any():
        nearest[stored] = np.stack([table.column(name).to_numpy()[stored] for name in names]).max(0)
    others = np.flatnonzero(~stored)
    rest = table.take(pa.array(others)).combine_chunks()
    targets: dict[int, tuple[Targets, list[int]]] = {}
    for owner, features in kept_features(units, rest):
        number = units.parts[int(rest.column("part")[int(owner[0])].as_py())].pool
        if number not in targets:
            profiles = units.pools[number].target_profiles()
            targets[number] = profiles, [profiles.names.index(name) for name in units.targets]
        profiles, columns = targets[number]
        found = profiles.nearest(features)[:, columns].max(1)
        np.maximum.at(nearest, others[owner], np.nan_to_num(found, nan=-np.inf))
    return nearest
