"""A connection to a Ray cluster: made within a minute or given up, watched, and asked what room there is."""

from __future__ import annotations

import math
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager, suppress
from typing import Any

from dataprophet.errors import DataProphetError, explained, first_line, require

CONNECT_S = 45.0
"""Seconds that a cluster has to take a connection. Ray itself tries for more than ten minutes, without a word."""

_LEAVE_S, _REACH_S = 5.0, 10.0
_PULSE_S = 5.0  # between two questions to the head
_GONE = 30  # looks, a second apart, after which a head that does not answer is gone. Ray ends the program after 60 s
_AGAIN = "start the cluster again, then run the same command; --engine local goes on as well"


@contextmanager
def connected(ray: Any, address: str | None) -> Iterator[None]:
    """A connection to Ray, unless the program has one already.

    Args:
        ray: the module.
        address: of a running cluster, or ``auto``; by default ``RAY_ADDRESS``, and without that a cluster of this
            machine alone is started, and ended.

    Raises:
        DataProphetError: the cluster cannot be reached, or does not answer.
    """
    if ray.is_initialized():
        yield
        return
    where = address or os.environ.get("RAY_ADDRESS")
    _reach(where or "")
    # Ray puts the current folder before all others in the actors' path of modules. In a checkout that would find the
    # sources of this package, without the compiled core, so actors work in an empty one.
    with tempfile.TemporaryDirectory() as empty:
        what, kinds = "Ray cannot be started or reached", (ConnectionError, RuntimeError, ValueError)
        refused = explained(kinds, DataProphetError, what, where or "engine ray", "check ray_address=")
        with refused, chdir(empty), _own_sigterm():
            options = {"log_to_driver": False, "logging_level": 50}
            if where and where != "local":
                _within(CONNECT_S, lambda: ray.init(where, **options))
            else:  # in this thread: what Ray starts dies with the thread that started it
                ray.init("local", include_dashboard=False, **options)
        try:
            yield
        finally:
            with suppress(ConnectionError):
                _within(_LEAVE_S, ray.shutdown)


def _reach(where: str) -> None:
    """Refuse an address at which nothing listens, for the reason that the system gives."""
    host, _, port = where.rpartition("://")[2].rpartition(":")
    if port.isdecimal():
        fix = "check ray_address=, and that the cluster runs"
        with explained((OSError, OverflowError), DataProphetError, "nothing can be reached there", where, fix):
            socket.create_connection((host.strip("[]"), int(port)), _REACH_S).close()


def _within(seconds: float, ask: Callable[[], Any]) -> None:
    """Ask Ray something in a thread, which is left alone where it takes too long: nothing can interrupt it."""
    came: list[BaseException | None] = []

    def run() -> None:
        try:
            ask()
            came.append(None)
        except BaseException as error:
            came.append(error)

    thread = threading.Thread(target=run, name="dataprophet-ray", daemon=True)
    thread.start()
    thread.join(seconds)
    if not came:
        raise ConnectionError(f"it has not answered for {seconds:.0f} s")
    if came[0] is not None:
        raise came[0]


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


class Pulse:
    """Asks a cluster again and again what it has, in a thread, and knows when it does not answer any more.

    Args:
        ray: the module, connected.
        where: the cluster, for messages.
    """

    def __init__(self, ray: Any, where: str) -> None:
        self._ray, self._where, self._reason = ray, where, "no answer"
        self._beats = self._seen = self._missed = 0
        self.resources: Mapping[str, float] = ray.cluster_resources()
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="dataprophet-pulse", daemon=True).start()

    def _run(self) -> None:
        while not self._ended.wait(_PULSE_S):
            try:
                self.resources = self._ray.cluster_resources()
                self._beats += 1
            except Exception as error:
                self._reason = first_line(error)

    def end(self) -> None:
        self._ended.set()

    @property
    def gone(self) -> bool:
        """Whether nothing is to be asked of Ray any more: it would wait, and then end the program."""
        return self._missed >= _GONE

    def require(self) -> None:
        """To be called about once a second, which counts: a program that was stopped itself has missed nothing.

        Raises:
            DataProphetError: the head has not answered for long.
        """
        self._missed = self._missed + 1 if self._beats == self._seen else 0
        self._seen = self._beats
        what = f"the head of the Ray cluster has not answered for {_GONE} s ({self._reason})"
        require(not self.gone, what, self._where, _AGAIN, DataProphetError)

    def room(self, options: Mapping[str, Any]) -> int:
        """Workers with these options that the cluster has room for, were nothing else running on it."""
        asked = needs(options)
        return min((math.floor(self.resources.get(name, 0) / count + 1e-9) for name, count in asked.items()), default=1)


def needs(options: Mapping[str, Any]) -> dict[str, float]:
    """Resources that an actor with these options takes."""
    named = {"CPU": options.get("num_cpus"), "GPU": options.get("num_gpus"), **(options.get("resources") or {})}
    return {name: float(count) for name, count in named.items() if count}
