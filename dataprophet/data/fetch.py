"""Fetching an image over http(s), for callers who allowed it: bounded in bytes and in time."""

from __future__ import annotations

import time
import urllib.error
import urllib.request
from http.client import HTTPException

from dataprophet.errors import DataError

MAX_FETCH_BYTES = 1 << 26
TIMEOUT_S = 20.0


def fetch(url: str, *, max_bytes: int = MAX_FETCH_BYTES, timeout_s: float = TIMEOUT_S) -> bytes:
    """Read ``url``; only http and https, also after redirects.

    Raises:
        DataError: another scheme, a failure, more than ``max_bytes`` bytes, or more than ``timeout_s`` seconds.
    """
    if not url.lower().startswith(("http://", "https://")):
        raise DataError("only http and https are fetched", where=url, fix="download the image and name the file")
    deadline = time.monotonic() + timeout_s
    parts: list[bytes] = []
    size = 0
    try:
        with _opener().open(url, timeout=timeout_s) as answer:
            while part := answer.read1(1 << 16):
                parts.append(part)
                size += len(part)
                if size > max_bytes:
                    raise DataError(
                        f"more than {max_bytes} bytes", where=url, fix="download the image and name the file"
                    )
                if time.monotonic() > deadline:
                    raise TimeoutError(f"more than {timeout_s:g} s")
    except (urllib.error.URLError, HTTPException, OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"cannot be fetched ({error})", where=url, fix="check the address, or download the image and name the file"
        ) from error
    return b"".join(parts)


def _opener() -> urllib.request.OpenerDirector:
    # Not build_opener: it would add handlers for file:, ftp: and data:, which a redirect must not reach.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)
    return opener
