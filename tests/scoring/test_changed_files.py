"""A data file that changes while it is scored: told with its name, nothing of it committed, healed by the next run.

ROUNDS in the environment says how many changes are drawn; `make soak` draws more.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import threading
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import xxhash
from sample_features import make_features

import dataprophet as dp
from dataprophet.data.index import CELL_ROWS, state_of
from dataprophet.profiling.build import profile
from dataprophet.scoring import worker as scoring_worker
from dataprophet.scoring.driver import list_files
from dataprophet.scoring.scan import scan
from dataprophet.scoring.score import score
from dataprophet.store import open_store

ROWS = 3 * CELL_ROWS
ROUNDS = int(os.environ.get("ROUNDS", "5"))


def _nothing(_: Any) -> None:
    """No machine stops in these tests."""


def write(path: Path, seed: int, n: int = ROWS) -> None:
    rows = make_features(n, 8, seed=seed)
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


def grown(path: Path, other: Path) -> None:
    """More rows; the first ones are the same."""
    seed = int(np.load(path)["nll"][0] * 1e6) % 1000
    write(path, seed, ROWS + CELL_ROWS)


def cut(path: Path, other: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3)


def unnoticed(path: Path, other: Path) -> None:
    """Other content, which the file system tells nothing of; see ``forge``."""
    overwritten(path, other)


CHANGES = [replaced, overwritten, grown, cut, unnoticed]


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

    after: set[int] = set()  # first rows of the shards that were begun after the change; two are under way at a time

    def changing(shard, *rest):  # type: ignore[no-untyped-def]
        if shard.name == "b.npz" and shard.first == 1:
            change(changed, tmp_path / "other.npz")
        if shard.name == "b.npz" and (after or shard.first == 1):
            after.add(shard.first * 1024)
        return plain(shard, *rest)

    def run(out: str) -> dp.ScoredPool:
        return score(tmp_path / "pool", [target], "m", features=True, out=tmp_path / out, shard_rows=1024)

    with monkeypatch.context() as context:
        context.setattr(scoring_worker, "_score", changing)
        scored = run("out")
    missing = scored.summary["missing"]
    assert not scored.complete
    assert {part["file"] for part in missing} == {"b.npz"}
    assert after <= {part["rows"][0] for part in missing}
    assert all(f"{changed}: " in part["why"] for part in missing)
    changed.unlink(missing_ok=True)
    shutil.copy(tmp_path / "other.npz", changed)
    again, fresh = run("out"), run("fresh")
    assert again.complete
    assert again.digest() == fresh.digest()
    assert again.profile == fresh.profile


def forge(out: Path, path: Path) -> None:
    """Have the list of files hold the file's size and times of now, as if the change had not touched them."""
    store = open_store(out)
    entries = store.document("files.json")["files"]
    for entry in entries:
        if entry["path"] == str(path):
            now = state_of(str(path))
            entry["state"] = [now] if isinstance(entry["state"][0], list) else now  # of features, for each part
    store.write_document("files.json", {"files": entries})


def numbers(scored: dp.ScoredPool, name: str) -> list[tuple[int, float]]:
    """Position and number of each row of a file that was scored."""
    table = scored.read(["file", "position", "mean_nll"]).to_pydict()
    return [(at, nll) for file, at, nll in zip(*table.values(), strict=True) if file == name]


@mock.patch("os.fsync", _nothing)
@pytest.mark.parametrize("number", range(ROUNDS))
def test_any_change_at_any_time_is_told_or_healed(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(number)
    change, in_mid_run, cell = CHANGES[number % len(CHANGES)], draw.random() < 0.5, draw.randrange(3)
    in_mid_run = in_mid_run and change is not unnoticed
    (tmp_path / "pool").mkdir()
    for name, seed in (("pool/a.npz", 1), ("pool/b.npz", 2 + number), ("other.npz", 900 + number)):
        write(tmp_path / name, seed)
    path, told, plain, alone = tmp_path / "pool" / "b.npz", list[str](), scoring_worker._score, threading.Lock()
    contents = {xxhash.xxh3_128_hexdigest(path.read_bytes()): np.load(path)["nll"].astype(np.float32)}

    def run(out: str, **more: Any) -> dp.ScoredPool:
        options: dict[str, Any] = {"features": True, "out": tmp_path / out, "shard_rows": 1024, "recheck": True, **more}
        return score(tmp_path / "pool", [], "m", tell=told.append, **options)

    def changing(shard, *rest):  # type: ignore[no-untyped-def]
        with alone:  # a process in which a mapped file is cut under another thread may end
            if shard.name == "b.npz" and shard.first == cell:
                change(path, tmp_path / "other.npz")
            return plain(shard, *rest)

    with monkeypatch.context() as context:
        if in_mid_run:
            context.setattr(scoring_worker, "_score", changing)
        scored = run("out")
    if not in_mid_run:
        assert scored.complete
        change(path, tmp_path / "other.npz")
        if change is unnoticed:
            forge(tmp_path / "out", path)
    # no row is of another content than the file is listed with
    (listed,) = [entry["digest"] for entry in scored.files if entry["name"] == "b.npz"]
    known = contents[listed]
    assert all(known[at] == np.float32(nll) for at, nll in numbers(scored, "b.npz"))
    again, fresh = run("out"), run("fresh", recheck=False)
    assert again.complete == fresh.complete == (change is not cut)
    assert again.digest() == fresh.digest()
    assert again.profile == fresh.profile
    assert [str(path) in line for line in told] == [True] * (change is unnoticed)


def test_what_looks_unchanged_is_compared_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"id": str(row), "question": "q", "answer": "a"} for row in range(3)]
    path, out = tmp_path / "a.jsonl", tmp_path / "out"
    for text in ("one", "two"):
        path.write_text("".join(json.dumps({**row, "question": text}) + "\n" for row in rows))
        dataset = dp.open_dataset(path)
        if text == "one":
            first = scan(open_store(out), dataset, pool=True)
            list_files(open_store(out), first.files)
        else:
            forge(out, path)
            earlier = {**asdict(first), "states": [first.states[0], [str(path), state_of(str(path))]]}
            open_store(out).write_document("scan.json", earlier)
    told: list[str] = []
    assert scan(open_store(out), dataset, pool=True).files == first.files  # it cannot be told
    assert scan(open_store(out), dataset, pool=True, recheck=told.append).files != first.files
    assert [f"{path}: another content under the same size and times" in line for line in told] == [True]


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
