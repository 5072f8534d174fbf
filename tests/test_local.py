"""The local engine: devices and cores of its workers, workers that cannot start, shards that are given up."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import fault_pools as faults
import pytest
import sample_files as files

from dataprophet import open_dataset, profile
from dataprophet.errors import DataProphetError, ModelError
from dataprophet.run.config import RunConfig
from dataprophet.run.local import cuda_devices, environments, run_local
from dataprophet.run.owner import new_attempt
from dataprophet.run.retries import FRUITLESS, Retries
from dataprophet.run.score import score
from dataprophet.run.shards import Shard
from dataprophet.run.store import Store

SHARD = Shard("0123456789abcdef", 0, "a.jsonl", 0, 1, 10)
DEAD = "ffffffffffff-1-1-00000000"


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
        run_local(_config(model={}), Store.open(tmp_path), [SHARD], print, processes=2)


def test_workers_that_die_before_they_are_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", faults.INSTRUMENTED)
    monkeypatch.setenv("ENDS_AT_START", "1")
    with pytest.raises(DataProphetError, match=r"worker processes cannot start \(no memory\)"):
        run_local(_config(), Store.open(tmp_path), [SHARD], print, processes=1)


def test_workers_that_find_another_model(
    tiny_folder: Any, tiny_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver does not load the model again on a resume; the workers do, and what they find ends the run."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    model = tmp_path / "model"
    shutil.copytree(tiny_folder("internvl"), model)
    files.write_images(tmp_path)
    pool = files.write_llava(tmp_path)
    target = profile(open_dataset(pool), tiny_model("internvl"), clusters=2, sketch_size=100, name="t")
    loading = {"device": "cpu", "batch_tokens": 1024}
    out = tmp_path / "out"
    whole = score(pool, [target], str(model), out=out, loading=loading, processes=1)
    assert whole.complete
    shutil.rmtree(out / "commits")
    (model / "model.safetensors").unlink()
    with pytest.raises(ModelError) as caught:
        score(pool, [target], str(model), out=out, loading=loading, processes=1)
    assert str(model) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_shard_that_ends_every_worker_is_given_up(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    retries = Retries(store)
    told = [retries.died(SHARD, "was ended by SIGKILL") for _ in range(FRUITLESS)]
    assert told[:-1] == [None] * (FRUITLESS - 1)
    assert told[-1] is not None
    assert told[-1].outcome == "failed"
    assert "SIGKILL" in told[-1].detail
    assert "given up" in (tmp_path / "logs" / f"{SHARD.key}.log").read_text()
    assert retries.suspects == {SHARD.key}


def test_deaths_that_come_closer_to_their_cause_are_no_reason_to_give_up(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    retries = Retries(store)
    for number in range(2 * FRUITLESS):
        attempt = f"{DEAD[:-2]}{number:02d}"
        store._append(store._path(f"journal/{SHARD.key}"), f"begin\t{attempt}\tsample 0 {number // 2}\n")  # type: ignore[attr-defined]
        assert retries.died(SHARD, "was ended by SIGSEGV") is None
    assert store.crashes(SHARD.key) == {f"sample 0 {number}": 2 for number in range(FRUITLESS)}


def test_new_attempts_differ_and_are_names_of_files() -> None:
    made = {new_attempt() for _ in range(100)}
    assert len(made) == 100
    assert not any(os.sep in name or "." in name for name in made)
