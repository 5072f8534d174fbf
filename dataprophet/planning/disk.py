"""Bytes that a scored folder takes, from files made as scoring makes them."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dataprophet.features import Features
from dataprophet.profile_file import profile_bytes
from dataprophet.profiles import Profile
from dataprophet.run.embeddings import unit_embeddings
from dataprophet.run.rows import Lines, schema, table_of
from dataprophet.run.score_shard import parquet_options
from dataprophet.scoring import SampleScores


@dataclass(frozen=True)
class Sizes:
    """Bytes of the parts of a scored folder.

    Attributes:
        shard: of a shard's rows file, beside its lines.
        line: of a line in it.
        profile: of a profile, beside its sketch.
        sketched: of a sample in the sketch.
        embedded: of a sample's embeddings.
    """

    shard: float
    line: float
    profile: float
    sketched: float
    embedded: float


def sizes(lines: Lines, file: str, features: Features, targets: int, *, nearest: bool, sketch_size: int) -> Sizes:
    """Measure the parts.

    Args:
        lines: of rows that were drawn.
        file: name of a data file.
        features: of some samples.
        targets: how many targets.
        nearest: whether the nearest cosines are kept.
        sketch_size: samples that a profile keeps.
    """
    names = [f"target{number}" for number in range(targets)]
    empty = _parquet(schema(names, nearest=nearest).empty_table())
    filled = _parquet(_table(lines, file, names, nearest=nearest)) if lines.lines else empty
    profile = Profile.empty("pool", "", {}, sketch_size=sketch_size)
    profile.update(features)
    n = len(features.ids)
    sketched = 0 if profile.sketch is None else profile.sketch.z.nbytes + profile.sketch.hashes.nbytes
    kept = unit_embeddings(features, np.arange(n, dtype=np.int64))
    return Sizes(
        shard=empty,
        line=(filled - empty) / max(1, len(lines.lines)),
        profile=len(profile_bytes(profile)) - sketched,
        sketched=sketched / max(1, n),
        embedded=sum(array.nbytes for array in kept.values()) / max(1, n),
    )


def _table(lines: Lines, file: str, names: list[str], *, nearest: bool) -> pa.Table:
    """A rows file of numbers that compress as badly as scores do."""
    rng = np.random.default_rng(0)
    n = len(lines.samples)
    drawn = {name: rng.random((n, len(names)), np.float32) for name in ("question", "answer", "image", "M", "nearest")}
    features = Features([""] * n, rng.random(n), {}, n_tokens=rng.integers(1, 50, n))
    scores = SampleScores({name: drawn[name] for name in ("question", "answer", "image")}, drawn["M"])
    return table_of(
        lines.columns(file),
        np.arange(n),
        features,
        scores=scores,
        nearest=drawn["nearest"] if nearest else None,
        targets=names,
    )


def _parquet(table: pa.Table) -> int:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **parquet_options())
    return buffer.tell()
