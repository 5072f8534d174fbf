"""Bounded windows over the input, and batches of similar length under a budget of tokens and logits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WINDOW_SAMPLES = 256
WINDOW_PIXELS = 1 << 27  # decoded RGB: 384 MiB


@dataclass(frozen=True, slots=True)
class Cost:
    """What one row of a batch takes: its tokens, its answer tokens, and whether it has images."""

    tokens: int
    answer_tokens: int = 0
    images: bool = False


def plan(costs: Sequence[Cost], *, max_tokens: int, max_answer_tokens: int | None = None) -> list[list[int]]:
    """Splits rows into batches of similar length. Rows with and without images never share a batch.

    Args:
        costs: one entry for each row.
        max_tokens: bound on rows times the longest row. A longer single row makes a batch of its own.
        max_answer_tokens: bound on the sum of answer tokens, because each needs a row of logits. None: no bound.

    Returns:
        Batches of indices into ``costs``. They depend on nothing but the arguments.
    """
    order = sorted(range(len(costs)), key=lambda index: (costs[index].images, costs[index].tokens, index))
    batches: list[list[int]] = []
    answers = 0
    for index in order:
        cost = costs[index]
        fits = (
            bool(batches)
            and costs[batches[-1][0]].images == cost.images
            and (len(batches[-1]) + 1) * cost.tokens <= max_tokens
            and (max_answer_tokens is None or answers + cost.answer_tokens <= max_answer_tokens)
        )
        if fits:
            batches[-1].append(index)
            answers += cost.answer_tokens
        else:
            batches.append([index])
            answers = cost.answer_tokens
    return batches
