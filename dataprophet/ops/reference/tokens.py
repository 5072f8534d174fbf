"""Log-probabilities of tokens, and means over the tokens of each answer.

``summed``, ``merged`` and ``detailed`` serve ``torch_ops`` too: what they do is the same in NumPy and in torch, by the
same names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dataprophet.ops.reference.products import product

_ROWS = 256
_COLUMNS = 4096

Blocks = Callable[[slice, slice], Any]  # the logits of some rows and some tokens, before the head's options


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


class TokenDetails(NamedTuple):
    """Where the target stands among the tokens that a model predicts.

    Attributes:
        rank: (n,) int64, how many tokens have a larger logit than the target: 0 for the model's first choice, or an
            equal of it. -1 where the entropy is NaN.
        entropy: (n,) float32, of the softmax, in nats.
    """

    rank: Any
    entropy: Any


def token_logprobs(logits: npt.NDArray[Any], targets: npt.NDArray[Any], **head: Any) -> npt.NDArray[np.float32]:
    """Natural log of the softmax of each row of logits (n, V) at targets (n,), as (n,) float32.

    z = scale * (logits + bias), then softcap * tanh(z / softcap), for the options ``bias``, ``softcap`` and ``scale``
    of the head. A logit of minus infinity has probability 0. A row of nothing else, or with NaN or plus infinity, has
    no softmax: it gives NaN.
    """
    return merge_logprobs([_sums(lambda rows, tokens: logits[rows, tokens], targets, logits.shape[1], **head)])


def linear_logprobs(
    hidden: npt.NDArray[Any], weight: npt.NDArray[Any], targets: npt.NDArray[Any], **head: Any
) -> npt.NDArray[np.float32]:
    """``token_logprobs`` of the logits of hidden (n, D) and weight (V, D), which are never stored whole.

    z = scale * (hidden @ weight.T + bias), then softcap * tanh(z / softcap), in transformers' order.
    """
    return merge_logprobs([_sums(_products(hidden, weight), targets, len(weight), **head)])


def token_details(logits: npt.NDArray[Any], targets: npt.NDArray[Any], **head: Any) -> TokenDetails:
    """TokenDetails of targets (n,) among logits (n, V), with the options and rules of ``token_logprobs``."""
    return _details(lambda rows, tokens: logits[rows, tokens], targets, logits.shape[1], **head)


def linear_details(
    hidden: npt.NDArray[Any], weight: npt.NDArray[Any], targets: npt.NDArray[Any], **head: Any
) -> TokenDetails:
    """``token_details`` of the logits of hidden (n, D) and weight (V, D), which are never stored for all rows."""
    return _details(_products(hidden, weight), targets, len(weight), **head)


def logprob_parts(
    hidden: npt.NDArray[Any], weight: npt.NDArray[Any], targets: npt.NDArray[Any], *, first: int = 0, **head: Any
) -> LogprobParts:
    """LogprobParts of tokens [first, first + len(weight)), whose rows of the head are weight and bias."""
    sums = _sums(_products(hidden, weight), targets.astype(np.int64) - first, len(weight), **head)
    with np.errstate(over="ignore"):
        return LogprobParts(*(each.astype(np.float32) for each in sums))


def merge_logprobs(parts: Sequence[LogprobParts]) -> npt.NDArray[np.float32]:
    """Log-probabilities (n,) float32 from the shards of a vocabulary, merged in the order given."""
    wide = [LogprobParts(*(each.astype(np.float64) for each in part)) for part in parts]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(merged(np, wide), np.float32)


def segment_means(values: npt.NDArray[Any], offsets: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Mean of values[offsets[i]:offsets[i + 1]] for each i, as (S,) float32. No segment may be empty."""
    edges = offsets.astype(np.int64)
    if len(edges) == 1:
        return np.zeros(0, np.float32)
    inside = values[edges[0] : edges[-1]].astype(np.float64)
    sums = np.add.reduceat(inside, edges[:-1] - edges[0])
    return np.asarray(sums / np.diff(edges), np.float32)


def _products(hidden: npt.NDArray[Any], weight: npt.NDArray[Any]) -> Blocks:
    return lambda rows, tokens: product(hidden[rows], weight[tokens].astype(np.float64).T)


def _sums(block: Blocks, targets: npt.NDArray[Any], size: int, **head: Any) -> LogprobParts:
    with np.errstate(invalid="ignore", over="ignore"):
        return summed(block, targets.astype(np.int64), size, xp=np, wide=np.float64, rows_at_once=_ROWS, **head)


