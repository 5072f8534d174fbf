"""What each attempt at a shard had under way, so that the next one knows what its predecessors died of."""

from __future__ import annotations

import threading
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from types import TracebackType

from dataprophet.errors import DataProphetError
from dataprophet.store.attempts import is_alive

CRASHES = 2
"""So often a unit is under way when the process dies before what is in it is tried alone."""

_BEGIN, _END, _CLOSE, _FAIL = "begin", "end", "close", "fail"


class Stopped(Exception):
    """The process was asked to stop, so the shard is dropped; nothing of it is written."""


class Journal:
    """The units of work of one attempt, written down before they begin and after they end.

    Records reach the operating system, not the disk: they outlive the process, and a machine that goes down says
    nothing about the data. Use it as a context, which closes the attempt: what a closed attempt had under way is not
    held against it. An error other than this package's counts like the death of the process.

    Args:
        attempt: name of the attempt.
        earlier: records of all attempts so far.
        append: adds a record to those that later attempts read.
        stopping: set when the process shall stop.

    Attributes:
        crashes: unit -> how often it was under way when an earlier attempt died.
        closed: whether the attempt has ended.
    """

    def __init__(
        self, attempt: str, earlier: Iterable[str], append: Callable[[str], None], stopping: threading.Event
    ) -> None:
        self.attempt, self.crashes, self.closed = attempt, crashes_of(earlier), False
        self._append, self._stopping, self._lock = append, stopping, threading.Lock()

    def begin(self, unit: str) -> None:
        """Say that a unit is under way.

        Raises:
            Stopped: the process shall stop.
        """
        self._check()
        self._record(_BEGIN, unit)

    def end(self, unit: str) -> None:
        """Say that a unit ended well; raises as ``begin``."""
        self._record(_END, unit)
        self._check()

    def close(self) -> None:
        """End the attempt; what it has under way is not held against it."""
        self._finish(_CLOSE)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: TracebackType | None) -> None:
        unexpected = isinstance(error, Exception) and not isinstance(error, DataProphetError | Stopped)
        self._finish(_FAIL if unexpected else _CLOSE)

    def _check(self) -> None:
        if self._stopping.is_set():
            raise Stopped("the shard is dropped")

    def _record(self, kind: str, unit: str) -> None:
        with self._lock:
            if not self.closed:
                self._append(record(kind, self.attempt, unit))

    def _finish(self, kind: str) -> None:
        self._record(kind, "")
        self.closed = True


def record(kind: str, attempt: str, unit: str) -> str:
    """A line of a journal, its checksum at the end."""
    text = f"{kind}\t{attempt}\t{unit}"
    return f"{text}\t{zlib.crc32(text.encode()):08x}\n"


def crashes_of(records: Iterable[str]) -> Counter[str]:
    """Units that were under way when attempts died, from the records of all attempts.

    An attempt whose process runs, or that was closed, has not died. One of another machine, which cannot be asked, is
    taken for dead: at worst the shard is scored a cell at a time for nothing. A damaged record says nothing.
    """
    open_units: defaultdict[str, Counter[str]] = defaultdict(Counter)
    failed = set()
    for line in records:
        kind, attempt, unit, *_ = [*line.split("\t"), "", "", ""]
        if record(kind, attempt, unit) != f"{line.rstrip()}\n":
            continue
        if kind == _BEGIN:
            open_units[attempt][unit] += 1
        elif kind == _END:
            open_units[attempt][unit] -= 1
        elif kind == _CLOSE:
            open_units.pop(attempt, None)
        elif kind == _FAIL:
            failed.add(attempt)
    total: Counter[str] = Counter()
    for attempt, units in open_units.items():
        if attempt in failed or not is_alive(attempt):
            total.update(+units)
    return total
