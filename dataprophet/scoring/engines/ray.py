"""The Ray engine: the same shards, by actors on the machines of a cluster."""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import chdir, contextmanager, suppress
from typing import Any

from dataprophet.errors import DataProphetError, MissingDependencyError, explained, install, require
from dataprophet.files import absolute
from dataprophet.scoring.engines.dispatch import GRACE, Dispatcher, Message, Report, Transport, require_named_model
from dataprophet.scoring.engines.signals import terminable
from dataprophet.scoring.engines.threads import AT_A_TIME, score_or_die
from dataprophet.scoring.folder.config import RunConfig, Work
from dataprophet.scoring.folder.shards import Shard
from dataprophet.store import Store, open_store

_WAIT = 1.0  # seconds between two looks at signals
_LONGEST_REST = 30.0  # seconds of an actor that ended again


def run_ray(config: RunConfig, store: Store, shards: Sequence[Shard], report: Report, work: Work) -> None:
    """Score shards with Ray actors, each of which has one device, or as many cores as the model's threads.

    The pool, the output folder and a model's folder must be at the same place on every machine: a shared disk, or an
    object store. An actor that dies is started anew by Ray, and its shards are given out once more.

    Args:
        config: the run's configuration.
        store: its output folder.
        shards: what to score, one at least.
        report: called with each result, in this thread.
        work: how many ``processes``, which are actors here; by default one for each CUDA device of the cluster or,
            where the model runs on the CPU, as many as its threads go into the cores. ``ray_address`` of a running
            cluster, or ``auto``; by default ``RAY_ADDRESS``, and without that a cluster of this machine alone is
            started, and ended.

    Raises:
        MissingDependencyError: Ray is not installed.
        DataProphetError: the cluster cannot be reached, or what ended the run.
    """
    with explained(ImportError, MissingDependencyError, "Ray is not installed", "engine ray", install("ray")):
        import ray
    require_named_model(config, "engine ray", "give its name or folder")
    on_cpu = config.numbers.get("device", "cpu") == "cpu"
    cores = int(config.numbers.get("threads") or 1)
    with _cluster(ray, work.ray_address), terminable(at_once=False) as leave:
        found: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        every = int(found.get("CPU", 1)) // cores if on_cpu else int(found.get("GPU", 0))
        fix = "start it on machines with one"
        require(on_cpu or every, "the cluster has no GPU", "engine ray", fix, DataProphetError)
        count = min(work.processes or max(1, every), len(shards))
        options: dict[str, Any] = {"num_cpus": cores if on_cpu else 1, "num_gpus": 0 if on_cpu else 1}
        options["max_concurrency"] = AT_A_TIME[config.kind] + 1
        kind = ray.remote(max_restarts=-1, max_task_retries=0, **options)(_Scorer)
        workers = _Actors(ray, config, store, kind=kind, count=count, leave=leave)
        Dispatcher(workers, store, AT_A_TIME[config.kind]).run(shards, report)


@contextmanager
def _cluster(ray: Any, address: str | None) -> Iterator[None]:
    """A connection to Ray, unless the program has one already."""
    if ray.is_initialized():
        yield
        return
    where = address or os.environ.get("RAY_ADDRESS")
    # Ray puts the current folder before all others in the actors' path of modules. In a checkout that would find the
    # sources of this package, without the compiled core, so actors work in an empty one.
    with tempfile.TemporaryDirectory() as empty:
        what, kinds = "Ray cannot be started or reached", (ConnectionError, RuntimeError, ValueError)
        refused = explained(kinds, DataProphetError, what, where or "engine ray", "check ray_address=")
        with refused, chdir(empty), _own_sigterm():
            dashboard = None if where else False
            ray.init(where or "local", log_to_driver=False, logging_level="ERROR", include_dashboard=dashboard)
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _own_sigterm() -> Iterator[None]:
    """Put back the handler of SIGTERM that Ray replaces, with one that aborts."""
    in_main = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if in_main and before is not None:
            signal.signal(signal.SIGTERM, before)


class _Scorer:
    """What an actor does. Two calls run at a time: one reads while the other has the device."""

    def __init__(self, config: dict[str, Any], root: str, environment: dict[str, str]) -> None:
        os.environ.update(environment)
        from dataprophet.scoring.worker import Worker

        self._store = open_store(root)
        self._error: dict[str, str] | None = None
        try:
            self._worker = Worker(RunConfig.from_json(config, root), self._store)
        except DataProphetError as error:
            self._error = error.to_dict()

    def run(self, shard: dict[str, Any]) -> dict[str, Any]:
        """Score a shard: its result, or an error that ends the run, or word that it was dropped."""
        return {"error": self._error} if self._error is not None else dict(score_or_die(self._worker, Shard(**shard)))

    def stop(self) -> None:
        """Have the shards under way dropped at the end of their cells."""
        self._store.stop()


class _Actors(Transport):
    """Workers that are actors of a cluster. Ray starts one anew that dies, and its calls end with an error each."""

    def __init__(
        self, ray: Any, config: RunConfig, store: Store, *, kind: Any, count: int, leave: Callable[[], None]
    ) -> None:
        self._ray, self._config, self._store, self._count, self._leave = ray, config, store, count, leave
        self._kind, self._actors = kind, list[Any]()
        self._calls: dict[Any, tuple[int, str]] = {}  # call -> number of its actor, and key of the shard
        # Calls of an actor that is being started anew fail at once. Without a rest they would pass for deaths.
        self._rests, self._rested = defaultdict[int, float](float), defaultdict[int, float](float)  # seconds; until

    def start(self) -> None:
        environment = {"OPENBLAS_NUM_THREADS": "1"}
        for _ in range(self._count):
            self._actors.append(self._kind.remote(self._config.to_json(), absolute(self._store.root), environment))

    def ready(self) -> list[int]:
        return [worker for worker in range(self._count) if self._rested[worker] <= time.monotonic()]

    def give(self, worker: int, shard: Shard) -> None:
        self._calls[self._actors[worker].run.remote(shard.to_json())] = worker, shard.key

    def wait(self) -> Iterator[tuple[int, Message]]:
        self._leave()
        if not self._calls:
            time.sleep(_WAIT)
            return
        done, _ = self._ray.wait(list(self._calls), num_returns=1, timeout=_WAIT)
        for call in done:
            worker, key = self._calls.pop(call)
            try:
                said = self._ray.get(call)
                self._rests[worker] = 0.0
            except self._ray.exceptions.RayActorError:
                said = {"died": "ended", "key": key}
                self._rests[worker] = min(max(1.0, 2 * self._rests[worker]), _LONGEST_REST)
                self._rested[worker] = time.monotonic() + self._rests[worker]
            yield worker, said

    def end(self) -> None:
        with suppress(self._ray.exceptions.RayError):
            for actor in self._actors if self._calls else ():
                actor.stop.remote()
            if self._calls:
                self._ray.wait(list(self._calls), num_returns=len(self._calls), timeout=GRACE)
        for actor in self._actors:
            with suppress(self._ray.exceptions.RayError):
                self._ray.kill(actor)
