"""Log-probability of each row's target from logits on the GPU: one read of the logits, no n x V written."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from dataprophet.kernels.softmax_sums import add_tile, finished, scale_and_cap, shift_of, shifted, store_details

from dataprophet.ops.reference import LogprobParts, TokenDetails

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
    second,
    third,
    fourth,
    stride,
    V,
    first,
    scale,
    softcap,
    HAS_BIAS: tl.constexpr,
    HAS_SOFTCAP: tl.constexpr,
    DETAILS: tl.constexpr,
    PARTS: tl.constexpr,
    LANES: tl.constexpr,
    NEIGHBOURS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)  # n x V overflows 32 bits
    line = logits + row * stride
    target = tl.load(targets + row).to(tl.int64) - first
    inside = (target >= 0) & (target < V)
    absent = float("-inf") if PARTS else float("nan")
    chosen = tl.load(line + target, mask=inside, other=0.0).to(tl.float32)
    chosen = finished(chosen, bias, target, inside, scale, softcap, HAS_BIAS, HAS_SOFTCAP)
    chosen = tl.where(inside, chosen, absent)
    place = tl.where(inside, target, -1).to(tl.int32)
    # Running sums for each lane: nothing crosses lanes until the end.
    offsets = tl.arange(0, LANES)[:, None] * NEIGHBOURS + tl.arange(0, NEIGHBOURS)[None, :]
    maximum = tl.full((LANES,), float("-inf"), tl.float32)
    total = tl.zeros((LANES,), tl.float32)
    weighted = tl.zeros((LANES,), tl.float32)
    argmax = tl.arange(0, LANES) * NEIGHBOURS
    rank = tl.zeros((LANES,), tl.int32)
    for start in range(0, V, LANES * NEIGHBOURS):
        columns = start + offsets
        here = columns < V
        z = tl.load(line + columns, mask=here, other=0.0).to(tl.float32)
        z = finished(z, bias, columns, here, scale, softcap, HAS_BIAS, HAS_SOFTCAP)
        z = tl.where(here, z, float("-inf"))  # last: a softcap would make a number of minus infinity
        maximum, total, weighted, argmax, rank = add_tile(
            maximum, total, weighted, argmax, rank, z, columns, place, chosen, DETAILS
        )
    peak = tl.max(maximum, 0)
    shift = shift_of(peak)
    fade = tl.exp(maximum - shift)
    total_row = tl.sum(total * fade, 0)  # NaN in any lane stays NaN here
    if PARTS:
        tl.store(out + row, peak)
        tl.store(second + row, total_row)
        tl.store(third + row, chosen)
    else:
        # Subtracted one by one: beside a large logit the log of the sum would round away.
        tl.store(out + row, chosen - shift - tl.log(total_row))
    if DETAILS:
        weighted_row = tl.sum(shifted(weighted, total, maximum, shift) * fade, 0)
        lowest = tl.min(tl.where(maximum == peak, argmax, 2147483647), 0)
        store_details(second, third, fourth, row, None, peak, total_row, weighted_row, lowest, tl.sum(rank, 0), inside)


def token_logprobs(
    logits: Any,
    targets: Any,
    *,
    bias: Any = None,
    softcap: float | None = None,
    scale: float = 1.0,
    details: bool = False,
) -> Any:
    """Natural log of the softmax of each row at its target, for logits scale * (logits + bias), softcapped.

    Args:
        logits: (n, V) float32, float16 or bfloat16 tensor on the GPU; rows may have any stride.
        targets: (n,) integer tensor on the same device.
        bias: (V,) float tensor on the same device, or None.
        softcap: positive bound of the logits, or None.
        scale: factor of the logits.
        details: whether to return the entropy, the argmax and the target's rank too, from the same read.

    Returns:
        (n,) float32, in nats, accumulated in fp32, or TokenDetails. NaN for a target outside [0, V), for a row with
        NaN or plus infinity, and for a row of minus infinities alone; argmax and rank are -1 there.
    """
    found = empty_details(targets) if details else (torch.empty_like(targets, dtype=torch.float32),)
    _launch(logits, targets, found, first=0, bias=bias, softcap=softcap, scale=scale)
    return found if details else found[0]


def token_logprob_parts(
    logits: Any,
    targets: Any,
    found: LogprobParts,
    *,
    first: int = 0,
    bias: Any = None,
    softcap: float | None = None,
    scale: float = 1.0,
) -> None:
    """LogprobParts of logits (n, V') of tokens [first, first + V'), as ``logprob_parts`` says, into ``found``.

    The arguments are those of ``token_logprobs``, logits and bias of the shard alone; ``found`` holds (n,) float32.
    """
    _launch(logits, targets, found, first=first, bias=bias, softcap=softcap, scale=scale)


def empty_details(targets: Any) -> TokenDetails:
    """Room for TokenDetails of targets (n,)."""
    dtypes = (torch.float32, torch.float32, torch.int64, torch.int64)
    return TokenDetails(*(torch.empty_like(targets, dtype=dtype) for dtype in dtypes))


def _launch(
    logits: Any,
    targets: Any,
    found: tuple[Any, ...],
    *,
    first: int,
    bias: Any,
    softcap: float | None,
    scale: float,
) -> None:
    """Fill ``found``: log-probabilities alone, the fields of LogprobParts, or those of TokenDetails."""
    n, vocabulary = logits.shape
    if n == 0:
        return
    if vocabulary > 1 and logits.stride(1) != 1:
        logits = logits.contiguous()
    # The kernel runs on the current device, which need not be the tensor's.
    with torch.cuda.device_of(logits):
        _token_logprobs_kernel[(n,)](
            logits,
            targets.contiguous(),
            found[0] if bias is None else bias.contiguous(),
            *found,
            *found[:1] * (4 - len(found)),  # unused
            logits.stride(0),
            vocabulary,
            first,
            *scale_and_cap(scale, softcap),
            HAS_BIAS=bias is not None,
            HAS_SOFTCAP=softcap is not None,
            DETAILS=len(found) == 4,
            PARTS=len(found) == 3,
            LANES=LANES,
            NEIGHBOURS=NEIGHBOURS,
            num_warps=WARPS,
            enable_fp_fusion=True,
        )
