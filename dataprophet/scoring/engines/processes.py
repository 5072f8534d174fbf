"""Worker processes of this machine: started, given shards, listened to, and started anew when they die."""

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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from dataprophet.errors import DataProphetError
from dataprophet.scoring.config import RunConfig
from dataprophet.scoring.engines.dispatch import Message, Transport
from dataprophet.scoring.shards import Shard
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
    ready: bool = False

    def send(self, message: Message) -> None:
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


class Processes(Transport):
    """Workers that are processes of this machine.

    Args:
        config: the run's configuration.
        store: its output folder.
        environments: for each process what its environment has beside that of this one.
    """

    def __init__(self, config: RunConfig, store: Store, environments: Sequence[Mapping[str, str]]) -> None:
        self._config, self._store, self._environments = config, store, environments
        self._events: queue.SimpleQueue[tuple[_Process, Message | None]] = queue.SimpleQueue()
        self._processes: list[_Process] = []
        self._failed_starts = 0

    def start(self) -> None:
        for slot in range(len(self._environments)):
            self._start(slot)

    def ready(self) -> list[_Process]:
        return [process for process in self._processes if process.ready]

    def give(self, worker: _Process, shard: Shard) -> None:
        worker.send({"shard": shard.to_json()})

    def replace(self, worker: _Process) -> None:
        self._start(worker.slot)

    def wait(self) -> Iterator[tuple[_Process, Message]]:
        process, message = self._events.get()
        if message is None:
            yield process, self._bury(process)
            return
        self._failed_starts = 0
        if "ready" in message:
            process.ready = True
        else:
            yield process, message

    def end(self) -> None:
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

    def _bury(self, process: _Process) -> Message:
        """How a process died. Raises DataProphetError where no process can start."""
        self._processes.remove(process)
        how, words = _cause(process.popen.wait()), process.last_words()
        process.said.close()
        process.leave()
        if not process.ready:
            self._failed_starts += 1
            if self._failed_starts >= _STARTS and not self.ready():
                last = words.splitlines()[-1] if words else how
                raise DataProphetError(
                    f"worker processes cannot start ({last})", where=self._store.root, fix="see the message, and doctor"
                )
        return {"died": how, "words": words}


def _cause(status: int) -> str:
    """How a process ended, in words."""
    if status >= 0:
        return f"ended with status {status}"
    with suppress(ValueError):
        return f"was ended by {signal.Signals(-status).name}"
    return f"was ended by signal {-status}"
