"""Work ahead of the device: a pool for decoding and encoding, and a generator that runs in a thread of its own.

Reading, batching and the model use it. It knows nothing of what runs.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from dataprophet.ops.threads import thread_count

T = TypeVar("T")
_END: Any = object()


class Workers:
    """A pool of threads; with none, each call runs when its result is asked for, in the thread that asks.

    Args:
        count: how many threads, as far as there are cores for them beside the caller's: more would only take the
            interpreter from it.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        threads = min(count, max(1, thread_count() - 1))
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="dataprophet") if count else None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        """What has not begun is dropped, what has is waited for."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def submit(self, run: Callable[..., T], *args: Any) -> Future[T]:
        if self._pool is not None:
            return self._pool.submit(run, *args)
        return _Later(run, *args)


class _Later(Future[T]):
    """What a call gives, made when it is asked for."""

    def __init__(self, run: Callable[..., T], *args: Any) -> None:
        super().__init__()
        self._run: Callable[[], T] | None = partial(run, *args)

    def result(self, timeout: float | None = None) -> T:
        if self._run is not None:
            run, self._run = self._run, None
            try:
                self.set_result(run())
            except Exception as error:
                self.set_exception(error)
        return super().result(timeout)


class Room:
    """Room for what several threads make ahead. None of them waits for it: who asks is told whether there is any.

    Args:
        size: the room, in units of the caller's.
    """

    def __init__(self, size: int) -> None:
        self._size, self._taken, self._lock = size, dict[int, int](), threading.Lock()

    @property
    def scarce(self) -> bool:
        """Whether half of it is taken."""
        with self._lock:
            return 2 * sum(self._taken.values()) > self._size

    def take(self, number: int, size: int) -> bool:
        """Take room under a number; whether there was as much."""
        with self._lock:
            fits = sum(self._taken.values()) + size <= self._size
            if fits:
                self._taken[number] = self._taken.get(number, 0) + size
            return fits

    def leave(self, number: int) -> None:
        """Give back what was taken under a number."""
        with self._lock:
            self._taken.pop(number, None)


@contextlib.contextmanager
def ahead(source: Generator[T], depth: int) -> Iterator[Iterator[T]]:
    """Runs a generator in a thread, up to ``depth`` items ahead of who takes them. With 0 it runs as it is.

    An item counts from when it is begun, so that no more than ``depth`` are in memory beside the one that was taken.
    The order stays, an exception of the generator is raised where its item would have come, and on leaving the block
    the generator is closed, wherever it stands.
    """
    with contextlib.closing(source), Workers(min(depth, 1)) as thread:
        if depth == 0:
            yield source
            return
        waiting = deque(thread.submit(next, source, _END) for _ in range(depth))  # begun on entering the block

        def taken() -> Iterator[T]:
            while (item := waiting.popleft().result()) is not _END:
                waiting.append(thread.submit(next, source, _END))
                yield item

        yield taken()
