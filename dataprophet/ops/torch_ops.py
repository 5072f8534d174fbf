"""Operations on tokens in plain torch: on CUDA where no Triton kernel serves, and to check one that does.

Called through ``backend.on_tokens``, and by the self-check of a model. None of these waits for the device.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from dataprophet.ops.reference import LogprobParts

_ELEMENTS = 1 << 24  # of one working block
_VOCABULARY = 4096


def token_logprobs(
    logits: Any, targets: Any, *, bias: Any = None, softcap: float | None = None, scale: float = 1.0
) -> Any:
    """Log of the softmax of logits (n, V) at targets (n,): (n,) float32, as ``dataprophet.ops`` says.

    Accumulated in fp32, for float64 in float64. A target outside [0, V) gives NaN.
    """
    wide = _wide(logits)

    def block(rows: slice, tokens: slice) -> Any:
        return _finished(logits[rows, tokens].to(wide), tokens, bias, softcap, scale)

    return _logprobs(_sums(block, targets.long(), logits.shape[1], wide))


def linear_logprobs(
    hidden: Any, weight: Any, targets: Any, *, bias: Any = None, softcap: float | None = None, scale: float = 1.0
) -> Any:
    """``token_logprobs`` of the logits of hidden (n, D) @ weight (V, D).T, which are never stored whole."""
    block = _products(hidden, weight, bias, softcap, scale)
    return _logprobs(_sums(block, targets.long(), weight.shape[0], _wide(hidden, weight)))


def logprob_parts(
    hidden: Any,
    weight: Any,
    targets: Any,
    *,
    first: int = 0,
    bias: Any = None,
    softcap: float | None = None,
    scale: float = 1.0,
) -> LogprobParts:
    """LogprobParts of tokens [first, first + len(weight)), whose rows of the head are weight and bias."""
    block = _products(hidden, weight, bias, softcap, scale)
    sums = _sums(block, targets.long() - first, weight.shape[0], _wide(hidden, weight))
    return LogprobParts(sums.maximum.float(), sums.total.float(), sums.target.float())


def merge_logprobs(parts: Sequence[LogprobParts]) -> Any:
    """Log-probabilities (n,) float32 from the shards of a vocabulary, merged in the order given."""
    maximum, target = parts[0].maximum, parts[0].target
    for part in parts[1:]:
        maximum, target = torch.maximum(maximum, part.maximum), torch.maximum(target, part.target)
    shift = torch.where(torch.isneginf(maximum), 0.0, maximum)
    total = torch.zeros_like(maximum)
    for part in parts:
        total += part.total * (part.maximum - shift).exp()
    return target - maximum - total.log()


class _Sums(NamedTuple):
    """Sums over the logits z of each row, around their maximum m."""

    maximum: Any
    total: Any  # of exp(z - m)
    target: Any  # the target's logit, or minus infinity where it is not among them
    inside: Any  # whether it is


def _wide(*tensors: Any) -> Any:
    return torch.float64 if any(each.dtype == torch.float64 for each in tensors) else torch.float32


def _products(hidden: Any, weight: Any, bias: Any, softcap: float | None, scale: float) -> Any:
    wide = _wide(hidden, weight)

    def block(rows: slice, tokens: slice) -> Any:
        return _finished(hidden[rows].to(wide) @ weight[tokens].to(wide).T, tokens, bias, softcap, scale)

    return block


def _finished(z: Any, tokens: slice, bias: Any, softcap: float | None, scale: float) -> Any:
    if bias is not None:
        z = z + bias[tokens].to(z.dtype)
    z = z * scale
    return z if softcap is None else softcap * torch.tanh(z / softcap)


def _sums(block: Any, targets: Any, size: int, wide: Any) -> _Sums:
    """The sums of each row over tokens [0, size)."""
    n = targets.shape[0]
    like = {"dtype": wide, "device": targets.device}
    lowest = torch.full((n,), -math.inf, **like)
    sums = _Sums(lowest, torch.zeros(n, **like), lowest.clone(), (targets >= 0) & (targets < size))
    step = max(1, _ELEMENTS // _VOCABULARY)
    for begin in range(0, n, step):
        rows = slice(begin, begin + step)
        part = _Sums(*(each[rows] for each in sums))  # views, which _add fills
        for start in range(0, size, _VOCABULARY):
            tokens = slice(start, min(start + _VOCABULARY, size))
            _add(part, block(rows, tokens), tokens, targets[rows])
    return sums


def _add(sums: _Sums, z: Any, tokens: slice, targets: Any) -> None:
    maximum = torch.maximum(sums.maximum, z.amax(dim=1))
    shift = torch.where(torch.isneginf(maximum), 0.0, maximum)
    fade = (sums.maximum - shift).exp()
    sums.total.copy_(sums.total * fade + (z - shift[:, None]).exp().sum(dim=1))
    sums.maximum.copy_(maximum)
    local = targets - tokens.start
    here = (local >= 0) & (local < z.shape[1])
    value = z.gather(1, local.clamp(0, z.shape[1] - 1)[:, None])[:, 0]
    sums.target.copy_(torch.where(here, value, sums.target))


def _logprobs(sums: _Sums) -> Any:
    # Subtracted one by one: beside a large logit the log of the sum would round away.
    found = (sums.target - sums.maximum - sums.total.log()).float()
    return found.masked_fill(~sums.inside, math.nan)
