"""What a shard of a linear head tells of the log-probabilities of targets, on the GPU."""

from __future__ import annotations

from typing import Any

import torch
from dataprophet.kernels.linear_sweep import sweep

from dataprophet.ops.reference import LogprobParts


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
    """LogprobParts, each (n,) float32, of tokens [first, first + V'), whose rows of the head are weight and bias.

    The arguments are those of ``linear_logprobs``, targets in the whole vocabulary; V' may be 0.
    """
    found = LogprobParts(*(torch.empty_like(targets, dtype=torch.float32) for _ in LogprobParts._fields))
    sweep(hidden, weight, targets, found, first=first, bias=bias, softcap=softcap, scale=scale)
    return found
