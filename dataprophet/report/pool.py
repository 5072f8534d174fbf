"""Sections of a scored pool: histograms of its scores with the cut, and its best, middle and rejected samples.

One column of one target is in memory at a time, 4 bytes for each sample.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dataprophet.errors import DataProphetError, explained
from dataprophet.report.page import Columns, Page
from dataprophet.report.samples import Gallery, Shown
from dataprophet.report.values import number
from dataprophet.scoring.folder.pool import ScoredPool
from dataprophet.scoring.folder.rows import OK
from dataprophet.selection.written_rows import DROPPED, SELECTED, RowSource, entries_at, up_to

MOST_TARGETS = 8
"""Targets whose samples are shown; histograms are of all."""

_BINS, _SHOWN, _REFUSED, _OF_A_STATUS = 60, 8, 12, 3
_LOOKED_AT = 512  # samples of which those with different scores are shown
_SORTED = 200_000  # scores that are sorted as a whole
_TURNS = 1 << 20  # turns of a row, at most


Line = dict[str, Any]
"""A line of the rows files: some of its columns by name, and its ``shard``."""


@dataclass(frozen=True)
class Chosen:
    """What a selection chose of a pool.

    Attributes:
        mask: (n,) bool over the lines of the pool.
        lowest: lowest score chosen, None where several targets were combined.
        targets: what was selected for.
        told: how, as text by name.
        dropped: the best of what rules left out: place, score and reason of each.
    """

    mask: NDArray[np.bool_]
    lowest: float | None
    targets: Sequence[str]
    told: dict[str, str]
    dropped: list[Line]


def add_pool(page: Page, gallery: Gallery) -> None:
    """Sections of a scored pool, if there is one."""
    pool = page.inputs.pool
    if pool is None:
        return
    lines = _Lines(pool)
    chosen = _chosen(page.inputs.selection, pool, lines) if page.inputs.selection is not None else None
    histograms = []
    losses = lines.floats("mean_nll")
    page.figures.add("losses", "losses", _bins(losses, chosen, None, log=False))
    groups: list[dict[str, Any]] = []
    unread, reader = "", None
    try:
        reader = _Reader(lines, RowSource(pool), gallery)
    except DataProphetError as error:
        unread = f"{error.where}: {error.what}"
    for place, target in enumerate(pool.targets):
        scores = lines.floats(f"M:{target}")
        if not np.isfinite(scores).any():
            page.missing.append(f"Scores for {target}: no sample has one.")
            continue
        own = chosen if chosen is not None and target in chosen.targets else None
        key = f"scores/{place}"
        page.figures.add("scores", key, _bins(scores, own, own.lowest if own else None, log=True), target)
        histograms.append((target, key))
        if place < MOST_TARGETS and reader is not None and not unread:
            try:
                groups += reader.groups(target, scores, own)
            except DataProphetError as error:
                unread = f"{error.where}: {error.what}"
    if refused := lines.refused():
        groups.append({"heading": "Rows that could not be used", "cards": refused})
    gallery.colour(card for group in groups for card in group["cards"])
    page.section("pool", "Samples", {"histograms": histograms, "chosen": chosen, "scored": f"{pool.n_samples:,}"})
    page.section("gallery", "Best, middle and rejected", {"groups": groups, "unread": unread, "model": gallery.model})


class _Lines:
    """The output rows of a pool, and where each lies."""

    def __init__(self, pool: ScoredPool) -> None:
        self.pool, self.shards = pool, pool.shards
        sizes = [pq.read_metadata(each.rows).num_rows for each in self.shards]
        self.starts = np.cumsum([0, *sizes])

    def floats(self, name: str) -> NDArray[np.float32]:
        """(n,) float32 column, NaN where it is null."""
        made = np.full(int(self.starts[-1]), np.nan, np.float32)
        at = 0
        for batch in self.pool.batches([name]):
            made[at : at + batch.num_rows] = batch.column(0).to_numpy(zero_copy_only=False)
            at += batch.num_rows
        return made

    def keys(self, shard: int) -> NDArray[np.int64]:
        """(m,) int64 for the lines of a shard: place in the file and turn, as one number."""
        return _keys(pq.read_table(self.shards[shard].rows, columns=["position", "turn"]))

    def at(self, places: Iterable[int], columns: Sequence[str]) -> list[Line]:
        """Lines at these places, in this order, each with its ``shard``."""
        found: dict[int, Line] = {}
        wanted = np.array(sorted(set(places)), np.int64)
        shards = np.searchsorted(self.starts, wanted, side="right") - 1
        for shard in np.unique(shards):
            own = wanted[shards == shard]
            table = pq.read_table(self.shards[shard].rows, columns=list(columns))
            for place, row in zip(own, table.take(pa.array(own - self.starts[shard])).to_pylist(), strict=True):
                found[int(place)] = {**row, "shard": int(shard)}
        return [found[int(place)] for place in places]

    def shard_of(self, row: Line) -> int:
        """The shard in which a row of a file lies."""
        cell = row["position"] // self.pool.config.cell_rows
        for place, each in enumerate(self.shards):
            if each.shard.name == row["file"] and each.shard.first <= cell < each.shard.last:
                return place
        raise DataProphetError(f"{row['id']!r} is not in the pool", where=self.pool.folder, fix="select again")

    def refused(self) -> list[Shown]:
        """Cards of rows with another status than ok, a few of each."""
        cards, seen = list[Shown](), dict[str, int]()
        if set(self.pool.statuses) <= {OK}:
            return cards
        for batch in self.pool.batches(["id", "file", "row", "status", "detail"]):
            status = batch.column(3)
            for row in batch.filter(pc.not_equal(status.cast(pa.string()), OK)).to_pylist():
                seen[row["status"]] = seen.get(row["status"], 0) + 1
                if seen[row["status"]] <= _OF_A_STATUS and len(cards) < _REFUSED:
                    place = f"{row['file']} row {row['row']}"
                    cards.append(Shown(row["status"], row["id"], place, problem=row["detail"] or row["status"]))
        return cards


class _Reader:
    """Cards of a pool's samples, read where they were scored."""

    def __init__(self, lines: _Lines, source: RowSource, gallery: Gallery) -> None:
        self._lines, self._source, self._gallery = lines, source, gallery

    def groups(self, target: str, scores: NDArray[np.float32], chosen: Chosen | None) -> list[dict[str, Any]]:
        """The best, those in the middle or at the cut, the lowest, and what a rule left out."""
        known = np.flatnonzero(np.isfinite(scores))
        order = known[np.lexsort((known, -scores[known]))] if len(known) < _SORTED else _ends(known, scores)
        cut = chosen.lowest if chosen is not None else None
        middle = np.float32(np.median(scores[known]) if cut is None else cut)
        near = _varied(known[np.argsort(np.abs(scores[known] - middle), kind="stable")[:_LOOKED_AT]], scores)
        near = near[np.argsort(-scores[near], kind="stable")]
        best, lowest = _varied(order[:_LOOKED_AT], scores), _varied(order[::-1][:_LOOKED_AT], scores)[::-1]
        where = "Around the middle" if cut is None else "At the cut"
        made = []
        for heading, places in {"Best": best, where: near, "Lowest": lowest}.items():
            rows = self._lines.at(places.tolist(), ["id", "position", "turn", "mean_nll"])
            tags = [
                f"M {number(float(scores[place]))} · nll {number(row['mean_nll'])}{_word(chosen, int(place))}"
                for place, row in zip(places, rows, strict=True)
            ]
            made.append({"heading": f"{heading} for {target}", "cards": self._cards(rows, tags)})
        if chosen is not None and chosen.dropped:
            rows = [{**row, "shard": self._lines.shard_of(row)} for row in chosen.dropped]
            tags = [f"M {number(row['score'])} · left out: {row['reason']}" for row in rows]
            made.append({"heading": f"Left out by a rule for {target}", "cards": self._cards(rows, tags)})
        return made

    def _cards(self, rows: list[Line], tags: list[str]) -> list[Shown]:
        found: dict[int, Shown] = {}
        for shard in sorted({row["shard"] for row in rows}):
            own = [(row["position"], n) for n, row in enumerate(rows) if row["shard"] == shard]
            positions = np.unique(np.array([position for position, _ in own], np.int64))
            read = entries_at(self._lines.shards[shard], positions, self._source)
            entries = dict(zip(positions.tolist(), read, strict=True))
            for position, n in own:
                row = up_to(entries[position], rows[n]["turn"])
                if row is None:
                    found[n] = Shown(tags[n], rows[n]["id"], problem="is not what it was when it was scored")
                    continue
                *_, sample = row.samples()
                found[n] = self._gallery.card(replace(sample, id=row.id), tags[n])
        return [found[n] for n in range(len(rows))]


