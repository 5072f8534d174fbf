"""Files behind URLs that fsspec knows (``s3://``, ``gs://``, ``https://``, ...): listed, and copied to a bounded cache.

Readers work on local files: ``local`` gives the path of a copy, under the URL's name in every message. ``fetch`` reads
an image over http(s) without fsspec. For all of ``data``; it knows nothing of what the files hold.
"""

# Not fsspec's own caches: they grow without bound, and several processes write a copy under the name that others read.

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
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from dataprophet.errors import (
    DataError,
    DataProphetError,
    MissingDependencyError,
    explained,
    first_line,
    install,
    require,
)
from dataprophet.store.patience import Patient

CACHE, CACHE_GB = "DATAPROPHET_CACHE", "DATAPROPHET_CACHE_GB"
"""Environment variables: the folder of the copies, and how many gigabytes they may take."""

MAX_FETCH_BYTES = 1 << 26
TIMEOUT_S = 20.0

_DEFAULT_GB = 50.0
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_WEB = ("http://", "https://")
_IDENTITY = (  # what file systems call the signs that a file has changed
    *("ETag", "etag", "md5Hash", "Content-MD5", "Digest", "generation", "VersionId", "version_id", "size", "mtime"),
    *("LastModified", "last_modified", "Last-Modified", "modified", "updated", "created"),
    *("blob_id", "xet_hash", "sha", "modificationTime", "modify"),
)
_STARTED = str(time.time_ns())
_IN_USE_S = 60.0  # a copy that was asked for so recently is not removed
_TOUCH_S = 10.0
_DAY_S = 24 * 3600.0  # an unfinished copy that was not written to for so long was left behind
_PART = ".part"
_FULL = {errno.ENOSPC, errno.EDQUOT}

_known: dict[str, tuple[str, float]] = {}  # URL -> its copy, and when it was last marked as used


def is_url(path: str) -> bool:
    """Whether ``path`` is for fsspec: a URL of any scheme but ``file``."""
    found = _SCHEME.match(path)
    return found is not None and found.group().lower() != "file://"


def plain_path(path: str) -> str:
    """A ``file://`` URL as a path; anything else as it is."""
    return urllib.request.url2pathname(urlsplit(path).path) if path[:7].lower() == "file://" else path


def is_file(path: str) -> bool:
    """``os.path.isfile``, also for URLs. Raises DataError where the file system does not answer."""
    if not is_url(path):
        return os.path.isfile(path)
    if _is_page(path):
        return False
    with _file_system(path) as (fs, place):
        return bool(fs.isfile(place))


def is_dir(path: str) -> bool:
    """``os.path.isdir``, also for URLs. Raises DataError where the file system does not answer."""
    if not is_url(path):
        return os.path.isdir(path)
    if path.lower().startswith(_WEB) and not _is_page(path):
        return False  # fsspec would fetch the file, to look for links in it
    with _file_system(path) as (fs, place):
        return bool(fs.isdir(place))


def exists(path: str) -> bool:
    """``os.path.exists``, also for URLs. Raises DataError where the file system does not answer."""
    return os.path.exists(path) if not is_url(path) else is_file(path) or is_dir(path)


def names_in(folder: str) -> list[str]:
    """Names of the files in a folder, sorted, and of its folders, which a URL leaves out."""
    if not is_url(folder):
        return sorted(os.listdir(folder))
    with _file_system(folder) as (fs, place):
        entries = fs.ls(place, detail=True)
    return sorted(posixpath.basename(entry["name"]) for entry in entries if entry["type"] == "file")


def files_below(folder: str) -> list[str]:
    """Names, with ``/``, of the files in a folder and in the folders below it, sorted; hidden ones are left out."""
    if is_url(folder):
        with _file_system(folder) as (fs, place):
            names = [posixpath.relpath(name, place) for name in fs.find(place)]
    else:
        each = ((os.path.relpath(top, folder), file) for top, _, files in os.walk(folder) for file in files)
        names = [os.path.normpath(os.path.join(top, file)).replace(os.sep, "/") for top, file in each]
    return sorted(name for name in names if not any(part.startswith((".", "_")) for part in name.split("/")))


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
    with _file_system(url) as (fs, place):
        data: bytes = fs.cat_file(place, start=0, end=limit + 1)
    require(len(data) <= limit, f"it has more than {limit} bytes", url, "point the row at an image file")
    return data


