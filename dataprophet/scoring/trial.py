"""Which samples of a cell end the process that computes them: told by processes of their own, and by nothing else.

``worker.py`` asks, where a cell was under way at two deaths. One process goes through the samples one by one; the one
that it dies of is tried alone, in a new process each time. What a signal from outside ended has no verdict.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataprophet.errors import DataError, DataProphetError
from dataprophet.scoring.folder.config import STALL, RunConfig
from dataprophet.scoring.folder.shards import Shard
from dataprophet.store.attempts import is_stopped
from dataprophet.store.base import Store
from dataprophet.store.journal import CRASHES, Stopped

_PROCESS = "dataprophet.scoring.engines.trial_process"
_COMMAND = (sys.executable, "-P", "-X", "faulthandler", "-m", _PROCESS)
_KILLS = 5  # from outside, of the processes of one suspicion, after which there is no verdict
_OUTSIDE = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, -signal.SIGSTOP}
_WAIT_S = 0.2
_TAIL = 2048  # bytes of a process's last words


@dataclass
class Trial:
    """The trial of the samples of a cell.

    Args:
        config: the run's configuration, which names the model.
        store: its output folder.
        shard: the shard.
        cell: number of the cell in its file.
        stall: seconds without a word after which a process is ended: the sample that it has begun is to blame.
        waiting: called again and again meanwhile.
        command: what a process runs.
    """

    config: RunConfig
    store: Store
    shard: Shard
    cell: int
    stall: float = STALL
    waiting: Callable[[], None] = lambda: None
    command: Sequence[str] = _COMMAND
    _kills: int = 0

    def culprits(self, count: int) -> dict[int, str]:
        """Samples, of so many, that ended a process which computed nothing else, twice; and how.

        Raises:
            DataError: processes were ended from outside again and again, or cannot start.
            DataProphetError: the model or the pool cannot be opened.
            Stopped: this process shall stop.
        """
        found: dict[int, str] = {}
        left = list(range(count))
        while left and (death := self._first_death(left)):
            suspect, _ = death
            alone = [self._first_death([suspect]) for _ in range(CRASHES)]
            if all(alone):
                found[suspect] = alone[-1][1]  # type: ignore[index]
            left = left[left.index(suspect) + 1 :]
        return found

    def _first_death(self, places: Sequence[int]) -> tuple[int, str] | None:
        """The first sample that ends a process that computes them one by one, and how; None where none does."""
        left = list(places)
        while True:
            known = _memory_kills()
            begun, status, words = self._process(left)
            if status == 0:
                return None
            how = f"made no progress for {self.stall:g} s" if status is None else cause_of_death(status)
            if status == -signal.SIGKILL and _memory_kills() > known:
                how = "was ended by the system, whose memory was full"
            elif status in _OUTSIDE:
                self._kills += 1
                what = f"a process that tried its samples {how} {self._kills} times"
                if self._kills >= _KILLS:
                    raise DataError(what, where=self._place(begun), fix="run the same command again")
                left = left[left.index(begun) :] if begun is not None else left
                continue
            self.store.log(self.shard.key, f"a process that tried sample {begun} of cell {self.cell} {how}\n{words}")
            if begun is None:
                last = f": {words.splitlines()[-1]}" if words else ""
                what, fix = f"a process to try its samples in {how}{last}", "see the shard's log"
                raise DataError(what, where=self._place(None), fix=fix)
            return begun, how

    def _process(self, places: Sequence[int]) -> tuple[int | None, int | None, str]:
        """Try samples in a process: the one that it began last, its exit status, and what it said last.

        The status is None where it said nothing for too long; SIGSTOP's where it was stopped from outside meanwhile.
        """
        asked: dict[str, Any] = {"root": self.store.root, "config": self.config.to_json(), "cell": self.cell}
        asked |= {"shard": self.shard.to_json(), "places": list(places)}
        with tempfile.TemporaryFile() as answers, tempfile.TemporaryFile() as said:
            popen = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=answers, stderr=said)
            try:
                assert popen.stdin is not None
                with suppress(BrokenPipeError):
                    popen.stdin.write(json.dumps(asked).encode() + b"\n")
                    popen.stdin.flush()  # and left open: the process ends when it is closed, by whatever
                said_so_far, since, late = 0, time.monotonic(), False
                while popen.poll() is None and not late:
                    if self.store.stopping.wait(0):
                        raise Stopped("the shard is dropped")
                    with suppress(subprocess.TimeoutExpired):
                        popen.wait(_WAIT_S)
                    self.waiting()
                    if (size := os.fstat(answers.fileno()).st_size) > said_so_far:
                        said_so_far, since = size, time.monotonic()
                    late = time.monotonic() - since > self.stall
                status = popen.poll() if not late else -signal.SIGSTOP if is_stopped(popen.pid) else None
            finally:
                popen.kill()
                popen.wait()
                with suppress(BrokenPipeError):
                    popen.stdin.close()  # type: ignore[union-attr]
            answers.seek(0)
            lines = [json.loads(line) for line in answers.read().splitlines()]
            said.seek(max(0, said.seek(0, 2) - _TAIL))
            words = said.read().decode(errors="replace").strip()
        for line in lines:
            if "error" in line:
                raise DataProphetError.from_dict(line["error"])
        return lines[-1]["begun"] if lines else None, status, words

    def _place(self, sample: int | None) -> str:
        own = "" if sample is None else f", sample {sample}"
        return f"{self.shard.name} cell {self.cell}{own}"


def cause_of_death(status: int) -> str:
    """How a process ended, in words."""
    if status >= 0:
        return f"ended with status {status}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-status).name}"
    return f"was ended by signal {-status}"


def _memory_kills() -> int:
    """Processes that the system has ended since it started, for want of memory; 0 where it does not tell."""
    with suppress(OSError, ValueError):
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0
