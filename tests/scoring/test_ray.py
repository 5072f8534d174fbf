"""The Ray engine: the same bytes as without it, whatever dies, and no waiting for what does not answer."""

from __future__ import annotations

import json
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

import numpy as np
import pytest
from sample_features import make_features

import dataprophet as dp
from dataprophet.cli import main
from dataprophet.demo.datasets import write_datasets
from dataprophet.demo.pool import write_pool
from dataprophet.errors import DataProphetError
from dataprophet.scoring.engines import cluster as clusters
from dataprophet.scoring.engines import ray as engine

ray = pytest.importorskip("ray")

pytestmark = pytest.mark.slow
faults = pytest.mark.skipif(not os.environ.get("RAY_FAULTS"), reason="takes an idle machine: make soak")
SAMPLES = 1200


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A pool, the profile of a target, and the pool scored in this process."""
    folder = tmp_path_factory.mktemp("ray")
    write_pool(folder / "pool", SAMPLES, file_samples=SAMPLES // 4)
    write_datasets(folder / "demo", n_source=1, n_target=40)
    model = dp.load_model("demo", device="cpu")
    target = dp.profile(dp.open_dataset(folder / "demo/count-bench/count-bench.parquet"), model)
    target.save(folder / "target.profile")
    dp.score(folder / "pool", [target], model, out=folder / "local", shard_rows=1024)
    return folder


@pytest.fixture(scope="module")
def cluster():
    """A head and a machine of a core each; they are processes of this machine."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.machines = [made.add_node(num_cpus=1)]
    yield made
    made.shutdown()


def command(place, out, cluster, *more):
    words = ["score", place / "pool", "--target", place / "target.profile", "--model", "demo", "--out", place / out]
    options = ["--engine", "ray", "--ray-address", cluster.address, "--shard-rows", "1024", "--json"]
    return [sys.executable, "-P", "-m", "dataprophet.cli", *map(str, words), *options, *more]


