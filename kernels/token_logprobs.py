"""Log-probability of each row's target from logits on the GPU: one read of the logits, no n x V written."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from dataprophet.kernels.softmax_sums import LN2, LOG2E, add_tile, below_peak, finished, scale_and_cap, shift_of

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
    FOLDED: tl.constexpr,
    LANES: tl.constexpr,
    NEIGHBOURS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)  # n x V overflows 32 bits
    line = logits + row * stride
    target = tl.load(targets + row).to(tl.int64)
    inside = (target >= 0) & (target < V)
    chosen = tl.load(line + target, mask=inside, other=0.0).to(tl.float32)
    chosen = finished(chosen, bias, target, inside, scale, softcap, HAS_BIAS, HAS_SOFTCAP, FOLDED)
    chosen = tl.where(inside, chosen, float("nan"))
    # Running sums for each lane: nothing crosses lanes until the end.
    offsets = tl.arange(0, LANES)[:, None] * NEIGHBOURS + tl.arange(0, NEIGHBOURS)[None, :]
    factor = scale if FOLDED else LOG2E
    peak = tl.full((LANES,), float("-inf"), tl.float32)
    total = tl.zeros((LANES,), tl.float32)
    whole = V // (LANES * NEIGHBOURS) * (LANES * NEIGHBOURS)
    for start in range(0, whole, LANES * NEIGHBOURS):
        columns = start + offsets
        z = tl.load(line + columns).to(tl.float32)
        z = finished(z, bias, columns, columns < V, scale, softcap, HAS_BIAS, HAS_SOFTCAP, FOLDED)
        peak, total = add_tile(peak, total, z, factor)
    if whole < V:
        columns = whole + offsets
        here = columns < V
        z = tl.load(line + columns, mask=here, other=0.0).to(tl.float32)
        z = finished(z, bias, columns, here, scale, softcap, HAS_BIAS, HAS_SOFTCAP, FOLDED)
        z = tl.where(here, z, float("-inf"))  # last: a softcap would make a number of minus infinity
        peak, total = add_tile(peak, total, z, factor)
    shift = shift_of(tl.max(peak, 0))
    total_row = tl.sum(total * tl.exp2(peak - shift), 0)  # NaN in any lane stays NaN here
    tl.store(out + row, below_peak(chosen, factor, shift, total_row, LN2))


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
        infinity, and for a row of minus infinities alone. A logit beyond 2e38 counts as infinite.
    """
    found = torch.empty_like(targets, dtype=torch.float32)
    n, vocabulary = logits.shape
    if n == 0:
        return found
    if vocabulary > 1 and logits.stride(1) != 1:
        logits = logits.contiguous()
    numbers, folded = scale_and_cap(scale, softcap)
    # The kernel runs on the current device, which need not be the tensor's.
    with torch.cuda.device_of(logits):
        _token_logprobs_kernel[(n,)](
            logits,
            targets.contiguous(),
            found if bias is None else bias.contiguous(),
            found,
            logits.stride(0),
            vocabulary,
            *numbers,
            HAS_BIAS=bias is not None,
            HAS_SOFTCAP=softcap is not None,
            FOLDED=folded,
            LANES=LANES,
            NEIGHBOURS=NEIGHBOURS,
            num_warps=WARPS,
            enable_fp_fusion=True,
        )
    return found
