"""Work ahead of the device: a pool for decoding, and a generator that runs in a thread of its own."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class Inline(Executor):
    """Runs each call at once, in the caller's thread."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def pool(workers: int) -> Executor:
    """That many threads; with 0 everything runs in the caller's."""
    return ThreadPoolExecutor(workers, thread_name_prefix="dataprophet") if workers else Inline()


@contextlib.contextmanager
def ahead(source: Iterator[T], depth: int) -> Iterator[Iterator[T]]:
    """Runs a generator in a thread, up to ``depth`` items ahead of who takes them. With 0 it runs as it is.

    The order stays, an exception of the generator is raised where its item would have come, and on leaving the block
    the generator is closed, wherever it stands.
    """
    if depth == 0:
        try:
            yield source
        finally:
            _close(source)
        return
    made: queue.Queue[tuple[str, Any]] = queue.Queue(depth)
    stop = threading.Event()

    def put(kind: str, value: Any) -> bool:
        while not stop.is_set():
            with contextlib.suppress(queue.Full):
                made.put((kind, value), timeout=0.1)
                return True
        return False

    def run() -> None:
        try:
            for item in source:
                if not put("item", item):
                    break
            else:
                put("end", None)
        except BaseException as error:
            put("error", error)
        finally:
            _close(source)

    def take() -> Iterator[T]:
        while True:
            kind, value = made.get()
            if kind == "item":
                yield value
            elif kind == "error":
                raise value
            else:
                return

    thread = threading.Thread(target=run, name="dataprophet-ahead", daemon=True)
    thread.start()
    try:
        yield take()
    finally:
        stop.set()
        thread.join()


def _close(source: Any) -> None:
    if hasattr(source, "close"):
        source.close()
