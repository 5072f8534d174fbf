"""The choice itself: quotas that each take so many candidates from a ranking, under the same rules.

``select_pool`` calls ``pick``, again where chosen rows turn out to be unusable. What is written is not known here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from dataprophet.errors import BudgetError
from dataprophet.features.features import cosines_between
from dataprophet.metric.factors import whole_share
from dataprophet.selection.candidates import DETAILS, Candidates
from dataprophet.selection.diverse import Chosen, Greedy, Vectors
from dataprophet.selection.inconsistent import Neighbours
from dataprophet.selection.quotas import Quota, quotas_of
from dataprophet.selection.ranking import Ranking
from dataprophet.selection.settings import Settings
from dataprophet.selection.vectors import nearest_to_targets, vectors_of

LEAKAGE, INCONSISTENT = "leakage", "inconsistent"
DUPLICATE_ID, NEAR_DUPLICATE = "duplicate_id", "near_duplicate"
SOURCE_FULL, UNDECODABLE, CHANGED, BAD_ID = "source_full", "undecodable_image", "changed_row", "bad_id"
"""Why a candidate that ranked high enough was left out."""

_TAKEN = "taken"  # by an earlier quota
_BLOCK = 1024  # candidates that are compared with each other at a time
_LEAST = 4096  # candidates of a ranking that are asked for at least, once the first ones did not suffice
_COLUMNS = (*DETAILS, "score")


@dataclass
class Picked:
    """What was chosen.

    Attributes:
        chosen: the chosen candidates, in no particular order: columns of ``Candidates.details``, ``score``, ``quota``.
        dropped: candidates that would have been chosen but for a rule: ``reason``, and for a near-duplicate or a leak
            ``cosine``, and for a near-duplicate ``of``, the ``code`` of the candidate that was kept.
        counts: reason -> candidates.
        means: target -> mean score over the pools, by which scores for several targets are divided.
    """

    chosen: pa.Table
    dropped: pa.Table
    counts: dict[str, int]
    means: dict[str, float]


def pick(candidates: Candidates, settings: Settings, rejected: Mapping[int, str]) -> Picked:
    """Choose exactly as many candidates as are asked for.

    Args:
        candidates: what to choose among.
        settings: how.
        rejected: codes of candidates that turned out to be unusable, and why.

    Raises:
        BudgetError: there are not that many, saying what is short and why.
        DataProphetError: a rule needs embeddings or a column that the pools do not have.
    """
    quotas, means = quotas_of(candidates, settings)
    choice = _Choice(candidates, settings, rejected)
    for quota in quotas:
        choice.fill(quota)
    # each once, and without those that another quota has chosen
    dropped = pa.concat_tables(choice.dropped)
    codes = dropped.column("code").to_numpy()
    dropped = dropped.filter(pa.array(_first(codes) & ~np.isin(codes, choice.codes)))
    counts = Counter(dropped.column("reason").to_pylist())
    return Picked(pa.concat_tables(choice.tables), dropped, dict(sorted(counts.items())), means)


def _first(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Where each value stands for the first time."""
    return np.isin(np.arange(len(values)), np.unique(values, return_index=True)[1])


class _Block:
    """Candidates in the order of a ranking, and what becomes of each.

    Attributes:
        reason: why it is left out; empty for those that are not, so far.
        cosine: to what it is too near to; NaN for others.
        of: code of the candidate that it repeats, or -1.
    """

    def __init__(self, candidates: Candidates, table: pa.Table) -> None:
        self.table = table
        self.codes: NDArray[np.int64] = table.column("code").to_numpy()
        self.sources = np.array([part.source for part in candidates.parts], object)[table.column("part").to_numpy()]
        ranks, ids = table.column("rank").to_pylist(), table.column("id").to_pylist()
        each = (xxhash.xxh3_64_intdigest(f"{rank}\0{name}".encode()) for rank, name in zip(ranks, ids, strict=True))
        self.hashes = np.fromiter(each, np.uint64, len(ids))  # of the file and the id
        self.reason = np.full(len(ids), "", object)
        self.cosine = np.full(len(ids), np.nan, np.float32)
        self.of = np.full(len(ids), -1, np.int64)

    @property
    def open(self) -> NDArray[np.int64]:
        """Places of candidates that no rule has left out."""
        return np.flatnonzero(self.reason == "")

    def rows(self, places: NDArray[np.int64]) -> pa.Table:
        return self.table.select(_COLUMNS).take(pa.array(places))


