"""A progress line on standard error: silent when that is not a terminal, and for the first second."""

from __future__ import annotations

import sys
import time


class Progress:
    """Progress of one task. Call it with the number of items done; use it as a context to end the line.

    Args:
        label: what is being done.
        total: items in all, or None where it is not known.
    """

    def __init__(self, label: str, total: int | None = None) -> None:
        self.label, self.total, self._earlier = label, total, 0  # done before, which say nothing about the time left
        self._start = self._shown = time.monotonic()
        self._visible = False
        self._terminal = sys.stderr is not None and sys.stderr.isatty()  # None where the caller closed it

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._visible:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def of(self, done: int, total: int) -> None:
        """The same for a task whose size is known once it begins, and of which some may be done before."""
        if self.total is None:
            self.total, self._earlier = total, done
        self(done)

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        if not self._terminal or now - self._start < 1 or now - self._shown < 0.1:
            return
        self._shown, self._visible = now, True
        rate = (done - self._earlier) / (now - self._start)
        text = f"{self.label}: {done:,}"
        if self.total:
            left = (self.total - done) / rate if rate else 0
            text += f" of {self.total:,}, {max(0, round(left))} s left"
        sys.stderr.write(f"\r\x1b[K{text}, {rate:,.0f}/s")
        sys.stderr.flush()
