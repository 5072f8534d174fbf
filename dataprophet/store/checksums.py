"""Checksums of what is written, verified when it is read: of files, of JSON documents, and of safetensors with a head.

For every room that reads back what this package wrote. It knows nothing of what they hold. A file is hashed by XXH3,
which is faster than any disk; a document and a head carry the hash of everything else in their file. What carries none
was written by an earlier version, and is read as it is.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.numpy import save

CHECKSUM = "checksum"

_BLANK = "0" * 32  # in the place of the checksum while it is computed
_CHUNK = 1 << 20
_DOCUMENT = re.compile(rb'\{\s*".{8}": "([0-9a-f]{32})",?')  # the key of eight letters may be what is damaged
_HEAD = re.compile(rb'\{\\"checksum\\": \\"([0-9a-f]{32})\\"')  # within a text of the metadata, which is JSON itself
_DAMAGED = "its content does not have its checksum"


def checksum_of_file(path: str | os.PathLike[str]) -> str:
    """Hex XXH3 (128 bits) of a file's bytes."""
    return _of_rest(path, xxhash.xxh3_128(), 0)


def dump_document(document: Mapping[str, Any], *, indent: int | None = None, ascii_only: bool = True) -> bytes:
    """A JSON object with the checksum of what stands behind it as its first entry."""
    try:
        text = json.dumps(document, indent=indent, ensure_ascii=ascii_only).encode()
    except UnicodeEncodeError:  # a file's name that is no Unicode
        text = json.dumps(document, indent=indent).encode()
    rest = text[1:] + b"\n"
    space = "" if indent is None else "\n" + " " * indent
    comma = "," if document else ""
    return f'{{{space}"{CHECKSUM}": "{xxhash.xxh3_128_hexdigest(rest)}"{comma}'.encode() + rest


def parse_document(data: bytes) -> dict[str, Any]:
    """The object that ``dump_document`` made bytes of.

    Raises:
        ValueError: it is damaged, or no object.
    """
    document = json.loads(data)
    if not isinstance(document, dict):
        raise ValueError("it is no object")
    told = document.pop(CHECKSUM, None)
    found = _DOCUMENT.match(data)
    proven = found is not None and xxhash.xxh3_128_hexdigest(memoryview(data)[found.end() :]).encode() == found[1]
    if proven != (told is not None):
        raise ValueError(_DAMAGED)
    return document


def dump_tensors(head: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]], *, checked: bool = True) -> bytes:
    """Content of a safetensors file with a head, whose checksum is that of all of the file.

    Args:
        head: JSON object, the metadata.
        tensors: by name.
        checked: whether it carries the checksum.
    """
    text = json.dumps(head, sort_keys=True)
    laid_out = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
    if checked:
        text = f'{{"{CHECKSUM}": "{_BLANK}", {text[1:]}'
    data = bytes(save(laid_out, {"dataprophet": text}))
    if not checked:
        return data
    start, stop = _place_in(data)
    return b"".join([data[:start], xxhash.xxh3_128_hexdigest(data).encode(), data[stop:]])


def load_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Head and tensors of a file that ``dump_tensors`` made.

    Raises:
        ValueError: it is damaged.
        SafetensorError: likewise.
        OSError: it cannot be read.
    """
    known = _require_checksum(path)
    with safe_open(path, framework="numpy") as stream:
        head = json.loads((stream.metadata() or {}).get("dataprophet", "{}"))
        tensors = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118 (not a dict)
    if not isinstance(head, dict):
        raise ValueError("its head is no object")
    if head.pop(CHECKSUM, None) is not None and not known:
        raise ValueError(_DAMAGED)
    return head, tensors


def _require_checksum(path: str | os.PathLike[str]) -> bool:
    """Compare a file with the checksum in its head; whether there is one."""
    with open(path, "rb") as stream:
        front = stream.read(8)
        size = int.from_bytes(front, "little")
        front += stream.read(min(size, os.path.getsize(path)))
    start, stop = _place_in(front)
    if not start:
        return False
    blanked = front[:start] + _BLANK.encode() + front[stop:]
    if _of_rest(path, xxhash.xxh3_128(blanked), len(front)) != front[start:stop].decode():
        raise ValueError(_DAMAGED)
    return True


def _place_in(data: bytes) -> tuple[int, int]:
    """Where the checksum of a head stands; twice 0 where there is none."""
    found = _HEAD.search(data, 8, 8 + int.from_bytes(data[:8], "little"))
    return found.span(1) if found else (0, 0)


def _of_rest(path: str | os.PathLike[str], digest: Any, start: int) -> str:
    buffer = bytearray(_CHUNK)
    with open(path, "rb", buffering=0) as stream:
        stream.seek(start)
        while count := stream.readinto(buffer):
            digest.update(memoryview(buffer)[:count])
    return str(digest.hexdigest())
