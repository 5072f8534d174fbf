"""What the kernels on logits share: the last steps of a logit, and the running sums of a softmax.

Exponentials are powers of 2, which is what a GPU computes. The sums stand for the logits z so far, in units of which
one is ``factor`` powers of 2: peak is the largest factor * z, rounded, and total the sum of 2^(factor * z - peak). That
exponent is one fused multiply-add (kernels are compiled so), in which the product is not rounded: large logits lose
no digits.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

_LOG2E = 1.4426950408889634
LOG2E = tl.constexpr(_LOG2E)
LN2 = tl.constexpr(0.6931471805599453)


@triton.jit
def finished(  # noqa: PLR0917 (a kernel's)
    z,
    bias,
    columns,
    inside,
    scale,
    softcap,
    HAS_BIAS: tl.constexpr,
    HAS_SOFTCAP: tl.constexpr,
    FOLDED: tl.constexpr,
):
    """A logit, in fp32: scale * (z + bias), then softcap * tanh(z / softcap); bias is read at columns, where inside.

    FOLDED leaves the scale to the factor of the sums.
    """
    if HAS_BIAS:
        z += tl.load(bias + columns, mask=inside, other=0.0).to(tl.float32)
    if not FOLDED:
        z *= scale
    if HAS_SOFTCAP:
        ratio = z / softcap
        shrink = tl.exp2(tl.abs(ratio) * (-2.0 * LOG2E))  # at most 1, so that nothing overflows
        bound = softcap * ((1.0 - shrink) / (1.0 + shrink))
        z = tl.where(ratio < 0.0, -bound, bound)
    return z


@triton.jit
def shift_of(peak):
    """What to subtract from logits: their peak, but 0 where that is minus infinity, since -inf - (-inf) is NaN."""
    return tl.where(peak == float("-inf"), 0.0, peak)


@triton.jit
def add_tile(peak, total, z, factor):
    """The sums of each row of a tile of logits z, added to those before."""
    top = tl.maximum(peak, tl.max(z, 1) * factor)
    shift = shift_of(top)
    fade = tl.exp2(peak - shift)
    share = tl.exp2(z * factor - shift[:, None])
    return top, total * fade + tl.sum(share, 1)  # NaN stays here, whatever a maximum makes of it


@triton.jit
def below_peak(chosen, factor, shift, total, NATS: tl.constexpr):
    """The log-probability of a logit, in nats: one unit of the shift is NATS of them.

    The target is among the logits: where it seems to lie above their sum, two instructions rounded it differently.
    """
    # Subtracted one by one: beside a large logit the log of the sum would round away.
    found = (chosen * factor - shift) * NATS - tl.log(total)
    return tl.where(found > 0.0, 0.0, found)


def scale_and_cap(scale: float, softcap: float | None, *, fold: bool = True) -> tuple[tuple[float, float], bool]:
    """Both as the kernels take them, in fp32, and whether the scale is folded into the factor, and is it then.

    A softcap comes between the two; a factor must be positive, and neither so small nor so large that fp32 has no
    digits for it. A cap so small that it would be 0 there is the smallest that is not.
    """
    limits, factor = torch.finfo(torch.float32), float(scale) * _LOG2E
    folded = fold and softcap is None and limits.tiny <= factor <= limits.max
    cap = 1.0 if softcap is None else max(float(softcap), limits.tiny)
    return (factor if folded else float(scale), cap), folded
