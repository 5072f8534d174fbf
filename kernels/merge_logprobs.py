"""Merges the sums of a softmax over splits of a vocabulary, in their order: the last step of linear_logprobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from dataprophet.kernels.softmax_sums import LN2, LOG2E, below_peak, shift_of

from dataprophet.ops.reference import LogprobParts

BLOCK = 128  # rows of a program
WARPS = 4
_ROWS = 2048  # chunks of rows are multiples of this


@dataclass(frozen=True)
class Partials:
    """What sweeps over the splits of a vocabulary leave, for n rows.

    Attributes:
        target: (n,) float32, the target's logit; NaN, or minus infinity for a shard, where the target is elsewhere.
        sums: peak and total (splits, n) float32, as softmax_sums.py says.
        factor: powers of 2 of a unit of the target's logit; None where peaks are the largest logits, in nats, and
            totals the sums of exp(z - peak), as those of LogprobParts.
    """

    target: Any
    sums: tuple[Any, Any]
    factor: float | None

    @classmethod
    def empty(cls, splits: int, n: int, device: Any, factor: float) -> Partials:
        """Room for n rows."""
        shapes = (n,), (splits, n), (splits, n)
        target, *sums = (torch.empty(shape, dtype=torch.float32, device=device) for shape in shapes)
        return cls(target, (sums[0], sums[1]), factor)

    @staticmethod
    def rows_within(size: int, splits: int) -> int:
        """How many rows fit into ``size`` bytes."""
        row = 4 + 4 * splits * 2
        return max(1, size // row // _ROWS) * _ROWS


@triton.jit(do_not_specialize=["n", "splits"])
def _merge_kernel(  # noqa: PLR0917 (a kernel's)
    targets,
    peaks,
    totals,
    out,
    second,
    third,
    n,
    splits,
    factor,
    PARTS: tl.constexpr,
    NATS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    rows = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = rows < n
    chosen = tl.load(targets + rows, mask=mask, other=0.0)
    peak = tl.full((BLOCK,), float("-inf"), tl.float32)
    place = rows
    for _ in range(splits):
        peak = tl.maximum(peak, tl.load(peaks + place, mask=mask, other=0.0))
        place += n
    shift = shift_of(peak)
    total = tl.zeros((BLOCK,), tl.float32)
    place = rows
    for _ in range(splits):
        largest = tl.load(peaks + place, mask=mask, other=0.0)
        part = tl.load(totals + place, mask=mask, other=0.0)
        total += part * tl.exp2((largest - shift) * (NATS * LOG2E))
        place += n
    if PARTS:
        maximum = shift * LN2
        tl.store(out + rows, tl.where(peak == float("-inf"), peak, maximum), mask=mask)
        tl.store(second + rows, total * tl.exp2(shift - maximum * LOG2E), mask=mask)
        tl.store(third + rows, chosen, mask=mask)
    else:
        tl.store(out + rows, below_peak(chosen, factor, shift, total, NATS), mask=mask)


def merge(partials: Partials, found: tuple[Any, ...]) -> None:
    """Fill ``found``, (n,) each: log-probabilities alone, or the fields of LogprobParts."""
    splits, n = partials.sums[0].shape
    with torch.cuda.device_of(partials.target):
        _merge_kernel[(triton.cdiv(n, BLOCK),)](
            partials.target,
            *partials.sums,
            *found,
            *found[:1] * (3 - len(found)),  # unused
            n,
            splits,
            1.0 if partials.factor is None else partials.factor,
            PARTS=len(found) == 3,
            NATS=1.0 if partials.factor is None else LN2.value,
            BLOCK=BLOCK,
            num_warps=WARPS,
            enable_fp_fusion=True,
        )


def merge_logprobs(parts: Sequence[LogprobParts]) -> Any:
    """Log-probabilities (n,) float32 from the shards of a vocabulary on the GPU, merged in the order given."""
    maximum, total, target = (torch.stack(fields).float() for fields in zip(*parts, strict=True))
    logprobs = torch.empty_like(maximum[0])
    if len(logprobs):
        merge(Partials(target.amax(0), (maximum, total), None), (logprobs,))
    return logprobs
