"""A sample is to blame only if it ends processes that do nothing else; what a signal from outside ends is none's fault.

The processes here are real and compute nothing: `test_faults.py` has those that do.
"""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from dataprophet.errors import DataError
from dataprophet.scoring.folder.config import RunConfig
from dataprophet.scoring.folder.shards import Shard
from dataprophet.scoring.trial import Trial
from dataprophet.store import open_store
from dataprophet.store.journal import Stopped

_TRIED = """
import json, os, signal, sys, time
plan = json.loads(sys.argv[1])
asked = json.loads(sys.stdin.readline())
if plan.get("start"):
    print("no memory", file=sys.stderr)
    os._exit(5)
for place in asked["places"]:
    print(json.dumps({"begun": place}), flush=True)
    with open(plan["log"], "a+") as log:
        log.seek(0)
        before = log.read().split().count(str(place))
        log.write(f"{place}\\n")
    alone = len(asked["places"]) == 1
    for kind, *what in plan["plan"].get(str(place), []):
        if kind == "always" or (kind == "times" and before < what[1]) or (kind == "together" and not alone):
            time.sleep(60) if not what[0] else os.kill(os.getpid(), what[0]) if what[0] > 0 else os._exit(-what[0])
"""


def trial(folder: Path, plan: dict[int, Any], stall: float = 30, **more: Any) -> Trial:
    given = {"plan": plan, "log": str(folder / "log"), **more}
    config: dict[str, Any] = {"name": "p", "kind": "samples", "pool": {}, "model": {"name": "m"}, "fingerprint": "f"}
    config |= {"settings": {}, "numbers": {}, "reading": "", "targets": [], "fields": ["question"], "sketch": {}}
    command = (sys.executable, "-S", "-c", _TRIED, json.dumps(given))
    return Trial(
        RunConfig(**config), open_store(folder / "out"), Shard("k", 0, "a", 0, 1, 9), 0, stall, command=command
    )


def tried(folder: Path) -> list[int]:
    return [int(line) for line in (folder / "log").read_text().split()]


def test_samples_that_end_a_process_alone_twice_are_found(tmp_path: Path) -> None:
    found = trial(tmp_path, {2: [["always", -11]], 5: [["always", 11]]}).culprits(8)
    assert found == {2: "ended with status 11", 5: "was ended by SIGSEGV"}
    assert tried(tmp_path) == [0, 1, 2, 2, 2, 3, 4, 5, 5, 5, 6, 7]


@pytest.mark.parametrize("number", [9, 15])
@pytest.mark.parametrize("times", [1, 4])
def test_signals_from_outside_blame_no_sample(tmp_path: Path, number: int, times: int) -> None:
    assert trial(tmp_path, {3: [["times", number, times]]}).culprits(6) == {}
    assert tried(tmp_path) == [0, 1, 2, *[3] * times, 3, 4, 5]  # each goes on where the last one was


def test_signals_at_a_sample_that_is_to_blame_change_nothing(tmp_path: Path) -> None:
    assert set(trial(tmp_path, {3: [["times", 9, 2], ["always", -11]]}).culprits(6)) == {3}


def test_signals_again_and_again_have_no_verdict(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a cell 0, sample 3: .*SIGKILL 5 times; run the same command again"):
        trial(tmp_path, {3: [["always", 9]]}).culprits(6)


@pytest.mark.parametrize("plan", [{3: [["together", -11]]}, {3: [["times", -11, 2]]}])
def test_deaths_that_do_not_repeat_alone_blame_no_sample(tmp_path: Path, plan: dict[int, Any]) -> None:
    assert trial(tmp_path, plan).culprits(5) == {}


def test_a_sample_at_which_processes_wait_for_ever_is_found(tmp_path: Path) -> None:
    assert trial(tmp_path, {1: [["always", 0]]}, 0.5).culprits(3) == {1: "made no progress for 0.5 s"}
    assert tried(tmp_path) == [0, 1, 1, 1, 2]


def test_a_process_that_is_stopped_from_outside_blames_no_sample(tmp_path: Path) -> None:
    assert trial(tmp_path, {1: [["times", signal.SIGSTOP, 1]]}, 0.5).culprits(3) == {}
    assert tried(tmp_path) == [0, 1, 1, 2]


def test_processes_that_cannot_start_are_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a process to try its samples in ended with status 5: no memory"):
        trial(tmp_path, {}, start=True).culprits(3)


def test_a_trial_is_dropped_when_the_process_shall_stop(tmp_path: Path) -> None:
    made = trial(tmp_path, {})
    made.store.stop()
    with pytest.raises(Stopped):
        made.culprits(3)
