# ruff: noqa: E402 (torch is optional)
"""Rows of a batch: which call of the vision tower takes what, and where its features stand."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from dataprophet.model.rows import Row, assemble
from dataprophet.model.tokens import Encoded, ImageSet

IMAGE = 9


def row(member: int, tokens: int, **inputs: torch.Tensor) -> Row:
    ids = np.array([1, *[IMAGE] * tokens, 2, 3], np.int64)
    mask = np.arange(len(ids)) == len(ids) - 1
    return Row.pack([member], [Encoded(ids, mask)], ImageSet(inputs, tokens, IMAGE))


def test_sets_with_other_inputs_go_into_calls_of_their_own():
    """Processors leave out what pictures without tiles do not have."""
    pixels = [torch.full((1, 2), float(number)) for number in range(4)]
    tiles = torch.full((2, 3), 5.0)
    rows = [
        row(0, 1, pixels=pixels[0]),
        row(1, 2, pixels=pixels[1]),
        row(2, 3, pixels=pixels[2], tiles=tiles),
        row(3, 1, pixels=pixels[3]),
    ]
    batch = assemble(rows)
    assert [set(call) for call in batch.pixels] == [{"pixels"}, {"pixels", "tiles"}, {"pixels"}]
    assert [call["pixels"][:, 0].tolist() for call in batch.pixels] == [[0.0, 1.0], [2.0], [3.0]]
    assert torch.equal(batch.pixels[1]["tiles"], tiles)
    assert batch.call_tokens == [3, 3, 1]
    assert batch.image_tokens == [1, 2, 3, 1]
    assert batch.features is None  # they follow in order
    apart = assemble(rows, join_images=False)
    assert apart.call_tokens == [1, 2, 3, 1]
    assert [half.call_tokens for half in batch.halves(1)] == [[3], [3, 1]]
