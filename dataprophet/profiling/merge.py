"""Partial profiles into one, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable
from copy import copy

import numpy as np

from dataprophet.profiling.profile import Profile
from dataprophet.profiling.sketch import Run, Sketch

_PENDING = 1 << 17  # vectors that wait to be merged into the sketch: merging copies all of it


def merged(empty: Profile, partials: Iterable[Profile]) -> Profile:
    """The sum of partial profiles.

    The sums are exact, so neither the order of the partials nor their number changes a bit. Beside the result there are
    in memory one partial and some hundred megabytes of vectors for the sketch, whatever the number of partials.

    Args:
        empty: a profile of no samples, with the name that the result shall have.
        partials: profiles of the same origin, none sealed.
    """
    total = empty
    waiting: list[Run] = []
    bound: int | None = None
    for partial in partials:
        assert partial.sketch is not None  # partials are never sealed
        bare = copy(partial)
        bare.sketch = Sketch.empty(partial.sketch.size)
        total = total + bare
        assert total.sketch is not None
        bound = _lower(bound, partial.sketch.bound)
        low = total.sketch.takes(partial.sketch.hashes)
        waiting.append((partial.sketch.hashes[low], partial.sketch.z[low]))
        if sum(len(hashes) for hashes, _ in waiting) >= _PENDING:
            total.sketch, waiting = _with(total.sketch, waiting, bound), []
    assert total.sketch is not None
    total.sketch = _with(total.sketch, waiting, bound)
    total.name = empty.name
    return total


def _lower(bound: int | None, other: int | None) -> int | None:
    return min((given for given in (bound, other) if given is not None), default=None)


def _with(sketch: Sketch, runs: list[Run], bound: int | None) -> Sketch:
    some = [(hashes, z) for hashes, z in runs if len(hashes)] or [(sketch.hashes[:0], sketch.z[:0])]
    every = np.concatenate([hashes for hashes, _ in some])
    if sketch.size is not None and len(every) > sketch.size:  # leave out early what has no place: vectors are long
        last = np.partition(every, sketch.size - 1)[sketch.size - 1]
        counts = [int(np.searchsorted(hashes, last, side="right")) for hashes, _ in some]
        some = [(hashes[:count], z[:count]) for (hashes, z), count in zip(some, counts, strict=True)]
    together = np.concatenate([hashes for hashes, _ in some]), np.concatenate([z for _, z in some])
    return sketch.merge(*together, bound=bound)
