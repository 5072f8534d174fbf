"""What a scored folder was made with: everything that changes a number, or the division into shards."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from typing import Any

from dataprophet.data.identity.compare import moved, reading_of, require_reading
from dataprophet.data.index import CELL_ROWS
from dataprophet.errors import DataProphetError, explained, require
from dataprophet.profiling.profile import Profile
from dataprophet.scoring.folder.files import RUN

FORMAT = "dataprophet-scores-1"
SHARD_CELLS = {"samples": 8, "features": 32}
"""Cells of a shard of each kind of pool, unless another number is asked for. 8,192 samples are half a minute of a
device at 4 ms each; features take less than a tenth of a second then, and a commit would cost as much."""

ENGINES = ("local", "ray")

STALL = 600.0
"""Seconds without progress, be it a batch or a sample that is read, after which a worker process is replaced."""

PLACES = ("pool", "model", "shown")
"""Entries that say where things lie, and how they were typed, which may change; what they are is in the others."""


@dataclass(frozen=True)
class Work:
    """Who does the shards; nothing of it changes a number, but ``threads`` on the CPU.

    Attributes:
        engine: ``local`` or ``ray``.
        processes: worker processes, or actors; 0 works in this process, None takes as many as there are devices.
        threads: threads of the CPU that each computes with; None as many as torch takes.
        ray_address: of a running Ray cluster.
        ray_option: of each Ray actor, such as ``num_gpus`` or ``runtime_env``.
        stall: seconds without progress after which a worker process is replaced.

    Raises:
        DataProphetError: there is no such engine, or number of processes, or something is for another engine.
    """

    engine: str = "local"
    processes: int | None = None
    threads: int | None = None
    ray_address: str | None = None
    ray_option: Mapping[str, Any] = field(default_factory=dict)
    stall: float = STALL

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise DataProphetError(f"unknown engine {self.engine!r}", where="engine", fix=f"use {' or '.join(ENGINES)}")
        if self.processes is not None and self.processes < 0:
            raise DataProphetError(f"it is {self.processes}", where="processes", fix="use 0 or more, or leave it out")
        for name in ("ray_address", "ray_option"):
            fix = "give engine=ray, or leave it out"
            require(self.engine == "ray" or not getattr(self, name), "is for Ray", name, fix, DataProphetError)


@dataclass(frozen=True)
class RunConfig:
    """The configuration of a run, the same for every process and every resume.

    Attributes:
        name: the pool's name.
        kind: ``samples`` (a model scores them) or ``features`` (computed before, or kept by an earlier run).
        pool: arguments that open the pool.
        model: arguments of ``load_model``; empty for features.
        fingerprint: of the model, as in profiles.
        settings: of the model, as in profiles: everything else that changes its numbers.
        numbers: what changes the rounding: device, threads, batch size, versions.
        reading: how the pool's files are read, as text.
        targets: name, and fingerprint of the profile, of each target; the profiles lie in ``targets/``.
        fields: similarities in the product.
        sketch: settings of the profile's diversity, those of the targets.
        embeddings: whether embeddings are kept.
        nearest: whether the largest cosine to a sample of each target is computed.
        details: whether rank and entropy of the answers' tokens are told.
        shard_cells: cells of a shard.
        cell_rows: rows of a cell.
        shown: for messages: ``path`` of the pool and name of the ``model`` as typed, and ``format`` as found.
    """

    name: str
    kind: str
    pool: dict[str, Any]
    model: dict[str, Any]
    fingerprint: str
    settings: dict[str, str]
    numbers: dict[str, str]
    reading: str
    targets: list[dict[str, str]]
    fields: list[str]
    sketch: dict[str, str]
    embeddings: bool = False
    nearest: bool = False
    details: bool = False
    shard_cells: int = SHARD_CELLS["samples"]
    cell_rows: int = CELL_ROWS
    format: str = FORMAT
    version: str = field(default_factory=lambda: metadata.version("dataprophet"))
    shown: dict[str, str] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """Hex hash of everything but where the pool and the model lie."""
        return hashlib.blake2b(json.dumps(self._content(), sort_keys=True).encode(), digest_size=16).hexdigest()

    def empty_profile(self) -> Profile:
        """A profile of no samples for the run's pool."""
        return Profile.blank(self.name, self.fingerprint, {**self.settings, **self.sketch})

    def _content(self) -> dict[str, Any]:
        return {key: value for key, value in self.to_json().items() if key not in PLACES}

    def to_json(self) -> dict[str, Any]:
        """As plain values. Without details it is what it was before there were any, and hashes as such."""
        return {key: value for key, value in asdict(self).items() if key != "details" or value}

    @classmethod
    def from_json(cls, document: Mapping[str, Any], where: str) -> RunConfig:
        """Read a configuration.

        Raises:
            DataProphetError: the document is of another format, or damaged.
        """
        fix = "name a folder that `dataprophet score` made, or a new one"
        known = document.get("format") == FORMAT
        require(known, f"not a scored folder of format {FORMAT}", where, fix, DataProphetError)
        with explained(TypeError, DataProphetError, f"damaged {RUN}", where, "score the pool again"):
            return cls(**document)

    def require_same(self, earlier: RunConfig, where: str) -> None:
        """Refuse to go on in a folder that was made with another configuration.

        Raises:
            DataProphetError: naming what differs.
        """
        fix = "repeat the earlier options, or choose another --out"
        if self.kind == earlier.kind == "samples":
            lay = moved({**earlier.pool, "path": self.pool["path"]}, str(earlier.pool["path"]))
            require_reading(reading_of(self.pool), reading_of(lay), where, "scored", fix, whole=True, strict=True)
        if self.hash == earlier.hash:
            return
        mine, its = _flat(self._content()), _flat(earlier._content())
        first = {key: key not in ("fingerprint", "targets") for key in {*mine, *its}}  # others may follow from these
        key = next(key for key in sorted(first, key=lambda key: (first[key], key)) if mine.get(key) != its.get(key))
        then, now = (_short(item.told(key)) for item in (earlier, self))
        name = {"fingerprint": "model", "shard_cells": "number of rows in a shard"}.get(key, key)
        raise DataProphetError(f"the folder was scored with another {name} ({then}, now {now})", where=where, fix=fix)

    def told(self, key: str) -> str:
        """An entry of the content as the user knows it."""
        if key == "fingerprint":
            return f"{self.model_name} {self.fingerprint[:16]}".strip()
        if key == "targets":
            return ", ".join(f"{target['name']} {target['fingerprint'][:8]}" for target in self.targets) or "none"
        if key == "shard_cells":
            return f"{self.shard_cells * self.cell_rows:,}"
        return _flat(self._content()).get(key, "unset")

    @property
    def model_name(self) -> str:
        """The model's name as it was typed; empty where it is not known."""
        return self.shown.get("model") or str(self.model.get("name", ""))


def cells_of(kind: str, shard_rows: int | None) -> int:
    """Cells of a shard of so many rows; of the usual number without."""
    return SHARD_CELLS[kind] if shard_rows is None else max(1, -(-shard_rows // CELL_ROWS))


def _flat(value: Any, name: str = "") -> dict[str, str]:
    if isinstance(value, dict):
        return {k: v for key, item in value.items() for k, v in _flat(item, f"{name}.{key}" if name else key).items()}
    return {name: json.dumps(value, sort_keys=True)}


def _short(shown: str) -> str:
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
