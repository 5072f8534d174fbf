"""Kills, bad data and poison: every row of a pool is accounted for once, and the result is the same to the bit."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path
from typing import Any

import fault_pools as faults
import pyarrow.parquet as pq
import pytest

from dataprophet.scoring.folder.pool import open_scores
from dataprophet.scoring.score import score
from dataprophet.store.journal import record

pytestmark = pytest.mark.slow
FILES, SAMPLES = 10, 130


@pytest.fixture(scope="module")
def model() -> Any:
    pytest.importorskip("transformers")
    return faults.demo_model()


@pytest.fixture(scope="module")
def target(model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return faults.make_target(tmp_path_factory.mktemp("target") / "target.profile", model)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = faults.make_pool(tmp_path_factory.mktemp("pool") / "pool", FILES, SAMPLES, corrupt=3)
    faults.truncate(folder / "part-00004.parquet")
    faults.blank(folder / "part-00006.parquet")
    return folder


@pytest.fixture(scope="module")
def whole(pool: Path, target: Path, model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pool scored in one process without a fault."""
    out = tmp_path_factory.mktemp("whole") / "out"
    score(pool, [target], model, out=out)
    return out


def test_kills_of_workers_and_drivers(pool: Path, target: Path, whole: Path, tmp_path: Path) -> None:
    out, log, chosen = tmp_path / "out", tmp_path / "forward", random.Random(1)
    statuses = []
    for processes, ended_by in ((2, signal.SIGKILL), (1, signal.SIGTERM), (0, signal.SIGINT), (2, None)):
        with faults.Run(pool, target, out, "--processes", str(processes), FORWARD_LOG=str(log)) as run:
            before = faults.commits(out)
            faults.wait_for(lambda run=run, before=before: faults.commits(out) > before or not run.running())
            workers = run.workers()
            assert len(workers) == processes
            if processes == 2:
                faults.kill_worker(run, chosen)
            if ended_by is not None:
                run.kill(ended_by)
            statuses.append(run.end())
        faults.wait_for(lambda workers=workers: not set(workers) & {pid for pid, _, _ in faults.processes()})
    assert [status for status, _ in statuses] == [-signal.SIGKILL, 143, 130, 1]  # 1: a file could not be read
    assert [said.count("stopped; run the same command again") for _, said in statuses] == [0, 1, 1, 0]
    assert "not read: " in statuses[-1][1]
    assert "part-00004.parquet: cannot be opened" in statuses[-1][1]
    assert "not scored: part-00006.parquet rows 1 to " in statuses[-1][1]

    found, expected = faults.account(out), faults.account(whole)
    assert found == expected
    damaged = pq.read_metadata(pool / "part-00006.parquet").num_rows
    assert found["missing"] == damaged  # and told above
    assert faults.all_well({**found, "missing": 0}), found
    assert found["statuses"]["decode_error"] >= 3
    assert open_scores(out).profile == open_scores(whole).profile
    # two workers killed, two left by their driver, and a shard dropped at each of the two signals
    scored = open_scores(out)
    assert 0 <= faults.forwarded(log) - scored.n_samples <= 6 * faults.largest_shard(scored)


@pytest.mark.skipif(not os.environ.get("SOAK"), reason="takes minutes: make soak")
def test_poison_is_isolated(target: Path, model: Any, tmp_path: Path) -> None:
    pool = faults.make_pool(tmp_path / "pool", 2, 60)
    faults.change_row(pool / "part-00001.parquet", 7, faults.poison)
    score(pool, [target], model, out=tmp_path / "whole")
    tokens = faults.poison_tokens(model)
    with faults.Run(pool, target, tmp_path / "out", "--processes", "1", POISON=tokens) as run:
        assert run.end()[0] == 0
    found = faults.account(tmp_path / "out")
    assert faults.all_well(found)
    assert found["statuses"]["crashed"] == 1
    scored, expected = open_scores(tmp_path / "out"), open_scores(tmp_path / "whole")
    assert faults.summary(tmp_path / "out")["isolated"] == [
        row["id"] for row in scored.read().to_pylist() if row["status"] == "crashed"
    ]
    compared = 0
    for row, plain in zip(scored.read().to_pylist(), expected.read().to_pylist(), strict=True):
        if row["status"] == "crashed":
            assert (row["file"], row["position"]) == ("part-00001.parquet", 7)
            assert row["M:target"] is None
            continue
        for name in ("mean_nll", "QSim:target", "ASim:target", "ISim:target"):
            assert row[name] == pytest.approx(plain[name], rel=1e-5, abs=1e-6), name
        compared += 1
    assert compared == expected.n_samples - 1
    healed = score(pool, [target], "demo", out=tmp_path / "out", processes=0, retry=["crashed"])  # without the poison
    assert set(healed.statuses) == {"ok"}
    assert faults.all_well(faults.account(tmp_path / "out"))


def test_deaths_by_signals_from_outside_cost_no_row(target: Path, model: Any, tmp_path: Path) -> None:
    pool, out = faults.make_pool(tmp_path / "pool", 1, 20), tmp_path / "out"
    whole = score(pool, [target], "demo", out=out, processes=0)
    digest, (key,) = whole.digest(), whole.store.markers()

    def died_twice() -> None:
        (out / "commits" / f"{key}.json").unlink()
        dead = (record("begin", f"ffffffffffff-1-1-0000000{number}", "cell 0") for number in range(2))
        (out / "journal" / key).write_text("".join(dead))

    died_twice()
    again = score(pool, [target], "demo", out=out, processes=0)
    assert set(again.statuses) == {"ok"}
    assert again.digest() == digest
    loaded = score(pool, [target], model, out=tmp_path / "loaded")
    (key,), out = loaded.store.markers(), tmp_path / "loaded"
    died_twice()
    again = score(pool, [target], model, out=out)
    assert not again.complete
    assert "give the model by its name" in again.summary["missing"][0]["why"]


def test_truncated_tar(target: Path, model: Any, tmp_path: Path) -> None:
    tars = tmp_path / "tars"
    faults.make_tars(tars, 3, 20)
    faults.truncate(tars / "part-00001.tar")
    scored = score(tars, [target], model, out=tmp_path / "out")
    assert not scored.complete
    (bad,) = [file for file in scored.files if "error" in file]
    assert bad["name"] == "part-00001.tar"
    assert faults.all_well(faults.account(tmp_path / "out"))
