"""``dataprophet check``: is everything in a scored folder what was written, and what can be made anew?

It compares every file with its checksum. It knows which files a folder has, and nothing of how they come about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from dataprophet.data.index import FileIndex
from dataprophet.errors import DataProphetError, StoreError, require
from dataprophet.profiling.profile import Profile
from dataprophet.scoring.cache import MODEL
from dataprophet.scoring.folder.config import FORMAT
from dataprophet.scoring.folder.files import (
    CARRIED_PROFILE,
    FILES,
    INDICES,
    POOL_PROFILE,
    RUN,
    SUMMARY,
    TARGETS,
    load_target,
)
from dataprophet.scoring.scan import SCAN
from dataprophet.store import Store
from dataprophet.store.base import COMMITS


@dataclass(frozen=True)
class Damage:
    """A file that is damaged or missing.

    Attributes:
        name: of the file within the folder.
        why: what is wrong.
        remove: files without which the command that made the folder makes them and this one anew.
    """

    name: str
    why: str
    remove: tuple[str, ...]


@dataclass
class Checked:
    """What a check found.

    Attributes:
        files: how many were looked at.
        unchecked: how many of them carry no checksum, since an earlier version wrote them.
        damages: what is wrong.
    """

    files: int = 0
    unchecked: int = 0
    damages: list[Damage] = field(default_factory=list)

    def repair(self, store: Store) -> None:
        """Remove what is damaged, and what would not be made anew beside it."""
        names = dict.fromkeys(name for damage in self.damages for name in damage.remove)
        store.remove(sorted(names, key=lambda name: not name.startswith(COMMITS)))  # nothing names what is gone


def check(store: Store) -> Checked:
    """Compare every file of a scored folder, or of a folder of a profile's cache, with its checksum.

    Raises:
        StoreError: it is no such folder, or cannot be read.
    """
    fix = "name the --out folder of `dataprophet score`, or a folder of a profile's cache"
    known = (store.exists(RUN) and not _is_other(store)) or store.names(COMMITS)
    require(known, f"not a scored folder (it has no {RUN} of one)", store.root, fix, StoreError)
    found = Checked()

    def see(name: str, read: Callable[[], Any], remove: Iterable[str] = ()) -> Any:
        """Read a file; None where it is damaged."""
        found.files += 1
        try:
            return read()
        except (DataProphetError, KeyError, TypeError, ValueError) as error:
            why = error.what if isinstance(error, DataProphetError) else f"it lacks {error}"
            found.damages.append(Damage(name, why, (name, *remove)))
            return None

    for name in (RUN, FILES, SUMMARY, SCAN, MODEL):
        if store.exists(name):
            see(name, lambda name=name: store.document(name))  # type: ignore[misc]
    for name in (POOL_PROFILE, CARRIED_PROFILE):
        if store.exists(name):
            see(name, lambda name=name: Profile.load(store.local(name)))  # type: ignore[misc]
    for name in store.names(TARGETS):
        see(name, lambda name=name: load_target(store, name))  # type: ignore[misc]
    for name in store.names(INDICES):
        see(name, lambda name=name: FileIndex.from_json(store.document(name)["index"]), (FILES, SCAN))  # type: ignore[misc]
    for name in store.names(COMMITS):
        _see_shard(store, name, see, found)
    return found


def _is_other(store: Store) -> bool:
    """Whether the file that tells of the run is whole, and of something else, such as `dataprophet run`."""
    with suppress(DataProphetError, ValueError):
        return bool(store.document(RUN).get("format") != FORMAT)
    return False


def _see_shard(store: Store, name: str, see: Callable[..., Any], found: Checked) -> None:
    """A marker, and the parts that it names. All go together, since they are made together."""
    marker = see(name, lambda: store.document(name), (POOL_PROFILE, SUMMARY))
    if marker is None:
        return
    parts = [str(part) for part in marker["files"].values()]
    for suffix, part in marker["files"].items():
        see(str(part), lambda suffix=suffix: store.part(marker, suffix), (name, *parts, POOL_PROFILE, SUMMARY))
        found.unchecked += suffix not in marker.get("checksums", {})
