"""A file system that is a value, what a step of a process does to it, and what must hold of it at all times.

For ``interleavings.py``, which knows how processes come to their steps.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import xxhash

from dataprophet.store.checksums import parse_document

ROOT = "out"
_TEMPORARY, _COMMITS, _ONCE = f"{ROOT}/tmp", f"{ROOT}/commits/", f"{ROOT}/run.json"


class Violation(AssertionError):
    """What must never be; the message is the way there."""


class Failed(NamedTuple):
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

    ``dead`` are the processes that have ended, and ``lost`` answers that a network lost. Where ``withdrawn``, those
    that are called ``retrier`` may remove markers, and what these name.
    """

    files: dict[str, File] = field(default_factory=dict)
    folders: dict[str, bool] = field(default_factory=lambda: {ROOT: True})
    dead: frozenset[str] = frozenset()
    lost: int = 0
    withdrawn: bool = False

    def copy(self) -> Files:
        return Files(dict(self.files), dict(self.folders), self.dead, self.lost, self.withdrawn)

    def key(self) -> tuple[Any, ...]:
        return frozenset(self.files.items()), frozenset(self.folders.items()), self.dead, self.lost, self.withdrawn

    def below(self, folder: str) -> list[str]:
        return sorted(path for path in (*self.files, *self.folders) if os.path.dirname(path) == folder)


def _owner(path: str) -> str:
    """The process that a file is named after; files of a folder that all share have none."""
    parts = os.path.basename(path).split(".")
    return parts[1].partition("-")[0] if len(parts) > 2 else ""


def settled(now: Files, lasting: bool, process: str, op: str, path: str = "", *_: Any) -> bool:
    """Whether a step commutes with all that other processes may do before it: its answer and its effect stay.

    Markers do, unless some process is there that withdraws them.
    """
    own, there = _owner(path) == process, path in now.files or path in now.folders
    if op in ("write", "read", "force") and own and there:
        return True
    if op == "force":  # of a folder: what is on the disk can only become more
        return True
    if op == "unlink":
        return own and not there
    if op == "makedirs":
        return there and (lasting or path != _TEMPORARY)
    markers = path.startswith(_COMMITS) and not now.withdrawn
    lasts = markers or path == _ONCE or path in now.folders
    return op in ("exists", "read") and there and lasts and path != _TEMPORARY


def _apply(now: Files, process: str, op: str, path: str = "", *rest: Any) -> tuple[Any, Files]:
    """The answer of a step, and the files after it."""
    there, folder = path in now.files, os.path.dirname(path)
    if op == "alive":
        return path not in now.dead, now
    if op == "exists":
        return there or path in now.folders, now
    if op == "list":
        return (tuple(map(os.path.basename, now.below(path))) if path in now.folders else Failed(errno.ENOENT)), now
    if op in ("read", "stat"):
        return (now.files[path].data if there else Failed(errno.ENOENT)), now
    after = now.copy()
    _require_right(now, process, op, *((path, *rest) if op == "replace" else rest if op == "link" else (path,)))
    if op == "makedirs":
        after.folders.setdefault(path, False)
    elif op == "rmdir":
        if path not in now.folders or now.below(path):
            return Failed(errno.ENOENT if path not in now.folders else errno.ENOTEMPTY), now
        del after.folders[path]
    elif op == "force" and path in now.folders:
        after.files |= {name: now.files[name]._replace(named=True) for name in now.below(path) if name in now.files}
        after.folders |= {name: True for name in now.below(path) if name in now.folders}
    elif op in ("touch", "write", "append"):
        if folder not in now.folders:
            return Failed(errno.ENOENT), now
        known = now.files.get(path, File()) if op != "write" else File()
        after.files[path] = File(known.data + b"".join(rest), named=known.named)
    elif not there:
        return Failed(errno.ENOENT), now
    elif op == "force":
        after.files[path] = now.files[path]._replace(forced=True)
    elif op == "unlink":
        del after.files[path]
    else:
        (target,) = rest
        if os.path.dirname(target) not in now.folders:
            return Failed(errno.ENOENT), now
        if op == "link" and target in now.files:
            return Failed(errno.EEXIST), now
        after.files[target] = now.files[path]._replace(named=False)
        if op == "replace":
            del after.files[path]
    return None, after


def apply_to_folder(now: Files, process: str, op: str, path: str = "", *rest: Any) -> list[tuple[Any, Files]]:
    """What a step may do to a folder: answers, each with the files after it. Here it is one."""
    return [_apply(now, process, op, path, *rest)]


def _require_right(now: Files, process: str, op: str, *paths: str) -> None:
    if now.withdrawn and op == "unlink" and process.startswith("retrier"):
        return  # that nothing names what is gone is required of every state
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


def apply_to_objects(now: Files, process: str, op: str, path: str = "", *rest: Any) -> list[tuple[Any, Files]]:
    """The same for an object store. One answer to a write may be lost; the client may then have tried again."""
    if op == "exists":
        return [(path in now.files, now)]
    if op == "list":
        names = sorted(name.removeprefix(f"{path}/") for name in now.files if name.startswith(f"{path}/"))
        each = dict.fromkeys((name.partition("/")[0], "directory" if "/" in name else "file") for name in names)
        return [(tuple(each) or Failed(errno.ENOENT), now)]
    if op not in ("create", "write"):
        return [_apply(now, process, op, path, *rest)]
    if op == "create" and path in now.files:
        return [(Failed(errno.EEXIST), now)]
    _require_right(now, process, op, path)
    after, lost = now.copy(), Failed(errno.EIO, injected=True)
    after.files[path] = File(*rest, forced=True, named=True)
    if process == "last" or now.lost:
        return [(None, after)]
    nothing, anyway = (Files(each.files, each.folders, each.dead, 1, each.withdrawn) for each in (now, after))
    again = [(Failed(errno.EEXIST), anyway)] if op == "create" else []
    return [(None, after), (lost, nothing), (lost, anyway), *again]
