"""What the kernels on logits share: the last steps of a logit, and the running sums of a softmax.

The sums stand for the logits z so far, and their maximum m: maximum is m, total the sum of exp(z - m), and with DETAILS
weighted is the sum of (z - m) exp(z - m), argmax the lowest column of m, rank the number of logits above the target's.
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
def shifted(weighted, total, maximum, shift):
    """The sum of (z - shift) exp(z - maximum), given that of (z - maximum) exp(z - maximum)."""
    return weighted + tl.where(total == 0.0, 0.0, (maximum - shift) * total)  # 0 * -inf would be NaN


@triton.jit
def add_tile(  # noqa: PLR0917 (a kernel's)
    maximum, total, weighted, argmax, rank, z, columns, target, target_logit, DETAILS: tl.constexpr
):
    """The sums of each row of a tile of logits z, whose columns are numbered, added to those before.

    The target's own column is not compared with its logit, which another instruction may have rounded otherwise.
    """
    largest = tl.max(z, 1)
    if DETAILS:
        lowest = tl.min(tl.where(z == largest[:, None], columns, 2147483647), 1)
        argmax = tl.where(largest > maximum, lowest, argmax)
        rank += tl.sum(((z > target_logit) & (columns != target)).to(tl.int32), 1)
    peak = tl.maximum(maximum, largest)
    shift = shift_of(peak)
    fade = tl.exp(maximum - shift)
    apart = z - shift[:, None]
    share = tl.exp(apart)  # of the difference, not a quotient of powers: large logits lose no digits
    if DETAILS:
        added = tl.where(share == 0.0, 0.0, apart * share)
        weighted = shifted(weighted, total, maximum, shift) * fade + tl.sum(added, 1)
    total = total * fade + tl.sum(share, 1)  # NaN stays here, whatever a maximum makes of it
    return peak, total, weighted, argmax, rank


@triton.jit
def store_details(  # noqa: PLR0917 (a kernel's)
    entropies, argmaxes, ranks, rows, mask, maximum, total, weighted, argmax, rank, has_target
):
    """Entropy, argmax and rank from the sums of whole rows: NaN and -1 for rows without a softmax."""
    defined = (tl.abs(maximum) < float("inf")) & (total < float("inf"))  # NaN is not below
    entropy = tl.log(total) - weighted / total
    tl.store(entropies + rows, tl.where(defined, entropy, float("nan")), mask=mask)
    tl.store(argmaxes + rows, tl.where(defined, argmax, -1).to(tl.int64), mask=mask)
    tl.store(ranks + rows, tl.where(defined & has_target, rank, -1).to(tl.int64), mask=mask)


def scale_and_cap(scale: float, softcap: float | None) -> tuple[float, float]:
    """Both as the kernels take them, in fp32: a cap so small that it would be 0 there is the smallest that is not."""
    return float(scale), 1.0 if softcap is None else max(float(softcap), torch.finfo(torch.float32).tiny)
