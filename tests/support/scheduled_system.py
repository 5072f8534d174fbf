"""The system as the store's modules see it while a process of ``interleavings.py`` is run: each call is a step."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import xxhash
from scheduled_files import Failed

LOST = "lost"
"""What an act returns that ends with the error of a network."""


class _Suspended(BaseException):
    """The act has come to a call that no answer is known for."""


class System:
    """Asks for each call of the process that is run; ``patch`` puts it into the modules."""

    def __init__(self) -> None:
        self._answers: Iterator[Any] = iter(())
        self._process, self._attempts, self.pending = "", 0, None

    def run(self, process: str, act: int, run: Callable[[str], Any], answers: Sequence[Any]) -> tuple[Any, ...]:
        """The next step of an act: a call, or ``end`` with what it returned or raised."""
        self._answers, self.pending = iter(answers), None
        self._process, self._attempts = f"{process}-{act}", 0
        try:
            value = run(process)
        except _Suspended:
            return self.pending
        except Exception as error:
            told = any(isinstance(answer, Failed) and answer.injected for answer in answers)
            return "end", LOST if told else error
        return "end", value

    def call(self, *step: Any) -> Any:
        if self.pending is None:
            for answer in self._answers:
                if isinstance(answer, Failed):
                    raise OSError(answer.number, os.strerror(answer.number), step[1])
                return answer
            self.pending = step
        raise _Suspended  # again for what ``finally`` asks

    def new_attempt(self) -> str:
        self._attempts += 1
        return f"{self._process}-{self._attempts}"

    def is_alive(self, attempt: str) -> bool:
        return bool(self.call("alive", attempt.partition("-")[0]))


class _Os:
    """The part of ``os`` that a folder's store uses."""

    O_RDONLY, strerror = os.O_RDONLY, staticmethod(os.strerror)

    def __init__(self, system: System) -> None:
        self._call, self.path = system.call, _OsPath(system)

    def makedirs(self, path: str, exist_ok: bool) -> None:
        self._call("makedirs", path)

    def listdir(self, path: Any) -> list[str]:
        return list(self._call("list", str(path)))

    def scandir(self, path: str) -> _Entries:
        return _Entries(_Entry(self._call, f"{path}/{name}") for name in self._call("list", path))

    def open(self, path: str, flags: int) -> str:
        return path

    def fsync(self, path: str) -> None:
        self._call("force", path)

    def close(self, path: str) -> None:
        pass

    def __getattr__(self, name: str) -> Callable[..., Any]:
        assert name in ("replace", "link", "unlink", "rmdir"), name
        return lambda *paths: self._call(name, *paths)


class _OsPath:
    join, basename, dirname = staticmethod(os.path.join), staticmethod(os.path.basename), staticmethod(os.path.dirname)

    def __init__(self, system: System) -> None:
        self.exists = lambda path: system.call("exists", path)


class _Entries(list[Any]):
    def __init__(self, entries: Iterator[Any]) -> None:
        super().__init__(entries)

    def __enter__(self) -> _Entries:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class _Entry:
    """A file of a folder that was listed. Its time is no step: where it fails, the file is gone, and left alone."""

    st_mtime = 0.0

    def __init__(self, call: Callable[..., Any], path: str) -> None:
        self._call, self._path, self.name = call, path, os.path.basename(path)

    def is_file(self) -> bool:
        return True

    def stat(self) -> _Entry:
        return self


def patch(system: System, monkeypatch: Any, *, folders: bool) -> None:
    """Have the store's modules call this system, for all that a store in a folder does, or for attempts alone."""
    from dataprophet.store import base, folder, journal, objects

    class Place:
        def __init__(self, path: Any) -> None:
            self._path = str(path)

        def __str__(self) -> str:
            return self._path

        def __truediv__(self, name: str) -> Place:
            return Place(f"{self._path}/{name}")

        def is_dir(self) -> bool:
            return bool(system.call("exists", self._path))

        is_file = is_dir

        def touch(self) -> None:
            system.call("touch", self._path)

        def read_bytes(self) -> bytes:
            return bytes(system.call("read", self._path))

        def write_bytes(self, data: bytes) -> None:
            system.call("write", self._path, data)

    def checksum_of_file(path: str) -> str:
        return xxhash.xxh3_128_hexdigest(system.call("read", path))

    class Clock:
        time = staticmethod(lambda: 0.0)

    for module in (base, folder, journal, objects):
        for name in ("new_attempt", "is_alive"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, getattr(system, name))
    if not folders:
        return
    monkeypatch.setattr(base, "checksum_of_file", checksum_of_file)

    class Journal:
        def __init__(self, path: str, mode: str, buffering: int) -> None:
            assert (mode, buffering) == ("ab", 0)
            self._path = path

        def __enter__(self) -> Journal:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def write(self, data: bytes) -> int:
            system.call("append", self._path, data)
            return len(data)

    monkeypatch.setattr(folder, "open", Journal, raising=False)
    for name, value in {"os": _Os(system), "Path": Place, "time": Clock}.items():
        monkeypatch.setattr(folder, name, value)


class Objects:
    """A file system of fsspec as an object store uses it; every operation is one step."""

    def __init__(self, system: System) -> None:
        self._call = self.call = system.call

    def exists(self, path: str) -> bool:
        return bool(self._call("exists", path))

    def ls(self, folder: str, detail: bool) -> list[dict[str, str]]:
        return [{"name": f"{folder}/{name}", "type": kind} for name, kind in self._call("list", folder)]

    def put_file(self, local: str, path: str) -> None:
        self._call("write", path, Path(local).read_bytes())

    def get_file(self, path: str, local: str) -> None:
        Path(local).write_bytes(self.cat_file(path))

    def pipe_file(self, path: str, data: bytes, mode: str = "overwrite") -> None:
        self._call("create" if mode == "create" else "write", path, data)

    def cat_file(self, path: str) -> bytes:
        return bytes(self._call("read", path))

    def cat(self, paths: list[str], on_error: str) -> dict[str, Any]:
        assert on_error == "return"
        found: dict[str, Any] = {}
        for path in paths:
            try:
                found[path] = self.cat_file(path)
            except OSError as error:
                found[path] = error
        return found

    def rm_file(self, path: str) -> None:
        self._call("unlink", path)
