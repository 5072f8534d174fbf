"""Wrong answers for a pool: a tenth of a dataset's rows exchange theirs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dataprophet.data.sample import Sample

WRONG = 0.1  # share of the rows


def exchanged(samples: Sequence[Sample], name: str, share: float = WRONG) -> dict[int, Sample]:
    """Place -> the sample with the answer of another one of them, which says something else.

    The dataset's name seeds which rows these are, drawn anew where more than half of them have one answer.
    Their answers are the same as before, in other places.

    Raises:
        ValueError: there are no such rows.
    """
    rng, count = np.random.default_rng(list(name.encode())), max(2, round(share * len(samples)))
    for _ in range(1000):
        places = rng.permutation(len(samples))[:count].tolist()
        most = max(Counter(samples[place].answer for place in places).values())
        if 2 * most <= count:
            places.sort(key=lambda place: samples[place].answer)  # equal ones stand together: none reaches another
            others = [*places[most:], *places[:most]]
            pairs = sorted(zip(places, others, strict=True))
            return {place: replace(samples[place], answer=samples[other].answer) for place, other in pairs}
    raise ValueError(f"{name}: too many rows have the same answer to exchange {count}")
