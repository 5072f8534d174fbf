"""Files behind URLs that fsspec knows (``s3://``, ``gs://``, ``https://``, ...): listed, and copied to a bounded cache.

Readers work on local files: ``local`` gives the path of a copy, under the URL's name in every message.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import posixpath
import re
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from dataprophet.errors import DataError, MissingDependencyError

CACHE, CACHE_GB = "DATAPROPHET_CACHE", "DATAPROPHET_CACHE_GB"
"""Environment variables: the folder of the copies, and how many gigabytes they may take."""

_DEFAULT_GB = 50.0
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_WEB = ("http://", "https://")
_IDENTITY = (  # what file systems call the signs that a file has changed
    *("ETag", "etag", "md5Hash", "Content-MD5", "Digest", "generation", "VersionId", "version_id", "size", "mtime"),
    *("LastModified", "last_modified", "Last-Modified", "modified", "updated", "created"),
)
_IN_USE_S = 60.0  # a copy that was asked for so recently is not removed
_TOUCH_S = 10.0
_DAY_S = 24 * 3600.0  # an unfinished copy that was not written to for so long was left behind
_PART = ".part"
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FIX = "check the address, your rights and the connection"

_known: dict[str, tuple[str, float]] = {}  # URL -> its copy, and when it was last marked as used


def is_url(path: str) -> bool:
    """Whether ``path`` is for fsspec: a URL of any scheme but ``file``."""
    found = _SCHEME.match(path)
    return found is not None and found.group().lower() != "file://"


def plain_path(path: str) -> str:
    """A ``file://`` URL as a path; anything else as it is."""
    if path[:7].lower() != "file://":
        return path
    return urllib.request.url2pathname(urllib.parse.urlsplit(path).path)


def is_file(path: str) -> bool:
    """``os.path.isfile``, also for URLs. Raises DataError where the file system does not answer."""
    if not is_url(path):
        return os.path.isfile(path)
    if _is_page(path):
        return False
    with _answers(path):
        fs, place = _file_system(path)
        return bool(fs.isfile(place))


def is_dir(path: str) -> bool:
    """``os.path.isdir``, also for URLs. Raises DataError where the file system does not answer."""
    if not is_url(path):
        return os.path.isdir(path)
    if path.lower().startswith(_WEB) and not _is_page(path):
        return False  # fsspec would fetch the file, to look for links in it
    with _answers(path):
        fs, place = _file_system(path)
        return bool(fs.isdir(place))


def exists(path: str) -> bool:
    """``os.path.exists``, also for URLs. Raises DataError where the file system does not answer."""
    return os.path.exists(path) if not is_url(path) else is_file(path) or is_dir(path)


def names_in(folder: str) -> list[str]:
    """Names in a folder, sorted, and for URLs without those of folders."""
    if not is_url(folder):
        return sorted(os.listdir(folder))
    with _answers(folder):
        fs, place = _file_system(folder)
        entries = fs.ls(place, detail=True)
    return sorted(posixpath.basename(entry["name"]) for entry in entries if entry["type"] == "file")


def real_path(path: str) -> str:
    """``os.path.realpath``; a URL without ``.`` and ``..``, which does not leave its scheme and host."""
    if not is_url(path):
        return os.path.realpath(path)
    scheme, _, rest = path.partition("://")
    host, slash, rest = rest.partition("/")
    return f"{scheme}://{host}{slash}{posixpath.normpath('/' + rest)[1:]}".rstrip("/")


def read_bytes(url: str, limit: int) -> bytes:
    """The bytes of a small file.

    Raises:
        DataError: it cannot be read, or has more than ``limit`` bytes.
    """
    with _answers(url):
        fs, place = _file_system(url)
        data: bytes = fs.cat_file(place, start=0, end=limit + 1)
    if len(data) > limit:
        raise DataError(f"it has more than {limit} bytes", where=url, fix="point the row at an image file")
    return data


def version(url: str) -> str:
    """What tells a file's present version from others, as its file system has it: tag, size, time.

    Raises:
        DataError: it is not there, or is no file.
    """
    with _answers(url):
        fs, place = _file_system(url)
        info = fs.info(place)
    if info["type"] != "file":
        raise DataError("not a file", where=url, fix="name the file itself")
    return json.dumps({key: str(info[key]) for key in _IDENTITY if info.get(key) is not None})


