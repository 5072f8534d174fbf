"""Operations on torch tensors in plain torch: on CUDA, where no compiled kernel serves.

Directions are computed in float64: correct first, and of use only until compiled kernels take over. None of these waits
for the device except to look for bad rows and where a result is a Python number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from dataprophet.ops.reference import LogprobParts, TokenDetails, bad_rows_error

_ELEMENTS = 1 << 24  # of one float64 or float32 working block
_VOCABULARY = 4096


def _chunks(n: int, width: int) -> list[slice]:
    rows = max(1, _ELEMENTS // max(width, 1))
    return [slice(start, min(start + rows, n)) for start in range(0, n, rows)]


def check_rows(x: Any, name: str) -> None:
    """Raise for rows of x (n, d) that are all zero or not finite, naming the first."""
    largest = x.abs().amax(dim=1) if x.shape[1] else x.new_zeros(x.shape[0])
    zero, nonfinite = largest == 0, ~torch.isfinite(largest)
    bad = zero | nonfinite
    if bool(bad.any()):
        raise bad_rows_error(name, int(zero.sum()), int(nonfinite.sum()), int(bad.nonzero()[0]))


def _directions(x: Any) -> Any:
    rows = x.double()
    rows = rows / rows.abs().amax(dim=1, keepdim=True)
    return rows / torch.linalg.vector_norm(rows, dim=1, keepdim=True)


def mean_direction(x: Any, name: str) -> Any:
    """Mean of the normalised rows of x (n, d): (d,) float64 on x's device."""
    check_rows(x, name)
    total = torch.zeros(x.shape[1], dtype=torch.float64, device=x.device)
    for part in _chunks(*x.shape):
        total += _directions(x[part]).sum(dim=0)
    return total / x.shape[0]


def cosine_to(x: Any, directions: Any) -> Any:
    """Cosine of the rows of x (n, d) to directions (T, d), used as given: (n, T) float32."""
    check_rows(x, "x")
    out = torch.empty((x.shape[0], directions.shape[0]), dtype=torch.float32, device=x.device)
    columns = directions.double().T
    for part in _chunks(*x.shape):
        out[part] = (_directions(x[part]) @ columns).float()
    return out


def nearest(x: Any, y: Any) -> tuple[Any, Any]:
    """Largest cosine of each row of x (n, d) to the rows of y (m, d), and the lowest such row."""
    check_rows(x, "x")
    check_rows(y, "y")
    best = torch.full((x.shape[0],), -math.inf, dtype=torch.float64, device=x.device)
    index = torch.zeros(x.shape[0], dtype=torch.int64, device=x.device)
    for others in _chunks(y.shape[0], max(y.shape[1], 4096)):
        columns = _directions(y[others]).T
        for rows in _chunks(x.shape[0], max(x.shape[1], columns.shape[1])):
            cosine = _directions(x[rows]) @ columns
            value = cosine.amax(dim=1)
            # argmax does not promise the first of equals on CUDA.
            places = torch.arange(cosine.shape[1], device=x.device).expand_as(cosine)
            at = torch.where(cosine == value[:, None], places, cosine.shape[1]).amin(dim=1)
            better = value > best[rows]
            best[rows] = torch.where(better, value, best[rows])
            index[rows] = torch.where(better, others.start + at, index[rows])
    return best.float(), index


def token_logprobs(
    logits: Any,
    targets: Any,
    *,
    bias: Any = None,
    softcap: float | None = None,
    scale: float = 1.0,
    details: bool = False,
) -> Any:
    """Log of the softmax of logits (n, V) at targets (n,): (n,) float32, or TokenDetails, as ``dataprophet.ops`` says.

    Accumulated in fp32, for float64 in float64. A target outside [0, V) gives NaN, and the rank -1.
    """
    wide = _wide(logits)

    def block(rows: slice, tokens: slice) -> Any:
        return _finished(logits[rows, tokens].to(wide), tokens, bias, softcap, scale)

    sums = _sums(block, targets.long(), logits.shape[1], wide, details)
    return _details(sums) if details else _logprobs(sums)


