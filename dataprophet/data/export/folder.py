"""An output folder that appears under its name only when it is complete, and the images stored in it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

from dataprophet.data.images.decode import image_suffix
from dataprophet.data.images.sources import ImageSource
from dataprophet.errors import require
from dataprophet.files import MANIFEST, sha256
from dataprophet.store.checksums import dump_document


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        folder: the output folder.
        format: one of ``EXPORT_FORMATS``.
        rows: conversations written.
        images: distinct images stored (in ``webdataset`` and ``huggingface``: images, equal ones too).
        files: name of each file but the images and the manifest -> SHA-256 of its bytes.
    """

    folder: str
    format: str
    rows: int
    images: int
    files: Mapping[str, str]


@dataclass
class Folder:
    """The folder under construction."""

    path: str
    files: dict[str, str] = field(default_factory=dict)
    images: int = 0

    @contextmanager
    def create(self, name: str) -> Iterator[IO[bytes]]:
        """A new file; its hash is noted when it is closed."""
        path = os.path.join(self.path, name)
        with open(path, "xb") as file:
            yield file
        self.files[name] = sha256(path)

    def rename(self, old: str, new: str) -> None:
        """Give a finished file another name."""
        os.rename(os.path.join(self.path, old), os.path.join(self.path, new))
        self.files[new] = self.files.pop(old)

    def add_image(self, source: ImageSource) -> str:
        """Store an image byte for byte under the hash of its bytes, once; returns its path within the folder."""
        data, suffix = checked_bytes(source)
        digest = hashlib.sha256(data).hexdigest()
        name = f"images/{digest[:2]}/{digest}{suffix}"
        path = os.path.join(self.path, name)
        if not os.path.exists(path):  # the folder itself remembers: millions of hashes would fill the memory
            self.images += 1
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "xb") as file:
                file.write(data)
        return name

    def write_manifest(self, entries: Mapping[str, Any]) -> None:
        """``manifest.json``: the entries, the hash of each file, and its own checksum."""
        document = {**entries, "files": dict(sorted(self.files.items())), "images": self.images}
        with open(os.path.join(self.path, MANIFEST), "xb") as file:
            file.write(dump_document(document, indent=1, ascii_only=False))


def checked_bytes(source: ImageSource) -> tuple[bytes, str]:
    """Bytes and suffix of an image. Raises DataError when they are not an image in a format we know."""
    data = source.read_bytes()
    suffix = image_suffix(data)
    require(suffix, "not an image in a known format", source.where, "run validate and drop the row")
    return data, suffix
