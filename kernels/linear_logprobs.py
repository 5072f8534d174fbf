"""Log-probability of each row's target under a linear head on the GPU, without storing the logits."""

from __future__ import annotations

from typing import Any

import torch
from dataprophet.kernels import linear_sweep


def linear_logprobs(
    hidden: Any,
    weight: Any,
    targets: Any,
    *,
    bias: Any = None,
    softcap: float | None = None,
    scale: float = 1.0,
) -> Any:
    """Log-probabilities of targets under z = scale * (hidden @ weight.T + bias), then softcap * tanh(z / softcap).

    Args:
        hidden: (n, D) float32, float16 or bfloat16 tensor on the GPU, of any strides.
        weight: (V, D) tensor on the same device, of any strides. Where the two are not both float16 or both bfloat16,
            they are widened to float32 in registers, exactly, and multiplied without tensor cores.
        targets: (n,) integer tensor on the same device.
        bias: (V,) float tensor on the same device, or None.
        softcap: positive bound of the logits, or None.
        scale: factor of the logits.

    Returns:
        (n,) float32, in nats, accumulated in fp32, with the rules of ``token_logprobs``.
    """
    logprobs = torch.empty_like(targets, dtype=torch.float32)
    linear_sweep.sweep(hidden, weight, targets, (logprobs,), bias=bias, softcap=softcap, scale=scale)
    return logprobs
