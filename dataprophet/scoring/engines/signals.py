"""SIGTERM as an exception, so that what was begun is put in order before the process ends."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

TERMINATED = 128 + signal.SIGTERM
"""Exit status of a process that SIGTERM ended."""


@contextmanager
def terminable(*, at_once: bool = True) -> Iterator[Callable[[], None]]:
    """Have SIGTERM raise SystemExit in the main thread meanwhile, unless the program has a handler of its own.

    Args:
        at_once: raise wherever the thread is; otherwise only in calls of what this gives, for threads that are inside
            compiled code that no exception may pass.
    """
    asked = threading.Event()

    def leave() -> None:
        if asked.is_set():
            raise SystemExit(TERMINATED)

    def note(number: int, frame: FrameType | None) -> None:
        asked.set()
        if at_once:
            leave()

    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield leave
        return
    signal.signal(signal.SIGTERM, note)
    try:
        yield leave
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
