"""What an attempt at a shard had under way is known to the next one, if the process died and not if it was stopped."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from contextlib import suppress
from pathlib import Path

import pytest

from dataprophet.store import open_store
from dataprophet.store.journal import record

KEY = "0123456789abcdef"


@pytest.mark.parametrize("root", ["folder", "s3"], indirect=True)  # memory is not shared between processes
def test_killed_process_has_its_journal_read(root: str) -> None:
    code = """
        import os, sys
        from dataprophet.store import open_store
        journal = open_store(sys.argv[1]).journal(sys.argv[2])
        journal.begin("cell 0"); journal.end("cell 0"); journal.begin("cell 1"); journal.begin("cell 2")
        os.kill(os.getpid(), 9)
    """
    store = open_store(root)
    for times in (1, 2):
        command = [sys.executable, "-P", "-c", textwrap.dedent(code), root, KEY]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        with store.journal(KEY) as journal:
            assert journal.crashes == {"cell 1": times, "cell 2": times}
            journal.begin("cell 1")
    assert store.crashes(KEY) == {"cell 1": 2, "cell 2": 2}
    assert store.suspects() == {KEY}
    assert store.commit(KEY, {}, {})
    assert store.suspects() == set()
    assert store.crashes(KEY) == {}


def test_closed_attempts_are_not_held_against_units(root: str) -> None:
    store = open_store(root)
    running = store.journal(KEY)
    running.begin("cell 0")
    for unit, error in (("cell 1", KeyboardInterrupt()), ("cell 2", RuntimeError("CUDA error"))):
        with suppress(KeyboardInterrupt, RuntimeError), store.journal(KEY) as journal:
            journal.begin(unit)
            raise error
    assert store.journal(KEY).crashes == {"cell 2": 1}  # not those of this process, which runs
    store.abandon()
    assert running.closed


def test_cut_record_of_a_journal(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    (tmp_path / "journal").mkdir()
    dead = "ffffffffffff-1-1-00000000"
    (tmp_path / "journal" / KEY).write_text(record("begin", dead, "cell 0") + f"begin\t{dead}\tcel")
    with store.journal(KEY) as journal:
        journal.begin("cell 0")
    records = (tmp_path / "journal" / KEY).read_text().splitlines()
    assert [record.split("\t")[0] for record in records] == ["begin", "begin", "begin", "close"]
    assert store.crashes(KEY)["cell 0"] == 1
