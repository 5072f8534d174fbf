"""What a dataset holds, found by reading its rows once before the model runs: for ``profile.py``.

A dataset of its own leaves out rows whose id occurs before, in whatever file, and stops after ``limit`` good rows. Who
computes a part of it cannot know either, so the scan writes them into the list of files. It also notes which image
files the rows name: when one of them changes, the parts that show it are computed anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dataprophet.data.dataset import Dataset
from dataprophet.data.formats.llamafactory import INFO
from dataprophet.data.ids import KnownIds, repeated_id
from dataprophet.data.images.sources import FileImage
from dataprophet.data.index import CELL_ROWS
from dataprophet.data.sample import Conversation, Problem, ProblemLog
from dataprophet.scoring.driver import index_files
from dataprophet.scoring.folder.files import read_index
from dataprophet.store import Store

SCAN = "scan.json"
_OF_FILES = {"missing_image", "outside_root", "undecodable_image", "url_refused"}
"""Problems that another file, and not another row, may end."""


@dataclass
class Scan:
    """What a scan found.

    Attributes:
        states: path and state of each file at the time.
        files: entries for the list of files: those of ``index_files``, with ``rows`` that end where the limit is
            reached, their ``samples``, the positions of ``repeated`` ids, and ``marks``: for each cell a hash of what
            it depends on beside the file.
        images: image files that rows name.
        images_state: hash of their sizes and times of change.
        counts: problems by code.
        first: the first of them.
    """

    states: list[list[Any]]
    files: list[dict[str, Any]]
    images: list[str]
    images_state: str
    counts: dict[str, int]
    first: list[dict[str, Any]]

    def problems(self) -> ProblemLog:
        return ProblemLog(counts=Counter(self.counts), first=[Problem(**problem) for problem in self.first])


def scan(store: Store, dataset: Dataset) -> Scan:
    """Scan a dataset, unless neither its files nor its images have changed since the last time.

    Raises:
        DataError: a file cannot be read, or a row where the dataset is strict.
    """
    earlier = None
    with suppress(ValueError, TypeError):  # a damaged one is made anew
        earlier = Scan(**json.loads(store.read(SCAN))) if store.exists(SCAN) else None
    if earlier is not None and _unchanged(earlier, dataset):
        return earlier
    made = _scan(store, dataset)
    store.write(SCAN, json.dumps(asdict(made)).encode(), replace=True)
    return made


def _unchanged(earlier: Scan, dataset: Dataset) -> bool:
    return (
        earlier.states == _states(dataset)
        and all(state is not None for _, state in earlier.states)
        and not _OF_FILES & earlier.counts.keys()  # it may be there now, or elsewhere
        and not dataset.arguments.get("image_root")  # a picture of the same name may have come before the one found
        and earlier.images_state == _hash(_image_state(path) for path in earlier.images)
    )


def _states(dataset: Dataset) -> list[list[Any]]:
    files = [[path, dataset.state(number)] for number, path in enumerate(dataset.files)]
    return [*files, *([INFO, text] for text in _described(dataset))]


def _described(dataset: Dataset) -> list[str]:
    """What says how the rows are to be read, beside the files and the arguments: hash of a LLaMA-Factory's columns."""
    if dataset.format != "llamafactory":
        return []
    return [_hash([Path(dataset.folder, INFO).read_text(encoding="utf-8", errors="replace")])]


def _scan(store: Store, dataset: Dataset) -> Scan:
    states, files, rows = _states(dataset), [], _Rows(dataset)
    described = _described(dataset)
    for entry in () if rows.full else index_files(store, dataset, strict=True):
        entry |= {"rows": 0, "samples": 0, "repeated": [], "marks": []}
        index = read_index(store, entry["name"])
        for cell in dataset.read_cells(index, 0, -(-index.rows // CELL_ROWS)):
            facts = [*described, *(fact for row in cell if not rows.full for fact in rows.add(row, entry))]
            entry["marks"].append(_hash(facts) if facts else "")
            if rows.full:
                break
        files.append(entry)
        if rows.full:  # before the next file is looked at, which may be one that cannot be read
            break
    log, images = rows.log, rows.images
    first = [asdict(problem) for problem in log.first]
    return Scan(states, files, list(images), _hash(images.values()), dict(log.counts), first)


class _Rows:
    """The rows of a dataset so far.

    Attributes:
        log: what is wrong with those that are left out.
        images: the image files that they name, and the state of each.
        full: whether the limit is reached.
    """

    def __init__(self, dataset: Dataset) -> None:
        self._dataset, self._ids, self._good = dataset, KnownIds(), 0
        self.log, self.images = ProblemLog(), dict[str, str]()

    @property
    def full(self) -> bool:
        return self._dataset.limit is not None and self._good >= self._dataset.limit

    def add(self, row: Conversation | Problem, entry: dict[str, Any]) -> list[str]:
        """Count a row for its file; returns what its numbers depend on beside the file."""
        position = entry["rows"]
        entry["rows"] += 1
        if isinstance(row, Problem):
            self._dataset.leave_out(row, self.log)
            return []
        if self._ids.repeated(row):
            self._dataset.leave_out(repeated_id(row), self.log)
            entry["repeated"].append(position)
            return [f"repeated {position}"]
        self._good += 1
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
