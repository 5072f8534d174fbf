"""The harness of the benchmarks: targets are judged, the best probe sets the floor, the page is rendered."""

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def harness(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return __import__("harness")


@pytest.fixture
def bench(harness, tmp_path):
    return harness.Bench("sleep", argparse.Namespace(out=tmp_path, quick=True))


def busy(milliseconds):
    end = time.process_time() + milliseconds / 1e3
    while time.process_time() < end:
        pass


def test_a_task_is_timed_judged_and_written(harness, bench, tmp_path, capsys, monkeypatch):
    ways = [
        harness.Way("ours", lambda: busy(2), error=1e-8),
        harness.Way("peer, slow", lambda: busy(40)),
        harness.Way("peer, best", lambda: busy(20)),
    ]
    floor = harness.Floor(
        "GB",
        1.0,
        [
            harness.Probe(harness.Way("read: slow", lambda: busy(9)), lambda _: 1.0),
            harness.Probe(harness.Way("read: best", lambda: busy(1)), lambda _: 1.0),
        ],
    )
    targets = [
        harness.faster("at least 3x the best peer", 3, "peer"),
        harness.faster("at least 13x the slow peer", 13, "peer, slow"),
        harness.faster("at least 500x the best peer", 500, "peer"),
        harness.of_floor("at least 20% of the floor", 20),
        harness.at_most("error at most 1e-9", 1e-9, 1e-8),
        harness.Target("on CUDA", 1, None),
    ]
    bench.task("sleeping", ways, floor=floor, targets=targets, counts=[1])
    bench.write()
    found = json.loads((tmp_path / "sleep.json").read_text())
    assert [target["reached"] for target in found["targets"]] == [True, True, False, True, False, None]
    assert 3 < found["targets"][0]["value"] < 13
    ours = found["tasks"][0]["ways"][0]
    assert ours["cpu_ratio"] == 1
    assert 20 < ours["percent_of_floor"] < 100
    printed = capsys.readouterr().out
    assert "reached: at least 3x the best peer" in printed
    assert "missed: at least 500x the best peer" in printed
    assert "not measured: on CUDA: -" in printed

    render = __import__("render")
    here, other = ({**found, "machine": {**found["machine"], "cpu": f"{name} (R) CPU @ 2GHz"}} for name in ("A", "B"))
    isa = found["machine"]["isa"]
    assert [harness.folder_of(run["machine"]) for run in (here, other)] == [f"a-{isa}", f"b-{isa}"]
    text = render.targets([here, other])
    assert "**sleep**\n\n- sleeping\n" in text
    assert re.search(
        r"^  - at least 500x the best peer: A \S+ [\d.]+, missed; B \S+ [\d.]+, missed$", text, re.MULTILINE
    )
    assert re.search(r"^  - on CUDA: A \S+ not measured; B \S+ not measured$", text, re.M)
    tables = render.benchmarks([here, other])
    assert tables.count("| peer, best | ") == 2
    assert "Quick run: small data, not a measurement." in " ".join(tables.split())
    assert "| peer, best | " in tables
    assert render.replaced("a<!-- x: begin -->old<!-- x: end -->b", "x", "new").split("\n")[1] == "new"
    with pytest.raises(SystemExit, match="marks"):
        render.replaced("no marks", "x", "new")


def test_the_page_holds_what_the_results_say(harness):
    """`python benchmarks/render.py` writes it."""
    render = __import__("render")
    page = render.PAGE.read_text(encoding="utf-8")
    assert render.rendered(page, render.parts()) == page


def test_a_quick_run_replaces_no_measurement(harness, tmp_path):
    (tmp_path / "sleep.json").write_text('{"quick": false}')
    with pytest.raises(SystemExit, match="holds measurements, which a quick run does not replace"):
        harness.Bench("sleep", argparse.Namespace(out=tmp_path, quick=True))
    harness.Bench("sleep", argparse.Namespace(out=tmp_path, quick=False))
    (tmp_path / "sleep.json").write_text('{"quick": true}')
    harness.Bench("sleep", argparse.Namespace(out=tmp_path, quick=True))


def test_devices_are_those_asked_for(harness):
    torch = harness.optional("torch")
    cuda = bool(torch) and torch.cuda.is_available()
    assert harness.devices() == (["cpu", "cuda"] if cuda else ["cpu"])
    assert harness.devices("cpu") == ["cpu"]
    if not cuda:
        with pytest.raises(SystemExit, match="torch sees no CUDA device"):
            harness.devices("cuda")


def test_results_that_differ_by_threads_are_an_error(harness, bench):
    from dataprophet.ops.threads import thread_count

    bench.same_bits("constant", lambda: (np.arange(3), 2.0))
    assert bench.targets[-1]["reached"]
    with pytest.raises(AssertionError, match="by thread: 5 different results over 1, 2, 3, 8, 64 threads"):
        bench.same_bits("by thread", lambda: np.array([thread_count()]))


def test_threads_and_instruction_set_come_back(harness, monkeypatch):
    from dataprophet import ops

    monkeypatch.setenv("DATAPROPHET_THREADS", "5")
    monkeypatch.delenv("DATAPROPHET_ISA", raising=False)
    last = ops.core_info()["available_isas"][-1]
    with harness.threads(3, last):
        assert (ops.core_info()["threads"], ops.core_info()["isa"]) == (3, last)
    assert ops.core_info()["threads"] == 5
    assert ops.core_info()["isa"] == ops.core_info()["available_isas"][0]


@pytest.mark.slow
def test_a_benchmark_runs(tmp_path):
    command = [sys.executable, str(BENCHMARKS / "run.py"), "mean_direction", "--quick", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "mean_direction.json").read_text())
    assert found["quick"]
    assert any(target["reached"] is not None for target in found["targets"])


def test_every_operation_has_a_benchmark():
    named = {path.stem.removeprefix("bench_") for path in BENCHMARKS.glob("*/bench_*.py")}
    assert named >= {
        *("mean_direction", "cosine_to", "nearest", "kmeans", "silhouette", "diversity"),
        *("token_logprobs", "linear_logprobs"),
    }
