"""A store in an object store, through fsspec."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dataprophet.errors import MissingDependencyError, StoreError, explained, install, require
from dataprophet.store.attempts import is_alive, new_attempt
from dataprophet.store.base import JOURNALS, Store
from dataprophet.store.patience import Patient

_EXCLUSIVE = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "memory"}
"""Schemes whose file systems create an object only where there is none in one request (`If-None-Match: *` or the like).
Others look first and write then, and two processes may both find nothing."""

_CACHE = "dataprophet-store"  # how the names of local copies' folders begin
_TRIES = 3  # of a conditional write that meets another one under way, which S3 answers by asking to try again
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "created")  # how file systems call it


class ObjectStore(Store):
    """A prefix of an object store. Objects appear whole, so parts are uploaded under their final names.

    Parts are written to a local temporary folder first, and those that are read are copied there; it is removed with
    this object.

    Raises:
        MissingDependencyError: fsspec, or the package for the scheme, is missing.
        StoreError: the file system of the scheme cannot create an object only where there is none.
    """

    def __init__(self, root: str) -> None:
        super().__init__(root)
        with explained(ImportError, MissingDependencyError, "an output URL needs fsspec", root, install("remote")):
            import fsspec
        scheme = root.partition("://")[0]
        what = f"a run cannot be written through {scheme!r}, which cannot create a file only where there is none"
        fix = f"use a folder, or one of {', '.join(sorted(_EXCLUSIVE - {'memory'}))}"
        require(scheme in _EXCLUSIVE, what, root, fix, StoreError)
        what, fix = f"{scheme!r} needs a package that is missing", "install the package that it names"
        with explained(ImportError, MissingDependencyError, what, root, fix):
            fsspec.get_filesystem_class(scheme)
        with self.explained(), _as_system_errors():
            fs, path = fsspec.core.url_to_fs(root, use_listings_cache=False)
        self._fs = Patient(fs)
        self._prefix = str(path).rstrip("/")
        _remove_left_behind()
        self._cache = tempfile.mkdtemp(prefix=f"{_CACHE}.{new_attempt()}.")
        self._removal = weakref.finalize(self, shutil.rmtree, self._cache, ignore_errors=True)
        self._copying = threading.Lock()

    def close(self) -> None:
        self._removal()

    def create_once(self, name: str, document: Mapping[str, Any]) -> dict[str, Any]:
        probe = f"tmp/file.{new_attempt()}.probe"
        with self.explained():
            created = self._create(probe, b"1") and not self._create(probe, b"2")
            self._remove([probe])
        what = "the object store does not honour conditional writes (If-None-Match)"
        require(created, what, self.root, "use a folder, or an object store that does", StoreError)
        return super().create_once(name, document)

    def exists(self, name: str) -> bool:
        with self.explained():
            return bool(self._ask("exists", name))

    def local(self, name: str) -> str:
        path = os.path.join(self._cache, name)
        with self._copying, self.explained():
            if not os.path.exists(path):
                os.makedirs(os.path.dirname(path), exist_ok=True)
                self._ask("get_file", name, f"{path}.part")
                os.replace(f"{path}.part", path)
        return path

    def _entries(self) -> list[str]:
        found = [*self._list(""), *self._list("", kind="directory")]
        return [_base(entry["name"].rstrip("/")) for entry in found]

    def _put(self, name: str, write: Callable[[str], None]) -> None:
        temporary = os.path.join(self._cache, os.path.basename(name))
        try:
            write(temporary)
            with _as_system_errors():
                self._fs.put_file(temporary, f"{self._prefix}/{name}")
        finally:
            with suppress(OSError):
                os.unlink(temporary)

    def _create(self, name: str, data: bytes) -> bool:
        for attempt in range(_TRIES):
            try:
                self._ask("pipe_file", name, data, mode="create")
            except FileExistsError:
                return self._holds(name, data)  # a client may have written it, lost the answer, and tried again
            except OSError as error:
                if attempt == _TRIES - 1 or "Conflict" not in str(error):
                    raise
            else:
                return True
        raise AssertionError("unreachable")

    def _replace(self, name: str, data: bytes) -> None:
        self._ask("pipe_file", name, data)

    def _read(self, name: str) -> bytes:
        return bytes(self._ask("cat_file", name))

    def _read_all(self, folder: str) -> dict[str, bytes]:
        paths = [entry["name"] for entry in self._list(folder)]
        with _as_system_errors():
            found = self._fs.cat(paths, on_error="return") if paths else {}
            for each in found.values():
                if isinstance(each, Exception) and not isinstance(each, FileNotFoundError):
                    raise each
        # what another process removed meanwhile, such as the journal of a shard that it committed, is not there
        return {_base(path): bytes(data) for path, data in found.items() if not isinstance(data, Exception)}

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            with suppress(FileNotFoundError):
                self._ask("rm_file", name)

    def _ages(self, folder: str) -> dict[str, float]:
        now = datetime.now(UTC)
        return {_base(entry["name"]): (now - _written(entry, now)).total_seconds() for entry in self._list(folder)}

    def _append(self, name: str, text: str) -> None:
        # objects cannot be appended to: one for each time, in the order of their names
        stem, dot, suffix = name.rpartition(".")
        self._replace(f"{stem}.{time.time_ns()}-{new_attempt()}{dot}{suffix}", text.encode("utf-8", "backslashreplace"))

    def _journal_keys(self) -> list[str]:
        return [_base(entry["name"].rstrip("/")) for entry in self._list(JOURNALS, kind="directory")]

    def _journal_records(self, key: str) -> list[str]:
        return [line for data in self._read_all(f"{JOURNALS}/{key}").values() for line in data.decode().splitlines()]

    def _open_journal(self, key: str, attempt: str) -> tuple[list[str], Callable[[str], None]]:
        records: list[str] = []

        def append(text: str) -> None:
            records.append(text)
            self._replace(f"{JOURNALS}/{key}/{attempt}", "".join(records).encode())

        return self._journal_records(key), append

    def _forget_journal(self, key: str) -> None:
        self._remove([f"{JOURNALS}/{key}/{_base(entry['name'])}" for entry in self._list(f"{JOURNALS}/{key}")])

    def _list(self, folder: str, *, kind: str = "file") -> list[dict[str, Any]]:
        with suppress(FileNotFoundError):
            return [entry for entry in self._ask("ls", folder, detail=True) if entry["type"] == kind]
        return []

    def _ask(self, operation: str, name: str, *arguments: Any, **options: Any) -> Any:
        """An operation of the file system on a name below the prefix."""
        with _as_system_errors():
            return getattr(self._fs, operation)(f"{self._prefix}/{name}", *arguments, **options)


@contextmanager
def _as_system_errors() -> Iterator[None]:
    """Errors of a client library as errors of the system, which a store puts on one line."""
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise OSError(f"{type(error).__name__}: {error}") from error


def _remove_left_behind() -> None:
    """Remove local copies of processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_CACHE}.*"):
        if is_alive(folder.name.split(".")[1]) is False:
            shutil.rmtree(folder, ignore_errors=True)


def _base(path: str) -> str:
    return path.rpartition("/")[2]


def _written(entry: dict[str, Any], otherwise: datetime) -> datetime:
    """When an object was written, as its listing tells."""
    value = next((entry[key] for key in _TIMES if entry.get(key) is not None), otherwise)
    if isinstance(value, int | float):
        return datetime.fromtimestamp(value, UTC)
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
