"""From rows that were drawn and a run that was timed to what a whole pool takes, with intervals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dataprophet.planning.count import Count
from dataprophet.planning.disk import Sizes
from dataprophet.planning.estimates import DRAWS, Estimate, Spread, added, clustered_trials, ratio, wilson
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


Spreads = dict[str, Spread | Estimate]
"""The entries of ``Amounts`` as they are added up."""


@dataclass
class Seen:
    """What the rows that were drawn of a pool take. Lists have an entry for each of them.

    Attributes:
        cell: number of its cell among those drawn.
        samples: usable samples.
        answer_tokens: their answer tokens.
        tokens: what the model computes for them; of features nothing.
        bad: whether something is wrong with it.
        problems: what.
        calls: batches for a token.
        seconds: of each timed window.
        windows: tokens of each of them; of features, rows.
        sizes: bytes of parts of a folder; None where no row is usable.
        lines: lines of the rows file.
    """

    cell: list[int]
    samples: list[int]
    answer_tokens: list[int]
    tokens: list[int]
    bad: list[bool]
    problems: Counter[str]
    calls: float
    seconds: list[float]
    windows: list[int]
    sizes: Sizes | None
    lines: int


def amounts_of(count: Count, seen: Seen, rng: np.random.Generator, *, embeddings: bool, shard_rows: int) -> Spreads:
    """What a pool takes.

    Args:
        count: of its rows.
        seen: of some of them.
        rng: for the bootstrap.
        embeddings: whether embeddings will be kept.
        shard_rows: input rows of a shard.
    """
    rows = Spread.known(count.rows)
    if not count.exact:
        units = np.array(count.units, np.float64)
        rows += ratio(units[:, 0], units[:, 1], rng) * (count.total_bytes - count.counted_bytes)
    drawn = len(seen.cell)
    fraction = min(1.0, drawn / rows.value) if count.exact else 0.0
    unit = np.array(seen.cell)
    if len(np.unique(unit)) < _LEAST_CLUSTERS:
        unit = np.arange(drawn)
    in_unit = np.bincount(unit)

    def for_rows(values: Sequence[float]) -> Spread:
        """The sum over all rows, from the values of those drawn."""
        above = np.bincount(unit, weights=np.asarray(values, np.float64))
        return rows * ratio(above, in_unit, rng, fraction=fraction)

    samples, tokens = for_rows(seen.samples), for_rows(seen.tokens)
    computed = tokens if any(seen.tokens) else rows
    each = ratio(seen.seconds, seen.windows, rng) if seen.seconds else Spread.known(0.0)
    if count.exact:
        shards = Spread.known(sum(-(-file.rows // shard_rows) for file in count.files))
    else:
        shards = rows * (1 / shard_rows) + len(count.files) / 2  # the last shard of a file is half full, on average
    made: Spreads = {
        "rows": rows,
        "samples": samples,
        "answer_tokens": for_rows(seen.answer_tokens),
        "tokens": tokens,
        "calls": tokens * seen.calls,
        "bad_rows": _bad_rows(np.bincount(unit, weights=seen.bad), in_unit, rows.estimate(), fraction),
        "hours": computed * each * (1 / _HOUR),
        "rows_bytes": Spread.known(0.0),
        "profile_bytes": Spread.known(0.0),
        "embedding_bytes": Spread.known(0.0),
    }
    if (sizes := seen.sizes) is not None:
        least = max(0.0, min(1.0, sizes.line_least / max(sizes.line, 1e-9)))
        compressed = Spread(1.0, rng.uniform(least, 1.0, DRAWS))  # how well scores compress is not known yet
        lines = for_rows([seen.lines / drawn * sizes.line] * drawn)
        made["rows_bytes"] = shards * sizes.shard + lines * compressed
        each_row = samples.value / max(1.0, rows.value)
        bound = bound_of(SKETCH_SIZE, int(rows.value))
        in_shards = samples if bound is None else _least(samples, 2 * SKETCH_SIZE * each_row)
        held = in_shards + _least(samples, SKETCH_SIZE)
        made["profile_bytes"] = (shards + 1.0) * sizes.profile + held * sizes.sketched
        made["embedding_bytes"] = samples * (sizes.embedded if embeddings else 0.0)
    return made


def estimates(parts: Spreads) -> Amounts:
    """Values and intervals."""
    return Amounts(**{key: _estimate(part) for key, part in parts.items()})


def total_of(pools: Sequence[Spreads]) -> Amounts:
    """The sum over pools, which were looked at independently."""
    made: dict[str, Estimate] = {}
    for key in pools[0]:
        parts = [pool[key] for pool in pools]
        spreads = [part for part in parts if isinstance(part, Spread)]
        if len(spreads) == len(parts):
            made[key] = sum(spreads, Spread.known(0.0)).estimate()
        else:
            made[key] = added([_estimate(part) for part in parts])
    return Amounts(**made)


def _estimate(part: Spread | Estimate) -> Estimate:
    return part.estimate() if isinstance(part, Spread) else part


def _bad_rows(found: np.ndarray, sizes: np.ndarray, rows: Estimate, fraction: float) -> Estimate:
    """Bad rows of all, from those found in each unit."""
    bad, drawn = float(found.sum()), float(sizes.sum())
    if fraction >= 1:
        return Estimate.known(bad)
    worth = clustered_trials(found, sizes)
    share = wilson(bad / drawn * worth, worth)
    return Estimate(share.value * rows.value, max(bad, share.low * rows.low), share.high * rows.high)


def _least(samples: Spread, most: float) -> Spread:
    return Spread(min(samples.value, most), np.minimum(samples.draws, most))
