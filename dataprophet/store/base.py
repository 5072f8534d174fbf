"""The output folder of a run: parts of shards written under names of their own, and markers that say which count."""

from __future__ import annotations

import errno
import os
import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from dataprophet.errors import StoreError, explained, require
from dataprophet.store.attempts import is_alive, new_attempt
from dataprophet.store.checksums import checksum_of_file, dump_document, parse_document
from dataprophet.store.journal import Journal, crashes_of

DATA, COMMITS, JOURNALS, LOGS, TEMPORARY = "data", "commits", "journal", "logs", "tmp"
"""Folders within the output folder, beside those that callers of ``write`` name."""

ORPHAN_AGE = 24 * 3600.0
"""Seconds after which an uncommitted file of a process on another machine is taken for left behind."""

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_REFUSED = {errno.EROFS, errno.EACCES, errno.EPERM}


_MARKER = re.compile(r"[^.]+\.json")
_OURS = re.compile(r"[^.]+\.[^.]+")  # not what programs that copy or show folders leave there


class Store(ABC):
    """An output folder. Readers trust its markers only: what no marker names does not exist for them.

    Parts of a shard get names that no other attempt uses and are complete before the marker is made, by an operation
    that fails where the marker exists. So of any number of processes on a shard exactly one commits it, and a process
    that dies at any moment leaves either a whole shard or files that ``collect`` removes.

    Attributes:
        root: the folder or its URL, as given.
        stopping: set by ``stop``; open journals then raise ``Stopped``.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.stopping = threading.Event()
        self._verified: set[str] = set()  # parts
        self._journals: list[Journal] = []
        self._lock = threading.Lock()

    def create_once(self, name: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Store a document, such as the configuration of a run, unless there is one of that name.

        Returns:
            The document that is there now: the given one, or that of the process that came first.
        """
        self.write_document(name, document, replace=False)
        return self.document(name)

    def write_document(
        self, name: str, document: Mapping[str, Any], *, replace: bool = True, indent: int | None = 1
    ) -> bool:
        """Write a JSON document with its checksum, on one line without ``indent``; as ``write``."""
        return self.write(name, dump_document(document, indent=indent), replace=replace)

    def document(self, name: str) -> dict[str, Any]:
        """A JSON document, compared with its checksum. Raises StoreError where it is damaged."""
        return self._parsed(name, self.read(name))

    def markers(self) -> dict[str, dict[str, Any]]:
        """Marker of every committed shard by its key.

        ``files`` in it gives the name of each part by its suffix, and ``checksums`` what it holds.
        """
        with self.explained():
            found = {name: data for name, data in self._read_all(COMMITS).items() if _MARKER.fullmatch(name)}
        return {name.removesuffix(".json"): self._parsed(f"{COMMITS}/{name}", data) for name, data in found.items()}

    def tidy(self) -> None:
        """Remove, at the end of a run, the folder in which nothing is left."""
        return

    def done(self, key: str) -> bool:
        """Whether a shard is committed."""
        return self.exists(_marker(key))

    def commit(self, key: str, parts: Mapping[str, Callable[[str], None]], marker: Mapping[str, Any]) -> bool:
        """Commit a shard, unless another process has.

        Args:
            key: the shard's key, without dots.
            parts: for each part its suffix, and a function that writes it to a local path.
            marker: what the marker says; ``files``, their ``checksums`` and ``attempt`` are added.

        Returns:
            Whether this call committed it. If not, what it wrote is removed.

        Raises:
            StoreError: the disk is full, or the folder cannot be written. Nothing is committed then.
        """
        attempt = new_attempt()
        names = {suffix: f"{DATA}/{key}.{attempt}.{suffix}" for suffix in parts}
        checksums: dict[str, str] = {}

        def written(suffix: str, path: str) -> None:
            parts[suffix](path)
            checksums[suffix] = checksum_of_file(path)

        document = {**marker, "attempt": attempt, "files": names, "checksums": checksums}
        try:
            with self.explained():
                for suffix in parts:
                    self._put(names[suffix], partial(written, suffix))
            self.write_document(_marker(key), document, replace=False)
        finally:
            # also after an error, which may have come once the marker was there: then its files stay
            won = self._committed_by(key) == attempt
            if not won:
                with suppress(OSError):
                    self._remove(names.values())
        with suppress(OSError):
            self._forget_journal(key)
        return won

    def _committed_by(self, key: str) -> str | None:
        """The attempt that committed a shard, unless there is none, or it was withdrawn."""
        with self.explained(), suppress(FileNotFoundError):
            return str(self._parsed(_marker(key), self._read(_marker(key)))["attempt"])
        return None

    def withdraw(self, markers: Mapping[str, Mapping[str, Any]]) -> None:
        """Take commits back, by their keys and markers. The markers go first: nothing names what is gone.

        Of two that do so at once, one may take back what was committed in between; it is then computed once more.
        """
        self.remove(map(_marker, markers))
        with self.explained():
            self._settle(COMMITS)
        self.remove(str(name) for marker in markers.values() for name in marker["files"].values())

    def write(self, name: str, data: bytes, *, replace: bool = False) -> bool:
        """Write a file that appears whole or not at all.

        Args:
            name: its name within the folder.
            data: its content.
            replace: replace what is there; otherwise that stays.

        Returns:
            Whether it was written.
        """
        with self.explained():
            if not replace:
                return self._create(name, data)
            self._replace(name, data)
            return True

    def read(self, name: str) -> bytes:
        """Content of a file."""
        with self.explained():
            return self._read(name)

    def require_own(self, names: Iterable[str], fix: str) -> None:
        """Refuse a folder that holds something, and nothing of these names. Raises StoreError."""
        with self.explained():
            found = [name for name in sorted(self._entries()) if not name.startswith(".")]
        what = f"holds something else ({', '.join(found[:3])})"
        require(not found or {*found} & {*names}, what, self.root, fix, StoreError)

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, those that are there."""
        with self.explained():
            self._remove(names)

    def names(self, folder: str) -> list[str]:
        """Names of the files of a folder, sorted, without those of other programs."""
        wanted = _MARKER if folder == COMMITS else _OURS
        with self.explained():
            return [f"{folder}/{name}" for name in sorted(self._ages(folder)) if wanted.fullmatch(name)]

    def log(self, key: str, text: str) -> None:
        """Add lines, with the time, to the log of a shard. A log that cannot be written is no reason to stop."""
        now = time.strftime("%Y-%m-%d %H:%M:%S")
        lines = "".join(f"{now} {line}\n" for line in text.splitlines())
        with suppress(OSError):
            self._append(f"{LOGS}/{key}.log", lines)

    def journal(self, key: str) -> Journal:
        """A journal for an attempt at a shard."""
        attempt = new_attempt()
        with self.explained():
            earlier, append = self._open_journal(key, attempt)
        made = Journal(attempt, earlier, self.explained()(append), self.stopping)
        with self._lock:
            self._journals = [*(item for item in self._journals if not item.closed), made]
        return made

    def crashes(self, key: str) -> dict[str, int]:
        """What earlier attempts at a shard died of, as ``Journal.crashes``."""
        with self.explained():
            return dict(crashes_of(self._journal_records(key)))

    def suspects(self) -> set[str]:
        """Keys of shards at which an earlier attempt died and that are not committed since."""
        with self.explained():
            return {key for key in self._journal_keys() if self.crashes(key)}

    def stop(self) -> None:
        """Have all shards that this object's journals are open for be dropped at their next cell."""
        self.stopping.set()

    def abandon(self) -> None:
        """Close all journals, before the process is ended with work under way that is not to blame."""
        for journal in self._journals:
            with suppress(StoreError):
                journal.close()

    def close(self) -> None:  # noqa: B027 (a folder has nothing to close)
        """Remove local copies; only needed where the process is ended without Python's own clearing up."""

    def collect(self) -> list[str]:
        """Remove what dead processes left behind; returns the names.

        That is parts that no marker names, and temporary files, whose process has ended; of processes on other
        machines, those older than ``ORPHAN_AGE``. What running processes are writing stays. Journals of committed
        shards go, too.
        """
        with self.explained():
            # In this order. A file's process is seen dead before markers are read: it can make no marker after that.
            dead = self._files_of_the_dead()
            markers = self.markers() if dead else {}
            named = {name for marker in markers.values() for name in marker["files"].values()}
            orphans = [name for name in dead if name not in named]
            self._remove(orphans)
            for key in self._journal_keys():
                if self.done(key):  # by another process than the one that died
                    self._forget_journal(key)
        return orphans

    def _files_of_the_dead(self) -> list[str]:
        ages = {f"{folder}/{name}": age for folder in (DATA, TEMPORARY) for name, age in self._ages(folder).items()}
        return [name for name, age in ages.items() if _left_behind(os.path.basename(name), age)]

    @contextmanager
    def explained(self) -> Iterator[None]:
        """Turn the errors of a file system into one line that names the folder."""
        try:
            yield
        except OSError as error:
            reason = os.strerror(error.errno) if error.errno else str(error) or type(error).__name__
            if error.errno in _FULL or "No space left" in str(error):
                what, fix = "no space is left", "make room, then run the same command again"
            elif error.errno in _REFUSED:
                what, fix = "cannot be written", "choose a place that you can write to"
            else:
                fix = "check the folder, its rights and free space"
                fix = "check the address, your credentials and the connection" if "://" in self.root else fix
                what = "cannot be used"
                reason += f" {os.path.basename(error.filename)!r}" if isinstance(error.filename, str) else ""
            raise StoreError(f"{what} ({reason})", where=self.root, fix=fix) from error

    def part(self, marker: Mapping[str, Any], suffix: str) -> str:
        """Local path of a committed part, which is compared with its checksum when it is first asked for.

        Raises:
            StoreError: it is missing, or damaged.
        """
        name = str(marker["files"][suffix])
        path, known = self.local(name), marker.get("checksums", {}).get(suffix)  # earlier versions tell none
        if known is not None and name not in self._verified:
            with self.explained():
                same = checksum_of_file(path) == known
            require(same, f"{name} is damaged: it is not what was committed", self.root, self.remedy, StoreError)
            self._verified.add(name)
        return path

    @property
    def remedy(self) -> str:
        """What helps against damage, as the fix of an error."""
        return f"remove what is damaged by `dataprophet check {self.root} --repair`, then run the same command again"

    def _parsed(self, name: str, data: bytes) -> dict[str, Any]:
        with explained(ValueError, StoreError, f"damaged {name}", self.root, self.remedy):
            document = parse_document(data)
        whole = "files" in document or not name.startswith(f"{COMMITS}/")
        require(whole, f"damaged {name}", self.root, self.remedy, StoreError)
        return document

    def _holds(self, name: str, data: bytes) -> bool:
        """Whether a file that was there holds this, and is there still."""
        with suppress(FileNotFoundError):
            return self._read(name) == data
        return False

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether there is a file."""

    @abstractmethod
    def local(self, name: str) -> str:
        """Local path of a file that is never changed: a part that a marker names, or a target's profile."""

    @abstractmethod
    def _entries(self) -> list[str]:
        """Names of the files and folders in the folder; none where there is no folder."""

    @abstractmethod
    def _put(self, name: str, write: Callable[[str], None]) -> None:
        """Have a part written, and on the disk, under its name."""

    @abstractmethod
    def _create(self, name: str, data: bytes) -> bool:
        """Write a file, whole and on the disk, only if there is none; whether it was written."""

    @abstractmethod
    def _replace(self, name: str, data: bytes) -> None:
        """Write a file, whole and on the disk."""

    @abstractmethod
    def _read(self, name: str) -> bytes: ...

    @abstractmethod
    def _read_all(self, folder: str) -> dict[str, bytes]:
        """Content of every file of a folder by its name there; nothing where there is no folder."""

    @abstractmethod
    def _remove(self, names: Iterable[str]) -> None:
        """Remove files, those that are there."""

    def _settle(self, folder: str) -> None:
        """Have what was removed from a folder be gone from the disk, too."""
        return

    @abstractmethod
    def _ages(self, folder: str) -> dict[str, float]:
        """Seconds since each file of a folder was written, by its name there."""

    @abstractmethod
    def _append(self, name: str, text: str) -> None:
        """Add text to a log."""

    @abstractmethod
    def _journal_keys(self) -> list[str]:
        """Keys of shards that have a journal."""

    @abstractmethod
    def _journal_records(self, key: str) -> list[str]: ...

    @abstractmethod
    def _open_journal(self, key: str, attempt: str) -> tuple[list[str], Callable[[str], None]]:
        """Records of earlier attempts, and what adds one for this attempt."""

    @abstractmethod
    def _forget_journal(self, key: str) -> None: ...


def _marker(key: str) -> str:
    return f"{COMMITS}/{key}.json"


def _left_behind(name: str, age: float) -> bool:
    """Whether the process that wrote ``<key>.<attempt>.<suffix>`` will do nothing more with it."""
    key, _, rest = name.partition(".")
    attempt, _, suffix = rest.partition(".")
    if not (key and suffix):
        return False  # of another program
    alive = is_alive(attempt)
    return age > ORPHAN_AGE if alive is None else not alive
