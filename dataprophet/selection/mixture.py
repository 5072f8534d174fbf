"""Mixtures: rows of the sources in proportion to their scores, exactly as many as the budget, written for a trainer.

The commands ``mix`` and ``demo`` call ``mix``. Scores come as a matrix; how they were made is not known here.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from itertools import chain, count
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from dataprophet.data import Dataset
from dataprophet.data.export import write_rows
from dataprophet.data.export.place import check_output, place_of, seen_from
from dataprophet.data.identity.census import Census, rule_of
from dataprophet.data.identity.compare import joined
from dataprophet.data.sample import MAX_BAD, Conversation, Problem, Tally, check_bad
from dataprophet.errors import BudgetError, DataError, MetricError, explained
from dataprophet.files import MANIFEST
from dataprophet.metric.matrix import TransferMatrix
from dataprophet.selection.allocation import allocate
from dataprophet.selection.written_rows import decodes
from dataprophet.store.checksums import parse_document


@dataclass
class Share:
    """What a mixture takes of one source.

    Attributes:
        name: the source's name.
        score: its weight, M(source -> target).
        factors: factor name -> value.
        available: rows that can be used.
        taken: rows in the mixture.
        wanted: rows that it would give if every source had enough.
        left_out: problem code -> rows of the source that could not be used.
        tally: what the source's rows hold.
    """

    name: str
    score: float
    factors: dict[str, float]
    available: int
    taken: int
    wanted: int = 0
    left_out: dict[str, int] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)


@dataclass
class Mixture:
    """What was written: shares in order of the scores, the folder's files, and sources left out as noise."""

    target: str
    budget: int
    shares: list[Share]
    folder: str | Path
    files: Mapping[str, str]
    left_out: list[str] = field(default_factory=list)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Mixture:
        """What ``mix`` wrote to a folder, by its manifest.

        Raises:
            DataError: there is none, or it is damaged.
        """
        path, made = Path(folder) / MANIFEST, (OSError, ValueError, KeyError, TypeError)
        with explained(made, DataError, "is no mixture's manifest", str(path), "make the mixture again"):
            told = parse_document(path.read_bytes())
            names = [each.name for each in fields(Share)]
            shares = [Share(**{name: each[name] for name in names}) for each in told["sources"]]
            for share in shares:
                share.tally = Tally(**vars(share)["tally"])
            return cls(told["target"], told["budget"], shares, Path(folder), told["files"], told["left_out"])

    def remarks(self) -> list[str]:
        """Which sources gave all of their rows and would have given more, a line each."""
        short = [share for share in self.shares if share.taken == share.available < share.wanted]
        return [
            f"source {share.name!r} runs out: all of its {share.taken:,} rows are taken, and the "
            f"{share.wanted - share.taken:,} more of its share came from the others"
            for share in short
        ]


def mix(
    scores: TransferMatrix,
    target: str,
    budget: int,
    datasets: Mapping[str, Dataset],
    out: str | os.PathLike[str],
    *,
    format: str = "llava",
    seed: int = 0,
    capacity: Sequence[int] | None = None,
    minimum: int = 0,
    temperature: float = 1.0,
    without: Sequence[str] = (),
    max_nll: float | None = None,
    nll_quantiles: Sequence[float] | None = None,
    min_answer_tokens: float | None = None,
    overwrite: bool = False,
    progress: Callable[[int], Any] | None = None,
    max_bad: float = MAX_BAD,
) -> Mixture:
    """Allocate a budget of rows over the sources of a target and write them.

    The rows of a source are those whose hash of (seed, source, id) is smallest: a sample without replacement that does
    not depend on the order of the file. Images of the chosen rows are decoded; a row that fails gives its place to the
    next one. Written rows are shuffled by the same hash, and their ids are ``<source>/<id>``.

    Args:
        scores: the matrix.
        target: the benchmark to mix for.
        budget: rows in all; a row is a conversation, with all its turns.
        datasets: source name -> dataset, one for every source of the matrix.
        out: folder to write; it appears whole or not at all.
        format: one of ``dataprophet.data.EXPORT_FORMATS``.
        seed: of the sampling.
        capacity: most rows of each source, in the order of the matrix; never more than it has.
        minimum: least rows of every source.
        temperature: scores count as their power 1 / temperature: above 1 the mixture is more even, below 1 sharper.
        without: factors to leave out of the scores, as of ``TransferMatrix.without``.
        max_nll: with the next two, limits beyond which a source gives no rows, as of ``TransferMatrix.within``.
        nll_quantiles: likewise.
        min_answer_tokens: likewise.
        overwrite: replace an existing folder.
        progress: called with the number of rows read so far; most rows are read twice, to count and to choose.
        max_bad: share of each source's rows that may be unusable.

    Raises:
        BudgetError: when the budget cannot be met, naming what is short.
        DataProphetError: when a dataset is missing or unreadable, or is not the one that the source's profile was made
            of, as far as the matrix knows; more rows of one than ``max_bad`` cannot be used; or ``out`` exists.
    """
    most = [math.inf] * len(scores.sources) if capacity is None else list(capacity)
    if len(most) != len(scores.sources):
        raise BudgetError(f"{len(most)} capacities for {len(scores.sources)} sources", fix="give one for each source")
    all_of = dict(zip(scores.sources, most, strict=True))
    limits: dict[str, Any] = {"max_nll": max_nll, "nll_quantiles": nll_quantiles}
    limits["min_answer_tokens"] = min_answer_tokens
    scores = scores.within(**limits)
    beyond = sorted(all_of.keys() - set(scores.sources))
    scores = scores.without(*without) if without else scores
    if missing := [name for name in scores.sources if name not in datasets]:
        raise MetricError(f"no dataset for source {missing[0]!r}", fix=f"give every source: {', '.join(missing)}")
    column = scores.column(target)
    weights = scores.values[:, column]
    for row in np.flatnonzero(np.isnan(weights)):
        bad = scores.sources[row]
        raise MetricError(f"the score of {bad!r} for {target!r} is not defined", fix="leave that source out")
    check_output(out, overwrite=overwrite)
    read = count(1)
    tick = (lambda: None) if progress is None else (lambda: progress(next(read)))
    pools = list(_pools(scores, datasets, seed, tick))
    _check_bad(pools, max_bad)
    shared: dict[str, Any] = {"minimum": minimum, "names": scores.sources, "temperature": temperature}
    while True:  # again only when images of chosen rows fail to decode and a source has no spare rows left
        capacities = [min(all_of[pool.name], len(pool)) for pool in pools]
        counts = allocate(weights, budget, capacity=capacities, **shared)
        found = [pool.take(int(number)) for pool, number in zip(pools, counts, strict=True)]
        if [len(rows) for rows in found] == counts.tolist():
            break
    _check_bad(pools, max_bad)  # images of chosen rows are decoded by now
    chosen = [row for _, row in sorted(chain.from_iterable(found), key=itemgetter(0))]
    wanted = allocate(weights, budget, **shared).tolist()
    shares = []
    for i, (pool, taken) in enumerate(zip(pools, counts.tolist(), strict=True)):
        factors = {name: float(part[i, column]) for name, part in scores.factors.items()}
        left_out = dict(sorted(pool.left_out.items()))
        facts = (float(weights[i]), factors, len(pool), taken, wanted[i], left_out, pool.tally)
        shares.append(Share(pool.name, *facts))
    shares.sort(key=lambda share: (-share.score, share.name))
    asked = {"target": target, "budget": budget, "seed": seed, "minimum": minimum, "temperature": temperature}
    asked |= {"without": list(without), **limits, "left_out": beyond}
    sources = [{**asdict(share), **_origin(datasets[share.name], out)} for share in shares]
    manifest = {**asked, "sources": sources, "ids": [row.id for row in chosen]}
    name = "mixture-" + re.sub(r"[^A-Za-z0-9._-]", "_", target)
    written = write_rows(chosen, out, format, name=name, overwrite=overwrite, manifest=manifest)
    return Mixture(target, budget, shares, place_of(out), written.files, beyond)