class _Choice:
    def __init__(self, candidates: Candidates, settings: Settings, rejected: Mapping[int, str]) -> None:
        self.candidates, self.settings, self.rejected = candidates, settings, rejected
        self.cap = settings.budget if settings.max_share is None else whole_share(settings.max_share, settings.budget)
        self.of_source: Counter[str] = Counter()
        self.codes = np.empty(0, np.int64)  # of what is chosen
        self.hashes = np.empty(0, np.uint64)
        self.vectors = Chosen()
        self.neighbours = Neighbours(candidates) if settings.drop_inconsistent else None
        self.tables: list[pa.Table] = []
        self.dropped: list[pa.Table] = []

    def fill(self, quota: Quota) -> None:
        """Take a quota's candidates.

        Raises:
            BudgetError: when they run out.
        """
        asked = self.settings
        leakage, diverse = asked.leakage is not None, asked.diverse is not None
        ranking = Ranking(self.candidates, quota, minimum=asked.minimum, nearest=leakage)
        left, examined = quota.count, 0
        count = left * asked.candidates if diverse else left
        while left:
            table = ranking.next(count, {source for source, taken in self.of_source.items() if taken >= self.cap})
            if not table.num_rows:
                raise self._short(quota, quota.count - left, examined)
            examined += table.num_rows
            block = _Block(self.candidates, table)
            self._leave_out(block)
            compares = diverse or asked.near_duplicates is not None
            accepted = self._compare(block, left) if compares else self._best(block, left)
            self._keep(block, accepted, quota)
            # what ranks behind the last one that was taken has not been left out by a rule
            self._drop(block, len(block.codes) if len(accepted) < left or diverse else int(accepted.max()) + 1)
            left -= len(accepted)
            count = max(_LEAST, 2 * left)

    def _leave_out(self, block: _Block) -> None:
        """What a candidate is left out for whatever else is chosen."""
        if self.rejected:
            block.reason[:] = [self.rejected.get(code, "") for code in block.codes.tolist()]
        if self.settings.leakage is not None:
            near = nearest_to_targets(self.candidates, block.table)
            leaks = (near >= self.settings.leakage) & (block.reason == "")
            block.reason[leaks], block.cosine[leaks] = LEAKAGE, near[leaks]
        if self.neighbours is not None:
            open_ = block.open
            block.reason[open_[self.neighbours.disagree(block.table.take(pa.array(open_)))]] = INCONSISTENT
        block.reason[np.isin(block.codes, self.codes)] = _TAKEN

    def _best(self, block: _Block, limit: int) -> NDArray[np.int64]:
        """Places of the first candidates that no rule forbids."""
        open_ = block.open
        repeated = ~_first(block.hashes[open_]) | np.isin(block.hashes[open_], self.hashes)
        block.reason[open_[repeated]] = DUPLICATE_ID
        if self.cap < self.settings.budget:
            open_ = block.open
            for source in np.unique(block.sources[open_]):
                own = open_[block.sources[open_] == source]
                block.reason[own[max(0, self.cap - self.of_source[source]) :]] = SOURCE_FULL
        return block.open[:limit]

    def _compare(self, block: _Block, limit: int) -> NDArray[np.int64]:
        """The same where candidates are compared with what is chosen: each that is accepted changes what follows."""
        z, usable = vectors_of(self.candidates, block.table)
        seen, count = set(self.hashes.tolist()), Counter(self.of_source)
        accepted: list[int] = []
        bound = self.settings.near_duplicates
        for place, near, nearest in self._offers(block, z, usable):
            if block.hashes[place] in seen:
                block.reason[place] = DUPLICATE_ID
            elif bound is not None and near >= bound:
                block.reason[place], block.cosine[place], block.of[place] = NEAR_DUPLICATE, near, nearest
            elif count[block.sources[place]] >= self.cap:
                block.reason[place] = SOURCE_FULL
            else:
                accepted.append(place)
                seen.add(block.hashes[place])
                count[block.sources[place]] += 1
                if usable[place]:
                    self.vectors.add(z[place], int(block.codes[place]))
                if len(accepted) == limit:
                    break
        return np.array(accepted, np.int64)

    def _offers(self, block: _Block, z: Vectors, usable: NDArray[np.bool_]) -> Iterator[tuple[int, float, int]]:
        """Places in the order in which they are tried, each with its largest cosine to what is chosen by then."""
        open_ = block.open
        if self.settings.diverse is not None:
            scores = block.table.column("score").to_numpy()[open_]
            greedy = Greedy(scores, z[open_], usable[open_], self.settings.diverse, self.vectors)
            while (offer := greedy.next()) is not None:
                yield int(open_[offer[0]]), offer[1], offer[2]
            return
        for start in range(0, len(open_), _BLOCK):
            places = open_[start : start + _BLOCK]
            near, of = np.full(len(places), -np.inf, np.float32), np.full(len(places), -1, np.int64)
            own = np.flatnonzero(usable[places])
            near[own], of[own] = self.vectors.nearest(z[places[own]])
            inside = np.full((len(places), len(places)), -np.inf, np.float32)
            if len(vectors := z[places[own]]):
                inside[np.ix_(own, own)] = cosines_between(vectors)
            for row, place in enumerate(places):
                before = len(self.vectors)
                yield int(place), float(near[row]), int(of[row])
                if len(self.vectors) > before:  # it was accepted
                    nearer = inside[:, row] > near
                    near[nearer], of[nearer] = inside[nearer, row], block.codes[place]

    def _keep(self, block: _Block, accepted: NDArray[np.int64], quota: Quota) -> None:
        self.codes = np.concatenate([self.codes, block.codes[accepted]])
        self.hashes = np.concatenate([self.hashes, block.hashes[accepted]])
        self.of_source.update(block.sources[accepted].tolist())
        kept = block.rows(accepted)
        self.tables.append(kept.append_column("quota", pa.array([quota.name] * len(accepted), pa.string())))

    def _drop(self, block: _Block, last: int) -> None:
        places = np.flatnonzero((block.reason[:last] != "") & (block.reason[:last] != _TAKEN))
        cosine, of = block.cosine[places], block.of[places]
        kept = block.rows(places).append_column("reason", pa.array(block.reason[places].tolist(), pa.string()))
        kept = kept.append_column("cosine", pa.array(cosine, mask=np.isnan(cosine)))
        self.dropped.append(kept.append_column("of", pa.array(of, mask=of < 0)))

    def _short(self, quota: Quota, found: int, examined: int) -> BudgetError:
        """What is missing, and what became of the candidates that were tried."""
        reasons: Counter[str] = Counter()
        reasons.update(pa.concat_tables(self.dropped).column("reason").to_pylist() if self.dropped else ())
        reasons.update(self.candidates.limits.left_out)
        for pool in self.candidates.pools:
            reasons.update({name: count for name, count in pool.statuses.items() if name != "ok"})
            reasons.update({f"without a score for {name}": pool.unscored[name] for name in self.candidates.targets})
        why = ", ".join(f"{count} {name}" for name, count in sorted(reasons.items()) if count)
        bound = "" if self.settings.minimum is None else f" of at least {self.settings.minimum:g}"
        what = f"{quota.count} {self.settings.unit}s asked, {found} can be chosen of {examined} with a score{bound}"
        what += f" (left out: {why})" if why else ""
        return BudgetError(what, where=quota.name or "budget", fix=f"ask for at most {found}, or ease a rule")
