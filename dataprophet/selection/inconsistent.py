"""Candidates whose answers are unlike those of their near neighbours in question and image: often mislabelled ones.

``pick`` asks which candidates of a block these are. What it does with them is not known here.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dataprophet import ops
from dataprophet.features.features import measure, sketch_vectors
from dataprophet.selection.candidates import Candidates
from dataprophet.selection.vectors import features_of

NEIGHBOURS, LEAST_ALIKE = 10, 3
"""Of eleven answers, a sample's and those of its ten nearest, its own must not be among the three that agree least with
the others. Chosen on the pools of benchmarks/pools/noise.py."""

_MOST = 8192  # samples that neighbours are sought among
_ROWS = 256  # samples that are looked at together
_EQUAL = 0.01  # of sums of eleven cosines: answers as unlike as this are equally unlike

Floats = NDArray[np.float32]


class Neighbours:
    """Samples of the pools, spread evenly over all that have a score, among which neighbours are sought.

    Args:
        candidates: what a selection chooses among; the pools keep embeddings.

    Raises:
        DataProphetError: a pool was scored without ``--embeddings``.
    """

    def __init__(self, candidates: Candidates) -> None:
        self._candidates = candidates
        table = _spread(candidates)
        owner, self._keys, self._answers = _vectors(candidates, table)
        self._codes = table.column("code").to_numpy()[owner]

    def disagree(self, table: pa.Table) -> NDArray[np.bool_]:
        """Which candidates have answers that disagree; of several turns, more than half of the answers.

        Args:
            table: m candidates, as ``Candidates.details`` gives them.

        Returns:
            (m,) bool; False for those without a question or an answer, and where there are too few neighbours.
        """
        owner, keys, answers = _vectors(self._candidates, table)
        codes, unlike = table.column("code").to_numpy()[owner], np.zeros(len(owner), np.bool_)
        for start in range(0, len(owner) if len(self._codes) > NEIGHBOURS else 0, _ROWS):
            part = slice(start, start + _ROWS)
            cosine = ops.cosine_to(keys[part], self._keys)
            cosine[codes[part, None] == self._codes] = -2.0  # itself, and other turns of its row
            # equals in the order of the pool: rounding decides nothing
            places = np.arange(len(self._codes))
            order = (np.rint(cosine * 2.0**20).astype(np.int64) << max(13, len(places).bit_length())) - places
            near = np.argpartition(-order, NEIGHBOURS - 1, axis=1)[:, :NEIGHBOURS]
            group = np.concatenate([answers[part, None], self._answers[near]], axis=1)
            agree = (group @ group.transpose(0, 2, 1)).sum(axis=2)
            no_more = (agree[:, 1:] <= agree[:, :1] + _EQUAL).sum(axis=1)
            enough = np.take_along_axis(cosine, near, axis=1).min(axis=1) > -2.0
            unlike[part] = enough & (no_more < LEAST_ALIKE)
        many = np.bincount(owner, minlength=table.num_rows)
        return np.asarray(2 * np.bincount(owner[unlike], minlength=table.num_rows) > many, np.bool_)


def _spread(candidates: Candidates) -> pa.Table:
    """Details of candidates with a score, at even distances over the pools, whatever the shards are."""

    def scored(number: int) -> NDArray[np.int64]:
        return np.flatnonzero(~np.isnan(candidates.values(candidates.parts[number])).any(axis=1))

    edges = np.cumsum([0, *(len(scored(number)) for number in range(len(candidates.parts)))])
    count = min(_MOST, int(edges[-1]))
    chosen = np.arange(count) * int(edges[-1]) // max(count, 1)
    cuts, found = np.searchsorted(chosen, edges), []
    for number, part in enumerate(candidates.parts):
        own = chosen[cuts[number] : cuts[number + 1]] - edges[number]
        found.append(candidates.details(part, scored(number)[own] if len(own) else own))
    return pa.concat_tables(found).combine_chunks()


def _vectors(candidates: Candidates, table: pa.Table) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Of each sample that has both, its candidate, its question and image as one unit vector, and its answer's."""
    nothing = np.zeros((0, 0), np.float32)
    owners, keys, answers = [np.zeros(0, np.int64)], [nothing], [nothing]
    for pool, owner, features in features_of(candidates, table):
        fields, every = measure(features, pool.name).fields, np.arange(len(owner))
        (key, placed), (answer, given) = (
            sketch_vectors(fields, names, every, pool.name) for names in ("question,image", "answer")
        )
        both = placed & given
        owners.append(owner[both])
        for kept, z in ((keys, key), (answers, answer)):
            wide = z[both].astype(np.float32)
            kept.append(wide / np.linalg.norm(wide, axis=1, keepdims=True))
    first = 1 if len(keys) > 1 else 0
    return np.concatenate(owners), np.concatenate(keys[first:]), np.concatenate(answers[first:])
