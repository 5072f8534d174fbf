"""Log-probability of each row's target from logits on the GPU: one read of the logits, no n x V written."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from dataprophet.kernels.softmax_sums import add_tile, finished, scale_and_cap, shift_of

# Fixed, so that results are the same bits in every run. Sums are kept for each of LANES groups of NEIGHBOURS columns:
# a thread reads a group at once, and one exponential in NEIGHBOURS + 1 moves the sums to a new maximum.
LANES, NEIGHBOURS = 512, 8
WARPS = 8


@triton.jit
def _token_logprobs_kernel(  # noqa: PLR0917 (a kernel's)
    logits,
    targets,
    bias,
    out,
    stride,
    V,
    scale,
    softcap,
    HAS_BIAS: tl.constexpr,
    HAS_SOFTCAP: tl.constexpr,
    LANES: tl.constexpr,
    NEIGHBOURS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)  # n x V overflows 32 bits
    line = logits + row * stride
    target = tl.load(targets + row).to(tl.int64)
    inside = (target >= 0) & (target < V)
    chosen = tl.load(line + target, mask=inside, other=0.0).to(tl.float32)
    chosen = finished(chosen, bias, target, inside, scale, softcap, HAS_BIAS, HAS_SOFTCAP)
    chosen = tl.where(inside, chosen, float("nan"))
    # Running sums for each lane: nothing crosses lanes until the end.
    offsets = tl.arange(0, LANES)[:, None] * NEIGHBOURS + tl.arange(0, NEIGHBOURS)[None, :]
    maximum = tl.full((LANES,), float("-inf"), tl.float32)
    total = tl.zeros((LANES,), tl.float32)
    for start in range(0, V, LANES * NEIGHBOURS):
        columns = start + offsets
        here = columns < V
        z = tl.load(line + columns, mask=here, other=0.0).to(tl.float32)
        z = finished(z, bias, columns, here, scale, softcap, HAS_BIAS, HAS_SOFTCAP)
        z = tl.where(here, z, float("-inf"))  # last: a softcap would make a number of minus infinity
        maximum, total = add_tile(maximum, total, z)
    peak = tl.max(maximum, 0)
    shift = shift_of(peak)
    fade = tl.exp(maximum - shift)
    total_row = tl.sum(total * fade, 0)  # NaN in any lane stays NaN here
    # Subtracted one by one: beside a large logit the log of the sum would round away.
    tl.store(out + row, chosen - shift - tl.log(total_row))


def token_logprobs(
    logits: Any,
    targets: Any,
    *,
    bias: Any = None,
    softcap: float | None = None,
    scale: float = 1.0,
) -> Any:
    """Natural log of the softmax of each row at its target, for logits scale * (logits + bias), softcapped.

    Args:
        logits: (n, V) float32, float16 or bfloat16 tensor on the GPU; rows may have any stride.
        targets: (n,) integer tensor on the same device.
        bias: (V,) float tensor on the same device, or None.
        softcap: positive bound of the logits, or None.
        scale: factor of the logits.

    Returns:
        (n,) float32, in nats, accumulated in fp32. NaN for a target outside [0, V), for a row with NaN or plus
        infinity, and for a row of minus infinities alone.
    """
    found = torch.empty_like(targets, dtype=torch.float32)
    n, vocabulary = logits.shape
    if n == 0:
        return found
    if vocabulary > 1 and logits.stride(1) != 1:
        logits = logits.contiguous()
    # The kernel runs on the current device, which need not be the tensor's.
    with torch.cuda.device_of(logits):
        _token_logprobs_kernel[(n,)](
            logits,
            targets.contiguous(),
            found if bias is None else bias.contiguous(),
            found,
            logits.stride(0),
            vocabulary,
            *scale_and_cap(scale, softcap),
            HAS_BIAS=bias is not None,
            HAS_SOFTCAP=softcap is not None,
            LANES=LANES,
            NEIGHBOURS=NEIGHBOURS,
            num_warps=WARPS,
            enable_fp_fusion=True,
        )
    return found
