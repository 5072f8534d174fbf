"""Embeddings that an earlier run kept, as a pool of features: further targets then need no pass of the model."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import xxhash

from dataprophet.data.index import CELL_ROWS, FileIndex
from dataprophet.errors import DataError, DataProphetError, explained
from dataprophet.features.columns import Column, safetensors_columns
from dataprophet.features.features import FIELDS, Features, require_signs
from dataprophet.profiling.profile import Profile
from dataprophet.scoring.folder.pool import ScoredPool, ScoredShard
from dataprophet.scoring.folder.rows import CRASHED, OUT_OF_MEMORY, Batch, Columns

_COLUMNS = ["id", "position", "row", "turn", "status", "detail", "answer_tokens", "mean_nll"]
_CELLS_AT_ONCE = 8


class StoredFeatures:
    """A folder that was scored with ``embeddings``, read as a pool. Every row keeps its status.

    Attributes:
        path: the folder.
        name: the pool's name.
        files: the files of the pool that was scored.
        settings: which run kept the embeddings, as text.
        origin: the model, its settings and rounding, as that run has them.
        model_name: the model's name, as that run has it.
        side_by_side: as of a ``FeaturePool``.
    """

    side_by_side = True

    def __init__(self, path: str | os.PathLike[str], *, name: str | None = None) -> None:
        """Open a scored folder.

        Raises:
            DataProphetError: it is not finished, or holds no embeddings.
        """
        self._scored = ScoredPool(path)
        config = self._scored.config
        where = self._scored.folder
        if not config.embeddings:
            raise DataProphetError("was scored without embeddings=True", where=where, fix="score the pool with them")
        if self._scored.missing:
            what = f"{len(self._scored.missing)} shards are not scored"
            raise DataProphetError(what, where=where, fix="finish that run: repeat its command")
        self.path, self.name = os.path.abspath(path), name or config.name
        self.files = [str(file["path"]) for file in self._scored.files]
        self.model_name = config.model_name
        self.settings = f"embeddings kept by {config.hash}"
        self.origin = {"fingerprint": config.fingerprint, "settings": config.settings, "numbers": config.numbers}

    @property
    def profile(self) -> Profile:
        """The pool's profile, from the features before they were rounded to float16."""
        return self._scored.profile

    def index(self, number: int) -> FileIndex:
        """A file as that run saw it; the file itself is not needed.

        Raises:
            DataError: it could not be read then.
        """
        file, digest = self._scored.files[number], self.state(number)
        if digest is None:
            raise DataError(str(file["error"]), fix="correct it and score the pool anew")
        return FileIndex(str(file["name"]), str(file["path"]), 0, digest, int(file["rows"]))

    def state(self, number: int) -> str | None:
        """Digest of a file as that run saw it, not of what it is now; None where it could not be read.

        What ids its rows have, and which of them may be computed anew, counts where there are such.
        """
        file = self._scored.files[number]
        if "error" in file:
            return None
        told: list[Any] = [file[kind] for kind in ("duplicates", "renamed") if any(file.get(kind) or ())]
        for shard in self._scored.shards if file["name"] in self._unsettled else ():
            if shard.shard.name == file["name"]:
                told.append([shard.shard.key, *_failed(shard)])
        content = f"{file['digest']} {self._scored.config.hash}{json.dumps(told) if told else ''}"
        return xxhash.xxh3_128(content.encode()).hexdigest()

    @cached_property
    def _unsettled(self) -> set[str]:
        """Names of the files with rows that may be computed anew."""
        return {shard.shard.name for shard in self._scored.shards if any(_failed(shard))}

    def read_features(self, index: FileIndex, first: int, last: int) -> Iterator[Batch]:
        """Features of the cells [first, last) of a file, some cells at a time, as ``FeaturePool`` gives them.

        Raises:
            DataError: a file of the scored folder is damaged.
            ProfileError: it was scored with log-likelihoods of the wrong sign.
        """
        for shard in self._scored.shards:
            begin, behind = max(first, shard.shard.first), min(last, shard.shard.last)
            if shard.shard.name == index.name and begin < behind:
                kinds, fix = (OSError, ValueError), "score the pool anew"
                with explained(kinds, DataError, "cannot be read", str(shard.embeddings), fix):
                    yield from _read(shard, begin, behind)


def _failed(shard: ScoredShard) -> list[int]:
    """How many rows of a shard have each of the statuses that ``--retry`` computes anew."""
    return [int(shard.marker.get("statuses", {}).get(status, 0)) for status in (CRASHED, OUT_OF_MEMORY)]


def _read(shard: ScoredShard, first: int, last: int) -> Iterator[Batch]:
    """The cells [first, last) of a shard."""
    assert shard.embeddings is not None  # the run kept them
    rows = pq.read_table(shard.rows, columns=_COLUMNS).combine_chunks()
    positions = rows.column("position").to_numpy()
    kept = safetensors_columns(Path(shard.embeddings))
    of_sample: np.ndarray[Any, Any] = kept["row"].read(0, kept["row"].shape[0]) if "row" in kept else np.empty(0, int)
    for cell in range(first, last, _CELLS_AT_ONCE):
        edges = np.array([cell, min(cell + _CELLS_AT_ONCE, last)]) * CELL_ROWS
        a, b = (int(line) for line in np.searchsorted(positions, edges))
        start, stop = (int(sample) for sample in np.searchsorted(of_sample, (a, b)))
        part, lines = rows.slice(a, b - a), of_sample[start:stop] - a
        position, row, turn = (part.column(name).to_numpy() for name in ("position", "row", "turn"))
        name, status, detail = (part.column(name).combine_chunks() for name in ("id", "status", "detail"))
        columns = Columns(name, shard.shard.name, position, row, turn, status.dictionary_decode(), detail, lines)
        features = _features(part.take(lines), kept, start, stop)
        require_signs(features.nll, partial(_place, shard.shard.name, row[lines]))
        yield columns, np.arange(len(lines)), features
        for column in kept.values():
            column.forget(start, stop)


def _place(file: str, rows: np.ndarray[Any, Any], sample: int) -> str:
    return f"{file} row {rows[sample]}"


def _features(samples: Any, kept: dict[str, Column], start: int, stop: int) -> Features:
    fields = [name for name in FIELDS if name in kept]
    return Features(
        samples.column("id").to_pylist(),
        samples.column("mean_nll").to_numpy().astype(np.float64),
        {name: kept[name].read(start, stop) for name in fields},
        {name: kept[f"{name}_present"].read(start, stop).astype(np.bool_) for name in fields},
        samples.column("answer_tokens").to_numpy().astype(np.int64),
    )
