"""Operations on tokens in plain torch: on CUDA where no Triton kernel serves, and to check one that does.

Details are computed here for tensors on the CPU, too.
Called through ``backend.on_tokens``, and by the self-check of a model. None of these waits for the device. They sum in
fp32, or in float64 where one of the tensors is; ``head`` are the options ``bias``, ``softcap`` and ``scale``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from dataprophet.ops.reference import LogprobParts, TokenDetails
from dataprophet.ops.reference.tokens import Blocks, detailed, merged, summed

_ROWS = 1 << 12  # with 4,096 tokens, 2^24 elements of one working block


def token_logprobs(logits: Any, targets: Any, **head: Any) -> Any:
    """Log of the softmax of logits (n, V) at targets (n,): (n,) float32, as ``dataprophet.ops`` says.

    A target outside [0, V) gives NaN.
    """
    size = logits.shape[1]
    sums = _sums(lambda rows, tokens: logits[rows, tokens], targets, size, _wide(logits), head)
    return _logprobs(sums, targets, size)


def linear_logprobs(hidden: Any, weight: Any, targets: Any, **head: Any) -> Any:
    """``token_logprobs`` of the logits of hidden (n, D) @ weight (V, D).T, which are never stored whole."""
    return _logprobs(_products(hidden, weight, targets, **head), targets, len(weight))


def token_details(logits: Any, targets: Any, **head: Any) -> TokenDetails:
    """TokenDetails of targets (n,) among logits (n, V): rank -1 and entropy NaN for a target outside [0, V)."""
    return _details(lambda rows, tokens: logits[rows, tokens], targets, logits.shape[1], _wide(logits), head)


def linear_details(hidden: Any, weight: Any, targets: Any, **head: Any) -> TokenDetails:
    """``token_details`` of the logits of hidden (n, D) @ weight (V, D).T, which are never stored for all rows."""
    return _details(_blocks(hidden, weight), targets, len(weight), _wide(hidden, weight), head)


def logprob_parts(hidden: Any, weight: Any, targets: Any, *, first: int = 0, **head: Any) -> LogprobParts:
    """LogprobParts of tokens [first, first + len(weight)), whose rows of the head are weight and bias."""
    return LogprobParts(*(each.float() for each in _products(hidden, weight, targets.long() - first, **head)))


def merge_logprobs(parts: Sequence[LogprobParts]) -> Any:
    """Log-probabilities (n,) from the shards of a vocabulary, in their dtype, merged in the order given."""
    return merged(torch, parts)


def _wide(*tensors: Any) -> Any:
    return torch.float64 if any(each.dtype == torch.float64 for each in tensors) else torch.float32


def _products(hidden: Any, weight: Any, targets: Any, **head: Any) -> LogprobParts:
    return _sums(_blocks(hidden, weight), targets, len(weight), _wide(hidden, weight), head)


def _blocks(hidden: Any, weight: Any) -> Blocks:
    wide = _wide(hidden, weight)
    return lambda rows, tokens: hidden[rows].to(wide) @ weight[tokens].to(wide).T


def _sums(block: Blocks, targets: Any, size: int, wide: Any, head: dict[str, Any]) -> LogprobParts:
    return summed(block, targets.long(), size, xp=torch, wide=wide, rows_at_once=_ROWS, **head)


def _details(block: Blocks, targets: Any, size: int, wide: Any, head: dict[str, Any]) -> TokenDetails:
    return detailed(block, targets.long(), size, xp=torch, wide=wide, rows_at_once=_ROWS, **head)


def _logprobs(sums: LogprobParts, targets: Any, size: int) -> Any:
    return merged(torch, [sums]).float().masked_fill((targets < 0) | (targets >= size), math.nan)
