"""The local engine: shards in this process, or in worker processes that are watched over."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from dataprophet.errors import DataProphetError
from dataprophet.ops.threads import thread_count
from dataprophet.scoring.config import RunConfig
from dataprophet.scoring.engines.dispatch import Dispatcher, Message, Transport
from dataprophet.scoring.engines.processes import Processes
from dataprophet.scoring.engines.signals import terminable
from dataprophet.scoring.engines.threads import AT_A_TIME, Threads, score
from dataprophet.scoring.shards import Shard, ShardResult
from dataprophet.store.base import Store

if TYPE_CHECKING:
    from dataprophet.scoring.worker import Worker

_GRACE = 20.0  # seconds for a shard to be dropped at the end of its cell, before it is left as it is


def run_local(
    config: RunConfig,
    store: Store,
    shards: Sequence[Shard],
    report: Callable[[ShardResult], None],
    *,
    processes: int | None = None,
    worker: Worker | None = None,
) -> None:
    """Score shards on this machine.

    A worker process that dies is started anew and its shards are scored again; a shard that ends worker after worker
    without the journal coming closer to the cause is given up. SIGTERM and Ctrl-C drop the shards under way at the
    end of their cell and then go on as SystemExit (status 143) and KeyboardInterrupt; what is committed stays.

    Args:
        config: the run's configuration.
        store: its output folder.
        shards: what to score.
        report: called with each result, in this thread.
        processes: worker processes; 0 works in this one. By default one for each CUDA device or, where the model runs
            on the CPU, as many as its threads go into the cores.
        worker: of this process; needed where ``processes`` is 0.

    Raises:
        DataProphetError: what ended the run: the model, the output folder, or workers that cannot start.
    """
    if not shards:
        return
    with terminable():
        if processes == 0:
            assert worker is not None  # see Args
            Dispatcher(_Here(worker, store), store, AT_A_TIME[config.kind]).run(shards, report)
            return
        if config.kind == "samples" and not config.model:
            raise DataProphetError(
                "a loaded model cannot be handed to other processes",
                where="processes",
                fix="give its name or folder, or use processes=0",
            )
        devices = cuda_devices(config)
        count = min(processes or len(devices) or _cpu_processes(config), len(shards))
        workers = Processes(config, store, environments(config, devices, count))
        Dispatcher(workers, store, AT_A_TIME[config.kind]).run(shards, report)


class _Here(Transport):
    """This process as a worker, with its threads."""

    def __init__(self, worker: Worker, store: Store) -> None:
        self._worker, self._store, self._count = worker, store, AT_A_TIME[worker.config.kind]
        self._shards: queue.SimpleQueue[Shard | None] = queue.SimpleQueue()
        self._said: queue.SimpleQueue[Message | BaseException] = queue.SimpleQueue()
        self._under_way = 0

    def start(self) -> None:
        self._threads = Threads(self._count, self._shards.get, lambda shard: score(self._worker, shard), self._said.put)

    def ready(self) -> list[str]:
        return ["here"]

    def give(self, worker: str, shard: Shard) -> None:
        self._under_way += 1
        self._shards.put(shard)

    def wait(self) -> Iterator[tuple[str, Message]]:
        said = self._said.get()
        if isinstance(said, BaseException):
            raise said
        self._under_way -= 1
        yield "here", said

    def end(self) -> None:
        if self._under_way:
            self._store.stop()
        for _ in range(self._count):
            self._shards.put(None)
        if not self._threads.join(_GRACE):
            self._store.abandon()


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
