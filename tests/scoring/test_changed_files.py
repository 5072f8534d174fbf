"""A data file that changes while it is scored: told with its name, nothing of it committed, healed by the next run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sample_features import make_features

import dataprophet as dp
from dataprophet.data.index import CELL_ROWS
from dataprophet.profiling.build import profile
from dataprophet.scoring import worker as scoring_worker
from dataprophet.scoring.score import score

ROWS = 3 * CELL_ROWS


def write(path: Path, seed: int) -> None:
    rows = make_features(ROWS, 8, seed=seed)
    np.savez(path, id=np.array(rows.ids), nll=rows.nll, **rows.embeddings)


def replaced(path: Path, other: Path) -> None:
    """Another file of the same size and time under the name."""
    stat = path.stat()
    shutil.copy(other, path.with_name("new"))
    os.utime(path.with_name("new"), ns=(stat.st_atime_ns, stat.st_mtime_ns))
    os.replace(path.with_name("new"), path)


def overwritten(path: Path, other: Path) -> None:
    """Other content in the same file, and its time set back."""
    stat = path.stat()
    with path.open("r+b") as file:
        file.write(other.read_bytes())
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def removed(path: Path, other: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("change", [replaced, overwritten, removed])
def test_a_file_that_changes_while_it_is_scored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path, Path], None]
) -> None:
    (tmp_path / "pool").mkdir()
    for name, seed in (("pool/a.npz", 1), ("pool/b.npz", 2), ("other.npz", 3)):
        write(tmp_path / name, seed)
    assert (tmp_path / "other.npz").stat().st_size == (tmp_path / "pool" / "b.npz").stat().st_size
    target = profile(make_features(100, 8, seed=9), "m", name="t", clusters=4, sketch_size=1000)
    changed, plain = tmp_path / "pool" / "b.npz", scoring_worker._score

    def changing(shard, *rest):  # type: ignore[no-untyped-def]
        if shard.name == "b.npz" and shard.first == 1:
            change(changed, tmp_path / "other.npz")
        return plain(shard, *rest)

    def run(out: str) -> dp.ScoredPool:
        return score(tmp_path / "pool", [target], "m", features=True, out=tmp_path / out, shard_rows=1024)

    with monkeypatch.context() as context:
        context.setattr(scoring_worker, "_score", changing)
        scored = run("out")
    missing = scored.summary["missing"]
    assert not scored.complete
    assert {part["file"] for part in missing} == {"b.npz"}
    assert len(missing) >= 2  # of the shards that were read after the change, none is committed
    assert all(f"{changed}: " in part["why"] for part in missing)
    changed.unlink(missing_ok=True)
    shutil.copy(tmp_path / "other.npz", changed)
    again, fresh = run("out"), run("fresh")
    assert again.complete
    assert again.digest() == fresh.digest()
    assert again.profile == fresh.profile


def test_a_file_that_was_copied_since_is_known_by_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "a.npz", 1)
    plain = scoring_worker._score

    def copied(shard, *rest):  # type: ignore[no-untyped-def]
        if shard.first == 1:
            shutil.copy(tmp_path / "a.npz", tmp_path / "b")
            os.replace(tmp_path / "b", tmp_path / "a.npz")
        return plain(shard, *rest)

    def run() -> dp.ScoredPool:
        return score(tmp_path / "a.npz", [], "m", features=True, out=tmp_path / "out", shard_rows=1024)

    with monkeypatch.context() as context:
        context.setattr(scoring_worker, "_score", copied)
        scored = run()
    assert [1024, 2048] in [part["rows"] for part in scored.summary["missing"]]  # others were read beside it
    assert run().complete