def started(place, out, cluster, until, *more):
    """A command, once ``until`` holds of its output folder."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command(place, out, cluster, *more), **pipes)
    patience = time.monotonic() + 300
    while process.poll() is None and not until(place / out) and time.monotonic() < patience:
        time.sleep(0.05)
    if process.poll() is None and not until(place / out):
        process.kill()
    assert process.poll() is None, process.communicate()
    return process


def actors():
    """Processes of actors, by what Ray calls them."""
    found = []
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if file.read().startswith(b"ray::_Scorer"):
                    found.append(int(pid))
        except OSError:
            pass
    return found


def same(place, out):
    mine, other = dp.open_scores(place / "local"), dp.open_scores(place / out)
    assert other.complete
    assert mine.digest() == other.digest()
    assert mine.profile == other.profile


@faults
def test_the_same_bytes_while_an_actor_and_a_machine_die_and_one_joins(place, cluster):
    options = ["--ray-option", "num_cpus=1", 'runtime_env={"env_vars": {"PASSED_ON": "yes"}}']
    process = started(place, "killed", cluster, lambda out: actors() and any((out / "journal").glob("*")), *options)
    with open(f"/proc/{actors()[0]}/environ", "rb") as file:
        assert b"PASSED_ON=yes" in file.read()
    os.kill(actors()[0], signal.SIGKILL)
    cluster.remove_node(cluster.machines.pop(), allow_graceful=False)
    cluster.machines.append(cluster.add_node(num_cpus=1, num_gpus=1))
    answer, said = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert json.loads(answer)["samples"] == SAMPLES, answer
    same(place, "killed")


@faults
def test_a_driver_that_is_stopped_leaves_no_actor_and_goes_on_later(place, cluster):
    process = started(place, "stopped", cluster, lambda out: any((out / "commits").glob("*.json")))
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=150)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert not dp.open_scores(place / "stopped").complete
    assert not actors()
    here = command(place, "stopped", cluster)[4:12]
    assert main([*here, "--shard-rows", "1024", "--processes", "0"]) == 0
    same(place, "stopped")


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """A pool of features, its target, and the pool scored in this process."""
    folder = tmp_path_factory.mktemp("features")
    for number in range(4):
        made = make_features(3000, 8, seed=number, prefix=f"{number}-")
        columns = {"nll": made.nll, "n_tokens": made.n_tokens, **made.embeddings}
        np.savez(folder / f"part{number}.npz", id=np.array(made.ids), **columns)
    target = dp.profile(make_features(100, 8, seed=9), "m", name="t", clusters=4, sketch_size=1000)
    whole = dp.score(folder, [target], "m", features=True, out=tmp_path_factory.mktemp("whole") / "out")
    return folder, target, whole


def score(features, out, **options):
    folder, target, _ = features
    return dp.score(folder, [target], "m", features=True, out=out, shard_rows=1024, engine="ray", **options)


def test_the_same_bytes_on_two_machines(features, cluster, tmp_path):
    scored = score(features, tmp_path / "out", ray_address=cluster.address, ray_option={"num_cpus": 1})
    assert scored.digest() == features[2].digest()
    assert scored.profile == features[2].profile


@faults
def test_two_actors_share_a_device(features, cluster, tmp_path):
    """One machine has a device, in name: two actors that take half of it, and no core, run there."""
    options = {"num_gpus": 0.5, "num_cpus": 0}
    at_once = []

    def both(done, total):
        patience = time.monotonic() + 100
        while done and len(actors()) < 2 and time.monotonic() < patience:
            time.sleep(0.05)
        at_once.append(len(actors()))

    scored = score(features, tmp_path / "out", ray_address=cluster.address, ray_option=options, progress=both)
    assert scored.digest() == features[2].digest()
    assert max(at_once) == 2


@faults
@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"num_gpus": 2}, "no room for a worker, which takes 1 CPU, 2 GPU"),
        ({"speed": 9}, "ray_option: no options of an actor"),
        ({"max_restarts": 1}, "max_restarts is the engine's to set"),
    ],
)
def test_options_that_cannot_be(options, what, features, cluster, tmp_path):
    with pytest.raises(DataProphetError, match=what):
        score(features, tmp_path / "out", ray_address=cluster.address, ray_option=options)


@faults
def test_a_stopped_actor_is_told_and_replaced(features, cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "_SILENT_S", 3.0)
    stopped, told = [], []

    def stop(done, total):
        if done and not stopped:
            stopped.extend(actors()[:1])
            os.kill(stopped[0], signal.SIGSTOP)

    scored = score(features, tmp_path / "out", ray_address=cluster.address, progress=stop, tell=told.append)
    assert scored.digest() == features[2].digest()
    assert any("has not answered" in line for line in told)
    assert not os.path.exists(f"/proc/{stopped[0]}")


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"version": "0.0.1"}, "and 0.0.1 here"),
        ({"pool": {"path": "/nowhere"}}, "/nowhere"),
        ({"root": "/nowhere/out"}, "is another folder there, without run.json"),
    ],
)
def test_what_a_machine_lacks_is_told_with_its_name(changed, what, features):
    whole = features[2]
    root = changed.pop("root", whole.folder)
    error = engine._Scorer({**whole.config.to_json(), **changed}, str(root), {}, 600.0).progress()["error"]
    assert what in f"{error['where']}: {error['what']}"
    assert f"on machine {platform.node()}" in error["where"]
    assert "at the same place on every machine" in error["fix"]


def test_an_address_that_does_not_answer(features, tmp_path, monkeypatch):
    assert clusters.CONNECT_S < 60
    monkeypatch.setattr(clusters, "CONNECT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(DataProphetError, match=f"{address}: Ray cannot be started or reached .it has not answered"):
            score(features, tmp_path / "out", ray_address=address)


@faults
def test_a_head_that_is_killed(place, cluster):
    process = started(place, "headless", cluster, lambda out: actors() and any((out / "journal").glob("*")))
    working = actors()
    for pid in working:
        os.kill(pid, signal.SIGSTOP)  # else what is left may be done without a head
    cluster.remove_node(cluster.head_node, allow_graceful=False)
    _, said = process.communicate(timeout=150)
    for pid in working:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert process.returncode == 1
    assert "the head of the Ray cluster has not answered" in said
    assert main([*command(place, "headless", cluster)[4:12], "--shard-rows", "1024", "--processes", "0"]) == 0
    same(place, "headless")