def _details(block: Blocks, targets: npt.NDArray[Any], size: int, **head: Any) -> TokenDetails:
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        return detailed(block, targets.astype(np.int64), size, xp=np, wide=np.float64, rows_at_once=_ROWS, **head)


def summed(
    block: Blocks,
    targets: Any,
    size: int,
    *,
    xp: Any,
    wide: Any,
    rows_at_once: int,
    **head: Any,
) -> LogprobParts:
    """LogprobParts of each row over tokens [0, size), in the dtype ``wide`` of ``xp``, which is NumPy or torch."""
    found = LogprobParts(*(xp.full_like(targets, fill, dtype=wide) for fill in (-np.inf, 0.0, -np.inf)))
    for begin in range(0, len(targets), rows_at_once):
        rows = slice(begin, begin + rows_at_once)
        part = LogprobParts(*(each[rows] for each in found))  # views, which _add fills
        for start, z in _logits(block, rows, size, xp, wide, **head):
            _add(xp, part, z, targets[rows] - start)
    return found


def detailed(
    block: Blocks, targets: Any, size: int, *, xp: Any, wide: Any, rows_at_once: int, **head: Any
) -> TokenDetails:
    """TokenDetails of each row over tokens [0, size), of which as many rows are held whole as ``summed`` holds.

    A rank compares the target's own logit with the others of one product: computed twice, it may round differently.
    """
    found = TokenDetails(xp.full_like(targets, -1), xp.full_like(targets, np.nan, dtype=wide))
    height = max(1, rows_at_once * _COLUMNS // max(size, 1))
    for begin in range(0, len(targets), height):
        rows = slice(begin, begin + height)
        z = xp.concatenate([part for _, part in _logits(block, rows, size, xp, wide, **head)], 1)
        chosen = targets[rows]
        own = _taken(xp, z, chosen)
        rank = (z > own[:, None]).sum(1)
        z -= xp.amax(z, 1)[:, None]
        share = xp.exp(z)
        total = share.sum(1)
        z[share == 0] = 0.0  # what has no share adds nothing, minus infinity included
        entropy = xp.log(total) - (share * z).sum(1) / total
        known = (chosen >= 0) & (chosen < size)
        found.entropy[rows] = xp.where(known, entropy.clip(0.0), np.nan)  # below 0 by rounding alone
        found.rank[rows] = xp.where(xp.isnan(found.entropy[rows]), -1, rank)
    return TokenDetails(found.rank, xp.asarray(found.entropy, dtype=xp.float32))


def _logits(
    block: Blocks,
    rows: slice,
    size: int,
    xp: Any,
    wide: Any,
    *,
    bias: Any = None,
    softcap: float | None = None,
    scale: float = 1.0,
) -> Iterator[tuple[int, Any]]:
    """Logits of some rows, a piece of the vocabulary at a time, each with its first token."""
    for start in range(0, size, _COLUMNS):
        tokens = slice(start, min(start + _COLUMNS, size))
        z = xp.asarray(block(rows, tokens), dtype=wide)
        if bias is not None:
            z = z + xp.asarray(bias[tokens], dtype=wide)
        z = z * scale
        yield start, z if softcap is None else softcap * xp.tanh(z / softcap)


def _taken(xp: Any, z: Any, targets: Any) -> Any:
    """The logit of each row at its target, or at the nearest token that there is."""
    take = np.take_along_axis if xp is np else xp.take_along_dim
    return take(z, targets.clip(0, z.shape[1] - 1)[:, None], 1)[:, 0]


def _add(xp: Any, part: LogprobParts, z: Any, targets: Any) -> None:
    maximum = xp.maximum(part.maximum, xp.amax(z, 1))
    shift = xp.where(xp.isneginf(maximum), 0.0, maximum)
    part.total[:] = part.total * xp.exp(part.maximum - shift) + xp.exp(z - shift[:, None]).sum(1)
    part.maximum[:] = maximum
    here = (targets >= 0) & (targets < z.shape[1])
    part.target[:] = xp.where(here, _taken(xp, z, targets), part.target)


def merged(xp: Any, parts: Sequence[LogprobParts]) -> Any:
    """Log-probabilities (n,) from the parts of a vocabulary, in their dtype, merged in the order given."""
    maximum, target = (reduce(xp.maximum, [part[field] for part in parts]) for field in (0, 2))
    shift = xp.where(xp.isneginf(maximum), 0.0, maximum)
    total = sum(part.total * xp.exp(part.maximum - shift) for part in parts)
    # Subtracted one by one: beside a large logit the log of the sum would round away.
    return target - maximum - xp.log(total)