def _check_bad(pools: Iterable[_Pool], max_bad: float) -> None:
    for pool in pools:
        check_bad(pool.left_out, pool.tally.rows, max_bad, pool.name)


def _origin(dataset: Dataset, out: str | os.PathLike[str]) -> dict[str, str]:
    """Where a dataset lies, as seen from the mixture's folder, and its fingerprint."""
    by_name = not dataset.path or not dataset.files  # in memory, or on the hub
    path = dataset.path if by_name else seen_from(out, dataset.path)
    return {"path": path, "format": dataset.format, "fingerprint": dataset.fingerprint()}


def _pools(
    scores: TransferMatrix, datasets: Mapping[str, Dataset], seed: int, tick: Callable[[], None]
) -> Iterator[_Pool]:
    """The usable rows of every source; data that is not what its profile was made of is refused."""
    made_of = {name: joined(scores.identities.get("sources", {}).get(name, ())) for name in scores.sources}
    known = {name: its for name, its in made_of.items() if its and its.kind == "samples"}
    for name, its in known.items():  # before any row is read
        its.require_files(datasets[name], name, known)
    for name in scores.sources:
        if name not in known:
            yield _Pool(name, datasets[name], seed, tick)
            continue
        its = known[name]
        census = Census(its.counts.get("rows") if "limit" in its.reading else None, rule_of(its.images))
        pool = _Pool(name, census.watching(datasets[name]), seed, tick)
        known[name].require_rows(census, datasets[name], name)
        pool.dataset = datasets[name]
        yield pool


class _Pool:
    """The usable rows of one source, by hash."""

    def __init__(self, name: str, dataset: Dataset, seed: int, tick: Callable[[], None]) -> None:
        self.name, self.dataset, self.seed, self.tick = name, dataset, seed, tick
        self.left_out: Counter[str] = Counter()
        self.tally = Tally()
        self._hashes: list[bytes] = []
        self._bad: set[bytes] = set()
        self._good: dict[bytes, Conversation] = {}
        for row in dataset.rows():
            tick()
            self.tally.add(row)
            if isinstance(row, Problem):
                self.left_out[row.code] += 1
            else:
                self._hashes.append(self._hash(row))
        self._hashes.sort()

    def __len__(self) -> int:
        return len(self._hashes) - len(self._bad)

    def _hash(self, row: Conversation) -> bytes:
        return hashlib.blake2b(f"{self.seed}\0{self.name}\0{row.id}".encode(), digest_size=16).digest()

    def take(self, number: int) -> list[tuple[bytes, Conversation]]:
        """The first ``number`` rows by hash whose images decode, or all there are when that is fewer."""
        while True:
            wanted = [key for key in self._hashes if key not in self._bad][:number]
            fresh = set(wanted) - self._good.keys()
            if not fresh:
                return [(key, replace(self._good[key], id=f"{self.name}/{self._good[key].id}")) for key in wanted]
            for row in self.dataset.rows():
                self.tick()
                if isinstance(row, Problem) or (key := self._hash(row)) not in fresh:
                    continue
                if decodes(row):
                    self._good[key] = row
                else:
                    self._bad.add(key)
                    self.left_out["undecodable_image"] += 1
            if lost := len(fresh - self._good.keys() - self._bad):
                what = f"{lost:,} rows could be used when they were counted, and cannot now: files or images changed"
                raise DataError(what, where=f"source {self.name!r}", fix="mix again once nothing writes to them")