def _ends(known: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """The places of the highest and the lowest scores, in order; those between are left out."""
    part = np.argpartition(-scores[known], [_LOOKED_AT, len(known) - _LOOKED_AT])
    ends = known[np.concatenate([part[:_LOOKED_AT], part[-_LOOKED_AT:]])]
    return np.asarray(ends[np.lexsort((ends, -scores[ends]))], np.int64)


def _varied(places: NDArray[np.int64], scores: NDArray[np.float32]) -> NDArray[np.int64]:
    """The first places whose scores differ: samples of one score are mostly copies, of which one is enough to see."""
    _, first = np.unique(scores[places], return_index=True)
    return np.asarray(places[np.sort(first)[:_SHOWN]], np.int64)


def _keys(table: pa.Table) -> NDArray[np.int64]:
    """Place in the file and turn of each line, as one number."""
    return np.asarray(table.column("position").to_numpy() * _TURNS + table.column("turn").to_numpy(), np.int64)


def _word(chosen: Chosen | None, place: int) -> str:
    return "" if chosen is None else " · chosen" if chosen.mask[place] else " · not chosen"


def _bins(values: NDArray[np.float32], chosen: Chosen | None, cut: float | None, *, log: bool) -> Columns:
    """Columns of a histogram: ``from``, ``to``, ``samples``, ``chosen``, and ``cut`` in each row."""
    usable = np.isfinite(values) & ((values > 0) if log else True)
    known = values[usable].astype(np.float64)
    if not len(known):
        return {}
    given = np.log(known) if log else known
    low, high = float(given.min()), float(given.max())
    edges = np.linspace(low, high if high > low else low + 1e-3, _BINS + 1)
    counts = np.histogram(given, edges)[0]
    some = np.histogram(given[chosen.mask[usable]], edges)[0] if chosen is not None else np.zeros(_BINS, np.int64)
    limits = np.exp(edges) if log else edges
    rows: Columns = {"from": limits[:-1].tolist(), "to": limits[1:].tolist(), "samples": counts.tolist()}
    return {**rows, "chosen": some.tolist(), "cut": [cut] * _BINS}


def _chosen(selection: tuple[dict[str, Any], Path], pool: ScoredPool, lines: _Lines) -> Chosen:
    manifest, folder = selection
    kinds = (KeyError, TypeError, AttributeError, pa.ArrowException, OSError)
    with explained(kinds, DataProphetError, "is damaged", str(folder), "select again"):
        settings = manifest["settings"]
        targets = [str(name) for name in settings["targets"]]
        table = pq.read_table(folder / SELECTED)
        table = table.filter(pc.equal(table.column("pool"), pool.name))
        keys = _keys(table)
        files = np.array(table.column("file").to_pylist(), object)
        mask = np.zeros(int(lines.starts[-1]), np.bool_)
        for n, each in enumerate(lines.shards):
            own, here = keys[files == each.shard.name], lines.keys(n)
            mask[lines.starts[n] : lines.starts[n + 1]] = np.isin(here, own) | np.isin(here // _TURNS * _TURNS, own)
        scores = table.column("score").to_numpy()
        dropped = pq.read_table(folder / DROPPED)
        dropped = dropped.filter(pc.equal(dropped.column("pool"), pool.name)).slice(0, _SHOWN).to_pylist()
        told = {"chosen": f"{table.num_rows:,}", "unit": str(settings["unit"])}
        told |= {
            f"left out by {rule}": f"{count:,}" for rule, count in {**manifest["noisy"], **manifest["dropped"]}.items()
        }
        plain = len(targets) == 1 and len(scores) and not settings["without"]  # else the scores are no M of a target
        lowest = float(scores.min()) if plain else None
        return Chosen(mask, lowest, targets, told, dropped)
