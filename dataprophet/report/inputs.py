"""What a report is made of: a matrix, profiles, mixtures, a scored pool, a selection, gains; whatever of it is there.

It finds and reads files, and says of what is missing what would add it. What they mean is for the sections to say.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataprophet.data.remote import is_url
from dataprophet.errors import DataProphetError, MetricError, explained, require
from dataprophet.files import MANIFEST
from dataprophet.metric.gains import Gains, read_gains
from dataprophet.metric.matrix import TransferMatrix
from dataprophet.metric.transfer import transfer_matrix
from dataprophet.profiling.profile import Profile
from dataprophet.scoring.folder.files import FILES, RUN, target_name
from dataprophet.scoring.folder.pool import ScoredPool
from dataprophet.selection.pools import FORMAT as SELECTION
from dataprophet.store import open_store
from dataprophet.store.checksums import parse_document

SCORES, PROFILES, MIXTURES, MIXTURE, SUFFIX = "scores.csv", "profiles", "mixtures", "mixture", ".profile"
RECIPE = "recipe.yaml"


@dataclass
class Inputs:
    """What was found.

    Attributes:
        title: name of the folder or file.
        matrix: scores, or None.
        files: of the profiles, sources first in the order of the matrix.
        known: profiles that are in memory already.
        mixtures: manifests.
        pool: a scored pool, or None.
        selection: manifest and folder of what was selected of the pool, or None.
        gains: gains that were measured, or None.
        run: what ``dataprophet run`` wrote of itself; empty without.
        recipe: its recipe, as text; empty without.
        missing: what is not there, and what would add it.
    """

    title: str
    matrix: TransferMatrix | None = None
    files: list[Path] = field(default_factory=list)
    known: list[Profile] = field(default_factory=list)
    mixtures: list[dict[str, Any]] = field(default_factory=list)
    pool: ScoredPool | None = None
    selection: tuple[dict[str, Any], Path] | None = None
    gains: Gains | None = None
    run: dict[str, Any] = field(default_factory=dict)
    recipe: str = ""
    missing: list[str] = field(default_factory=list)

    def profiles(self) -> Iterator[Profile]:
        """The profiles, one at a time: many are large."""
        yield from self.known
        yield from map(Profile.load, self.files)


def read_inputs(
    path: str | os.PathLike[str],
    *,
    gains: str | os.PathLike[str] | None = None,
    selection: str | os.PathLike[str] | None = None,
) -> Inputs:
    """Read a run's or a demo's folder, a scored pool, or a matrix file.

    Args:
        path: the folder or file.
        gains: file of measured gains, a matrix or a list of pairs.
        selection: folder that ``dataprophet select`` wrote, of the scored pool.

    Raises:
        DataProphetError: nothing to report is there, or what is there is damaged.
    """
    place = Path(path)
    there = is_url(os.fspath(path)) or place.exists()
    require(there, "no such file or folder", os.fspath(path), "check the path", DataProphetError)
    found = Inputs(place.resolve().name)
    if place.is_dir() and not (place / FILES).is_file():
        _read_folder(place, found)
    elif place.is_file():
        found.matrix = TransferMatrix.from_csv(place)
        found.missing.append("Profiles and mixtures: give the folder of a run that holds them.")
    else:
        _read_pool(os.fspath(path), found)
    if gains is not None:
        if found.matrix is None:
            raise MetricError("there are no scores to compare with", where=str(gains), fix="report a matrix")
        found.gains = read_gains(gains)
    elif found.pool is None:
        found.missing.append("Agreement with measured gains: --gains FILE.csv.")
    if selection is not None:
        found.selection = _read_selection(Path(selection), found.pool)
    elif found.pool is not None:
        found.missing.append("The cut, and what a rule left out: --selection DIR, a folder of `dataprophet select`.")
    return found


def _read_folder(place: Path, found: Inputs) -> None:
    """A folder of a run or of the demo."""
    if (place / SCORES).is_file():
        found.matrix = TransferMatrix.from_csv(place / SCORES)
    else:
        found.missing.append(f"Scores and rankings: {SCORES}, which `dataprophet matrix` writes.")
    found.files = sorted((place / PROFILES).glob(f"*{SUFFIX}"))
    if found.matrix is not None:
        order = {name: number for number, name in enumerate([*found.matrix.sources, *found.matrix.targets])}
        found.files.sort(key=lambda file: (order.get(file.name.removesuffix(SUFFIX), len(order)), file.name))
    if not found.files:
        found.missing.append(f"Diversity, and examples of the data: {PROFILES}/NAME{SUFFIX}.")
    manifests = [place / MIXTURE / MANIFEST, *sorted((place / MIXTURES).glob(f"*/{MANIFEST}"))]
    found.mixtures = [_json(file) for file in manifests if file.is_file()]
    if not found.mixtures:
        found.missing.append(f"Mixtures: {MIXTURES}/TARGET/, which `dataprophet mix` writes.")
    if (place / RUN).is_file():
        found.run = _json(place / RUN)
    if (place / RECIPE).is_file():
        found.recipe = (place / RECIPE).read_text(encoding="utf-8", errors="replace")
    if found.matrix is None and not found.files and not found.mixtures:
        what = f"holds no {SCORES}, {PROFILES} or {MIXTURES}, and is no scored pool"
        raise DataProphetError(what, where=str(place), fix="give the folder of a run, of `score`, or a matrix file")


def _read_pool(folder: str, found: Inputs) -> None:
    """A scored folder: its profile is the one source."""
    pool = found.pool = ScoredPool(folder)
    found.title = pool.name
    store = open_store(folder)
    try:
        targets = [Profile.load(store.local(target_name(each["fingerprint"]))) for each in pool.config.targets]
        for profile, each in zip(targets, pool.config.targets, strict=True):
            profile.name = each["name"]
        found.known = [pool.profile, *targets]
        if targets:
            found.matrix = transfer_matrix(found.known[0], targets, fields=pool.fields, allow_nonpositive=True)
    except DataProphetError as error:  # such as too few samples for a diversity: the samples have scores all the same
        found.missing.append(f"The score of the pool as a whole: {error}")


def _read_selection(folder: Path, pool: ScoredPool | None) -> tuple[dict[str, Any], Path]:
    if pool is None:
        raise DataProphetError("is given without a scored pool", where="selection", fix="report the scored folder")
    manifest = _json(folder / MANIFEST)
    names = [each.get("name") for each in manifest.get("pools", ())]
    if manifest.get("selection") != SELECTION or pool.name not in names:
        fix = "give a folder that `dataprophet select` wrote of this pool"
        raise DataProphetError(f"is no selection of pool {pool.name!r}", where=str(folder), fix=fix)
    return manifest, folder


def _json(path: Path) -> dict[str, Any]:
    fix = "name a folder that `dataprophet` wrote, or have it written again"
    with explained((OSError, ValueError), DataProphetError, "cannot be read", str(path), fix):
        return parse_document(path.read_bytes())
