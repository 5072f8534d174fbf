"""Log-probabilities of tokens, and means over the tokens of each answer."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dataprophet.reference.products import Array, product

_ROWS = 256
_COLUMNS = 4096


def token_logprobs(logits: npt.NDArray[Any], targets: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Natural log of the softmax of each row of logits (n, V) at targets (n,), as (n,) float32.

    A logit of minus infinity has probability 0. A row of nothing else, or with NaN or plus infinity, gives NaN.
    """
    result = np.empty(logits.shape[0], np.float32)
    for start in range(0, logits.shape[0], _ROWS):
        part = slice(start, start + _ROWS)
        block = logits[part].astype(np.float64)
        chosen = np.take_along_axis(block, targets[part, None].astype(np.int64), axis=1)[:, 0]
        largest = block.max(axis=1)
        with np.errstate(invalid="ignore"):
            total = np.exp(block - largest[:, None]).sum(axis=1)
            result[part] = chosen - largest - np.log(total)
    return result


def linear_logprobs(
    hidden: npt.NDArray[Any],
    weight: npt.NDArray[Any],
    targets: npt.NDArray[Any],
    *,
    bias: npt.NDArray[Any] | None = None,
    softcap: float | None = None,
    scale: float = 1.0,
) -> npt.NDArray[np.float32]:
    """Log-probabilities of targets (n,) under the logits of hidden (n, D) and weight (V, D), never stored whole.

    z = scale * (hidden @ weight.T + bias), then softcap * tanh(z / softcap), in transformers' order. As (n,) float32.
    """
    largest = np.full(hidden.shape[0], -np.inf)
    total: Array = np.zeros(hidden.shape[0])
    chosen = np.full(hidden.shape[0], np.nan)
    for first in range(0, weight.shape[0], _COLUMNS):
        columns = weight[first : first + _COLUMNS].astype(np.float64).T
        for start in range(0, hidden.shape[0], _ROWS):
            part = slice(start, start + _ROWS)
            z = product(hidden[part], columns)
            if bias is not None:
                z += bias[first : first + _COLUMNS].astype(np.float64)
            z *= scale
            if softcap is not None:
                z = softcap * np.tanh(z / softcap)
            peak = np.maximum(largest[part], z.max(axis=1))
            shift = np.where(np.isneginf(peak), 0.0, peak)
            total[part] = total[part] * np.exp(largest[part] - shift) + np.exp(z - shift[:, None]).sum(axis=1)
            largest[part] = peak
            local = targets[part].astype(np.int64) - first
            here = np.flatnonzero((local >= 0) & (local < z.shape[1]))
            chosen[start + here] = z[here, local[here]]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(chosen - largest - np.log(total), np.float32)


def segment_means(values: npt.NDArray[Any], offsets: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Mean of values[offsets[i]:offsets[i + 1]] for each i, as (S,) float32. No segment may be empty."""
    edges = offsets.astype(np.int64)
    if len(edges) == 1:
        return np.zeros(0, np.float32)
    inside = values[edges[0] : edges[-1]].astype(np.float64)
    sums = np.add.reduceat(inside, edges[:-1] - edges[0])
    return np.asarray(sums / np.diff(edges), np.float32)
