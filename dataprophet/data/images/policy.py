"""Which images a dataset's rows may name, and the source of each: a file below its roots, bytes, base64, an address.

For the parsers of formats, which give image values as they stand in a row. It knows nothing of what is around them.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from dataprophet.data.files.arrow import Cell
from dataprophet.data.files.rows import BadRow, kind_of, short
from dataprophet.data.files.tar import Member
from dataprophet.data.images import sources as images
from dataprophet.data.images.decode import MAX_PIXELS
from dataprophet.data.remote import is_file, is_url, real_path

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# Base64 of the first bytes of JPEG, PNG, GIF, RIFF (WebP), and the two TIFF orders.
_BASE64_STARTS = ("/9j/", "iVBORw0KGgo", "R0lGOD", "UklGR", "SUkq", "TU0AK", "data:image/")
_SHORTEST_BASE64 = 64
_BASE64_KEYS = ("base64", "data")
_LONGEST_NAME = 512
_FOLDERS_KEPT = 4096


def looks_like_base64(text: str) -> bool:
    """Whether text begins as base64 of an image does, or as a ``data:`` URI of one."""
    return text.startswith(_BASE64_STARTS) and len(text) >= _SHORTEST_BASE64


@lru_cache(64)
def _starts(roots: tuple[str, ...]) -> tuple[str, ...]:
    """With what paths in these folders start."""
    return tuple(os.path.join(root, "") for root in roots)


@dataclass(frozen=True, slots=True)
class ImagePolicy:
    """Which images a dataset's rows may name.

    Attributes:
        roots: folders, resolved, or URLs. Relative paths are looked up in them in order; files outside them are
            refused. What only the last one can hold, and is a URL, is looked for when the image is read.
        given: how many of them, the first ones, the user named.
        allow_outside: read files outside the roots.
        allow_urls: accept http(s) addresses.
        max_pixels: limit given to every image.
    """

    roots: tuple[str, ...] = ()
    allow_outside: bool = False
    allow_urls: bool = False
    max_pixels: int = MAX_PIXELS
    given: int = 0
    _real_folder: Callable[[str], str] = field(
        default_factory=lambda: lru_cache(_FOLDERS_KEPT)(os.path.realpath), repr=False, compare=False
    )

    def beside(self, folder: str) -> ImagePolicy:
        """The policy of rows whose data file lies in this folder: it comes before the dataset's other folders."""
        if is_url(folder) or self.roots[self.given : self.given + 1] == (own := self._real_folder(folder),):
            return self
        return replace(self, roots=(*self.roots[: self.given], own, *self.roots[self.given :]))

    def source(self, value: Any, place: str) -> images.ImageSource:
        """The source of an image value: path, URL, data URI, base64, bytes, a struct of these, cell, member, a source.

        Raises:
            BadRow: none of these, or a file that is missing or must not be read.
        """
        limit = self.max_pixels
        if isinstance(value, str):  # nearly always, and ImageSource is slow to ask for
            return self._named(value.strip(), place)
        if isinstance(value, Cell):
            return images.CellImage(value, max_pixels=limit)
        if isinstance(value, Member):
            return images.TarImage(value, max_pixels=limit)
        if isinstance(value, images.ImageSource):
            return replace(value, max_pixels=limit)
        if isinstance(value, dict) and value.get("bytes") is not None:
            value = value["bytes"]
        elif isinstance(value, dict) and (text := next((value[key] for key in _BASE64_KEYS if value.get(key)), None)):
            value = text if not isinstance(text, str) or text[:5].lower() == "data:" else f"data:;base64,{text}"
        elif isinstance(value, dict):
            value = next((value[key] for key in ("path", "url", "image") if value.get(key)), None)
        if isinstance(value, bytes):
            return images.BytesImage(value, f"{place} image", max_pixels=limit)
        if not isinstance(value, str):
            raise BadRow("bad_row", f"an image is {kind_of(value)}", "give a path, base64 text, or a bytes/path struct")
        return self._named(value.strip(), place)

    def _named(self, text: str, place: str) -> images.ImageSource:
        """The source of an image that a text names or holds."""
        limit = self.max_pixels
        if not text:
            raise BadRow("bad_row", "an image is empty", "give a path, base64 text, or a bytes/path struct")
        if looks_like_base64(text) or text[:5].lower() == "data:" or (len(text) > _LONGEST_NAME and "." not in text):
            return images.Base64Image(text, f"{place} image", max_pixels=limit)
        if scheme := _SCHEME.match(text):
            return self._url(text, scheme.group().lower())
        path = self._file(text)
        return (images.RemoteImage if is_url(path) else images.FileImage)(path, max_pixels=limit)

    def _url(self, text: str, scheme: str) -> images.ImageSource:
        if scheme == "file://":
            path = unquote(text[len(scheme) :])
            return images.FileImage(self._file(path.removeprefix("localhost")), max_pixels=self.max_pixels)
        roots = tuple(f"{root}/" for root in self.roots if is_url(root))
        if text.startswith(roots) and ".." not in text.split("/"):
            return images.RemoteImage(real_path(text), max_pixels=self.max_pixels)
        if scheme not in {"http://", "https://"}:
            what, fix = "is not http(s)", "name a file in the dataset's folder"
        elif not self.allow_urls:
            what, fix = "is not fetched", "pass allow_urls=True to fetch it"
        else:
            return images.UrlImage(text, max_pixels=self.max_pixels)
        raise BadRow("url_refused", f"image address {short(text)} {what}", fix)

    def _file(self, text: str) -> str:
        outside = False
        for root in self.roots if "\0" not in text else ():
            if is_url(root):
                inside = not text.startswith("/") and os.path.normpath(text).split("/")[0] != ".."
                path = real_path(f"{root}/{text}")
                # nobody is asked where nothing else is possible
                found = inside and (root == self.roots[-1] or is_file(path))
            else:
                path, found = self._resolve(os.path.join(root, text))
                inside = self.allow_outside or path.startswith(_starts(self.roots))
            if inside and found:
                return path
            outside = outside or not inside
        if outside:
            fix = "pass image_root=, or allow_outside=True if you trust the file"
            raise BadRow("outside_root", f"image {short(text)} lies outside the dataset's folder", fix)
        raise BadRow("missing_image", f"image {short(text)} not found", "restore it, or pass image_root=")

    def _resolve(self, path: str) -> tuple[str, bool]:
        """The path without links and ``..``, and whether a regular file is there. Folders are resolved once."""
        folder, name = os.path.split(path)
        if name in {"", ".", ".."}:
            return os.path.realpath(path), False
        path = os.path.join(self._real_folder(folder), name)
        try:
            mode = os.lstat(path).st_mode  # one call to the system, and not one for the link and one for the file
        except OSError:
            return path, False
        if stat.S_ISLNK(mode):
            path = os.path.realpath(path)
            return path, os.path.isfile(path)
        return path, stat.S_ISREG(mode)
