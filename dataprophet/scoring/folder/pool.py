"""A scored folder: its rows in the order of the pool, its profile, and what became of every input row."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataprophet.data.identity.census import added
from dataprophet.data.identity.compare import Identity, reading_of
from dataprophet.data.index import FileIndex
from dataprophet.data.sample import COUNTS, check_bad
from dataprophet.errors import DataProphetError, checked, explained
from dataprophet.profiling.profile import Profile
from dataprophet.scoring.folder.config import RunConfig
from dataprophet.scoring.folder.files import (
    CARRIED_PROFILE,
    EMBEDDINGS,
    FILES,
    POOL_PROFILE,
    PROFILE,
    ROWS,
    RUN,
    SUMMARY,
    load_targets,
    read_index,
)
from dataprophet.scoring.folder.rows import OK, RowsDigest, schema
from dataprophet.scoring.folder.shards import Shard, shards_of
from dataprophet.scoring.targets import Targets
from dataprophet.store import Store, open_store

_DAMAGE = (KeyError, TypeError, ValueError)


@dataclass(frozen=True)
class ScoredShard:
    """A committed shard.

    Attributes:
        shard: what it covers.
        marker: what its marker says.
        store: where its parts lie.
    """

    shard: Shard
    marker: Mapping[str, Any]
    store: Store

    @property
    def rows(self) -> str:
        """Local path of its rows. Raises StoreError where they are damaged."""
        return self.store.part(self.marker, ROWS)

    @property
    def embeddings(self) -> str | None:
        """Local path of its embeddings, or None; as ``rows``."""
        return self.store.part(self.marker, EMBEDDINGS) if EMBEDDINGS in self.marker["files"] else None


@checked()
class ScoredPool:
    """What `dataprophet score` wrote.

    Attributes:
        folder: the folder, or its URL.
        config: what it was made with.
        files: name, digest and rows of each data file in the pool's order; ``error`` where it could not be read.
        missing: shards that are not committed.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Open a scored folder, finished or not. Nothing but its markers is read.

        Raises:
            DataProphetError: it is no scored folder, or is damaged.
        """
        self.folder = os.fspath(folder)
        self.store = open_store(self.folder)
        self.config = RunConfig.from_json(_json(self.store, RUN), self.folder)
        listed = _json(self.store, FILES)
        self._markers = self.store.markers()
        with explained(_DAMAGE, DataProphetError, f"damaged {FILES}", self.folder, self.store.remedy):
            self.files: list[dict[str, Any]] = listed["files"]
            plan = list(plan_of(self.files, self.config))
        self._shards = [shard for shard in plan if shard.key in self._markers]
        self.missing = [shard for shard in plan if shard.key not in self._markers]

    def __repr__(self) -> str:
        unread = sum("error" in file for file in self.files)
        parts = {"shards missing": len(self.missing), "files not read": unread}
        state = ", ".join(f"{count:,} {what}" for what, count in parts.items() if count) or "complete"
        return f"<ScoredPool {self.folder!r}: {self.n_samples:,} samples for {len(self.targets)} targets, {state}>"

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def targets(self) -> list[str]:
        return [target["name"] for target in self.config.targets]

    @property
    def fields(self) -> list[str]:
        """Similarities in the product."""
        return list(self.config.fields)

    @property
    def complete(self) -> bool:
        """Whether every file could be read and every shard is committed."""
        return not self.missing and not any("error" in file for file in self.files)

    @property
    def shards(self) -> list[ScoredShard]:
        """Committed shards in the order of the pool."""
        return [ScoredShard(shard, self._markers[shard.key], self.store) for shard in self._shards]

    @property
    def n_rows(self) -> int:
        """Input rows that are accounted for."""
        return sum(int(self._markers[shard.key]["rows"]) for shard in self._shards)

    @property
    def n_samples(self) -> int:
        """Samples that were scored."""
        return sum(int(self._markers[shard.key]["samples"]) for shard in self._shards)

    @property
    def statuses(self) -> Counter[str]:
        """Lines of the rows files by status."""
        return self._counted("statuses")

    @property
    def unscored(self) -> Counter[str]:
        """Target -> samples with status ok whose M is not defined: no image, or a factor that is not positive."""
        return +self._counted("unscored")

    @property
    def summary(self) -> dict[str, Any]:
        """What the last run came to, as it wrote it at its end."""
        return _json(self.store, SUMMARY)

    def check_bad(self, max_bad: float, name: str) -> None:
        """Refuse a pool of which more than this share of samples cannot be used. Raises DataError."""
        statuses, kept = self.statuses, f"the results are kept in {self.folder}"
        bad = {status: count for status, count in statuses.items() if status != OK}
        check_bad(bad, statuses.total(), max_bad, name, kept)

    def batches(self, columns: Sequence[str] | None = None, *, rows: int = 1 << 16) -> Iterator[pa.RecordBatch]:
        """Rows in the order of the pool.

        Args:
            columns: which columns; all by default.
            rows: most rows of a batch.
        """
        for shard in self._shards:
            path = self._local(shard, ROWS)
            kinds, wanted = (pa.ArrowException, OSError), None if columns is None else list(columns)
            with (
                explained(kinds, DataProphetError, "cannot be read", path, self.store.remedy),
                pq.ParquetFile(path) as file,
            ):
                yield from file.iter_batches(rows, columns=wanted)

    def read(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All rows as one table; for pools that fit into memory."""
        batches = list(self.batches(columns))
        if batches:
            return pa.Table.from_batches(batches).unify_dictionaries()
        nothing = self._schema.empty_table()  # no shard yet
        return nothing if columns is None else nothing.select(list(columns))

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """All rows, batch by batch, for whoever reads the Arrow PyCapsule interface: polars, DuckDB, pandas."""
        plain = pa.schema([(field.name, _plain(field.type)) for field in self._schema])  # not every reader takes words
        batches = (each for batch in self.batches() for each in pa.Table.from_batches([batch]).cast(plain).to_batches())
        return pa.RecordBatchReader.from_batches(plain, batches).__arrow_c_stream__(requested_schema)

    @property
    def _schema(self) -> pa.Schema:
        return schema(self.targets, nearest=self.config.nearest, details=self.config.details)

    def merged_profile(self) -> Profile:
        """The profile of the committed shards, the same to the bit whatever the shards are and their order."""
        if self.store.exists(CARRIED_PROFILE):
            return Profile.load(self.store.local(CARRIED_PROFILE))
        partials = (Profile.load(self._local(shard, PROFILE)) for shard in self._shards)
        profile = sum(partials, self.config.empty_profile())
        for status, count in sorted(self.statuses.items()):
            if status != "ok":
                profile.problems.counts[status] += count
        profile.identity, profile.model_name = (self.identity,), self.config.model_name
        return profile

    @property
    def identity(self) -> Identity:
        """What was read for the committed shards."""
        markers, config = [self._markers[shard.key] for shard in self._shards], self.config
        files = {str(file["name"]): str(file["digest"]) for file in self.files if "error" not in file}
        lies, shown = str(config.pool["path"]), config.shown
        reading = reading_of(config.pool)
        made = Identity(shown.get("path", lies), lies, config.kind, shown.get("format", ""), reading, files)
        if not markers or not all("counts" in marker for marker in markers):
            return made
        counts = {name: sum(marker["counts"][name] for marker in markers) for name in COUNTS}
        images = added(text for marker in markers for text in marker["images"])
        return replace(made, counts=counts, texts=added(marker["texts"] for marker in markers), images=images)

    @property
    def profile(self) -> Profile:
        """The pool's profile: the stored one of a finished run, else that of the committed shards."""
        if self.store.exists(POOL_PROFILE):
            return Profile.load(self.store.local(POOL_PROFILE))
        return self.merged_profile()

    def target_profiles(self) -> Targets:
        """The targets, as they were when the run began."""
        return load_targets(self.store, self.config.targets, self.config.fields)

    def index(self, name: str) -> FileIndex:
        """Index of one of the pool's files."""
        with explained(_DAMAGE, DataProphetError, f"damaged index of {name}", self.folder, self.store.remedy):
            return read_index(self.store, name)

    def digest(self) -> str:
        """Hex digest of all rows, the same for any shard size."""
        digest = RowsDigest()
        for batch in self.batches():
            digest.update(batch)
        return digest.hexdigest()

    def _local(self, shard: Shard, suffix: str) -> str:
        return self.store.part(self._markers[shard.key], suffix)

    def _counted(self, entry: str) -> Counter[str]:
        total: Counter[str] = Counter()
        for shard in self._shards:
            total.update(self._markers[shard.key][entry])
        return total


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind


@checked()
def open_scores(folder: str | os.PathLike[str]) -> ScoredPool:
    """Open what `dataprophet score` wrote. Raises DataProphetError where it is no such folder."""
    return ScoredPool(folder)


def plan_of(files: Sequence[Mapping[str, Any]], config: RunConfig) -> Iterator[Shard]:
    """All shards of a pool, in order.

    Args:
        files: the entries of ``files.json``.
        config: the run's configuration.
    """
    identity = config.hash
    for number, file in enumerate(files):
        if "error" not in file:
            yield from shards_of(number, file, cells=config.shard_cells, cell_rows=config.cell_rows, config=identity)


def _json(store: Store, name: str) -> dict[str, Any]:
    if not store.exists(name):
        what = f"not a scored folder (it has no {name})"
        raise DataProphetError(what, where=store.root, fix="run `dataprophet score` first")
    return store.document(name)
