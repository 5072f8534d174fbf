"""What a dataset holds, found by reading its rows once before the model runs: for ``profile.py`` and ``score.py``.

Rows whose id occurs before, in whatever file, get their place behind it, or are left out where they are duplicates, and
a dataset stops after ``limit`` good rows. Who computes a part of it cannot know either, so the scan writes them into
the list of files. For a profile it also notes which image files the rows name: when one of them changes, the parts that
show it are computed anew.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dataprophet.data.dataset import Dataset
from dataprophet.data.formats.llamafactory import INFO
from dataprophet.data.ids import KnownIds
from dataprophet.data.images.sources import FileImage
from dataprophet.data.index import CELL_ROWS
from dataprophet.data.sample import Conversation, Problem, ProblemLog, Tally, check_bad
from dataprophet.errors import DataError
from dataprophet.scoring.driver import Tell, index_files
from dataprophet.scoring.folder.files import read_index
from dataprophet.store import Store

SCAN = "scan.json"
_OF_FILES = {"missing_image", "outside_root", "undecodable_image", "url_refused"}
"""Problems that another file, and not another row, may end."""


@dataclass
class Scan:
    """What a scan found.

    Attributes:
        states: how the files are read, and path and state of each at the time.
        files: entries for the list of files: those of ``index_files``, with ``duplicates`` and ``renamed``, as shards
            have them. For a profile their ``rows`` end where the limit is reached, and they have their ``samples`` and
            ``marks``: for each cell a hash of what it depends on beside the file.
        images: image files that rows name; for a profile.
        images_state: hash of their sizes and times of change.
        counts: problems by code.
        first: the first of them.
        tally: of the rows.
    """

    states: list[list[Any]]
    files: list[dict[str, Any]]
    images: list[str]
    images_state: str
    counts: dict[str, int]
    first: list[dict[str, Any]]
    tally: dict[str, int]

    def problems(self) -> ProblemLog:
        return ProblemLog(counts=Counter(self.counts), first=[Problem(**problem) for problem in self.first])

    def check(self, max_bad: float, where: str) -> None:
        """Refuse a dataset of which more than this share of rows cannot be used. Raises DataError."""
        check_bad(self.counts, self.tally["rows"], max_bad, where)


def scan(store: Store, dataset: Dataset, *, pool: bool = False, recheck: Tell | None = None) -> Scan:
    """Scan a dataset, unless neither its files nor its images have changed since the last time.

    Args:
        store: where the indices of files and the scan go.
        dataset: it.
        pool: for ``score``: a file that cannot be read is listed with its error, whole files count, and images do not.
        recheck: as of ``index_files``; all rows are read then.

    Raises:
        DataError: a file cannot be read, or a row where the dataset is strict.
    """
    earlier = None
    with suppress(ValueError, TypeError):  # a damaged one is made anew
        earlier = Scan(**store.document(SCAN)) if store.exists(SCAN) else None
    if recheck is None and earlier is not None and _unchanged(earlier, dataset):
        return earlier
    made = _scan(store, dataset, pool=pool, recheck=recheck)
    store.write_document(SCAN, asdict(made), indent=None)
    return made


def _unchanged(earlier: Scan, dataset: Dataset) -> bool:
    return (
        earlier.states == _states(dataset)
        and all(state is not None for _, state in earlier.states)
        and not any("error" in entry for entry in earlier.files)
        and not _OF_FILES & earlier.counts.keys()  # it may be there now, or elsewhere
        and not dataset.arguments.get("image_root")  # a picture of the same name may have come before the one found
        and earlier.images_state == _hash(_image_state(path) for path in earlier.images)
    )


def _states(dataset: Dataset) -> list[list[Any]]:
    files = [[path, dataset.state(number)] for number, path in enumerate(dataset.files)]
    read_as = ["", dataset.settings]  # a folder whose rows were refused may be given again with other options
    return [read_as, *files, *([INFO, text] for text in _described(dataset))]


def _described(dataset: Dataset) -> list[str]:
    """What says how the rows are to be read, beside the files and the arguments: hash of a LLaMA-Factory's columns."""
    if dataset.format != "llamafactory":
        return []
    return [_hash([Path(dataset.folder, INFO).read_text(encoding="utf-8", errors="replace")])]


def _scan(store: Store, dataset: Dataset, *, pool: bool, recheck: Tell | None) -> Scan:
    states, files, rows = _states(dataset), [], _Rows(dataset, pool=pool)
    described = _described(dataset)
    for entry in () if rows.full else index_files(store, dataset, strict=not pool, recheck=recheck):
        files.append(entry)
        if "error" in entry:
            continue
        index = read_index(store, entry["name"])
        entry.update({"duplicates": [], "renamed": []} | ({} if pool else {"rows": 0, "samples": 0, "marks": []}))
        try:
            for cell in dataset.read_cells(index, 0, -(-index.rows // CELL_ROWS)):
                facts = [*described, *rows.add(cell, entry)]
                if not pool:
                    entry["marks"].append(_hash(facts) if facts else "")
                if rows.full:
                    break
        except DataError:
            if not pool or dataset.strict:
                raise
            # the worker that comes to the damaged part will say so
        if rows.full:  # before the next file is looked at, which may be one that cannot be read
            break
    log, images = rows.log, rows.images
    first = [asdict(problem) for problem in log.first]
    state = _hash(images.values())
    return Scan(states, files, list(images), state, dict(log.counts), first, asdict(rows.tally))


class _Rows:
    """The rows of a dataset so far.

    Attributes:
        log: what is wrong with those that are left out.
        tally: of them.
        images: the image files that they name, and the state of each.
        full: whether the limit is reached.
    """

    def __init__(self, dataset: Dataset, *, pool: bool) -> None:
        self._dataset, self._pool, self._good = dataset, pool, 0
        self._ids = KnownIds(dataset.folder)
        self.log, self.tally, self.images = ProblemLog(), Tally(), dict[str, str]()

    @property
    def full(self) -> bool:
        return not self._pool and self._dataset.limit is not None and self._good >= self._dataset.limit

    def add(self, cell: list[Conversation | Problem], entry: dict[str, Any]) -> list[str]:
        """Count rows of a cell, up to the limit, for their file; returns what their numbers depend on beside it."""
        duplicates = renamed = 0
        facts: list[str] = []
        for place, read in enumerate(cell):
            if self.full:
                break
            row = self._ids.settled(read) if isinstance(read, Conversation) else read
            self.tally.add(row)
            duplicates |= (row is not read and isinstance(row, Problem)) << place
            renamed |= (row is not read and isinstance(row, Conversation)) << place
            if isinstance(row, Problem):
                self._dataset.leave_out(row, self.log)
            else:
                self._good += 1
            if not self._pool:
                entry["rows"] += 1
                facts += self._images(row, entry)
        entry["duplicates"].append(f"{duplicates:x}" if duplicates else "")
        entry["renamed"].append(f"{renamed:x}" if renamed else "")
        return facts

    def _images(self, row: Conversation | Problem, entry: dict[str, Any]) -> list[str]:
        if isinstance(row, Problem):
            return []
        entry["samples"] += len(row.scored())
        paths = [source.path for source in row.sources if isinstance(source, FileImage)]
        for path in paths:
            if path not in self.images:
                self.images[path] = _image_state(path)
        return [self.images[path] for path in paths]


def _image_state(path: str) -> str:
    try:
        status = os.stat(path)
    except OSError:
        return path
    return f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_ctime_ns}"


def _hash(texts: Iterable[str]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for text in texts:
        digest.update(f"{text}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
