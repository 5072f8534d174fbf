"""Log-probabilities of tokens, and means over the tokens of each answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dataprophet.ops.reference.products import Array, Integers, product

_ROWS = 256
_COLUMNS = 4096

Blocks = Callable[[slice, slice], Array]  # the logits float64 of some rows and some tokens


class LogprobParts(NamedTuple):
    """What one shard of a vocabulary tells of each row, for ``merge_logprobs``.

    The logarithm of the sum of the exponentials of the shard's logits is maximum + log(total).

    Attributes:
        maximum: (n,) float32, the largest logit of the shard.
        total: (n,) float32, the sum of exp(logit - maximum).
        target: (n,) float32, the target's logit, or minus infinity where the target lies in another shard.
    """

    maximum: Any
    total: Any
    target: Any


class _Sums(NamedTuple):
    """Sums over the logits z of each row, around their maximum m, in float64."""

    maximum: Array
    total: Array  # of exp(z - m)
    target: Array  # the target's logit, or minus infinity where it is not among them


def token_logprobs(
    logits: npt.NDArray[Any],
    targets: npt.NDArray[Any],
    *,
    bias: npt.NDArray[Any] | None = None,
    softcap: float | None = None,
    scale: float = 1.0,
) -> Any:
    """Natural log of the softmax of each row of logits (n, V) at targets (n,), as (n,) float32.

    z = scale * (logits + bias), then softcap * tanh(z / softcap). A logit of minus infinity has probability 0. A row of
    nothing else, or with NaN or plus infinity, has no softmax: it gives NaN.
    """

    def block(rows: slice, tokens: slice) -> Array:
        return _finished(logits[rows, tokens].astype(np.float64), tokens, bias, softcap, scale)

    return _logprobs(_sums(block, targets.astype(np.int64), logits.shape[1]))


def linear_logprobs(
    hidden: npt.NDArray[Any],
    weight: npt.NDArray[Any],
    targets: npt.NDArray[Any],
    *,
    bias: npt.NDArray[Any] | None = None,
    softcap: float | None = None,
    scale: float = 1.0,
) -> Any:
    """``token_logprobs`` of the logits of hidden (n, D) and weight (V, D), which are never stored whole.

    z = scale * (hidden @ weight.T + bias), then softcap * tanh(z / softcap), in transformers' order.
    """
    block = _products(hidden, weight, bias, softcap, scale)
    return _logprobs(_sums(block, targets.astype(np.int64), weight.shape[0]))


def logprob_parts(
    hidden: npt.NDArray[Any],
    weight: npt.NDArray[Any],
    targets: npt.NDArray[Any],
    *,
    first: int = 0,
    bias: npt.NDArray[Any] | None = None,
    softcap: float | None = None,
    scale: float = 1.0,
) -> LogprobParts:
    """LogprobParts of tokens [first, first + len(weight)), whose rows of the head are weight and bias."""
    block = _products(hidden, weight, bias, softcap, scale)
    sums = _sums(block, targets.astype(np.int64) - first, weight.shape[0])
    with np.errstate(over="ignore"):
        return LogprobParts(*(each.astype(np.float32) for each in (sums.maximum, sums.total, sums.target)))


def merge_logprobs(parts: Sequence[LogprobParts]) -> npt.NDArray[np.float32]:
    """Log-probabilities (n,) float32 from the shards of a vocabulary, merged in the order given."""
    wide = [LogprobParts(*(each.astype(np.float64) for each in part)) for part in parts]
    maximum = np.maximum.reduce([part.maximum for part in wide])
    target = np.maximum.reduce([part.target for part in wide])
    shift = np.where(np.isneginf(maximum), 0.0, maximum)
    total = np.zeros_like(maximum)
    with np.errstate(invalid="ignore", divide="ignore"):
        for part in wide:
            total += part.total * np.exp(part.maximum - shift)
        return np.asarray(target - maximum - np.log(total), np.float32)


def segment_means(values: npt.NDArray[Any], offsets: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Mean of values[offsets[i]:offsets[i + 1]] for each i, as (S,) float32. No segment may be empty."""
    edges = offsets.astype(np.int64)
    if len(edges) == 1:
        return np.zeros(0, np.float32)
    inside = values[edges[0] : edges[-1]].astype(np.float64)
    sums = np.add.reduceat(inside, edges[:-1] - edges[0])
    return np.asarray(sums / np.diff(edges), np.float32)


def _products(
    hidden: npt.NDArray[Any],
    weight: npt.NDArray[Any],
    bias: npt.NDArray[Any] | None,
    softcap: float | None,
    scale: float,
) -> Blocks:
    def block(rows: slice, tokens: slice) -> Array:
        with np.errstate(invalid="ignore", over="ignore"):
            dots = product(hidden[rows], weight[tokens].astype(np.float64).T)
        return _finished(dots, tokens, bias, softcap, scale)

    return block


def _finished(z: Array, tokens: slice, bias: npt.NDArray[Any] | None, softcap: float | None, scale: float) -> Array:
    with np.errstate(invalid="ignore", over="ignore"):
        if bias is not None:
            z += bias[tokens].astype(np.float64)
        z *= scale
        return z if softcap is None else np.asarray(softcap * np.tanh(z / softcap))


def _sums(block: Blocks, targets: Integers, size: int) -> _Sums:
    """The sums of each row over tokens [0, size)."""
    n = len(targets)
    sums = _Sums(np.full(n, -np.inf), np.zeros(n), np.full(n, -np.inf))
    for begin in range(0, n, _ROWS):
        rows = slice(begin, begin + _ROWS)
        part = _Sums(*(each[rows] for each in sums))  # views, which _add fills
        for start in range(0, size, _COLUMNS):
            tokens = slice(start, min(start + _COLUMNS, size))
            _add(part, block(rows, tokens), tokens, targets[rows])
    return sums


def _add(sums: _Sums, z: Array, tokens: slice, targets: Integers) -> None:
    maximum = np.maximum(sums.maximum, z.max(axis=1))
    with np.errstate(invalid="ignore", over="ignore"):
        shift = np.where(np.isneginf(maximum), 0.0, maximum)
        sums.total[:] = sums.total * np.exp(sums.maximum - shift) + np.exp(z - shift[:, None]).sum(axis=1)
    sums.maximum[:] = maximum
    inside = np.flatnonzero((targets >= tokens.start) & (targets < tokens.stop))
    sums.target[inside] = z[inside, targets[inside] - tokens.start]


def _logprobs(sums: _Sums) -> npt.NDArray[np.float32]:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(sums.target - sums.maximum - np.log(sums.total), np.float32)
