"""How long a model takes for rows: their tokens, and seconds for a token in a short run through the whole pass."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dataprophet.data.sample import Sample
from dataprophet.features.features import Features
from dataprophet.model.model import Model

_WARM_UP = 8  # samples of the first run, which is not counted
_WINDOWS = 8  # as many windows as the time should be enough for
_LEAST = 4  # windows that are run in any case, the first of which is not counted


@dataclass
class Timing:
    """A short run.

    Attributes:
        seconds: of each window that counts.
        tokens: of the rows of each.
        features: of the first window.
    """

    seconds: list[float]
    tokens: list[int]
    features: Features


def timed(model: Model, rows: Sequence[Sequence[Sample]], tokens: Sequence[int], seconds: float) -> Timing | None:
    """Run rows through the model, again and again, for so many seconds, reading and decoding included.

    Args:
        model: the model.
        rows: samples of each row.
        tokens: of each row, as ``costs`` counts them.
        seconds: to spend; more where four windows of a few samples take longer.

    Returns:
        None where no sample is usable.
    """
    pairs = [(list(row), count) for row, count in zip(rows, tokens, strict=True) if count]
    if not pairs:
        return None
    first = [sample for row, _ in pairs for sample in row][:_WARM_UP]
    for _ in range(2):  # what is compiled or loaded at first use is left out
        started = time.perf_counter()
        for _ in model.cells([first]):
            pass
    each = (time.perf_counter() - started) / len(first)
    total = sum(len(row) for row, _ in pairs)
    size = min(total, max(_WARM_UP, int(seconds / _WINDOWS / each)))
    counts: list[int] = []

    def windows() -> Iterator[list[Sample]]:
        source = itertools.cycle(pairs)
        while True:
            window: list[Sample] = []
            counts.append(0)
            while len(window) < size:
                row, count = next(source)
                window += row
                counts[-1] += count
            yield window

    features: Features | None = None
    spent: list[float] = []
    begun = last = time.perf_counter()
    for result in model.cells(windows()):
        now = time.perf_counter()
        spent.append(now - last)
        last = now
        features = result.features if features is None else features
        if len(spent) >= _LEAST and now - begun > seconds:
            break
    assert features is not None  # there was a window
    return Timing(spent[1:], counts[1 : len(spent)], features)
