"""What samples would cost a model, without computing anything: their tokens, and which of them it refuses.

Planning calls it. Nothing here touches the device.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from dataprophet.data.sample import Sample
from dataprophet.model.model import Model
from dataprophet.model.prefetch import Workers
from dataprophet.model.reader import Refused, with_cell_ends
from dataprophet.model.rows import Batch


@dataclass
class Cost:
    """What a cell of samples costs.

    Attributes:
        tokens: that the model computes: images, prompts and answers, what samples share once, and the texts that are
            embedded.
        answer_tokens: answer tokens of the usable samples.
        samples: usable samples.
        calls: batches.
        problems: place and problem of each sample that is refused.
    """

    tokens: int = 0
    answer_tokens: int = 0
    samples: int = 0
    calls: int = 0
    problems: list[Refused] = field(default_factory=list)


def costs(model: Model, cells: Iterable[Iterable[Sample]]) -> Iterator[Cost]:
    """Cost of each cell, by reading, decoding and encoding its samples."""
    cost = Cost()
    with Workers(model.workers) as workers:
        for unit in model._batcher.work(with_cell_ends(cells), lambda: model.batch_tokens, workers, texts=True):
            if isinstance(unit, Refused):
                cost.problems.append(unit)
            elif isinstance(unit, Batch):
                cost.calls += 1
                cost.tokens += int(unit.lengths.sum())
                if not unit.texts:
                    cost.samples += len(unit.members)
                    cost.answer_tokens += sum(unit.counts)
            elif unit.ends_cell:
                yield cost
                cost = Cost()
