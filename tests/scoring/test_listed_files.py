"""The list of a pool's files: what of it is taken over, and what stands for embeddings that were kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xxhash
from scored_pools import row, write_pool, write_scores

from dataprophet.data import open_dataset
from dataprophet.scoring.driver import index_files, list_files
from dataprophet.scoring.folder.pool import ScoredPool
from dataprophet.scoring.sources import stored_features
from dataprophet.scoring.sources.stored_features import StoredFeatures
from dataprophet.store import open_store


def test_a_file_under_another_name_is_no_file_that_was_listed(tmp_path: Path) -> None:
    """A folder first, then the one around it, in which another folder has a file of the same name."""
    write_pool(tmp_path / "data" / "sub", {"a.jsonl": [row("x")]})
    store = open_store(tmp_path / "out")
    inner, outer = open_dataset(tmp_path / "data" / "sub"), tmp_path / "data"
    list_files(store, list(index_files(store, inner)))
    write_pool(outer / "more", {"a.jsonl": [row("y"), row("z")]})
    listed = {entry["name"]: entry["rows"] for entry in index_files(store, open_dataset(outer))}
    assert listed == {"more/a.jsonl": 2, "sub/a.jsonl": 1}


def test_embeddings_are_others_once_ids_or_statuses_of_their_rows_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = write_pool(tmp_path / "pool", {"a.jsonl": [row("x"), row("y")]})
    keys = [("a.jsonl", place, 1) for place in range(2)]
    scores, vectors = {key: [1.0] for key in keys}, {key: np.eye(2)[key[1]].tolist() for key in keys}
    folder = write_scores(tmp_path / "scores", pool, scores, vectors=vectors)
    scored, plain = ScoredPool(folder), StoredFeatures(folder).state(0)
    (entry,) = scored.files
    content = f"{entry['digest']} {scored.config.hash}"
    assert plain == xxhash.xxh3_128(content.encode()).hexdigest()  # as folders of before know it
    kept = StoredFeatures(folder)
    (entry,) = kept._scored.files
    entry.update(duplicates=[""], renamed=[""])
    assert kept.state(0) == plain
    entry.update(renamed=["2"])
    assert kept.state(0) != plain
    entry.update(renamed=[""])
    monkeypatch.setattr(stored_features, "_failed", lambda shard: [0, 1])  # a row that was out of memory
    assert StoredFeatures(folder).state(0) != plain
