"""benchmarks/device.sh: what it refuses, and all of its steps on a CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "benchmarks" / "device.sh"


def run(*words, **environment):
    environment = {**os.environ, **environment}
    return subprocess.run(["bash", SCRIPT, *words], capture_output=True, text=True, check=False, env=environment)


def test_results_never_go_over_those_of_the_repository(tmp_path):
    own = ROOT / "benchmarks" / "results" / "intel-xeon-amx"
    before = sorted(own.iterdir())
    for words, message in (
        (["--out", str(own)], "holds the repository's results; name another folder"),
        (["--out"], "--out needs a value"),
        (["--ouput", "x"], "unknown option --ouput; --help lists them"),
        (["--out", str(tmp_path), "--python", "no-such-python"], "no such Python; name one with --python"),
    ):
        done = run(*words)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert message in done.stderr
    assert sorted(own.iterdir()) == before


def test_it_goes_on_after_failures_and_ends_with_twenty_lines(tmp_path):
    """With no time for any step."""
    done = run("--rehearse", "--out", str(tmp_path), "--python", sys.executable, DEVICE_SECONDS="0")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines[-20:]) == 20
    assert all("not measured" in line or line.startswith("tests marked gpu") for line in lines[-20:])
    assert "\n".join(lines[-20:]) + "\n" == (tmp_path / "table.txt").read_text()


@pytest.mark.slow
def test_a_rehearsal_measures_every_row_of_the_operations(tmp_path):
    for package in ("torch", "triton"):
        pytest.importorskip(package)
    results, script = tmp_path / "results.jsonl", ROOT / "benchmarks" / "run.py"
    command = [sys.executable, str(script), "measure_device", "--rehearse", "--results", str(results)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line)["key"] for line in results.read_text().splitlines()]
    assert found == [
        *("copy", "product", "mean_direction", "cosine_to", "silhouette", "silhouette_parts", "kmeans", "nearest"),
        *("token_logprobs", "linear_1536", "linear_best", "linear_2048", "linear_3584"),
    ]


@pytest.mark.slow
def test_a_rehearsal_measures_every_row_of_the_model(tmp_path):
    pytest.importorskip("torch")
    results, script = tmp_path / "results.jsonl", ROOT / "benchmarks" / "run.py"
    command = [sys.executable, str(script), "measure_device_model", "--rehearse", "--results", str(results)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line)["key"] for line in results.read_text().splitlines()]
    assert found == ["model", "model_peer", "end_to_end"]
