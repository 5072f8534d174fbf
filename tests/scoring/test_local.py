"""The local engine: devices and cores of its workers, workers that cannot start, shards that are given up."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import fault_pools as faults
import numpy as np
import pytest
import sample_files as files
from sample_features import make_features

from dataprophet import profile
from dataprophet.errors import DataProphetError, ModelError, StoreError
from dataprophet.scoring.engines.dispatch import FRUITLESS, Retries
from dataprophet.scoring.engines.local import cuda_devices, environments, run_local
from dataprophet.scoring.folder.config import RunConfig
from dataprophet.scoring.folder.shards import Shard
from dataprophet.scoring.score import score
from dataprophet.store import open_store
from dataprophet.store.attempts import new_attempt
from dataprophet.store.journal import record

SHARD = Shard("0123456789abcdef", 0, "a.jsonl", 0, 1, 10)
DEAD = "ffffffffffff-1-1-00000000"
WORKER = "dataprophet.scoring.engines.worker_process"


def _config(**changed: Any) -> RunConfig:
    plain = RunConfig(
        name="pool",
        kind="samples",
        pool={"path": "pool"},
        model={"name": "demo"},
        fingerprint="f",
        settings={},
        numbers={"device": "cpu", "threads": "1"},
        reading="",
        targets=[],
        fields=["question"],
        sketch={},
    )
    return dataclasses.replace(plain, **changed)


@pytest.mark.parametrize(
    ("visible", "expected"),
    [("3, GPU-5a", ["3", "GPU-5a"]), ("", []), ("0", ["0"])],
)
def test_devices_are_those_that_this_process_may_use(
    visible: str, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    config = _config(numbers={"device": "NVIDIA H100", "threads": ""})
    assert cuda_devices(config) == expected
    assert cuda_devices(dataclasses.replace(config, model={"name": "demo", "device": "cuda:1"})) == []
    assert cuda_devices(_config()) == []


def test_each_worker_has_its_device_and_its_share_of_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAPROPHET_THREADS", "8")
    config = _config(numbers={"device": "NVIDIA H100", "threads": ""})
    found = environments(config, ["3", "GPU-5a"], 3)
    assert [one["CUDA_VISIBLE_DEVICES"] for one in found] == ["3", "GPU-5a", "3"]
    assert {one["OMP_NUM_THREADS"] for one in found} == {one["DATAPROPHET_THREADS"] for one in found} == {"2"}
    (alone,) = environments(_config(numbers={"device": "cpu", "threads": "4"}), [], 1)
    assert alone == {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "4", "DATAPROPHET_THREADS": "8"}


def test_a_loaded_model_stays_in_this_process(tmp_path: Path) -> None:
    with pytest.raises(DataProphetError, match="cannot be handed to other processes"):
        run_local(_config(model={}), open_store(tmp_path), [SHARD], print, processes=2)


def test_workers_that_die_before_they_are_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", faults.INSTRUMENTED)
    monkeypatch.setenv("ENDS_AT_START", "1")
    with pytest.raises(DataProphetError, match=r"worker processes cannot start \(no memory\)"):
        run_local(_config(), open_store(tmp_path), [SHARD], print, processes=1)


def test_a_worker_that_is_stopped_is_told_and_replaced(
    features: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dataprophet.scoring.engines.local._STOPPED", 1.0)
    folder, target, whole = features
    told: list[str] = []
    stopped: list[int] = []

    def stop_one() -> None:
        own = faults.wait_for(lambda: [p for p, up, line in faults.processes() if up == os.getpid() and WORKER in line])
        os.kill(own[0], signal.SIGSTOP)
        stopped.append(own[0])

    threading.Thread(target=stop_one).start()
    # of two, the other may do everything before this one is missed
    options: dict[str, Any] = {"processes": 1, "tell": told.append, "features": True}
    scored = score(folder, [target], "m", out=tmp_path / "out", shard_rows=1024, **options)
    assert scored.digest() == whole.digest()
    assert [line.startswith(f"worker process {stopped[0]} has been stopped (SIGSTOP)") for line in told] == [True]


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A pool of features in four files, its target, and the pool scored in this process."""
    folder = tmp_path_factory.mktemp("features")
    for number in range(4):
        made = make_features(3000, 8, seed=number, prefix=f"{number}-")
        columns = {"nll": made.nll, "n_tokens": made.n_tokens, **made.embeddings}
        np.savez(folder / f"part{number}.npz", id=np.array(made.ids), **columns)
    target = profile(make_features(100, 8, seed=9), "m", name="t", clusters=4, sketch_size=1000)
    out = tmp_path_factory.mktemp("whole") / "out"
    return folder, target, score(folder, [target], "m", features=True, out=out, shard_rows=1024)


