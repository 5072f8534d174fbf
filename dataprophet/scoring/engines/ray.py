"""The Ray engine: the same shards, by actors on the machines of a cluster."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any

from dataprophet.errors import DataProphetError, MissingDependencyError, StoreError, explained, install, require
from dataprophet.files import absolute
from dataprophet.scoring.engines.cluster import Pulse, connected, needs
from dataprophet.scoring.engines.dispatch import GRACE, Dispatcher, Message, Report, Transport, require_named_model
from dataprophet.scoring.engines.signals import terminable
from dataprophet.scoring.engines.threads import AT_A_TIME, score_or_die
from dataprophet.scoring.folder.config import RunConfig, Work
from dataprophet.scoring.folder.files import RUN
from dataprophet.scoring.folder.shards import Shard, ShardResult
from dataprophet.store import Store, open_store

_WAIT = 1.0  # seconds between two looks at signals, actors and the cluster
_REST, _LONGEST_REST = 2.0, 30.0  # seconds until an actor is asked again how far it is; and where it ended again
_SILENT_S = 60.0  # seconds after which an actor that does not answer is stuck, or has no place to start
_STARTS = 12  # questions to actors in a row that fail, about four minutes, after which the run ends if none works
_OWN = {"max_concurrency", "max_restarts", "max_task_retries"}  # options of an actor that this engine rests on


def run_ray(
    config: RunConfig,
    store: Store,
    shards: Sequence[Shard],
    report: Report,
    work: Work,
    *,
    tell: Callable[[str], None] = print,
) -> None:
    """Score shards with Ray actors, each of which has one device, or as many cores as the model's threads.

    The pool, the output folder and a model's folder must be at the same place on every machine: a shared disk, or an
    object store. An actor that dies is started anew by Ray, and its shards are given out once more. One that makes no
    progress is ended, and likewise. Machines that join the cluster meanwhile get actors, too.

    Args:
        config: the run's configuration.
        store: its output folder.
        shards: what to score, one at least.
        report: called with each result, in this thread.
        tell: called with a line about an actor that does not get further.
        work: how many ``processes``, which are actors here; by default as many as the cluster has room for.
            ``ray_address`` as in ``connected``, ``ray_option`` of each actor, and ``stall``, as in ``run_local``.

    Raises:
        MissingDependencyError: Ray is not installed.
        DataProphetError: the cluster cannot be reached or has no room, or what ended the run.
    """
    with explained(ImportError, MissingDependencyError, "Ray is not installed", "engine ray", install("ray")):
        import ray
    require_named_model(config, "engine ray", "give its name or folder")
    on_cpu = config.numbers.get("device", "cpu") == "cpu"
    usual = {"num_cpus": int(config.numbers.get("threads") or 1) if on_cpu else 1, "num_gpus": 0 if on_cpu else 1}
    options = {**usual, **work.ray_option}
    own = sorted(_OWN & options.keys())
    require(not own, f"{', '.join(own)} is the engine's to set", "ray_option", "leave it out", DataProphetError)
    where = work.ray_address or "engine ray"
    with connected(ray, work.ray_address), terminable(at_once=False) as leave:
        fix = "give options that ray.remote takes for an actor, such as num_gpus=0.5"
        with explained((TypeError, ValueError), DataProphetError, "no options of an actor", "ray_option", fix):
            fixed = {"max_restarts": -1, "max_task_retries": 0, "max_concurrency": AT_A_TIME[config.kind] + 1}
            kind = ray.remote(**{**options, **fixed})(_Scorer)
        pulse = Pulse(ray, where)
        try:
            what = f"the cluster has no room for a worker, which takes {_shown(needs(options))}"
            fix = "start it on machines that have that, or ask for less by ray_option="
            require(work.processes or pulse.room(options), what, where, fix, DataProphetError)

            def wanted() -> int:
                return min(work.processes or max(1, pulse.room(options)), len(shards))

            watch: dict[str, Any] = {"leave": leave, "pulse": pulse, "tell": tell, "stall": work.stall}
            workers = _Actors(ray, config, store, kind=kind, wanted=wanted, **watch)
            Dispatcher(workers, store, AT_A_TIME[config.kind]).run(shards, report)
        finally:
            pulse.end()


def _shown(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{count:g} {name}" for name, count in resources.items())


class _Scorer:
    """What an actor does. Two calls run at a time: one reads while the other has the device; a third tells of them."""

    def __init__(self, config: dict[str, Any], root: str, environment: dict[str, str], stall: float) -> None:
        os.environ.update(environment)
        self._error: dict[str, str] | None = None
        self._cells: dict[str, dict[str, Any]] = {}  # shard -> how far it is
        try:
            self._open(config, root)
            self._worker.stall = stall
        except DataProphetError as error:
            self._error = _on_this_machine(error).to_dict()

    def _open(self, config: dict[str, Any], root: str) -> None:
        mine, its = metadata.version("dataprophet"), config["version"]
        fix = "install the same version on every machine"
        require(mine == its, f"dataprophet is {mine} there, and {its} here", "", fix, DataProphetError)
        from dataprophet.scoring.worker import Worker

        self._store = open_store(root)
        what, fix = f"is another folder there, without {RUN}", "choose --out on a disk that all machines share"
        require(self._store.exists(RUN), what, root, fix, StoreError)
        self._worker = Worker(RunConfig.from_json(config, root), self._store)
        self._worker.tell = self._note

    def _note(self, cell: ShardResult) -> None:
        self._cells[cell.key] = asdict(cell)

    def run(self, shard: dict[str, Any]) -> dict[str, Any]:
        """Score a shard: its result, or an error that ends the run, or word that it was dropped."""
        said = dict(score_or_die(self._worker, Shard(**shard)))
        self._cells.pop(shard["key"], None)
        if said.get("result", {}).get("detail"):
            said["result"]["detail"] += f" (on machine {platform.node()})"
        return said

    def progress(self) -> dict[str, Any]:
        """How far each shard is, and what grows meanwhile; or why there can be none."""
        if self._error is not None:
            return {"error": self._error}
        return {"cells": list(self._cells.values()), "moved": self._worker.progress}

    def stop(self) -> None:
        """Have the shards under way dropped at the end of their cells."""
        self._store.stop()


def _on_this_machine(error: DataProphetError) -> DataProphetError:
    """An error of an actor, with its machine, and what may be wrong with that."""
    where = f"{error.where} on machine {platform.node()}".strip()
    fix = "see that data, model and output lie at the same place on every machine"
    told = {"where": where, "fix": f"{error.fix}; {fix}" if error.fix else fix}
    return DataProphetError.from_dict({**error.to_dict(), **told})


@dataclass(eq=False)
class _Actor:
    """An actor, and what is known of it. It takes shards once it has answered since it was started."""

    handle: Any
    ready: bool = False
    warned: bool = False  # that it does not start
    questions: list[Any] = field(default_factory=list)  # the call that asks how far it is, while that is under way
    asked: float = -_REST  # when it was asked last
    rest: float = _REST  # seconds until it is asked again
    told: Any = None  # its last answer
    since: float = 0.0  # when it got further, or was given something
    calls: dict[Any, str] = field(default_factory=dict)  # call -> key of the shard


class _Actors(Transport):
    """Workers that are actors of a cluster. Ray starts one anew that dies, and its calls end with an error each."""

    def __init__(
        self,
        ray: Any,
        config: RunConfig,
        store: Store,
        *,
        kind: Any,
        wanted: Callable[[], int],
        leave: Callable[[], None],
        pulse: Pulse,
        tell: Callable[[str], None],
        stall: float,
    ) -> None:
        self._ray, self._config, self._store, self._kind = ray, config, store, kind
        self._wanted, self._leave, self._pulse, self._tell = wanted, leave, pulse, tell
        self._stall = stall
        self._actors: list[_Actor] = []
        self._failed_starts = 0
        self._clock, self._looked = 0.0, time.monotonic()

    def start(self) -> None:
        environment = {"OPENBLAS_NUM_THREADS": "1"}
        for _ in range(len(self._actors), self._wanted()):
            handle = self._kind.remote(self._config.to_json(), absolute(self._store.root), environment, self._stall)
            self._actors.append(_Actor(handle))

    def ready(self) -> list[_Actor]:
        return [actor for actor in self._actors if actor.ready]

    def give(self, worker: _Actor, shard: Shard) -> None:
        if not worker.calls:
            worker.since = self._clock
        worker.calls[worker.handle.run.remote(shard.to_json())] = shard.key

    def wait(self) -> Iterator[tuple[_Actor, Message]]:
        self._leave()
        self._pulse.require()
        self.start()  # on machines that joined
        self._look()
        calls = {call: actor for actor in self._actors for call in (*actor.calls, *actor.questions)}
        if not calls:
            time.sleep(_WAIT)
            return
        done, _ = self._ray.wait(list(calls), num_returns=1, timeout=_WAIT)
        for call in done:
            actor = calls[call]
            key = actor.calls.pop(call, None)
            try:
                said = self._ray.get(call)
            except self._ray.exceptions.RayActorError as error:
                if key is not None:
                    actor.ready, actor.told = False, None
                    yield actor, {"died": "ended", "key": key, "words": str(error)}
                else:
                    self._not_there(actor, str(error))
                continue
            if key is not None:
                actor.since = self._clock
                yield actor, said
            else:
                yield from self._heard(actor, said)

    def _look(self) -> None:
        """Ask each actor how far it is, and end those that do not answer or get no further."""
        now = time.monotonic()
        self._clock += min(now - self._looked, 2 * _WAIT)  # stands still while this process is stopped
        self._looked = now
        for actor in self._actors:
            if not actor.questions and actor.asked + actor.rest <= self._clock:
                actor.questions, actor.asked = [actor.handle.progress.remote()], self._clock
            silent = self._clock - actor.asked if actor.questions else 0.0
            stalled = self._clock - actor.since if actor.calls else 0.0
            if actor.ready and (silent > _SILENT_S or stalled > self._stall):
                what = f"has not answered for {silent:.0f} s" if silent > _SILENT_S else "does not get further"
                for key in actor.calls.values():
                    self._store.log(key, f"the actor that scores it {what}, and is replaced")
                self._tell(f"an actor {what}: it is replaced, and its shards are given out again")
                actor.ready = False
                with suppress(self._ray.exceptions.RayError):
                    self._ray.kill(actor.handle, no_restart=False)
            elif not actor.ready and actor.questions and not actor.warned and silent > _SILENT_S:
                actor.warned = True
                free = _shown(self._ray.available_resources())
                self._tell(f"an actor has not started for {silent:.0f} s; the cluster has free: {free}")

    def _heard(self, actor: _Actor, said: Message) -> Iterator[tuple[_Actor, Message]]:
        """Take the answer of an actor, which thereby is ready."""
        actor.questions, actor.rest = [], _REST
        if "error" in said:
            yield actor, said
            return
        if not actor.ready:
            actor.ready, actor.since, self._failed_starts = True, self._clock, 0
        if said != actor.told:
            actor.told, actor.since = said, self._clock
            for cell in said["cells"]:
                if cell["key"] in actor.calls.values():
                    yield actor, {"cell": cell}

    def _not_there(self, actor: _Actor, why: str) -> None:
        """Note that an actor has ended, or is still being started anew: questions fail meanwhile, one after another."""
        self._failed_starts += not actor.ready
        if self._failed_starts >= _STARTS and not self.ready():
            what, fix = f"actors cannot start ({why.strip().splitlines()[0]})", "see the logs of Ray"
            raise DataProphetError(what, where=self._store.root, fix=fix)
        actor.ready, actor.told, actor.questions = False, None, []
        actor.asked, actor.rest = self._clock, min(2 * actor.rest, _LONGEST_REST)

    def end(self) -> None:
        if self._pulse.gone:
            return
        calls = [call for actor in self._actors for call in actor.calls]
        with suppress(self._ray.exceptions.RayError):
            for actor in self._actors:
                if actor.calls:
                    actor.handle.stop.remote()
            if calls:
                self._ray.wait(calls, num_returns=len(calls), timeout=GRACE)
        for actor in self._actors:
            with suppress(self._ray.exceptions.RayError):
                self._ray.kill(actor.handle)
