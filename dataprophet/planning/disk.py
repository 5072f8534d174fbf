"""Bytes that a scored folder takes, from files made as scoring makes them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dataprophet.features.features import FIELDS, Features, measure
from dataprophet.profiling.profile import Profile
from dataprophet.scoring.embeddings import unit_embeddings
from dataprophet.scoring.rows import Columns, table_of, write_rows
from dataprophet.scoring.targets import SampleScores


@dataclass(frozen=True)
class Sizes:
    """Bytes of the parts of a scored folder.

    Attributes:
        shard: of a shard's rows file, beside its lines.
        line: of a line in it, where scores do not compress.
        line_least: the same, where they are all alike.
        profile: of a profile, beside its sketch.
        sketched: of a sample in the sketch.
        embedded: of a sample's embeddings.
    """

    shard: float
    line: float
    line_least: float
    profile: float
    sketched: float
    embedded: float


def sizes(
    columns: Columns, places: NDArray[np.int64], features: Features, targets: Sequence[str], *, nearest: bool
) -> Sizes:
    """Measure the parts.

    Args:
        columns: of rows that were drawn.
        places: which of their samples are scored.
        features: of some samples, these or others.
        targets: names of targets.
        nearest: whether the nearest cosines are kept.
    """
    table, alike = (_table(columns, places, targets, nearest=nearest, spread=spread) for spread in (1.0, 0.0))
    one, filled = _parquet(table.slice(0, 1)), _parquet(table)  # an empty file lacks what each column takes once
    line = (filled - one) / max(1, table.num_rows - 1)
    profile = Profile.empty("pool", "")
    profile.update(features)
    n = len(features.ids)
    sketched = 0 if profile.sketch is None else profile.sketch.z.nbytes + profile.sketch.hashes.nbytes
    kept = unit_embeddings(measure(features, "features"), np.arange(n, dtype=np.int64))
    return Sizes(
        shard=one - line,
        line=line,
        line_least=(_parquet(alike) - one) / max(1, table.num_rows - 1),
        profile=len(profile.to_bytes()) - sketched,
        sketched=sketched / max(1, n),
        embedded=sum(array.nbytes for array in kept.values()) / max(1, n),
    )


def target_names(count: int) -> list[str]:
    """Names for targets that are not known yet."""
    return [f"target{number}" for number in range(1, count + 1)]


def _table(
    columns: Columns, places: NDArray[np.int64], targets: Sequence[str], *, nearest: bool, spread: float
) -> pa.Table:
    """A rows file of numbers that do not compress, or, without a spread, of one number."""
    rng = np.random.default_rng(0)
    n = len(places)
    drawn = {name: rng.random((n, len(targets)), np.float32) * np.float32(spread) for name in (*FIELDS, "M", "nearest")}
    nll, tokens = rng.random(n), rng.integers(1, 50, n)
    scores = SampleScores({name: drawn[name] for name in FIELDS}, drawn["M"])
    close = drawn["nearest"] if nearest else None
    return table_of(columns, places, nll, tokens, scores=scores, nearest=close, targets=targets)


def _parquet(table: pa.Table) -> int:
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
        write_rows(table, file.name)
        return os.path.getsize(file.name)
