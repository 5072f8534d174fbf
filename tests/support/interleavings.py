"""Every interleaving of processes on one folder, each with a crash at any moment, over the code of ``store/`` itself.

A process is a list of acts, functions of a store. The store's modules see a file system that is a value; each of their
calls is a step. What a process does next follows from the answers that it got so far: the act is run again with them,
up to the call that has none. So a state is a value: the files, who has died, and the answers of each process. States
that are equal are looked at once, and the search ends where there is no new one.

A step that commutes with all that the others may do is taken before them (``_settled``). That is sound as long as no
process touches files that another one names after itself, and no marker changes. Both are checked at every step.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import xxhash

from dataprophet.store.checksums import parse_document

ROOT = "out"
_DEAD, _ENDED = -1, -2
_LOST = "lost"  # what an act returns that ends with the error of a network
_READER, _LAST = "reader", "last"
_TEMPORARY, _COMMITS, _ONCE = f"{ROOT}/tmp", f"{ROOT}/commits/", f"{ROOT}/run.json"


class Violation(AssertionError):
    """What must never be; the message is the way there."""


class _Suspended(BaseException):
    """The act has come to a call that no answer is known for."""


class _Failed(NamedTuple):
    number: int
    injected: bool = False  # by a network, not by the state of the files


class File(NamedTuple):
    """A name with its content. A power cut may take what is not ``forced`` to the disk, or whose name is not."""

    data: bytes = b""
    forced: bool = False
    named: bool = False


@dataclass
class Files:
    """A file system: ``folders`` tells of each whether its own name is on the disk; in an object store there are none.

    ``dead`` are the processes that have ended, and ``lost`` answers that a network lost.
    """

    files: dict[str, File] = field(default_factory=dict)
    folders: dict[str, bool] = field(default_factory=lambda: {ROOT: True})
    dead: frozenset[str] = frozenset()
    lost: int = 0

    def copy(self) -> Files:
        return Files(dict(self.files), dict(self.folders), self.dead, self.lost)

    def key(self) -> tuple[Any, ...]:
        return frozenset(self.files.items()), frozenset(self.folders.items()), self.dead, self.lost

    def below(self, folder: str) -> list[str]:
        return sorted(path for path in (*self.files, *self.folders) if os.path.dirname(path) == folder)


class Act(NamedTuple):
    """Something that a process does: what its store is asked, and what must hold of the answer.

    ``run`` gets the store, the name of the process and the value of the act before. ``check`` gets the files, the
    process and the value that ``run`` returned, and tells whether the process ends here.
    """

    run: Callable[[Any, str, Any], Any]
    check: Callable[[Files, str, Any], bool] = lambda *_: False


# --- the system, as the store's modules see it ------------------------------------------------------------------------


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
            told = any(isinstance(answer, _Failed) and answer.injected for answer in answers)
            return "end", _LOST if told else error
        return "end", value

    def call(self, *step: Any) -> Any:
        if self.pending is None:
            for answer in self._answers:
                if isinstance(answer, _Failed):
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


# --- what a step does to the files ------------------------------------------------------------------------------------


def _owner(path: str) -> str:
    """The process that a file is named after; files of a folder that all share have none."""
    parts = os.path.basename(path).split(".")
    return parts[1].partition("-")[0] if len(parts) > 2 else ""


def _settled(now: Files, lasting: bool, process: str, op: str, path: str = "", *_: Any) -> bool:
    """Whether a step commutes with all that other processes may do before it: its answer and its effect stay."""
    own, there = _owner(path) == process, path in now.files or path in now.folders
    if op in ("write", "read", "force") and own and there:
        return True
    if op == "force":  # of a folder: what is on the disk can only become more
        return True
    if op == "unlink":
        return own and not there
    if op == "makedirs":
        return there and (lasting or path != _TEMPORARY)
    lasts = path.startswith(_COMMITS) or path == _ONCE or path in now.folders
    return op in ("exists", "read") and there and lasts and path != _TEMPORARY


def _apply(now: Files, process: str, op: str, path: str = "", *rest: Any) -> tuple[Any, Files]:
    """The answer of a step, and the files after it."""
    there, folder = path in now.files, os.path.dirname(path)
    if op == "alive":
        return path not in now.dead, now
    if op == "exists":
        return there or path in now.folders, now
    if op == "list":
        return (tuple(map(os.path.basename, now.below(path))) if path in now.folders else _Failed(errno.ENOENT)), now
    if op in ("read", "stat"):
        return (now.files[path].data if there else _Failed(errno.ENOENT)), now
    after = now.copy()
    _require_right(now, process, op, *((path, *rest) if op == "replace" else rest if op == "link" else (path,)))
    if op == "makedirs":
        after.folders.setdefault(path, False)
    elif op == "rmdir":
        if path not in now.folders or now.below(path):
            return _Failed(errno.ENOENT if path not in now.folders else errno.ENOTEMPTY), now
        del after.folders[path]
    elif op == "force" and path in now.folders:
        after.files |= {name: now.files[name]._replace(named=True) for name in now.below(path) if name in now.files}
        after.folders |= {name: True for name in now.below(path) if name in now.folders}
    elif op in ("touch", "write", "append"):
        if folder not in now.folders:
            return _Failed(errno.ENOENT), now
        known = now.files.get(path, File()) if op != "write" else File()
        after.files[path] = File(known.data + b"".join(rest), named=known.named)
    elif not there:
        return _Failed(errno.ENOENT), now
    elif op == "force":
        after.files[path] = now.files[path]._replace(forced=True)
    elif op == "unlink":
        del after.files[path]
    else:
        (target,) = rest
        if os.path.dirname(target) not in now.folders:
            return _Failed(errno.ENOENT), now
        if op == "link" and target in now.files:
            return _Failed(errno.EEXIST), now
        after.files[target] = now.files[path]._replace(named=False)
        if op == "replace":
            del after.files[path]
    return None, after


def _require_right(now: Files, process: str, op: str, *paths: str) -> None:
    for path in paths:
        owner = _owner(path)
        if op != "force" and owner not in ("", process) and owner not in now.dead and path in now.files:
            raise Violation(f"{process} touches {path} of a living process")
        if op not in ("force", "link") and path in now.files and (path.startswith(_COMMITS) or path == _ONCE):
            raise Violation(f"{process} changes {path}, which others trust")


@lru_cache
def _document(data: bytes) -> dict[str, Any]:
    return parse_document(data)


def require_whole(now: Files) -> None:
    """What holds at all times: each marker is whole, and so are the parts that it names, whatever a power cut takes."""
    for path, file in now.files.items():
        if path.startswith(_COMMITS):
            marker = _document(file.data)
            for suffix, name in marker["files"].items():
                part = now.files.get(f"{ROOT}/{name}")
                if part is None or xxhash.xxh3_128_hexdigest(part.data) != marker["checksums"][suffix]:
                    raise Violation(f"{path} names {name}, which is not there as it was committed")
                folder = now.folders[os.path.dirname(f"{ROOT}/{name}")] if now.folders else True
                if not (part.forced and part.named and folder and file.forced):
                    raise Violation(f"{path} may outlive {name} at a power cut")


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


def apply_to_objects(now: Files, process: str, op: str, path: str = "", *rest: Any) -> list[tuple[Any, Files]]:
    """The same for an object store. One answer to a write may be lost; the client may then have tried again."""
    if op == "exists":
        return [(path in now.files, now)]
    if op == "list":
        names = sorted(name.removeprefix(f"{path}/") for name in now.files if name.startswith(f"{path}/"))
        each = dict.fromkeys((name.partition("/")[0], "directory" if "/" in name else "file") for name in names)
        return [(tuple(each) or _Failed(errno.ENOENT), now)]
    if op not in ("create", "write"):
        return [_apply(now, process, op, path, *rest)]
    if op == "create" and path in now.files:
        return [(_Failed(errno.EEXIST), now)]
    _require_right(now, process, op, path)
    after, lost = now.copy(), _Failed(errno.EIO, injected=True)
    after.files[path] = File(*rest, forced=True, named=True)
    if process == "last" or now.lost:
        return [(None, after)]
    nothing, anyway = (Files(each.files, each.folders, each.dead, lost=1) for each in (now, after))
    again = [(_Failed(errno.EEXIST), anyway)] if op == "create" else []
    return [(None, after), (lost, nothing), (lost, anyway), *again]


# --- the search -------------------------------------------------------------------------------------------------------


class Search:
    """All states of processes that run side by side, and of ``last``, which comes when they have ended.

    Args:
        make: opens a store for a process.
        programs: the acts of each process. Names that begin with ``reader`` are of processes that write nothing under
            names of their own: it does not matter which of them is which, and one that dies is one that waits.
        system: what the stores are patched with.
        apply: what a step may do: answers, each with the files after it.
        lasting: no process removes the folder of temporary files.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        programs: dict[str, list[Act]],
        system: System,
        apply: Callable[..., list[tuple[Any, Files]]] = lambda *step: [_apply(*step)],
        *,
        lasting: bool = False,
        deaths: int = 9,
    ) -> None:
        self._most = deaths
        self._make, self._system, self._outcomes, self._lasting = make, system, apply, lasting
        self._names = [_READER if name.startswith(_READER) else name for name in programs]
        self._programs = {_READER if name.startswith(_READER) else name: acts for name, acts in programs.items()}
        self._readers = self._names.count(_READER)
        assert self._names[: self._readers] == [_READER] * self._readers
        self._files: list[Files] = []
        self._file_ids: dict[Any, int] = {}
        self._nodes: list[tuple[str, int, Any, tuple[Any, ...]]] = []  # process, act, value before, answers
        self._steps: list[tuple[Any, ...]] = []  # of each node
        self._node_ids: dict[Any, int] = {}
        self._moves: dict[tuple[int, int], tuple[bool, list[tuple[int, int]]]] = {}
        self._deaths: dict[tuple[int, str], int] = {}

    def run(self, start: Files | None = None) -> int:
        """Look at every state; how many there are. Raises Violation."""
        first = (self._files_id(start or Files()), *(self._node(name, 0, None, ()) for name in self._names))
        came: dict[tuple[int, ...], tuple[tuple[int, ...], int, bool] | None] = {first: None}
        waiting = [first]
        state = first
        try:
            while waiting:
                state = waiting.pop()
                for who, died, after in self._next(state):
                    if after not in came:
                        came[after] = state, who, died
                        waiting.append(after)
        except Violation as violation:
            raise Violation("\n".join([*self._way(state, came), str(violation)])) from None
        return len(came)

    def _next(self, state: tuple[int, ...]) -> Iterator[tuple[int, bool, tuple[int, ...]]]:
        """Who moves, whether by dying, and the state after it."""
        now, nodes = state[0], state[1:]
        able = [who for who in range(len(nodes)) if nodes[who] != _DEAD and self._names[who] != _LAST]
        able = able or [len(nodes) - 1]
        for who in able:
            if nodes[who] != _ENDED and self._move(now, nodes[who])[0]:
                able = [who]
                break
        for who in able:
            exits = nodes[who] == _ENDED
            if self._names[who] not in (_READER, _LAST) and (exits or self._deaths_left(nodes)):
                yield who, True, self._moved(self._death(now, self._names[who]), nodes, who, _DEAD)
            if nodes[who] != _ENDED:
                for then, node in self._move(now, nodes[who])[1]:
                    yield who, False, self._moved(then, nodes, who, node)

    def _moved(self, files: int, nodes: tuple[int, ...], who: int, node: int) -> tuple[int, ...]:
        after = [*nodes]
        after[who] = node
        readers = self._readers
        if who < readers:
            after[:readers] = sorted(after[:readers])
        return (files, *after)

    def _deaths_left(self, nodes: tuple[int, ...]) -> bool:
        """Whether one more may die before its end."""
        return sum(node == _DEAD for node in nodes) < self._most

    def _death(self, now: int, name: str) -> int:
        if (now, name) not in self._deaths:
            after = self._files[now].copy()
            after.dead |= {name}
            self._deaths[now, name] = self._files_id(after)
        return self._deaths[now, name]

    def _move(self, now: int, node: int) -> tuple[bool, list[tuple[int, int]]]:
        """Whether the step of a process is settled, and what it may lead to: files, and the process after it."""
        known = self._moves.get((now, node))
        if known is None:
            (process, act, given, answers), step, files = self._nodes[node], self._steps[node], self._files[now]
            if step[0] == "end":
                known = True, [(now, self._end(files, process, act, step[1]))]
            else:
                found = self._outcomes(files, process, *step)
                after = [
                    (self._files_id(then), self._node(process, act, given, (*answers, each))) for each, then in found
                ]
                known = _settled(files, self._lasting, process, *step), after
            self._moves[now, node] = known
        return known

    def _end(self, files: Files, process: str, act: int, value: Any) -> int:
        if isinstance(value, Exception):
            raise Violation(f"{process} ends with {type(value).__name__}: {value}")
        acts = self._programs[process]
        if value is not _LOST and not acts[act].check(files, process, value) and act + 1 < len(acts):
            return self._node(process, act + 1, value, ())
        return _DEAD if process == _READER else _ENDED

    def _node(self, *node: Any) -> int:
        found = self._node_ids.get(node)
        if found is None:
            process, act, given, answers = node
            run = self._programs[process][act].run
            self._steps.append(self._system.run(process, act, lambda name: run(self._make(), name, given), answers))
            found = self._node_ids[node] = len(self._nodes)
            self._nodes.append(node)
        return found

    def _files_id(self, files: Files) -> int:
        key = files.key()
        found = self._file_ids.get(key)
        if found is None:
            require_whole(files)
            found = self._file_ids[key] = len(self._files)
            self._files.append(files)
        return found

    def _way(self, state: tuple[int, ...], came: dict[Any, Any]) -> list[str]:
        lines: list[str] = []
        while came[state] is not None:
            before, who, died = came[state]
            step = "dies" if died else " ".join(str(each)[:60] for each in self._steps[before[who + 1]])
            lines.append(f"{self._names[who]} {step}")
            state = before
        return lines[::-1]
