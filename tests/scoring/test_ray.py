"""The Ray engine: the same bytes as without it, whatever dies."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

import dataprophet as dp
from dataprophet.cli import main
from dataprophet.demo.datasets import write_datasets
from dataprophet.demo.pool import write_pool

ray = pytest.importorskip("ray")

pytestmark = pytest.mark.slow
SAMPLES = 5000


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A pool, the profile of a target, and the pool scored in this process."""
    folder = tmp_path_factory.mktemp("ray")
    write_pool(folder / "pool", SAMPLES, file_samples=SAMPLES // 2)
    write_datasets(folder / "demo", n_source=1, n_target=40)
    model = dp.load_model("demo", device="cpu")
    target = dp.profile(dp.open_dataset(folder / "demo/count-bench/count-bench.parquet"), model)
    target.save(folder / "target.profile")
    dp.score(folder / "pool", [target], model, out=folder / "local", shard_rows=1024)
    return folder


def command(place, out, *more):
    words = ["score", place / "pool", "--target", place / "target.profile", "--model", "demo", "--out", place / out]
    options = ["--engine", "ray", "--processes", "2", "--shard-rows", "1024", "--json"]
    return [sys.executable, "-P", "-m", "dataprophet.cli", *map(str, words), *options, *more]


def workers():
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


def test_two_actors_give_the_bytes_of_one_process_while_one_of_them_is_killed(place):
    out = place / "killed"
    process = subprocess.Popen(command(place, "killed"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 300
    while not workers() or not any((out / "journal").glob("*")):  # until one has begun
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    os.kill(workers()[0], signal.SIGKILL)
    answer, said = process.communicate(timeout=200)
    assert process.returncode == 0, said
    assert json.loads(answer)["samples"] == SAMPLES, answer
    same(place, "killed")


def test_a_driver_that_is_stopped_leaves_no_actor_and_goes_on_later(place):
    out = place / "stopped"
    process = subprocess.Popen(command(place, "stopped"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 300
    while not any((out / "commits").glob("*.json")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM, said
    assert not dp.open_scores(out).complete
    assert not workers()
    assert main([*command(place, "stopped")[4:], "--engine", "local", "--processes", "0"]) == 0
    same(place, "stopped")