def test_processes_give_the_same_bits(features: Any, tmp_path: Path) -> None:
    folder, target, whole = features
    told: list[tuple[int, int]] = []
    scored = score(
        folder,
        [target],
        "m",
        features=True,
        out=tmp_path / "out",
        processes=2,
        progress=lambda done, total: told.append((done, total)),
    )
    assert scored.digest() == whole.digest()
    assert scored.profile == whole.profile
    assert told[0] == (0, 12_000)
    assert told[-1] == (12_000, 12_000)
    assert sorted(told) == told
    makers = {marker["attempt"].split("-")[1] for marker in scored.store.markers().values()}
    assert str(os.getpid()) not in makers


def test_output_in_an_object_store(bucket: str, features: Any) -> None:
    folder, target, whole = features
    out = f"{bucket}/scores"
    scored = score(folder, [target], "m", features=True, out=out, processes=2)
    assert scored.complete
    assert scored.digest() == whole.digest()
    assert scored.profile == whole.profile
    before = scored.store.markers()
    again = score(folder, [target], "m", features=True, out=out, processes=2)  # nothing is left to do
    assert again.store.markers() == before


def test_a_worker_leaves_when_its_driver_is_gone(features: Any) -> None:
    """Also where another process holds the other end of its input, as a child that the driver forked does."""
    config, store = features[2].config, features[2].store
    code = """
        import subprocess, sys
        command = [sys.executable, "-P", "-m", "dataprophet.scoring.engines.worker_process"]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE)
        print(worker.pid, worker.stdout.readline().decode(), flush=True)
        worker.wait()
    """
    with subprocess.Popen(
        [sys.executable, "-P", "-c", textwrap.dedent(code)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as driver:
        assert driver.stdin is not None
        assert driver.stdout is not None
        driver.stdin.write(json.dumps({"root": store.root, "config": config.to_json()}) + "\n")
        driver.stdin.flush()
        worker = int(driver.stdout.readline().split()[0])
        assert worker in {pid for pid, _, _ in faults.processes()}
        driver.kill()
        faults.wait_for(lambda: worker not in {pid for pid, _, _ in faults.processes()})


@pytest.mark.parametrize("limit", [100, 2_000, 20_000])  # bytes of the journal and logs, of rows, of a profile
def test_full_disk(limit: int, features: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, target, whole = features
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", faults.INSTRUMENTED)
        patch.setenv("FILE_LIMIT", str(limit))
        with pytest.raises(StoreError, match="no space is left") as caught:
            score(folder, [target], "m", features=True, out=out, processes=1)
    assert str(caught.value).startswith(f"{out}: ")
    assert "\n" not in str(caught.value)
    assert not (out / "summary.json").exists()
    assert [list((out / name).glob("*")) for name in ("commits", "data", "tmp")] == [[], [], []]
    scored = score(folder, [target], "m", features=True, out=out, processes=1)
    assert scored.digest() == whole.digest()
    assert scored.profile == whole.profile


def test_an_error_of_a_worker_ends_the_run(features: Any, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    whole = features[2]
    files.write_images(tmp_path)
    pool, model = files.write_llava(tmp_path), tmp_path / "model"
    model.mkdir()
    config = dataclasses.replace(
        whole.config, kind="samples", pool={"path": str(pool)}, model={"name": str(model)}, numbers={"device": "cpu"}
    )
    with pytest.raises(ModelError) as caught:
        run_local(config, whole.store, [SHARD], print, processes=1)
    assert str(caught.value).startswith(str(model))
    assert "\n" not in str(caught.value)


def test_a_shard_that_ends_every_worker_is_given_up(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    retries = Retries(store)
    told = [retries.died(SHARD, "was ended by SIGKILL") for _ in range(FRUITLESS)]
    assert told[:-1] == [None] * (FRUITLESS - 1)
    assert told[-1] is not None
    assert told[-1].outcome == "failed"
    assert "SIGKILL" in told[-1].detail
    assert "given up" in (tmp_path / "logs" / f"{SHARD.key}.log").read_text()
    assert retries.suspects == {SHARD.key}


def test_deaths_that_come_closer_to_their_cause_are_no_reason_to_give_up(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    retries = Retries(store)
    for number in range(2 * FRUITLESS):
        attempt = f"{DEAD[:-2]}{number:02d}"
        store._append(store._path(f"journal/{SHARD.key}"), record("begin", attempt, f"sample 0 {number // 2}"))  # type: ignore[attr-defined]
        assert retries.died(SHARD, "was ended by SIGSEGV") is None
    assert store.crashes(SHARD.key) == {f"sample 0 {number}": 2 for number in range(FRUITLESS)}


def test_new_attempts_differ_and_are_names_of_files() -> None:
    made = {new_attempt() for _ in range(100)}
    assert len(made) == 100
    assert not any(os.sep in name or "." in name for name in made)
