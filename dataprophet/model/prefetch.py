"""Work ahead of the device: a pool for decoding and encoding, and a generator that runs in a thread of its own.

Reading, batching and the model use it. It knows nothing of what runs.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from dataprophet.ops.threads import thread_count

T = TypeVar("T")
_END: Any = object()


class Workers:
    """A pool of threads; with none, each call runs at once, in the caller's thread.

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
        future: Future[T] = Future()
        try:
            future.set_result(run(*args))
        except Exception as error:
            future.set_exception(error)
        return future


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
