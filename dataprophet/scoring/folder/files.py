"""Names of the files of a scored folder, and the small ones among them. Where folders lie is the store's to know."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from dataprophet.data.index import FileIndex
from dataprophet.errors import StoreError, require
from dataprophet.profiling.profile import Profile
from dataprophet.scoring.targets import Targets
from dataprophet.store import Store

RUN, FILES, SUMMARY, POOL_PROFILE = "run.json", "files.json", "summary.json", "pool.profile"
CARRIED_PROFILE = "carried.profile"
"""Profile of a pool whose features were read from an earlier run, which knew it better."""

INDICES, TARGETS = "index", "targets"

ROWS, PROFILE, EMBEDDINGS = "rows.parquet", "profile", "embeddings.safetensors"
"""Suffixes of the files of a shard."""


def index_name(file: str) -> str:
    """Name of the index of a data file."""
    return f"{INDICES}/{hashlib.blake2b(file.encode('utf-8', 'surrogatepass'), digest_size=12).hexdigest()}.json"


def read_index(store: Store, file: str) -> FileIndex:
    """The stored index of a data file."""
    return FileIndex.from_json(store.document(index_name(file))["index"])


def target_name(fingerprint: str) -> str:
    """Name of a target's profile."""
    return f"{TARGETS}/{fingerprint}.profile"


def load_target(store: Store, name: str) -> Profile:
    """A target's profile. Raises DataProphetError where it is not the one that its name is the digest of."""
    profile = Profile.load(store.local(name))
    what = f"{name} is damaged: it is another profile than its name says"
    require(profile.digest() == Path(name).stem, what, store.root, store.remedy, StoreError)
    return profile


def load_targets(store: Store, targets: Iterable[Mapping[str, str]], fields: Iterable[str]) -> Targets:
    """The targets of a run from their copies in the folder.

    Args:
        store: the folder.
        targets: name and fingerprint of each, in order.
        fields: similarities in the product.

    Raises:
        DataProphetError: one is damaged, or is not the profile that its name is the digest of.
    """
    profiles = []
    for target in targets:
        profile = load_target(store, target_name(target["fingerprint"]))
        profile.name = target["name"]
        profiles.append(profile)
    return Targets.of(profiles, fields) if profiles else Targets([], [])
