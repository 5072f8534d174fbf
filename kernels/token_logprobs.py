"""Log-probability of each row's target from logits on the GPU: one read of the logits, no n x V written."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

BLOCK = 4096  # columns of a step, and num_warps below: fixed, so that results are the same bits in every run
WARPS = 8


@triton.jit
def _token_logprobs_kernel(logits, targets, out, stride, V, BLOCK: tl.constexpr):  # noqa: PLR0917 (a kernel's)
    row = tl.program_id(0).to(tl.int64)  # n x V overflows 32 bits
    line = logits + row * stride
    target = tl.load(targets + row)
    # A running maximum and sum for each lane: nothing crosses lanes until the end.
    largest = tl.full((BLOCK,), float("-inf"), tl.float32)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, V, BLOCK):
        column = start + tl.arange(0, BLOCK)
        x = tl.load(line + column, mask=column < V, other=float("-inf")).to(tl.float32)
        peak = tl.maximum(largest, x, propagate_nan=tl.PropagateNan.ALL)
        shift = tl.where(peak == float("-inf"), 0.0, peak)  # -inf - (-inf) would be NaN
        total = total * tl.exp(largest - shift) + tl.exp(x - shift)
        largest = peak
    peak = tl.max(largest, 0)
    shift = tl.where(peak == float("-inf"), 0.0, peak)
    total_row = tl.sum(total * tl.exp(largest - shift), 0)  # NaN in any lane stays NaN here
    inside = (target >= 0) & (target < V)
    chosen = tl.load(line + target, mask=inside, other=float("nan")).to(tl.float32)
    tl.store(out + row, chosen - shift - tl.log(total_row))


def token_logprobs(logits: Any, targets: Any) -> Any:
    """Natural log of the softmax of each row at its target.

    Args:
        logits: (n, V) float32, float16 or bfloat16 tensor on the GPU; rows may have any stride.
        targets: (n,) integer tensor on the same device.

    Returns:
        (n,) float32, in nats, accumulated in fp32. NaN for a target outside [0, V), for a row with NaN or plus
        infinity, and for a row of minus infinities alone.
    """
    n, vocabulary = logits.shape
    out = torch.empty(n, dtype=torch.float32, device=logits.device)
    if n == 0:
        return out
    if vocabulary > 1 and logits.stride(1) != 1:
        logits = logits.contiguous()
    # The kernel runs on the current device, which need not be the tensor's.
    with torch.cuda.device_of(logits):
        _token_logprobs_kernel[(n,)](
            logits, targets.contiguous(), out, logits.stride(0), vocabulary, BLOCK=BLOCK, num_warps=WARPS
        )
    return out
