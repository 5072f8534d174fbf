"""Operations on a file system of fsspec that end: with an answer, or with an error that there was none.

For output in object stores, and for data behind URLs. Clients try for as long as half an hour, and say nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

ANSWER_S = 50.0
"""Seconds that an operation may take beside the moving of many bytes."""

_LEAST_RATE = 1e5  # bytes a second that move in any case

_LONGER: dict[str, Callable[..., float]] = {  # operation -> how many seconds more
    **dict.fromkeys(("exists", "info", "isdir", "isfile", "ls", "size"), lambda *_, **__: 0.0),
    **dict.fromkeys(("cat_file", "rm_file"), lambda *_, **__: 0.0),
    "pipe_file": lambda _, path, data, *__: len(data) / _LEAST_RATE,
    "cat": lambda _, paths: float(len(paths)),
    "put_file": lambda _, local, *__: os.path.getsize(local) / _LEAST_RATE,
    "get_file": lambda fs, path, *_: (fs.size(path) or 0) / _LEAST_RATE,
}


class Patient:
    """A file system whose operations raise TimeoutError where they take too long, if its client can be left alone."""

    def __init__(self, fs: Any) -> None:
        self._fs = fs

    def __getattr__(self, name: str) -> Any:
        plain = getattr(self._fs, name)
        if name not in _LONGER or not getattr(self._fs, "async_impl", False):
            return plain
        return partial(self._ask, name)

    def _ask(self, name: str, *arguments: Any, **options: Any) -> Any:
        from fsspec.asyn import sync

        limit = ANSWER_S + _LONGER[name](self, *arguments)
        try:
            return sync(self._fs.loop, getattr(self._fs, f"_{name}"), *arguments, timeout=limit, **options)
        except TimeoutError as error:
            raise TimeoutError(f"no answer for {limit:.0f} s") from error
