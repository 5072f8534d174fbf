"""A scored pool as an Arrow stream, and in short."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from scored_pools import scored

from dataprophet import open_scores


def test_a_pool_streams_its_rows_to_who_reads_arrow(tmp_path: Path) -> None:
    pool = open_scores(scored(tmp_path))
    table = pa.table(pool)
    assert table.to_pylist() == pool.read().to_pylist()
    assert [kind for kind in table.schema.types if pa.types.is_dictionary(kind)] == []
    assert table["file"].to_pylist() == ["b.jsonl"] * 4 + ["c.jsonl"] * 4
    assert repr(pool) == f"<ScoredPool {pool.folder!r}: 8 samples for 1 targets, complete>"
