"""Merges the sums of a softmax over splits of a vocabulary, in their order: the last step of linear_logprobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from dataprophet.kernels.softmax_sums import shift_of

from dataprophet.ops.reference import LogprobParts

BLOCK = 128  # rows of a program
WARPS = 4
_ROWS = 2048  # chunks of rows are multiples of this


@dataclass(frozen=True)
class Partials:
    """What sweeps over the splits of a vocabulary leave, for n rows.

    Attributes:
        target: (n,) float32, the target's logit; NaN, or minus infinity for a shard, where the target is elsewhere.
        sums: maximum and total (splits, n) float32, as softmax_sums.py says.
    """

    target: Any
    sums: tuple[Any, Any]

    @classmethod
    def empty(cls, splits: int, n: int, device: Any) -> Partials:
        """Room for n rows."""
        shapes = (n,), (splits, n), (splits, n)
        target, *sums = (torch.empty(shape, dtype=torch.float32, device=device) for shape in shapes)
        return cls(target, (sums[0], sums[1]))

    @staticmethod
    def rows_within(size: int, splits: int) -> int:
        """How many rows fit into ``size`` bytes."""
        row = 4 + 4 * splits * 2
        return max(1, size // row // _ROWS) * _ROWS


@triton.jit(do_not_specialize=["n", "splits"])
def _merge_kernel(  # noqa: PLR0917 (a kernel's)
    targets,
    maximums,
    totals,
    out,
    second,
    third,
    n,
    splits,
    PARTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    rows = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = rows < n
    chosen = tl.load(targets + rows, mask=mask, other=0.0)
    maximum = tl.full((BLOCK,), float("-inf"), tl.float32)
    place = rows
    for _ in range(splits):
        largest = tl.load(maximums + place, mask=mask, other=0.0)
        maximum = tl.maximum(maximum, largest)
        place += n
    shift = shift_of(maximum)
    total = tl.zeros((BLOCK,), tl.float32)
    place = rows
    for _ in range(splits):
        largest = tl.load(maximums + place, mask=mask, other=0.0)
        part = tl.load(totals + place, mask=mask, other=0.0)
        total += part * tl.exp(largest - shift)
        place += n
    if PARTS:
        tl.store(out + rows, maximum, mask=mask)
        tl.store(second + rows, total, mask=mask)
        tl.store(third + rows, chosen, mask=mask)
    else:
        # The target is among the logits: where it seems to lie above them, two instructions rounded it differently.
        chosen = tl.where(chosen > maximum, maximum, chosen)
        # Subtracted one by one: beside a large logit the log of the sum would round away.
        tl.store(out + rows, chosen - shift - tl.log(total), mask=mask)


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
            PARTS=len(found) == 3,
            BLOCK=BLOCK,
            num_warps=WARPS,
            enable_fp_fusion=True,
        )


def merge_logprobs(parts: Sequence[LogprobParts]) -> Any:
    """Log-probabilities (n,) float32 from the shards of a vocabulary on the GPU, merged in the order given."""
    maximum, total, target = (torch.stack(fields).float() for fields in zip(*parts, strict=True))
    logprobs = torch.empty_like(maximum[0])
    if len(logprobs):
        merge(Partials(target.amax(0), (maximum, total)), (logprobs,))
    return logprobs
