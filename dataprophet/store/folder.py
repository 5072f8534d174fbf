"""A store in a local folder, or in one that several machines mount."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dataprophet.errors import StoreError
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
        if not os.path.exists(path):
            raise StoreError(
                f"{name} is missing", where=self.root, fix="restore it, or remove the folder and score the pool again"
            )
        return path

    def _put(self, name: str, write: Callable[[str], None]) -> None:
        temporary = self._path(f"{TEMPORARY}/{os.path.basename(name)}")
        self._make_folders(temporary, self._path(name))
        try:
            write(temporary)
            self._force(temporary)
            self._rename(temporary, self._path(name))
        finally:
            with suppress(OSError):
                os.unlink(temporary)

    def _create(self, name: str, data: bytes) -> bool:
        final = self._path(name)
        temporary = self._write_temporary(final, data)
        try:
            self._link(temporary, final)
        except FileExistsError:
            # a network file system may have made the link, lost the answer, and tried again
            return Path(final).read_bytes() == data
        except OSError as error:
            if error.errno in _NO_LINKS:
                raise StoreError(
                    f"its file system cannot make hard links ({error.strerror})",
                    where=self.root,
                    fix="choose --out on another file system",
                ) from error
            raise
        finally:
            with suppress(OSError):
                os.unlink(temporary)
        return True

    def _replace(self, name: str, data: bytes) -> None:
        temporary = self._write_temporary(self._path(name), data)
        try:
            self._rename(temporary, self._path(name))
        finally:
            with suppress(OSError):
                os.unlink(temporary)

    def _write_temporary(self, final: str, data: bytes) -> str:
        temporary = self._path(f"{TEMPORARY}/file.{new_attempt()}.part")
        self._make_folders(temporary, final)
        try:
            Path(temporary).write_bytes(data)
            self._force(temporary)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        return temporary

    def _force(self, path: str) -> None:
        """Have a file's content on the disk before it gets its name."""
        _sync(path)

    def _rename(self, temporary: str, final: str) -> None:
        os.replace(temporary, final)
        _sync(os.path.dirname(final))

    def _link(self, temporary: str, final: str) -> None:
        os.link(temporary, final)
        _sync(os.path.dirname(final))

    def _read(self, name: str) -> bytes:
        return Path(self._path(name)).read_bytes()

    def _read_all(self, folder: str) -> dict[str, bytes]:
        path = Path(self._path(folder))
        return {name: (path / name).read_bytes() for name in sorted(os.listdir(path))} if path.is_dir() else {}

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            with suppress(FileNotFoundError):
                os.unlink(self._path(name))

    def _ages(self, folder: str) -> dict[str, float]:
        ages = {}
        with suppress(FileNotFoundError), os.scandir(self._path(folder)) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # another process removed it
                    ages[entry.name] = time.time() - entry.stat().st_mtime
        return ages

    def _append_log(self, name: str, text: str) -> None:
        self._append(self._path(name), text)

    def _journal_keys(self) -> list[str]:
        path = self._path(JOURNALS)
        return os.listdir(path) if os.path.isdir(path) else []

    def _journal_records(self, key: str) -> list[str]:
        try:
            text = self._read(f"{JOURNALS}/{key}").decode(errors="replace")
        except FileNotFoundError:
            return []
        return text.split("\n")

    def _open_journal(self, key: str, attempt: str) -> tuple[list[str], Callable[[str], None]]:
        earlier = self._journal_records(key)
        path = self._path(f"{JOURNALS}/{key}")
        if earlier and earlier[-1]:
            self._append(path, "\n")  # a record that was cut off, by a full disk
        return earlier, lambda text: self._append(path, text)

    def _forget_journal(self, key: str) -> None:
        self._remove([f"{JOURNALS}/{key}"])

    def _append(self, path: str, text: str) -> None:
        """Add text by one call of the system, so that no two processes mix theirs."""
        self._make_folders(path)
        stream = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            data = text.encode()
            if os.write(stream, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(stream)

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
