"""Operations on torch tensors in plain torch: on CUDA, and on the CPU where a model's own tensors come in.

Directions are computed in float64: correct first, and of use only until compiled kernels take over. None of these waits
for the device except to look for bad rows and where a result is a Python number.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from dataprophet.reference import bad_rows_error

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


def token_logprobs(logits: Any, targets: Any) -> Any:
    """Log of the softmax of logits (n, V) at targets (n,): (n,) float32, accumulated in fp32 (float64 for float64)."""
    out = torch.empty(logits.shape[0], dtype=torch.float32, device=logits.device)
    index = targets.long()[:, None]
    wide = torch.float64 if logits.dtype == torch.float64 else torch.float32
    for part in _chunks(*logits.shape):
        block = logits[part].to(wide)
        largest = block.amax(dim=1)
        total = (block - largest[:, None]).exp_().sum(dim=1)
        # Subtracted one by one: beside a large logit the log of the sum would round away.
        out[part] = (block.gather(1, index[part])[:, 0] - largest - total.log()).float()
    return out


def linear_logprobs(
    hidden: Any, weight: Any, targets: Any, *, bias: Any = None, softcap: float | None = None, scale: float = 1.0
) -> Any:
    """Log-probabilities of targets (n,) under hidden (n, D) @ weight (V, D).T: (n,) float32, logits never stored whole.

    Each chunk of the vocabulary is widened to fp32 once and multiplied with all rows.
    """
    n, wide = hidden.shape[0], torch.float64 if hidden.dtype == torch.float64 else torch.float32
    largest = torch.full((n,), -math.inf, dtype=wide, device=hidden.device)
    total, chosen = torch.zeros_like(largest), torch.full_like(largest, math.nan)
    for first in range(0, weight.shape[0], _VOCABULARY):
        columns = weight[first : first + _VOCABULARY].to(wide).T
        for part in _chunks(n, max(columns.shape)):
            z = hidden[part].to(wide) @ columns
            if bias is not None:
                z += bias[first : first + _VOCABULARY].to(wide)
            z *= scale
            if softcap is not None:
                z = softcap * torch.tanh(z / softcap)
            peak = torch.maximum(largest[part], z.amax(dim=1))
            shift = torch.where(torch.isneginf(peak), torch.zeros_like(peak), peak)
            total[part] = total[part] * (largest[part] - shift).exp() + (z - shift[:, None]).exp_().sum(dim=1)
            largest[part] = peak
            local = targets[part].long() - first
            here = (local >= 0) & (local < z.shape[1])
            value = z.gather(1, local.clamp(0, z.shape[1] - 1)[:, None])[:, 0]
            chosen[part] = torch.where(here, value, chosen[part])
    return (chosen - largest - total.log()).float()