def linear_logprobs(
    hidden: Any,
    weight: Any,
    targets: Any,
    *,
    bias: Any = None,
    softcap: float | None = None,
    scale: float = 1.0,
    details: bool = False,
) -> Any:
    """``token_logprobs`` of the logits of hidden (n, D) @ weight (V, D).T, which are never stored whole."""
    block = _products(hidden, weight, bias, softcap, scale)
    sums = _sums(block, targets.long(), weight.shape[0], _wide(hidden, weight), details)
    return _details(sums) if details else _logprobs(sums)


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
    sums = _sums(block, targets.long() - first, weight.shape[0], _wide(hidden, weight), False)
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
    weighted: Any  # of (z - m) exp(z - m)
    target: Any  # the target's logit, or minus infinity where it is not among them
    inside: Any  # whether it is
    argmax: Any
    rank: Any


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


def _sums(block: Any, targets: Any, size: int, wide: Any, details: bool) -> _Sums:
    """The sums of each row over tokens [0, size); weighted, argmax and rank are zeros unless details are wanted."""
    n = targets.shape[0]
    like = {"dtype": wide, "device": targets.device}
    sums = _Sums(
        torch.full((n,), -math.inf, **like),
        torch.zeros(n, **like),
        torch.zeros(n, **like),
        torch.full((n,), -math.inf, **like),
        (targets >= 0) & (targets < size),
        torch.zeros_like(targets),
        torch.zeros_like(targets),
    )
    columns = [slice(start, min(start + _VOCABULARY, size)) for start in range(0, size, _VOCABULARY)]
    for rows in _chunks(n, _VOCABULARY):
        part = _Sums(*(each[rows] for each in sums))  # views, which _add fills
        for tokens in columns:
            _add(part, block(rows, tokens), tokens, targets[rows], details)
        if details:  # once the target's logit is known
            for tokens in columns:
                part.rank.add_((block(rows, tokens) > part.target[:, None]).sum(dim=1))
    return sums


def _add(sums: _Sums, z: Any, tokens: slice, targets: Any, details: bool) -> None:
    largest = z.amax(dim=1)
    maximum = torch.maximum(sums.maximum, largest)
    shift = torch.where(torch.isneginf(maximum), 0.0, maximum)
    apart = z - shift[:, None]
    share, fade = apart.exp(), (sums.maximum - shift).exp()
    if details:
        # argmax does not promise the first of equals on CUDA.
        places = torch.arange(z.shape[1], device=z.device).expand_as(z)
        at = torch.where(z == largest[:, None], places, z.shape[1]).amin(dim=1)
        sums.argmax.copy_(torch.where(largest > sums.maximum, tokens.start + at, sums.argmax))
        # 0 * -inf would be NaN
        moved = torch.where(sums.total == 0.0, 0.0, (sums.maximum - shift) * sums.total)
        added = torch.where(share == 0.0, 0.0, apart * share).sum(dim=1)
        sums.weighted.copy_((sums.weighted + moved) * fade + added)
    sums.total.copy_(sums.total * fade + share.sum(dim=1))
    sums.maximum.copy_(maximum)
    local = targets - tokens.start
    here = (local >= 0) & (local < z.shape[1])
    value = z.gather(1, local.clamp(0, z.shape[1] - 1)[:, None])[:, 0]
    sums.target.copy_(torch.where(here, value, sums.target))


def _logprobs(sums: _Sums) -> Any:
    # Subtracted one by one: beside a large logit the log of the sum would round away.
    found = (sums.target - sums.maximum - sums.total.log()).float()
    return found.masked_fill(~sums.inside, math.nan)


def _details(sums: _Sums) -> TokenDetails:
    defined = torch.isfinite(sums.maximum) & torch.isfinite(sums.total)
    entropy = (sums.total.log() - sums.weighted / sums.total).float()
    return TokenDetails(
        _logprobs(sums),
        entropy.masked_fill(~defined, math.nan),
        sums.argmax.masked_fill(~defined, -1),
        sums.rank.masked_fill(~(defined & sums.inside), -1),
    )
