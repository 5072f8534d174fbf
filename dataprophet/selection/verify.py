"""Does a selection's folder hold what its manifest says, and does the same request give the same bytes again?

``dataprophet select --verify`` calls this. It knows the manifest that ``pools`` writes, and no rule of the choice.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from dataprophet.data.remote import is_url
from dataprophet.errors import DataProphetError, explained, require
from dataprophet.files import MANIFEST, sha256
from dataprophet.scoring.folder.pool import ScoredPool
from dataprophet.selection.pools import FORMAT, content_of, select_pool
from dataprophet.selection.settings import Settings
from dataprophet.selection.written_rows import RowSource
from dataprophet.store.checksums import parse_document

_ASKED = {"settings", "pools", "files", "format", "decode", "partial"}
_POOL = {"name", "scores", "path", "configuration", "rows", "files", "statuses", "unscored"}
_WORDS = {"rows": "scores", "files": "data files", "unscored": "missing scores"}


def verify(out: str | os.PathLike[str], *, progress: Callable[[int], Any] | None = None) -> list[str]:
    """Select again as the manifest says, into a temporary folder beside this one, and compare.

    Args:
        out: a folder that ``select_pool`` wrote, standing to the scored folders and the pools as it did then.
        progress: called with the number of rows read.

    Returns:
        What differs, a line each: files that have changed since they were written; scores or data files that are not
        what they were; files that come out differently, or why none do. Empty when all is the same to the byte.

    Raises:
        DataProphetError: the folder holds no selection.
    """
    require(not is_url(os.fspath(out)), "is not on a disk", os.fspath(out), "copy the folder first", DataProphetError)
    folder = Path(out)
    manifest = _read(folder / MANIFEST)
    settings = Settings.from_json(manifest["settings"])
    found = [*_changed_files(folder, manifest)]
    try:
        found += _changed_pools(folder, manifest, settings)
        found += _replayed(folder, manifest, settings, progress)
    except DataProphetError as error:
        found.append(f"the selection cannot be made again: {error}")
    return found


def _read(path: Path) -> dict[str, Any]:
    where, fix = str(path), "name the --out folder of a selection"
    with explained((OSError, ValueError), DataProphetError, "cannot be read", where, fix):
        document = parse_document(path.read_bytes())
    if document.get("selection") != FORMAT:
        what = f"is not the manifest of a selection of format {FORMAT}"
        raise DataProphetError(what, where=where, fix="select again")
    pools = document.get("pools")
    whole = isinstance(pools, list) and all(isinstance(pool, dict) and pool.keys() >= _POOL for pool in pools)
    if not (whole and document.keys() >= _ASKED):
        raise DataProphetError("the manifest is damaged: entries are missing", where=where, fix="select again")
    return document


def _changed_files(folder: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
    """Files that are not as the manifest and, for images, their own names say."""
    images = (path.relative_to(folder) for path in sorted((folder / "images").rglob("*")) if path.is_file())
    for name, digest in {**manifest["files"], **{str(path): path.stem for path in images}}.items():
        if not (folder / name).is_file():
            yield f"{name}: is missing"
        elif sha256(folder / name) != digest:
            yield f"{name}: has changed since it was written"


def _changed_pools(folder: Path, manifest: Mapping[str, Any], settings: Settings) -> Iterator[str]:
    for entry in manifest["pools"]:
        pool = ScoredPool(_place(folder, entry["scores"]))
        if pool.name != entry["name"]:
            yield f"pool {entry['name']}: the folder's pool is named {pool.name!r} now"
            continue
        for key, value in content_of(pool, settings).items():
            if value != entry[key]:
                yield f"pool {pool.name}: not the same {_WORDS.get(key, key)} as then"
        pool.target_profiles()  # what was scored against: read, so that damage is told
        if manifest["format"] != "ids":
            rows = RowSource(pool, _place(folder, entry["path"]) if entry["path"] else None, _root(folder, entry))
            for file in rows.pool.files:
                if "digest" in file:
                    path, changed = rows.file(file["name"], untouched=False)
                    if changed:
                        yield f"pool {pool.name}: {path} has changed since it was scored"


def _replayed(
    folder: Path, manifest: Mapping[str, Any], settings: Settings, progress: Callable[[int], Any] | None
) -> list[str]:
    """What differs between the folder and one made beside it, from where the same relative paths lead to the pools."""
    parent = folder.resolve().parent
    fix = "copy the folders to a place you can write"
    with explained(OSError, DataProphetError, "cannot be written", str(parent), fix):
        temporary = tempfile.TemporaryDirectory(".verify", f".{folder.name}.", parent, ignore_cleanup_errors=True)
    with temporary as again:
        scores = [_place(folder, pool["scores"]) for pool in manifest["pools"]]
        places = {pool["name"]: _place(folder, pool["path"]) for pool in manifest["pools"] if pool["path"]}
        how = {name: manifest[name] for name in ("format", "decode", "partial")}
        roots = {pool["name"]: root for pool in manifest["pools"] if (root := _root(folder, pool))}
        select_pool(scores, settings, again, pools=places, image_roots=roots, progress=progress, **how)
        return list(_differences(folder, Path(again)))


def _differences(folder: Path, again: Path) -> Iterator[str]:
    """Files of either folder that are not in the other, or not the same."""
    names = {path.relative_to(top) for top in (folder, again) for path in top.rglob("*") if path.is_file()}
    for name in sorted(names):
        if not (again / name).is_file():
            yield f"{name}: is not written when the selection is made again"
        elif not (folder / name).is_file():
            yield f"{name}: is written when the selection is made again, and is missing here"
        elif sha256(folder / name) != sha256(again / name):
            yield f"{name}: comes out differently when the selection is made again"


def _root(folder: Path, pool: Mapping[str, Any]) -> str | None:
    return _place(folder, pool["image_root"]) if pool.get("image_root") else None


def _place(folder: Path, path: str) -> str:
    return path if "://" in path else os.path.normpath(folder / path)
