"""Progress on standard error: a live line on a terminal after a second, elsewhere a line every half minute."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable

_FIRST, _NEXT = 1.0, 0.2  # seconds to the first line on a terminal, and between later ones
_LOGGED = 30.0  # the same where lines stay
_ERASE = "\r\x1b[K"
_lock = threading.Lock()  # of standard error
_live: list[Progress] = []  # those whose line stands on the terminal


class Progress:
    """Progress of one task. Call it with the number of items done; it is a context, within which a thread shows it.

    Args:
        label: what is being done.
        total: items in all, or a function that estimates them, called once there is something to show; None where
            nothing is known.
    """

    def __init__(self, label: str, total: int | Callable[[], int] | None = None) -> None:
        self.label, self.total = label, total
        self._done = self._earlier = 0  # done before, which says nothing about the time left
        self._start = self._at = time.monotonic()  # of all, and of the last item done
        self._about = callable(total)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._show, name="dataprophet-progress", daemon=True)

    def __enter__(self) -> Progress:
        if sys.stderr is not None:  # None where the caller closed it
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        with _lock:
            if self in _live:
                _live.remove(self)
                sys.stderr.write(_ERASE)
                sys.stderr.flush()

    def __call__(self, done: int) -> None:
        self._done, self._at = done, time.monotonic()

    def of(self, done: int, total: int) -> None:
        """The same for a task whose size is known once it begins, and of which some may be done before."""
        if self.total is None:
            self.total, self._earlier, self._start = total, done, time.monotonic()
        if done != self._done:
            self(done)

    def line(self) -> str:
        """Items done and in all, items a second, and the time left; or the time gone, while nothing is done."""
        if callable(self.total):
            self.total = self.total()
        now, done = time.monotonic(), self._done
        text, rate = f"{self.label}: {done:,}", max(0, done - self._earlier) / max(1e-3, self._at - self._start)
        if total := self.total if self.total and done <= self.total else 0:  # an estimate may be too low
            text += f" of {'about ' if self._about else ''}{total:,}"
        if not rate:
            return f"{text}, {_time(now - self._start)} so far"
        text += f", {rate:,.0f}/s" if rate >= 10 else f", {rate:.2g}/s"
        return f"{text}, {_time(max(0.0, (total - done) / rate - now + self._at))} left" if total else text

    def _show(self) -> None:
        live = is_live()
        wait = _FIRST if live else _LOGGED
        while not self._over.wait(wait):
            wait = _NEXT if live else _LOGGED
            line = self.line()
            with _lock:
                if self._over.is_set():
                    return
                if live:
                    _live[:] = [self]
                    sys.stderr.write(_ERASE + line[: shutil.get_terminal_size().columns - 1])
                else:
                    sys.stderr.write(f"dataprophet: {line}\n")
                sys.stderr.flush()


def is_live() -> bool:
    """Whether standard error is a terminal on which a line can be written over."""
    return sys.stderr is not None and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


def say(line: str) -> None:
    """A line on standard error, in the place of that of progress, which comes back below."""
    with _lock:
        print(f"{_ERASE if _live else ''}{line}", file=sys.stderr)


def _time(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min {whole % 60} s" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"
