"""A store in a local folder, or in one that several machines mount."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dataprophet.errors import StoreError, require
from dataprophet.store.attempts import new_attempt
from dataprophet.store.base import JOURNALS, TEMPORARY, Store

_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class FolderStore(Store):
    """A folder whose file system has hard links, which are made only where there is no file of the name.

    Files are written under ``tmp``, forced to the disk, and renamed or linked; the folder is forced to the disk after
    that, so that a marker never outlives what it names, be it the machine that goes down.
    """

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.path = unquote(urlsplit(root).path) if root.startswith("file://") else root

    def exists(self, name: str) -> bool:
        return os.path.exists(self._path(name))

    def local(self, name: str) -> str:
        path = self._path(name)
        require(os.path.exists(path), f"{name} is missing", self.root, self.remedy, StoreError)
        return path

    def _entries(self) -> list[str]:
        with suppress(FileNotFoundError):
            return os.listdir(self.path)
        return []

    def _put(self, name: str, write: Callable[[str], None]) -> None:
        with self._temporary(os.path.basename(name), name) as temporary:
            write(temporary)
            self._force(temporary)
            self._rename(temporary, self._path(name))

    def _create(self, name: str, data: bytes) -> bool:
        with self._written(name, data) as temporary:
            try:
                self._link(temporary, self._path(name))
            except FileExistsError:
                # a network file system may have made the link, lost the answer, and tried again
                return self._holds(name, data)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                what = f"its file system cannot make hard links ({error.strerror})"
                raise StoreError(what, where=self.root, fix="choose --out on another file system") from error
        return True

    def _replace(self, name: str, data: bytes) -> None:
        with self._written(name, data) as temporary:
            self._rename(temporary, self._path(name))

    @contextmanager
    def _written(self, name: str, data: bytes) -> Iterator[str]:
        """A temporary file that holds the content of ``name``, on the disk."""
        with self._temporary(f"file.{new_attempt()}.part", name) as temporary:
            Path(temporary).write_bytes(data)
            self._force(temporary)
            yield temporary

    @contextmanager
    def _temporary(self, own: str, name: str) -> Iterator[str]:
        """Path of a temporary file that becomes ``name``, or is removed; both have their folders."""
        temporary, made = self._path(f"{TEMPORARY}/{own}"), False
        while not made:
            self._make_folders(temporary, self._path(name))
            with suppress(FileNotFoundError):  # another process ended here, and took the empty folder away
                Path(temporary).touch()
                made = True
        try:
            yield temporary
        finally:
            with suppress(OSError):
                os.unlink(temporary)

    def tidy(self) -> None:
        with suppress(OSError):  # another process has files there
            os.rmdir(self._path(TEMPORARY))

    def _force(self, path: str) -> None:
        """Have a file's content on the disk before it gets its name."""
        _sync(path)

    def _rename(self, temporary: str, final: str) -> None:
        os.replace(temporary, final)
        _sync(os.path.dirname(final))

    def _link(self, temporary: str, final: str) -> None:
        _sync(self.path)  # in which the parts' folder may be new
        os.link(temporary, final)
        _sync(os.path.dirname(final))

    def _read(self, name: str) -> bytes:
        return Path(self._path(name)).read_bytes()

    def _read_all(self, folder: str) -> dict[str, bytes]:
        path = Path(self._path(folder))
        names = sorted(os.listdir(path)) if path.is_dir() else []
        found = {}
        for name in names:
            with suppress(FileNotFoundError):  # another process removed it
                if (path / name).is_file():
                    found[name] = (path / name).read_bytes()
        return found

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            with suppress(FileNotFoundError):
                os.unlink(self._path(name))

    def _settle(self, folder: str) -> None:
        with suppress(FileNotFoundError):
            _sync(self._path(folder))

    def _ages(self, folder: str) -> dict[str, float]:
        ages = {}
        with suppress(FileNotFoundError), os.scandir(self._path(folder)) as entries:
            for entry in entries:
                if not entry.is_file():
                    continue  # such as what a desktop or a notebook keeps beside files
                with suppress(FileNotFoundError):  # another process removed it
                    ages[entry.name] = time.time() - entry.stat().st_mtime
        return ages

    def _journal_keys(self) -> list[str]:
        path = self._path(JOURNALS)
        with suppress(FileNotFoundError), os.scandir(path) as entries:
            return [entry.name for entry in entries if entry.is_file() and not entry.name.startswith(".")]
        return []

    def _journal_records(self, key: str) -> list[str]:
        with suppress(FileNotFoundError):
            return self._read(f"{JOURNALS}/{key}").decode(errors="replace").split("\n")
        return []

    def _open_journal(self, key: str, attempt: str) -> tuple[list[str], Callable[[str], None]]:
        earlier, append = self._journal_records(key), partial(self._append, f"{JOURNALS}/{key}")
        if earlier and earlier[-1]:
            append("\n")  # a record that was cut off, by a full disk
        return earlier, append

    def _forget_journal(self, key: str) -> None:
        self._remove([f"{JOURNALS}/{key}"])

    def _append(self, name: str, text: str) -> None:
        """Add text by one call of the system, so that no two processes mix theirs."""
        data, path = text.encode("utf-8", "backslashreplace"), self._path(name)
        self._make_folders(path)
        with open(path, "ab", buffering=0) as stream:
            if stream.write(data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _make_folders(self, *paths: str) -> None:
        for path in paths:
            os.makedirs(os.path.dirname(path), exist_ok=True)

    def _path(self, name: str) -> str:
        return os.path.join(self.path, name)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