def version(url: str) -> str:
    """What tells a file's present version from others, as its file system has it: tag, size, time.

    Where it has none of these, the file is another one in every process.

    Raises:
        DataError: it is not there, or is no file.
    """
    with _file_system(url) as (fs, place):
        info = fs.info(place)
    require(info["type"] == "file", "not a file", url, "name the file itself")
    found = {key: str(info[key]) for key in _IDENTITY if info.get(key) is not None}
    return json.dumps(found or {"asked": _STARTED})


def size_of(path: str) -> int:
    """Bytes of a file, without copying it. Raises DataError where it is not there, or its size is not told."""
    if not is_url(path):
        with explained(OSError, DataError, "cannot be read", path, "check the path"):
            return os.stat(path).st_size
    with _file_system(path) as (fs, place):
        size = fs.size(place)
    require(size is not None, "its size is not told", path, "copy the file")
    return int(size)


def local(path: str) -> str:
    """A local path for a path or URL. A URL is copied to the cache, unless its present version is there.

    What a URL holds is looked at once in a process; a copy that is in the way of newer ones goes and is made again when
    it is needed. Safe for several threads and processes.

    Raises:
        DataError: it cannot be copied, or is a pipe or a device.
        MissingDependencyError: fsspec, or the package for the scheme, is missing.
    """
    if not is_url(path):
        whole = os.path.isfile(path) or os.path.isdir(path) or not os.path.exists(path)
        require(whole, "is not a regular file", path, "remove it from the data")  # to open a pipe may take for ever
        return path
    copy, used = _known.get(path, ("", 0.0))
    now = time.monotonic()
    if copy and now - used < _TOUCH_S and os.path.exists(copy):
        return copy
    if not copy:  # named after the present version
        name = hashlib.blake2b(f"{path}\0{version(path)}".encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()
        copy = os.path.join(_cache_folder(), name + os.path.splitext(path)[1].lower())
    if not _mark_used(copy):
        _make_copy(path, copy)
    _known[path] = (copy, now)
    return copy


def _mark_used(copy: str) -> bool:
    """Mark a copy as used now; False where it is not there."""
    with suppress(FileNotFoundError, NotADirectoryError):
        os.utime(copy)
        return True
    return False


def _make_copy(url: str, copy: str) -> None:
    folder = os.path.dirname(copy)
    fix = f"free some space, or set {CACHE} to another folder"
    with explained(OSError, DataError, f"cannot be copied to {folder}", url, fix):
        os.makedirs(folder, exist_ok=True)
        with open(f"{copy}.lock", "wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # of several that need it, one copies
            if _mark_used(copy):
                return
            part = f"{copy}.{os.getpid()}.{threading.get_ident()}{_PART}"
            try:
                with _file_system(url) as (fs, place):
                    size = fs.size(place)
                    _make_room(folder, size or 0)
                    fs.get_file(place, part)
                came = os.path.getsize(part)
                what = f"{came} bytes came where {size} were announced"
                require(size in {None, came}, what, url, "run the command again")
                os.replace(part, copy)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(part)


def _make_room(folder: str, size: int) -> None:
    """Remove the copies that were not used for longest, until ``size`` more bytes fit the limit."""
    text = os.environ.get(CACHE_GB, str(_DEFAULT_GB))
    fix = "set it to a number of gigabytes"
    with explained((ValueError, OverflowError), DataError, f"{CACHE_GB} is {text!r}", "", fix):
        room = int(float(text) * 1e9) - size
    copies = []
    for entry in os.scandir(folder):
        with suppress(FileNotFoundError):
            status = entry.stat()
            copies.append((status.st_mtime, status.st_size, entry.path))
    total = sum(taken for _, taken, _ in copies)
    for used, taken, path in sorted(copies):
        if total <= room:
            break
        if time.time() - used >= (_DAY_S if path.endswith(_PART) else _IN_USE_S):
            with suppress(FileNotFoundError):
                os.unlink(path)
            total -= taken


def _cache_folder() -> str:
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(os.environ.get(CACHE) or os.path.join(base, "dataprophet"), "files")


def _is_page(url: str) -> bool:
    """Whether a web address is that of a folder, which servers show as a page of links: one without a suffix."""
    return url.lower().startswith(_WEB) and not posixpath.splitext(url.partition("://")[2].partition("/")[2])[1]


def check_upload(url: str, last: str, *, overwrite: bool) -> None:
    """See whether a folder can be uploaded to a URL.

    Raises:
        DataError: nothing can be written there, or something is there; with ``overwrite``, without a file ``last``.
    """
    with _file_system(url, "cannot be written") as (fs, place):
        probe = f"{place}/.dataprophet-{os.urandom(8).hex()}"
        fs.pipe_file(probe, b"")
        fs.rm_file(probe)
        fs.invalidate_cache()
        there = {name.rpartition("/")[2] for name in fs.find(place, maxdepth=1)}
        full = there or fs.find(place)
    other = "choose another name"
    require(not full or overwrite, "already exists", url, f"{other}, or allow overwriting (overwrite=True)")
    require(not full or last in there, f"holds no {last}, so it is not overwritten", url, other)


def upload(folder: str, url: str, last: str) -> None:
    """Upload the files of a local folder in the place of those at a URL, of which ``last`` goes first and comes last.

    Raises:
        DataError: it cannot be written. Then there is no file ``last``.
    """
    names = [os.path.relpath(os.path.join(top, file), folder) for top, _, files in os.walk(folder) for file in files]
    with _file_system(url, "cannot be written") as (fs, place):
        fs.invalidate_cache()
        old = fs.find(place)
        new = {f"{place}/{name}": os.path.join(folder, name) for name in sorted(names, key=lambda name: name == last)}
        for name in sorted(old, key=lambda name: name != f"{place}/{last}"):
            if name not in new or name == f"{place}/{last}":
                fs.rm_file(name)
        for name, path in new.items():
            fs.put_file(path, name)
        fs.invalidate_cache()


@contextmanager
def _file_system(url: str, failed: str = "cannot be read") -> Iterator[tuple[Any, str]]:
    """The file system of a URL, and the file's place in it. Its errors, which may be of any class, become DataError."""
    try:
        from fsspec.core import url_to_fs

        fs, place = url_to_fs(url)
        yield Patient(fs), str(place).rstrip("/") or "/"
    except DataProphetError:
        raise
    except ImportError as error:
        what, fix = f"a URL needs a package ({first_line(error)})", f"{install('remote')}, and what it names"
        raise MissingDependencyError(what, where=url, fix=fix) from error
    except FileNotFoundError as error:
        raise DataError("no such file", where=url, fix="check the address") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _FULL:  # of the cache
            raise
        fix = "check the address, your rights and the connection, and use a scheme that fsspec knows"
        raise DataError(f"{failed} ({first_line(error)})", where=url, fix=fix) from error


def fetch(url: str, *, max_bytes: int = MAX_FETCH_BYTES, timeout_s: float = TIMEOUT_S) -> bytes:
    """Read an image for callers who allowed it: only http and https, also after redirects, bounded in bytes and time.

    Raises:
        DataError: another scheme, a failure, more than ``max_bytes`` bytes, or more than ``timeout_s`` seconds.
    """
    fix = "download the image and name the file"
    require(url.lower().startswith(_WEB), "only http and https are fetched", url, fix)
    deadline, kinds = time.monotonic() + timeout_s, (HTTPException, OSError, ValueError)
    data = bytearray()
    with (
        explained(kinds, DataError, "cannot be fetched", url, f"check the address, or {fix}"),
        _opener().open(url, timeout=timeout_s) as answer,
    ):
        while part := answer.read1(1 << 16):
            data += part
            require(len(data) <= max_bytes, f"more than {max_bytes} bytes", url, fix)
            if time.monotonic() > deadline:
                raise TimeoutError(f"more than {timeout_s:g} s")
    return bytes(data)


def _opener() -> urllib.request.OpenerDirector:
    # Not build_opener: it would add handlers for file:, ftp: and data:, which a redirect must not reach.
    opener, kinds = urllib.request.OpenerDirector(), "HTTP HTTPS HTTPDefaultError HTTPRedirect Proxy Unknown"
    for handler in (*(f"{kind}Handler" for kind in kinds.split()), "HTTPErrorProcessor"):
        opener.add_handler(getattr(urllib.request, handler)())
    return opener
