"""What samples would cost a model, without computing anything: their tokens, and which of them it refuses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from dataprophet.data.sample import Problem, Sample
from dataprophet.model.model import Model
from dataprophet.model.prefetch import Workers
from dataprophet.model.reader import CellEnd, Packed, Refused


@dataclass
class Weight:
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
    problems: list[tuple[int, Problem]] = field(default_factory=list)


def weigh(model: Model, cells: Iterable[Iterable[Sample]]) -> Iterator[Weight]:
    """Weight of each cell, by reading, decoding and encoding its samples."""

    def stream() -> Iterator[Sample | CellEnd]:
        for cell in cells:
            yield from cell
            yield CellEnd()

    weight = Weight()
    with Workers(model.workers) as workers:
        for unit in model._reader.work(stream(), lambda: model.batch_tokens, workers, texts=True):
            if isinstance(unit, Refused):
                weight.problems.append((unit.place, unit.problem))
            elif isinstance(unit, Packed):
                weight.calls += 1
                weight.tokens += int(unit.batch.lengths.sum())
                if not unit.texts:
                    weight.samples += len(unit.batch.members)
                    weight.answer_tokens += sum(unit.batch.counts)
            elif unit.ends_cell:
                yield weight
                weight = Weight()