def size_of(path: str) -> int:
    """Bytes of a file, without copying it. Raises DataError where it is not there, or its size is not told."""
    if not is_url(path):
        try:
            return os.stat(path).st_size
        except OSError as error:
            raise DataError(f"cannot be read ({error.strerror})", where=path, fix="check the path") from error
    with _answers(path):
        fs, place = _file_system(path)
        size = fs.size(place)
    if size is None:
        raise DataError("its size is not told", where=path, fix="copy the file")
    return int(size)


def local(path: str) -> str:
    """A local path for a path or URL. A URL is copied to the cache, unless its present version is there.

    What a URL holds is looked at once in a process; a copy that is in the way of newer ones goes and is made again when
    it is needed. Safe for several threads and processes.

    Raises:
        DataError: it cannot be copied.
        MissingDependencyError: fsspec, or the package for the scheme, is missing.
    """
    if not is_url(path):
        return path
    copy, used = _known.get(path, ("", 0.0))
    now = time.monotonic()
    if copy and now - used < _TOUCH_S and os.path.exists(copy):
        return copy
    if not copy:
        copy = _copy_name(path)
    if not _use(copy):
        _stage(path, copy)
    _known[path] = (copy, now)
    return copy


def _copy_name(url: str) -> str:
    """Where the present version of a file is copied to."""
    name = hashlib.blake2b(f"{url}\0{version(url)}".encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()
    return os.path.join(_cache_folder(), name + os.path.splitext(url)[1].lower())


def _use(copy: str) -> bool:
    """Mark a copy as used now; False where it is not there."""
    try:
        os.utime(copy)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _stage(url: str, copy: str) -> None:
    folder = os.path.dirname(copy)
    try:
        os.makedirs(folder, exist_ok=True)
        with open(f"{copy}.lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # of several that need it, one copies
            if _use(copy):
                return
            part = f"{copy}.{os.getpid()}.{threading.get_ident()}{_PART}"
            try:
                with _answers(url):
                    fs, place = _file_system(url)
                    size = fs.size(place)
                    _make_room(folder, size or 0)
                    fs.get_file(place, part)
                if size is not None and os.path.getsize(part) != size:
                    what = f"{os.path.getsize(part)} bytes came where {size} were announced"
                    raise DataError(what, where=url, fix="run the command again")
                os.replace(part, copy)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(part)
    except OSError as error:
        raise DataError(
            f"cannot be copied to {folder} ({error.strerror or error})",
            where=url,
            fix=f"free some space, or set {CACHE} to another folder",
        ) from error


def _make_room(folder: str, size: int) -> None:
    """Remove the copies that were not used for longest, until ``size`` more bytes fit the limit."""
    room = _limit() - size
    copies = []
    for entry in os.scandir(folder):
        with suppress(FileNotFoundError):
            status = entry.stat()
            copies.append((status.st_mtime, status.st_size, entry.path))
    total = sum(taken for _, taken, _ in copies)
    for used, taken, path in sorted(copies):
        if total <= room:
            break
        if time.time() - used < (_DAY_S if path.endswith(_PART) else _IN_USE_S):
            continue
        with suppress(FileNotFoundError):
            os.unlink(path)
        total -= taken


def _cache_folder() -> str:
    given = os.environ.get(CACHE)
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(given or os.path.join(base, "dataprophet"), "files")


def _limit() -> int:
    text = os.environ.get(CACHE_GB, str(_DEFAULT_GB))
    try:
        return int(float(text) * 1e9)
    except (ValueError, OverflowError):
        raise DataError(f"{CACHE_GB} is {text!r}", fix="set it to a number of gigabytes") from None


def _is_page(url: str) -> bool:
    """Whether a web address is that of a folder, which servers show as a page of links: one without a suffix."""
    return url.lower().startswith(_WEB) and not posixpath.splitext(url.partition("://")[2].partition("/")[2])[1]


def _file_system(url: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise MissingDependencyError(
            "a URL needs fsspec", where=url, fix="pip install 'dataprophet[remote]'"
        ) from error
    try:
        fs, place = url_to_fs(url)
    except ImportError as error:
        raise MissingDependencyError(_first_line(error), where=url, fix="install the package that it names") from error
    except ValueError as error:
        raise DataError(_first_line(error), where=url, fix="use a scheme that fsspec knows") from error
    return fs, str(place)


@contextmanager
def _answers(url: str) -> Iterator[None]:
    """Errors of a file system, which may be of any class, as DataError."""
    try:
        yield
    except (DataError, MissingDependencyError):
        raise
    except FileNotFoundError as error:
        raise DataError("no such file", where=url, fix="check the address") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _FULL:  # of the cache
            raise
        raise DataError(f"cannot be read ({_first_line(error)})", where=url, fix=_FIX) from error


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
