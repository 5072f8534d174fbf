"""The local engine: shards in this process, or in worker processes, which are started anew when they die."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import IO, TYPE_CHECKING

from dataprophet.errors import DataProphetError
from dataprophet.ops.threads import thread_count
from dataprophet.scoring.engines.dispatch import GRACE, Dispatcher, Message, Report, Transport, require_named_model
from dataprophet.scoring.engines.signals import terminable
from dataprophet.scoring.engines.threads import AT_A_TIME, Threads, score
from dataprophet.scoring.folder.config import STALL, RunConfig
from dataprophet.scoring.folder.shards import Shard
from dataprophet.scoring.trial import cause_of_death
from dataprophet.store.attempts import is_stopped
from dataprophet.store.base import Store

if TYPE_CHECKING:
    from dataprophet.scoring.worker import Worker

_STARTS = 3  # worker processes in a row that die before they are ready, after which the run ends if no other works
_TAIL = 4096  # bytes of a dead worker's last words that go to the log
_LOOK_S = 1.0  # between looks at workers
_STOPPED = 30.0  # seconds
_SILENCE = 60.0  # seconds without a word, of which a worker says one every other second


def run_here(worker: Worker, shards: Sequence[Shard], report: Report) -> None:
    """Score shards in this process; signals and errors as in ``run_local``.

    Args:
        worker: of this process.
        shards: what to score.
        report: called with each result, in this thread.
    """
    with terminable():
        Dispatcher(_Here(worker), worker.store, AT_A_TIME[worker.config.kind]).run(shards, report)


def run_local(
    config: RunConfig,
    store: Store,
    shards: Sequence[Shard],
    report: Report,
    processes: int | None = None,
    *,
    stall: float = STALL,
    tell: Callable[[str], None] = lambda _: None,
) -> None:
    """Score shards in worker processes of this machine.

    A worker process that dies is started anew and its shards are scored again. One that is stopped, says nothing for a
    minute, or makes no progress for ``stall`` seconds is ended, as if it had died. A shard that ends one after another
    without the journal coming closer to the cause is given up. SIGTERM and Ctrl-C drop the shards under way at the
    end of their cell and then go on as SystemExit (status 143) and KeyboardInterrupt; what is committed stays.

    Args:
        config: the run's configuration.
        store: its output folder.
        shards: what to score, one at least.
        report: called with each result, in this thread.
        processes: how many. By default one for each CUDA device or, where the model runs on the CPU, as many as its
            threads go into the cores.
        stall: seconds without progress after which a process is replaced.
        tell: called with a line for each that is.

    Raises:
        DataProphetError: what ended the run: the model, the output folder, or workers that cannot start.
    """
    with terminable():
        require_named_model(config, "processes", "give its name or folder, or use processes=0")
        devices = cuda_devices(config)
        count = min(processes or len(devices) or _cpu_processes(config), len(shards))
        workers = _Processes(config, store, environments(config, devices, count), stall, tell)
        Dispatcher(workers, store, AT_A_TIME[config.kind]).run(shards, report)


class _Here(Transport):
    """This process as a worker, with its threads."""

    def __init__(self, worker: Worker) -> None:
        self._worker, self._under_way = worker, 0
        self._said: queue.SimpleQueue[Message | BaseException] = queue.SimpleQueue()
        self._threads = Threads(AT_A_TIME[worker.config.kind], self._said.put)

    def start(self) -> None:
        self._worker.tell = lambda cell: self._said.put({"cell": asdict(cell)})
        self._threads.start(lambda shard: score(self._worker, shard))

    def ready(self) -> list[str]:
        return ["here"]

    def give(self, worker: str, shard: Shard) -> None:
        self._under_way += 1
        self._threads.give(shard)

    def wait(self) -> Iterator[tuple[str, Message]]:
        said = self._said.get()
        if isinstance(said, BaseException):
            raise said
        self._under_way -= "cell" not in said
        yield "here", said

    def end(self) -> None:
        if self._under_way:
            self._worker.store.stop()
        self._threads.stop()
        if not self._threads.join(GRACE):
            self._worker.store.abandon()


@dataclass(eq=False)
class _Process:
    """A worker process."""

    popen: subprocess.Popen[str]
    slot: int
    said: IO[bytes]  # its standard error
    ready: bool = False
    given: int = 0  # shards that it has
    spoken: bool = False
    heard: float = field(default_factory=time.monotonic)  # when it said something last, or was started
    running: float = field(default_factory=time.monotonic)  # when it was not stopped last
    moved: float = 0.0  # when it came further last, or was given a shard
    progress: int = -1

    def hear(self, message: Message) -> None:
        """Note that it said something, and whether it has come further since."""
        self.heard, self.spoken = time.monotonic(), True
        if message.get("pulse") != self.progress:
            self.moved, self.progress = self.heard, int(message.get("pulse", self.progress))

    def late(self, now: float, stall: float) -> str:
        """Why it is no use waiting for it; empty while it is."""
        if not is_stopped(self.popen.pid):
            self.running = now
        if now - self.running > _STOPPED:
            return f"has been stopped (SIGSTOP) for {_STOPPED:g} s"
        if self.spoken and now - self.heard > _SILENCE:  # before, it may be loading its code from a slow disk
            return f"said nothing for {_SILENCE:g} s"
        return f"made no progress for {stall:g} s" if self.given and now - self.moved > stall else ""

    def send(self, message: Message) -> None:
        with suppress(BrokenPipeError, ValueError):  # it died: its end of the other pipe tells
            print(json.dumps(message), file=self.popen.stdin, flush=True)

    def leave(self) -> None:
        """Close its input, at which it leaves everything and ends."""
        with suppress(BrokenPipeError):
            assert self.popen.stdin is not None
            self.popen.stdin.close()

    def last_words(self) -> str:
        size = self.said.seek(0, os.SEEK_END)
        self.said.seek(max(0, size - _TAIL))
        return self.said.read().decode(errors="replace").strip()


class _Processes(Transport):
    """Workers that are processes of this machine.

    Args:
        config: the run's configuration.
        store: its output folder.
        environments: for each process what its environment has beside that of this one.
        stall: seconds without progress after which a process is replaced.
        tell: called with a line for each that is.
    """

    def __init__(
        self,
        config: RunConfig,
        store: Store,
        environments: Sequence[Mapping[str, str]],
        stall: float,
        tell: Callable[[str], None],
    ) -> None:
        self._config, self._store, self._environments = config, store, environments
        self._stall, self._tell, self._looked = stall, tell, time.monotonic()
        self._events: queue.SimpleQueue[tuple[_Process, Message | None]] = queue.SimpleQueue()
        self._processes: list[_Process] = []
        self._failed_starts = 0

    def start(self) -> None:
        for slot in range(len(self._environments)):
            self._start(slot)

    def ready(self) -> list[_Process]:
        return [process for process in self._processes if process.ready]

    def give(self, worker: _Process, shard: Shard) -> None:
        worker.given, worker.moved = worker.given + 1, time.monotonic()
        worker.send({"shard": shard.to_json()})

    def replace(self, worker: _Process) -> None:
        self._start(worker.slot)

    def wait(self) -> Iterator[tuple[_Process, Message]]:
        with suppress(queue.Empty):
            process, message = self._events.get(timeout=_LOOK_S)
            if process not in self._processes:  # it was ended for being late
                pass
            elif message is None:
                yield process, self._bury(process, cause_of_death(process.popen.wait()))
            elif "ready" in message:
                self._failed_starts, process.ready = 0, True
            else:
                process.given -= "cell" not in message
                yield process, message
        yield from self._end_late()

    def _end_late(self) -> Iterator[tuple[_Process, Message]]:
        """End the processes that it is no use waiting for."""
        now = time.monotonic()
        absent = max(0.0, now - self._looked - 5 * _LOOK_S)  # this process was stopped itself, perhaps with the others
        self._looked = now
        for process in [*self._processes]:
            process.heard, process.moved = process.heard + absent, process.moved + absent
            process.running += absent
            if why := process.late(now, self._stall):
                self._tell(f"worker process {process.popen.pid} {why}: another one takes its place")
                process.popen.kill()
                with suppress(subprocess.TimeoutExpired):  # one that waits for a broken disk cannot even die
                    process.popen.wait(_LOOK_S)
                yield process, self._bury(process, why)

    def end(self) -> None:
        try:
            for process in self._processes:
                process.send({"stop": True})
            until = time.monotonic() + GRACE
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
        command = [sys.executable, "-P", "-X", "faulthandler", "-m", "dataprophet.scoring.engines.worker_process"]
        environment, pipe = {**os.environ, **self._environments[slot]}, subprocess.PIPE
        popen = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=said, encoding="utf-8", env=environment)
        process = _Process(popen, slot, said)
        self._processes.append(process)
        process.send({"root": self._store.root, "config": self._config.to_json(), "stall": self._stall})
        threading.Thread(target=self._listen, args=(process,), name=f"dataprophet-worker-{slot}", daemon=True).start()

    def _listen(self, process: _Process) -> None:
        assert process.popen.stdout is not None
        with process.popen.stdout as answers:
            for line in answers:
                with suppress(ValueError):  # a line that death cut off
                    process.hear(message := json.loads(line))
                    if "pulse" not in message:
                        self._events.put((process, message))
        self._events.put((process, None))

    def _bury(self, process: _Process, how: str) -> Message:
        """That a process died, and how. Raises DataProphetError where no process can start."""
        self._processes.remove(process)
        words = process.last_words()
        process.said.close()
        process.leave()
        if not process.ready:
            self._failed_starts += 1
            if self._failed_starts >= _STARTS and not self.ready():
                what = f"worker processes cannot start ({words.splitlines()[-1] if words else how})"
                raise DataProphetError(what, where=self._store.root, fix="see the message, and doctor")
        return {"died": how, "words": words}


def cuda_devices(config: RunConfig) -> list[str]:
    """Names of the CUDA devices that a run is spread over; none where it runs on the CPU, or on one that was named."""
    if config.numbers.get("device", "cpu") == "cpu" or ":" in str(config.model.get("device", "")):
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip()]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def environments(config: RunConfig, devices: Sequence[str], count: int) -> list[dict[str, str]]:
    """Environment of each worker process, beside that of this one: its device, and its share of the cores."""
    share = str(max(1, thread_count() // count))
    threads = config.numbers.get("threads") or share
    common = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": threads, "DATAPROPHET_THREADS": share}
    if not devices:
        return [common] * count
    return [{**common, "CUDA_VISIBLE_DEVICES": devices[number % len(devices)]} for number in range(count)]


def _cpu_processes(config: RunConfig) -> int:
    if ":" in str(config.model.get("device", "")):
        return 1  # a device that was named
    return max(1, thread_count() // int(config.numbers.get("threads") or 1))
