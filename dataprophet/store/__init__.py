"""Output folders in which results are committed once: on a disk, or in an object store."""

from __future__ import annotations

import os

from dataprophet.store.base import Store
from dataprophet.store.folder import FolderStore
from dataprophet.store.objects import ObjectStore

__all__ = ["Store", "open_store"]


def open_store(root: str | os.PathLike[str]) -> Store:
    """The store at a folder, or at a URL that fsspec knows; nothing is written yet.

    Raises:
        MissingDependencyError: a URL without fsspec, or without the package for its scheme.
        StoreError: a URL whose file system cannot create a file only where there is none.
    """
    place = os.fspath(root)
    remote = "://" in place and not place.startswith("file://")
    return ObjectStore(place) if remote else FolderStore(place)
