"""One family checked: every sample against plain transformers, in float32 and bfloat16, together and alone."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
from family_reference import make_samples, reference

from dataprophet import load_model
from dataprophet.data.sample import Sample
from dataprophet.model import Model

ORDERS = 3.0
"""Bound of errors in bfloat16, as a multiple of the largest error of transformers' own pass in it: the same sums are
rounded in another order, and the largest error over a hundred tokens is another draw from the same distribution."""


class Found(NamedTuple):
    """Largest errors of a token's log-probability, in nats.

    Attributes:
        model: as loaded in float32.
        samples: those that the family takes.
        exact: in float32, all samples together and each alone.
        half: in bfloat16, the same.
        plain: in bfloat16, of transformers' own pass.
    """

    model: Model
    samples: list[Sample]
    exact: float
    half: float
    plain: float


def check(family: str, folder: Path) -> Found:
    """Loads the family from its folder and checks it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, half = (load_model(str(folder), device="cpu", dtype=dtype) for dtype in ("float32", "bfloat16"))
    problems: list[str] = []
    samples = make_samples(family)
    for _ in model.features(samples, on_problem=lambda problem: problems.append(problem.id)):
        pass
    samples = [sample for sample in samples if sample.id not in problems]
    expected = [reference(model, sample)[0] for sample in samples]
    plain = [reference(half, sample)[0] for sample in samples]
    return Found(
        model,
        samples,
        max(difference(each, expected) for each in (model.logprobs(samples), alone(model, samples))),
        max(difference(each, expected) for each in (half.logprobs(samples), alone(half, samples))),
        difference(plain, expected),
    )


def alone(model: Model, samples: list[Sample]) -> list[np.ndarray]:
    return [model.logprobs([sample])[0] for sample in samples]


def difference(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    assert [len(values) for values in found] == [len(values) for values in expected]
    return max(float(np.abs(left - right).max()) for left, right in zip(found, expected, strict=True))
