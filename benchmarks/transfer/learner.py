"""What the lab asks of a model: train on a source, answer a target's test, and tell what it makes of a split.

`PretrainedLearner` and `TransformersLearner` are the two of them. The stages know nothing else of models.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np


@dataclass(frozen=True)
class Training:
    """How a base is fine-tuned on a source: fixed before the first result, the same for every source.

    Attributes:
        rate: highest learning rate of AdamW: six steps of warm-up, then linear to a tenth.
        epochs: passes over the rows.
        rows: of a step.
        share: of a source's rows that a seed draws.
    """

    rate: float = 5e-4
    epochs: float = 1.0
    rows: int = 8
    share: float = 0.8


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

    def save(self, path: Path) -> None:
        with path.open("wb") as file:
            np.savez(file, **{**vars(self), "ids": np.array(self.ids)})

    @classmethod
    def load(cls, path: Path) -> Measured:
        with np.load(path) as held:
            parts = {name: held[name] for name in held.files}
        return cls(**{**parts, "ids": parts["ids"].tolist()})


class Learner(Protocol):
    @property
    def identity(self) -> Any:
        """All that its results depend on beside the data, as JSON can hold it."""

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
