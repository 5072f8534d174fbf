"""What the lab asks of a model: train on a source, answer a target's test, and tell what it makes of a split.

`PretrainedLearner` and `TransformersLearner` are the two of them. The stages know nothing else of models.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np

Row: TypeAlias = tuple[str, str, int]  # a dataset, its split, and a place in it


@dataclass(frozen=True)
class Training:
    """How a base is fine-tuned on a source: fixed before the first result, the same for every source.

    Attributes:
        rate: highest learning rate of AdamW: six steps of warm-up, then linear to a tenth.
        epochs: passes over the rows.
        rows: of a step.
        share: of a source's rows that a seed draws.
        average: what is tested lies so far from the base towards the trained weights. 1 is these; 0.5 averages both,
            which forgets less (WiSE-FT, arXiv 2109.01903).
    """

    rate: float = 5e-4
    epochs: float = 1.0
    rows: int = 8
    share: float = 0.8
    average: float = 1.0


class Score(NamedTuple):
    """Per test item: 1 where the whole answer is the most likely one token by token, and its mean log-probability."""

    right: list[float]
    logprob: list[float]


@dataclass
class Measured:
    """What a base makes of n samples, before any training.

    Attributes:
        ids: names.
        nll: (n,) mean negative log-likelihood of the answer's tokens, in nats.
        blind_nll: (n,) the same without the picture.
        n_tokens: (n,) tokens of the answers.
        question, answer, image: (n, d) embeddings as `dataprophet` takes them.
        gradient: (k,) mean gradient of the training loss, folded (`distances.fold`); empty where it was not asked for.
    """

    ids: list[str]
    nll: np.ndarray
    blind_nll: np.ndarray
    n_tokens: np.ndarray
    question: np.ndarray
    answer: np.ndarray
    image: np.ndarray
    gradient: np.ndarray

    def of(self, rows: np.ndarray) -> Measured:
        """Some of the samples; the gradient, which is of all, is left out."""
        ids = np.array(self.ids)[rows].tolist()
        parts = {name: part[rows] for name, part in vars(self).items() if name not in ("ids", "gradient")}
        return Measured(ids, **parts, gradient=np.empty(0))

    def replaced(self, places: Sequence[int], others: Measured) -> Measured:
        """With other samples in some places."""
        made = self.of(np.arange(len(self.ids)))
        for name, part in vars(made).items():
            if name != "gradient":
                for place, each in zip(places, getattr(others, name), strict=True):
                    part[place] = each
        return made

    @classmethod
    def joined(cls, parts: Sequence[Measured]) -> Measured:
        """The samples of all parts, in their order."""
        names = [name for name in vars(parts[0]) if name not in ("ids", "gradient")]
        held = {name: np.concatenate([getattr(each, name) for each in parts]) for name in names}
        return cls([name for each in parts for name in each.ids], **held, gradient=np.empty(0))

    def save(self, path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, **{**vars(self), "ids": np.array(self.ids)})

    @classmethod
    def load(cls, path: Path) -> Measured:
        with np.load(path) as held:
            parts = {name: held[name] for name in held.files}
        return cls(**{**parts, "ids": parts["ids"].tolist()})


class Learner(Protocol):
    training: Training

    @property
    def identity(self) -> Any:
        """All that the base depends on, and what is measured of it, beside the data; as JSON can hold it."""

    def data_identity(self, name: str) -> Any:
        """All that a dataset depends on, likewise."""

    def prepare(self, name: str, split: str) -> Any:
        """Make what all bases share of a split: "train", or "test0", "test1", ... with items of their own."""

    def reset(self) -> None:
        """Back to the base."""

    def train(self, name: str, seed: int) -> list[float]:
        """From the base, on a source."""

    def evaluate(self, name: str, split: str) -> Score:
        """The present model on a target's test items."""

    def measure(self, name: str, split: str) -> Measured:
        """The base on a split."""


class RowLearner(Learner, Protocol):
    """What a selection of single rows takes beside; `TransformersLearner` has it.

    Its split "exchanged" holds rows of "train" with wrong answers (`exchange.exchanged`).
    """

    def samples(self, name: str, split: str) -> Sequence[Any]:
        """Of a dataset's split."""

    def train_rows(self, rows: Sequence[Row], seed: int) -> list[float]:
        """From the base, on single rows, which the seed puts in order."""

    def gradients(self, name: str, split: str, parts: int = 0) -> Iterator[np.ndarray]:
        """Folded gradients of the base for each sample of a split, or for each of so many parts of it."""
