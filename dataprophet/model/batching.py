"""Batches of similar length under a budget of tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """What rows that stay together take.

    Attributes:
        tokens: of the longest row.
        rows: how many.
        answer_tokens: in all.
        images: whether they have images.
    """

    tokens: int
    rows: int = 1
    answer_tokens: int = 0
    images: bool = False


def plan(costs: Sequence[Cost], *, max_tokens: int, max_answer_tokens: int | None = None) -> list[list[int]]:
    """Splits rows into batches of similar length. Rows with and without images never share a batch.

    Args:
        costs: one entry for all rows that must stay together.
        max_tokens: bound on rows times the longest row. What is larger by itself makes a batch of its own.
        max_answer_tokens: bound on the sum of answer tokens, where each needs a row of logits. None: no bound.

    Returns:
        Batches of indices into ``costs``. They depend on nothing but the arguments.
    """
    order = sorted(range(len(costs)), key=lambda index: (costs[index].images, costs[index].tokens, index))
    batches: list[list[int]] = []
    rows = answers = 0
    for index in order:
        cost = costs[index]
        fits = (
            bool(batches)
            and costs[batches[-1][0]].images == cost.images
            and (rows + cost.rows) * cost.tokens <= max_tokens
            and (max_answer_tokens is None or answers + cost.answer_tokens <= max_answer_tokens)
        )
        if fits:
            batches[-1].append(index)
            rows, answers = rows + cost.rows, answers + cost.answer_tokens
        else:
            batches.append([index])
            rows, answers = cost.rows, cost.answer_tokens
    return batches
