"""Means of segments of a vector on the GPU: one program for each segment, added in a fixed order."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

BLOCK = 256  # values of a step: fixed, so that results are the same bits in every run
WARPS = 4


@triton.jit
def _segment_means_kernel(values, offsets, out, BLOCK: tl.constexpr):
    segment = tl.program_id(0).to(tl.int64)
    begin = tl.load(offsets + segment).to(tl.int64)
    end = tl.load(offsets + segment + 1).to(tl.int64)
    total = tl.zeros((BLOCK,), tl.float32)
    for start in range(begin, end, BLOCK):
        place = start + tl.arange(0, BLOCK)
        total += tl.load(values + place, mask=place < end, other=0.0).to(tl.float32)
    tl.store(out + segment, tl.sum(total, 0) / (end - begin).to(tl.float32))


def segment_means(values: Any, offsets: Any) -> Any:
    """Mean of values[offsets[i]:offsets[i + 1]] for each i.

    Args:
        values: (n,) float32, float16 or bfloat16 tensor on the GPU.
        offsets: (S + 1,) increasing integer tensor on the same device.

    Returns:
        (S,) float32; NaN for an empty segment.
    """
    segments = offsets.shape[0] - 1
    out = torch.empty(segments, dtype=torch.float32, device=values.device)
    if segments == 0:
        return out
    with torch.cuda.device_of(values):
        _segment_means_kernel[(segments,)](
            values.contiguous(), offsets.contiguous(), out, BLOCK=BLOCK, num_warps=WARPS, enable_fp_fusion=True
        )
    return out
