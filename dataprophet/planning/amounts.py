"""From rows that were read and a run that was timed to what a whole pool takes, with intervals.

`plan` calls it. It calculates: it reads no file and runs no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dataprophet.planning.estimates import DRAWS, Estimate, Spread, known, ratio, share
from dataprophet.planning.measure import Seen
from dataprophet.planning.sample import Count
from dataprophet.profiling.profile import SKETCH_SIZE
from dataprophet.profiling.sketch import bound_of

_LEAST_CLUSTERS = 8  # below, rows are the units of the bootstrap, and not cells
_HOUR = 3600.0


@dataclass(frozen=True)
class Amounts:
    """What scoring takes.

    Attributes:
        rows: input rows.
        samples: samples that can be scored.
        answer_tokens: their answer tokens.
        tokens: that the model computes: images, prompts, answers, and texts to embed; what the samples of a row have
            in common counts once.
        calls: batches.
        bad_rows: rows of which some sample, or all, cannot be used.
        hours: of one device.
        rows_bytes: of the rows files.
        profile_bytes: of the profiles, those of the shards and the pool's.
        embedding_bytes: of the embeddings, where they are kept.
    """

    rows: Estimate
    samples: Estimate
    answer_tokens: Estimate
    tokens: Estimate
    calls: Estimate
    bad_rows: Estimate
    hours: Estimate
    rows_bytes: Estimate
    profile_bytes: Estimate
    embedding_bytes: Estimate

    @classmethod
    def of(cls, spreads: Mapping[str, Spread]) -> Amounts:
        return cls(**{name: Estimate.of(spread) for name, spread in spreads.items()})


def amounts_of(
    count: Count, seen: Seen, rng: np.random.Generator, *, embeddings: bool, shard_rows: int
) -> dict[str, Spread]:
    """What a pool takes: the entries of ``Amounts``, as those of several pools add up.

    Args:
        count: of its rows.
        seen: of some of them.
        rng: for the bootstrap.
        embeddings: whether embeddings will be kept.
        shard_rows: input rows of a shard.
    """
    cell, *per_row = np.array(seen.rows, np.float64).T
    drawn = len(cell)
    if count.exact:
        rows = known(count.rows)
        shards = known(sum(-(-file.rows // shard_rows) for file in count.files))
        fraction = min(1.0, drawn / count.rows)
    else:
        units = np.array(count.units, np.float64)
        rest = count.total_bytes - count.counted_bytes
        rows = count.rows + ratio(units[:, 0], units[:, 1], rng) * rest
        shards = rows / shard_rows + len(count.files) / 2  # the last shard of a file is half full, on average
        fraction = 0.0
    unit = cell.astype(np.int64)
    if len(np.unique(unit)) < _LEAST_CLUSTERS:
        unit = np.arange(drawn)
    in_unit = np.bincount(unit)

    def for_rows(values: NDArray[np.float64]) -> Spread:
        """The sum over all rows, from the values of those drawn."""
        return rows * ratio(np.bincount(unit, weights=values), in_unit, rng, fraction=fraction)

    *numbers, bad = per_row
    samples, answer_tokens, tokens = map(for_rows, numbers)
    each = ratio(seen.seconds, seen.windows, rng) if seen.seconds else known(0.0)
    computed = tokens if tokens[0] else rows
    bad_share = known(bad.mean()) if fraction >= 1 else share(np.bincount(unit, weights=bad), in_unit, rng)
    made = {"rows": rows, "samples": samples, "answer_tokens": answer_tokens, "tokens": tokens}
    made |= {"calls": tokens * seen.calls, "bad_rows": np.maximum(bad_share * rows, bad.sum())}
    made |= {"hours": computed * each / _HOUR}
    made |= dict.fromkeys(("rows_bytes", "profile_bytes", "embedding_bytes"), known(0.0))
    if (sizes := seen.sizes) is not None:
        least = max(0.0, min(1.0, sizes.line_least / max(sizes.line, 1e-9)))
        compressed = np.append(1.0, rng.uniform(least, 1.0, DRAWS))  # how well scores compress is not known yet
        lines = for_rows(np.full(drawn, seen.lines / drawn * sizes.line))
        made["rows_bytes"] = shards * sizes.shard + lines * compressed
        each_row = samples[0] / max(1.0, rows[0])
        bound = bound_of(SKETCH_SIZE, int(rows[0]))
        in_shards = samples if bound is None else np.minimum(samples, 2 * SKETCH_SIZE * each_row)
        held = in_shards + np.minimum(samples, SKETCH_SIZE)
        made["profile_bytes"] = (shards + 1.0) * sizes.profile + held * sizes.sketched
        made["embedding_bytes"] = samples * (sizes.embedded if embeddings else 0.0)
    return made
