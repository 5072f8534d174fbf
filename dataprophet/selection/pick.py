"""The choice itself: lanes that each take so many units from a ranking, under the same rules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from dataprophet import ops
from dataprophet.errors import BudgetError
from dataprophet.selection.candidates import Units
from dataprophet.selection.diverse import Chosen, Greedy
from dataprophet.selection.leakage import nearest_to_targets
from dataprophet.selection.quotas import Lane, lanes_of
from dataprophet.selection.ranking import Ranking
from dataprophet.selection.settings import Settings
from dataprophet.selection.vectors import unit_vectors

LEAKAGE, DUPLICATE_ID, NEAR_DUPLICATE = "leakage", "duplicate_id", "near_duplicate"
SOURCE_FULL, UNDECODABLE, CHANGED = "source_full", "undecodable_image", "changed_row"
"""Why a unit that ranked high enough was left out."""

_BLOCK = 1024  # units that are compared with each other at a time
_LEAST = 4096  # units of a ranking that are asked for at least, once the first ones did not suffice
_LINES = 1 << 40  # more than a rows file has

Rejected = Mapping[int, str]


@dataclass
class Picked:
    """What was chosen.

    Attributes:
        units: the chosen units, in no particular order: columns of ``Units.details``, ``score``, and ``lane``.
        dropped: units that would have been chosen but for a rule: ``reason``, and for a near-duplicate or a leak
            ``cosine``, and for a near-duplicate ``of``, the ``unit_codes`` of the unit that was kept.
        counts: reason -> units.
        means: target -> mean score over the pools, by which scores for several targets are divided.
    """

    units: pa.Table
    dropped: pa.Table
    counts: Counter[str] = field(default_factory=Counter)
    means: dict[str, float] = field(default_factory=dict)


def unit_codes(table: pa.Table) -> NDArray[np.int64]:
    """A number for each unit, by its part and line."""
    parts, lines = table.column("part").to_numpy(), table.column("line").to_numpy()
    found: NDArray[np.int64] = parts.astype(np.int64) * _LINES + lines
    return found


def pick(units: Units, settings: Settings, rejected: Rejected) -> Picked:
    """Choose exactly as many units as are asked for.

    Args:
        units: what to choose among.
        settings: how.
        rejected: codes of units that turned out to be unusable, and why.

    Raises:
        BudgetError: there are not that many, saying what is short and why.
        DataProphetError: a rule needs embeddings or a column that the pools do not have.
    """
    lanes, means = lanes_of(units, settings)
    state = _State(units, settings, rejected)
    for lane in lanes:
        state.fill(lane)
    return state.result(means)


class _State:
    def __init__(self, units: Units, settings: Settings, rejected: Rejected) -> None:
        self.units, self.settings, self.rejected = units, settings, rejected
        self.cap = settings.budget if settings.max_share is None else int(settings.max_share * settings.budget + 1e-9)
        self.of_source: Counter[str] = Counter()
        self.codes = np.empty(0, np.int64)  # of what is chosen, ascending
        self.hashes = np.empty(0, np.uint64)  # of file and id of what is chosen, ascending
        self.chosen = Chosen()
        self.tables: list[pa.Table] = []
        self.dropped: list[pa.Table] = []
        self.compares = settings.near_duplicates is not None or settings.diverse is not None

    def fill(self, lane: Lane) -> None:
        """Take a lane's units.

        Raises:
            BudgetError: when they run out.
        """
        if not lane.count:
            return
        ranking = Ranking(
            self.units,
            lane.score,
            sources=lane.sources,
            minimum=self.settings.minimum,
            nearest=self.settings.leakage is not None,
        )
        left, asked, examined = lane.count, lane.count, 0
        if self.settings.diverse is not None:
            asked *= self.settings.candidates
        while left:
            table = ranking.next(asked, self._full())
            if not table.num_rows:
                raise self._short(lane, lane.count - left, examined)
            examined += table.num_rows
            left -= self._take(table, left, lane)
            asked = max(_LEAST, 2 * left)

    def result(self, means: dict[str, float]) -> Picked:
        units = pa.concat_tables(self.tables)
        dropped = _first_of_each(self.dropped, self.codes)
        counts = Counter(dropped.column("reason").to_pylist()) if dropped.num_rows else Counter[str]()
        return Picked(units, dropped, counts, means)

    def _full(self) -> Collection[str]:
        return {source for source, count in self.of_source.items() if count >= self.cap}

    def _take(self, table: pa.Table, limit: int, lane: Lane) -> int:
        """Accept up to ``limit`` units of a block; returns how many."""
        codes = unit_codes(table)
        reason = np.full(len(codes), "", object)
        cosine = np.full(len(codes), np.nan, np.float32)
        for place in np.flatnonzero(np.isin(codes, np.fromiter(self.rejected, np.int64, len(self.rejected)))):
            reason[place] = self.rejected[int(codes[place])]
        if self.settings.leakage is not None:
            near = nearest_to_targets(self.units, table)
            leaks = (near >= self.settings.leakage) & (reason == "")
            reason[leaks], cosine[leaks] = LEAKAGE, near[leaks]
        reason[np.isin(codes, self.codes)] = _TAKEN
        hashes = _hashes(table)
        if self.compares:
            accepted, of = self._compare(table, hashes, reason, cosine, limit)
        else:
            accepted, of = self._best(table, hashes, reason, limit), None
        self._keep(table, codes, hashes, accepted, lane)
        whole = len(accepted) < limit or self.settings.diverse is not None
        last = len(codes) if whole else int(accepted.max()) + 1
        self._drop(table, reason, cosine, of, last)
        return len(accepted)

    def _best(
        self, table: pa.Table, hashes: NDArray[np.uint64], reason: NDArray[np.object_], limit: int
    ) -> NDArray[np.int64]:
        """Places of the first units that no rule forbids."""
        open_ = np.flatnonzero(reason == "")
        first = np.zeros(len(open_), np.bool_)
        first[np.unique(hashes[open_], return_index=True)[1]] = True
        repeated = ~first | np.isin(hashes[open_], self.hashes)
        reason[open_[repeated]] = DUPLICATE_ID
        left = open_[~repeated]
        if self.cap < self.settings.budget:
            sources = self._sources(table)
            full = np.zeros(len(left), np.bool_)
            for source in np.unique(sources[left]):
                own = np.flatnonzero(sources[left] == source)
                full[own[max(0, self.cap - self.of_source[source]) :]] = True
            reason[left[full]] = SOURCE_FULL
            left = left[~full]
        return left[:limit]

    def _compare(
        self,
        table: pa.Table,
        hashes: NDArray[np.uint64],
        reason: NDArray[np.object_],
        cosine: NDArray[np.float32],
        limit: int,
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The same where units are compared with what is chosen: each accepted unit changes the fate of the next."""
        z, usable = unit_vectors(self.units, table)
        codes, sources = unit_codes(table), self._sources(table)
        of = np.full(len(codes), -1, np.int64)
        seen = set(self.hashes.tolist())
        count = Counter(self.of_source)
        accepted: list[int] = []
        open_ = np.flatnonzero(reason == "")
        bound = self.settings.near_duplicates
        for place, near, nearest in self._offers(table, z, usable, open_):
            if hashes[place] in seen:
                reason[place] = DUPLICATE_ID
            elif bound is not None and near >= bound:
                reason[place], cosine[place], of[place] = NEAR_DUPLICATE, near, nearest
            elif count[sources[place]] >= self.cap:
                reason[place] = SOURCE_FULL
            else:
                accepted.append(place)
                seen.add(hashes[place])
                count[sources[place]] += 1
                if usable[place]:
                    self.chosen.add(z[place], int(codes[place]))
                if len(accepted) == limit:
                    break
        return np.array(accepted, np.int64), of

    def _offers(
        self, table: pa.Table, z: NDArray[np.float16], usable: NDArray[np.bool_], open_: NDArray[np.int64]
    ) -> Iterator[tuple[int, float, int]]:
        """Places in the order in which they are tried, each with its largest cosine to what is chosen by then."""
        if self.settings.diverse is not None:
            scores = table.column("score").to_numpy()[open_]
            greedy = Greedy(scores, z[open_], usable[open_], self.settings.diverse, self.chosen)
            while (offer := greedy.next()) is not None:
                yield int(open_[offer[0]]), offer[1], offer[2]
            return
        codes = unit_codes(table)
        for start in range(0, len(open_), _BLOCK):
            block = open_[start : start + _BLOCK]
            near, of = np.full(len(block), -np.inf, np.float32), np.full(len(block), -1, np.int64)
            own = np.flatnonzero(usable[block])
            near[own], of[own] = self.chosen.nearest(z[block[own]])
            inside = np.full((len(block), len(block)), -np.inf, np.float32)
            if len(own):
                vectors = z[block[own]]
                inside[np.ix_(own, own)] = ops.cosine_to(vectors, vectors.astype(np.float32))
            for row, place in enumerate(block):
                before = self.chosen.count
                yield int(place), float(near[row]), int(of[row])
                if self.chosen.count > before:  # it was accepted
                    nearer = inside[:, row] > near
                    near[nearer], of[nearer] = inside[nearer, row], codes[place]

    def _keep(
        self,
        table: pa.Table,
        codes: NDArray[np.int64],
        hashes: NDArray[np.uint64],
        accepted: NDArray[np.int64],
        lane: Lane,
    ) -> None:
        self.codes = np.sort(np.concatenate([self.codes, codes[accepted]]))
        self.hashes = np.sort(np.concatenate([self.hashes, hashes[accepted]]))
        sources, counts = np.unique(self._sources(table)[accepted], return_counts=True)
        self.of_source.update(dict(zip(sources.tolist(), counts.tolist(), strict=True)))
        kept = table.select([*_COLUMNS, "score"]).take(pa.array(accepted))
        self.tables.append(kept.append_column("lane", pa.array([lane.name] * len(accepted), pa.string())))

    def _drop(
        self,
        table: pa.Table,
        reason: NDArray[np.object_],
        cosine: NDArray[np.float32],
        of: NDArray[np.int64] | None,
        last: int,
    ) -> None:
        places = np.flatnonzero((reason[:last] != "") & (reason[:last] != _TAKEN))
        kept = table.select([*_COLUMNS, "score"]).take(pa.array(places))
        kept = kept.append_column("reason", pa.array(reason[places].tolist(), pa.string()))
        kept = kept.append_column("cosine", pa.array(cosine[places], mask=np.isnan(cosine[places])))
        ofs = np.full(len(places), -1, np.int64) if of is None else of[places]
        self.dropped.append(kept.append_column("of", pa.array(ofs, mask=ofs < 0)))

    def _sources(self, table: pa.Table) -> NDArray[np.object_]:
        names = np.array([part.source for part in self.units.parts], object)
        found: NDArray[np.object_] = names[table.column("part").to_numpy()]
        return found

    def _short(self, lane: Lane, found: int, examined: int) -> BudgetError:
        """What is missing, and what became of the units that were tried."""
        reasons: Counter[str] = Counter()
        for table in self.dropped:
            reasons.update(table.column("reason").to_pylist())
        for pool in self.units.pools:
            reasons.update({name: count for name, count in pool.statuses.items() if name != "ok"})
            reasons.update({f"without a score for {name}": pool.unscored[name] for name in self.units.targets})
        why = ", ".join(f"{count} {name}" for name, count in sorted(reasons.items()) if count)
        bound = "" if self.settings.minimum is None else f" of at least {self.settings.minimum:g}"
        return BudgetError(
            f"{lane.count} {self.settings.unit}s asked, {found} can be chosen of {examined} with a score{bound}"
            f"{f' (left out: {why})' if why else ''}",
            where=lane.name or "budget",
            fix=f"ask for at most {found}, or ease a rule",
        )


_TAKEN = "taken"  # by an earlier lane
_COLUMNS = ("id", "rank", "position", "turn", "part", "line", "lines")


def _hashes(table: pa.Table) -> NDArray[np.uint64]:
    """A hash of the file and the id of each unit."""
    ranks, ids = table.column("rank").to_pylist(), table.column("id").to_pylist()
    each = (xxhash.xxh3_64_intdigest(f"{rank}\0{name}".encode()) for rank, name in zip(ranks, ids, strict=True))
    return np.fromiter(each, np.uint64, len(ids))


def _first_of_each(tables: list[pa.Table], chosen: NDArray[np.int64]) -> pa.Table:
    """Dropped units, each once, without those that another lane has chosen."""
    table = pa.concat_tables(tables)
    codes = unit_codes(table)
    first = np.zeros(len(codes), np.bool_)
    first[np.unique(codes, return_index=True)[1]] = True
    return table.filter(pa.array(first & ~np.isin(codes, chosen)))
