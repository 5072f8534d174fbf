"""Worker processes of the local engine: started, given shards, watched, and started anew when they die."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any

from dataprophet.errors import DataProphetError
from dataprophet.scoring.config import RunConfig
from dataprophet.scoring.engines.retries import Retries
from dataprophet.scoring.engines.threads import LANES
from dataprophet.scoring.shards import Shard, ShardResult
from dataprophet.store.base import Store

_STARTS = 3  # worker processes in a row that die before they are ready, after which the run ends if no other works
_GRACE = 20.0  # seconds for shards to be dropped at the end of their cells
_TAIL = 4096  # bytes of a dead worker's last words that go to the log


@dataclass(eq=False)
class _Process:
    """A worker process."""

    popen: subprocess.Popen[str]
    slot: int
    said: IO[bytes]  # its standard error
    shards: dict[str, Shard] = field(default_factory=dict)  # those it has
    ready: bool = False

    def send(self, message: Mapping[str, Any]) -> None:
        with suppress(BrokenPipeError, ValueError):  # it died: its end of the other pipe tells
            assert self.popen.stdin is not None
            self.popen.stdin.write(json.dumps(message) + "\n")
            self.popen.stdin.flush()

    def leave(self) -> None:
        """Close its input, at which it leaves everything and ends."""
        with suppress(BrokenPipeError):
            assert self.popen.stdin is not None
            self.popen.stdin.close()

    def last_words(self) -> str:
        size = self.said.seek(0, os.SEEK_END)
        self.said.seek(max(0, size - _TAIL))
        return self.said.read().decode(errors="replace").strip()


class Supervisor:
    """Runs shards in worker processes, two at a time in each.

    Args:
        config: the run's configuration.
        store: its output folder.
        environments: for each process what its environment has beside that of this one.
    """

    def __init__(self, config: RunConfig, store: Store, environments: Sequence[Mapping[str, str]]) -> None:
        self._config, self._store, self._environments = config, store, environments
        self._events: queue.SimpleQueue[tuple[_Process, dict[str, Any] | None]] = queue.SimpleQueue()
        self._processes: list[_Process] = []
        self._waiting: deque[Shard] = deque()
        self._retries = Retries(store)
        self._failed_starts = 0

    def run(self, shards: Sequence[Shard], report: Callable[[ShardResult], None]) -> None:
        """Score shards; see ``run_local``."""
        self._waiting.extend(shards)
        try:
            for slot in range(len(self._environments)):
                self._start(slot)
            while self._waiting or any(process.shards for process in self._processes):
                self._assign()
                self._handle(*self._events.get(), report)
        finally:
            self._end()

    def _start(self, slot: int) -> None:
        said = tempfile.TemporaryFile()  # noqa: SIM115 (closed when the process is gone)
        popen = subprocess.Popen(
            [sys.executable, "-P", "-X", "faulthandler", "-m", "dataprophet.scoring.engines.worker_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            encoding="utf-8",
            env={**os.environ, **self._environments[slot]},
        )
        process = _Process(popen, slot, said)
        self._processes.append(process)
        process.send({"root": self._store.root, "config": self._config.to_json()})
        threading.Thread(target=self._listen, args=(process,), name=f"dataprophet-worker-{slot}", daemon=True).start()

    def _listen(self, process: _Process) -> None:
        assert process.popen.stdout is not None
        with process.popen.stdout as answers:
            for line in answers:
                with suppress(ValueError):  # a line that death cut off
                    self._events.put((process, json.loads(line)))
        self._events.put((process, None))

    def _assign(self) -> None:
        """Give shards to processes that are ready, first one to each. Those that saw a death are alone in a process."""
        suspects = self._retries.suspects
        for depth in range(LANES[self._config.kind]):
            for process in self._processes:
                if not self._waiting:
                    return
                free = process.ready and len(process.shards) <= depth
                if depth and (self._waiting[0].key in suspects or suspects & process.shards.keys()):
                    free = False
                if free:
                    shard = self._waiting.popleft()
                    process.shards[shard.key] = shard
                    process.send({"shard": shard.to_json()})

    def _handle(self, process: _Process, message: dict[str, Any] | None, report: Callable[[ShardResult], None]) -> None:
        if message is None:
            self._bury(process, report)
        elif "ready" in message:
            process.ready, self._failed_starts = True, 0
        elif "result" in message:
            self._failed_starts = 0
            result = ShardResult(**message["result"])
            del process.shards[result.key]
            report(result)
        elif "dropped" in message:
            self._waiting.appendleft(process.shards.pop(message["dropped"]))
        else:
            raise DataProphetError.from_dict(message["error"])

    def _bury(self, process: _Process, report: Callable[[ShardResult], None]) -> None:
        """Put a dead worker's shards back, or give them up, and start another worker."""
        self._processes.remove(process)
        how = _cause(process.popen.wait())
        words = process.last_words()
        process.said.close()
        process.leave()
        for shard in reversed(process.shards.values()):
            given_up = self._retries.died(shard, how, words)
            if given_up is None:
                self._waiting.appendleft(shard)
            else:
                report(given_up)
        if not process.ready:
            self._failed_starts += 1
            if self._failed_starts >= _STARTS and not any(other.ready for other in self._processes):
                last = words.splitlines()[-1] if words else how
                raise DataProphetError(
                    f"worker processes cannot start ({last})", where=self._store.root, fix="see the message, and doctor"
                )
        if self._waiting:
            self._start(process.slot)

    def _end(self) -> None:
        """Have the processes drop what they have, wait for them, and end those that take too long."""
        try:
            for process in self._processes:
                process.send({"stop": True})
            until = time.monotonic() + _GRACE
            for process in self._processes:
                with suppress(subprocess.TimeoutExpired):
                    process.popen.wait(max(0.0, until - time.monotonic()))
        finally:  # also when a second signal cuts the wait short
            for process in self._processes:
                process.leave()
            for process in self._processes:
                with suppress(subprocess.TimeoutExpired):
                    process.popen.wait(2)
                process.popen.kill()
                process.popen.wait()
                process.said.close()


def _cause(status: int) -> str:
    """How a process ended, in words."""
    if status >= 0:
        return f"ended with status {status}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-status).name}"
    return f"was ended by signal {-status}"
