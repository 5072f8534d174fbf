"""What the kernels on logits share: the last steps of a logit, and the running sums of a softmax.

The sums stand for the logits z so far, and their maximum m: maximum is m, total the sum of exp(z - m).
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl


@triton.jit
def finished(  # noqa: PLR0917 (a kernel's)
    z, bias, columns, inside, scale, softcap, HAS_BIAS: tl.constexpr, HAS_SOFTCAP: tl.constexpr
):
    """A logit, in fp32: scale * (z + bias), then softcap * tanh(z / softcap); bias is read at columns, where inside."""
    if HAS_BIAS:
        z += tl.load(bias + columns, mask=inside, other=0.0).to(tl.float32)
    z *= scale
    if HAS_SOFTCAP:
        ratio = z / softcap
        shrink = tl.exp(-2.0 * tl.abs(ratio))  # at most 1, so that nothing overflows
        bound = softcap * ((1.0 - shrink) / (1.0 + shrink))
        z = tl.where(ratio < 0.0, -bound, bound)
    return z


@triton.jit
def shift_of(maximum):
    """What to subtract from logits: their maximum, but 0 where that is minus infinity, since -inf - (-inf) is NaN."""
    return tl.where(maximum == float("-inf"), 0.0, maximum)


@triton.jit
def add_tile(maximum, total, z):
    """The sums of each row of a tile of logits z, added to those before."""
    peak = tl.maximum(maximum, tl.max(z, 1))
    shift = shift_of(peak)
    fade = tl.exp(maximum - shift)
    share = tl.exp(z - shift[:, None])  # of the difference, not a quotient of powers: large logits lose no digits
    return peak, total * fade + tl.sum(share, 1)  # NaN stays here, whatever a maximum makes of it


def scale_and_cap(scale: float, softcap: float | None) -> tuple[float, float]:
    """Both as the kernels take them, in fp32: a cap so small that it would be 0 there is the smallest that is not."""
    return float(scale), 1.0 if softcap is None else max(float(softcap), torch.finfo(torch.float32).tiny)
