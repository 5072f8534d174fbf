"""``select_pool``: the best rows or samples of scored pools, exactly as many as the budget, written for a trainer.

The order of the work: scored folders are opened as ``candidates``; ``quotas`` say how many are taken by which score,
``ranking`` and ``top_k`` give the best of them, ``pick`` applies the rules, with ``vectors`` and ``diverse`` where
candidates are compared; ``written_rows`` reads the rows of what was picked, and they and a manifest are written.
``verify`` and the command ``select`` call this; which rule costs what is not known here.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from dataprophet.data.export import write_rows
from dataprophet.data.export.place import check_output, place_of, seen_from
from dataprophet.data.remote import real_path
from dataprophet.errors import DataProphetError, choose
from dataprophet.scoring.folder.config import PLACES
from dataprophet.scoring.folder.pool import ScoredPool
from dataprophet.selection import written_rows
from dataprophet.selection.candidates import Candidates
from dataprophet.selection.comparable import require_comparable
from dataprophet.selection.pick import pick
from dataprophet.selection.settings import Settings

FORMAT = "dataprophet-selection-1"
_LONGEST = 120  # characters of a data file's stem
_IGNORED_KEYS = (*PLACES, "shard_cells")  # of a configuration: they change no score

Folders = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]


@dataclass(frozen=True)
class Selection:
    """What was written.

    Attributes:
        folder: the output folder.
        settings: what was asked.
        chosen: units written.
        sources: source -> units of it.
        lowest: the lowest score that was chosen.
        noisy: rule against noise -> units with a score that it left out.
        dropped: reason -> units that a rule left out in favour of lower ones.
        files: name of each file but the images and the manifest -> SHA-256 of its bytes.
    """

    folder: str | Path
    settings: Settings
    chosen: int
    sources: dict[str, int]
    lowest: float
    noisy: dict[str, int]
    dropped: dict[str, int]
    files: Mapping[str, str]


def select_pool(
    scores: Folders,
    settings: Settings,
    out: str | os.PathLike[str],
    *,
    format: str = "llava",
    pools: Mapping[str, str] | None = None,
    image_roots: Mapping[str, str] | None = None,
    decode: bool = True,
    partial: bool = False,
    overwrite: bool = False,
    progress: Callable[[int], Any] | None = None,
) -> Selection:
    """Choose the best units of scored pools and write them in the order of the pools.

    The same pools and settings give the same bytes, whatever the size of the shards and the order of the folders.
    Equal scores are ordered by id as text, then by source and file, by row and by turn. Of rows of one file that have
    the same id only the best is taken. A chosen row whose image no longer decodes, or that is not what it was when it
    was scored, gives its place to the next best, and is reported.

    Args:
        scores: a folder written by ``score``, or several; their pools have names of their own.
        settings: what to choose.
        out: folder to write; it appears whole or not at all.
        format: one of ``dataprophet.data.EXPORT_FORMATS``.
        pools: name of a pool -> where it lies, if not where it was scored.
        image_roots: name of a pool -> where its images lie, likewise; those beside a pool need no word.
        decode: decode the images of chosen rows before they are written. Without it they are copied unseen.
        partial: accept pools of which some files or shards are not scored.
        overwrite: replace an earlier selection's folder.
        progress: called with the number of rows read.

    Returns:
        What was written.

    Raises:
        BudgetError: fewer units can be chosen than were asked for, saying why.
        DataProphetError: a folder is not scored, incomplete or damaged, or ``out`` cannot be written.
    """
    places, roots = dict(pools or {}), dict(image_roots or {})
    check_output(out, overwrite=overwrite)
    candidates = open_candidates(scores, settings, partial=partial)
    _check_places(candidates.pools, out, places, roots)

    @functools.cache
    def source(number: int) -> written_rows.RowSource:
        pool = candidates.pools[number]
        return written_rows.RowSource(pool, places.get(pool.name), roots.get(pool.name))

    def entry(pool: ScoredPool) -> dict[str, Any]:
        path = places.get(pool.name)
        then = {"scores": seen_from(out, pool.folder), "path": None if path is None else seen_from(out, path)}
        if root := roots.get(pool.name):
            then["image_root"] = seen_from(out, root)
        return {"name": pool.name, **then, **content_of(pool, settings)}

    how = {"settings": settings.to_json(), "decode": decode, "partial": partial}
    entries = [entry(pool) for pool in candidates.pools]
    noisy = dict(+candidates.limits.left_out)
    asked = {"selection": FORMAT, "version": metadata.version("dataprophet"), **how, "pools": entries, "noisy": noisy}
    name, rejected = _file_name(settings.targets), dict[int, str]()
    while True:  # again only when chosen rows turn out to be unusable
        picked = pick(candidates, settings, rejected)
        tables = map(written_rows.in_pool_order, (picked.chosen, picked.dropped))
        picked.chosen, picked.dropped = (written_rows.named(candidates, table, source) for table in tables)
        table = picked.chosen
        by_source = Counter(candidates.parts[part].source for part in table.column("part").to_pylist())
        sources = dict(sorted(by_source.items()))
        rows = written_rows.only_ids(candidates, table)
        if format != "ids":
            rows = written_rows.conversations(candidates, table, source, decode=decode, progress=progress)
        manifest = {**asked, "sources": sources, "means": picked.means, "dropped": picked.counts}
        beside = {
            written_rows.SELECTED: functools.partial(written_rows.write_selected, candidates, table),
            written_rows.DROPPED: functools.partial(written_rows.write_dropped, candidates, picked),
        }
        try:
            written = write_rows(rows, out, format, name=name, overwrite=overwrite, manifest=manifest, beside=beside)
        except written_rows.Unusable as error:
            rejected.update(error.args[0])
            continue
        lowest = float(np.min(table.column("score").to_numpy()))
        return Selection(place_of(out), settings, table.num_rows, sources, lowest, noisy, picked.counts, written.files)


def open_candidates(scores: Folders, settings: Settings, *, partial: bool = False) -> Candidates:
    """The candidates of scored folders.

    Raises:
        DataProphetError: a folder is not scored or not complete, or two pools have one name.
        MetricError: a pool was not scored for a target, or not as the others were.
    """
    folders = [scores] if isinstance(scores, str | os.PathLike) else list(scores)
    opened = sorted((ScoredPool(folder) for folder in folders), key=lambda pool: pool.name)
    for pool in opened:
        if not pool.complete and not partial:
            unread = [str(file["error"]) for file in pool.files if "error" in file]
            why = f" ({unread[0]})" if unread else ""
            what = f"{len(pool.missing)} shards and {len(unread)} files are not scored{why}"
            fix = "score it to the end, or accept what there is (partial=True)"
            raise DataProphetError(what, where=pool.folder, fix=fix)
    for pool, other in pairwise(opened):
        if pool.name == other.name:
            what = f"two pools are named {pool.name!r}"
            raise DataProphetError(what, where=opened[0].folder, fix="score one of them under another --name")
    candidates = Candidates(opened, settings)
    require_comparable(opened, settings.targets)
    return candidates


def _check_places(
    pools: Sequence[ScoredPool], out: str | os.PathLike[str], places: Mapping[str, str], roots: Mapping[str, str]
) -> None:
    """Refuse places of pools that are not there, and an output folder that would replace what is read.

    Raises:
        DataProphetError: naming the pool or the folder.
    """
    names = [pool.name for pool in pools]
    if unknown := [name for name in (*places, *roots) if name not in names]:
        raise DataProphetError(f"no pool {unknown[0]!r}", where="pools", fix=choose(unknown[0], names))
    final = os.path.join(real_path(os.fspath(out)), "")
    for pool in pools:
        data = places.get(pool.name) or str(pool.config.pool.get("path", ""))
        for path in (pool.folder, data):
            if os.path.join(real_path(path), "").startswith(final):
                what = f"holds {path}, which the selection is made from"
                raise DataProphetError(what, where=os.fspath(out), fix="choose another name")


def _file_name(targets: Sequence[str]) -> str:
    """Stem of the data file. Names of many targets would be longer than a file system takes."""
    text = "-".join(targets)
    name = "selection-" + re.sub(r"[^A-Za-z0-9._-]", "_", text)
    return name if len(name) <= _LONGEST else f"{name[:_LONGEST]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def content_of(pool: ScoredPool, settings: Settings) -> dict[str, Any]:
    """What a pool's scores are, so that a change shows: hashes of its configuration, its rows and its data files."""
    config = {key: value for key, value in pool.config.to_json().items() if key not in _IGNORED_KEYS}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    files = {str(file["name"]): str(file.get("digest", "unreadable")) for file in pool.files}
    unscored = {name: pool.unscored[name] for name in settings.targets}
    counts = {"statuses": dict(sorted(pool.statuses.items())), "unscored": unscored}
    return {"configuration": digest, "rows": pool.digest(), "files": files, **counts}
