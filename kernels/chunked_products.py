"""Log-probabilities under a linear head by torch's matrix product, a chunk of logits at a time, and kernel after it.

The chunks are of one shape, whatever the number of rows, since the product's algorithm, and so its last bit, may depend
on the shape: rows of zeros fill up the last one. Logits are fp32, and few enough to stay in the L2 cache.
"""

from __future__ import annotations

from typing import Any

import torch
from dataprophet.kernels.merge_logprobs import Partials, merge
from dataprophet.kernels.token_logprobs import token_logprob_parts

from dataprophet.ops.reference import LogprobParts

ROWS, COLUMNS = 1024, 8192  # of a chunk: 32 MiB of logits


def chunked(
    hidden: Any,
    weight: Any,
    targets: Any,
    found: tuple[Any, ...],
    *,
    bias: Any = None,
    softcap: float | None = None,
    scale: float = 1.0,
) -> None:
    """Fill ``found``, log-probabilities (n,) float32 alone, as ``linear_logprobs`` says.

    Takes 32 MiB, and 2 D bytes for each of 1,024 rows, beyond the result. hidden and weight are of one dtype; float32
    is multiplied as torch is set to, which may be with less than its precision.
    """
    n, vocabulary = hidden.shape[0], weight.shape[0]
    block = hidden.new_zeros((ROWS, hidden.shape[1]))
    wanted = targets.new_zeros(ROWS)
    logits = hidden.new_empty(ROWS * min(COLUMNS, vocabulary), dtype=torch.float32)
    columns = [slice(start, min(start + COLUMNS, vocabulary)) for start in range(0, vocabulary, COLUMNS)]
    partials = Partials.empty(len(columns), ROWS, hidden.device, details=False)
    own = torch.empty_like(partials.sums[0])
    for begin in range(0, n, ROWS):
        rows = slice(begin, min(begin + ROWS, n))
        size = rows.stop - begin
        block[:size].copy_(hidden[rows])
        block[size:].zero_()
        wanted[:size].copy_(targets[rows])
        for split, part in enumerate(columns):
            z = logits[: ROWS * (part.stop - part.start)].view(ROWS, -1)
            _product(block, weight[part].T, z)
            token_logprob_parts(
                z,
                wanted,
                LogprobParts(partials.sums[0][split], partials.sums[1][split], own[split]),
                first=part.start,
                bias=None if bias is None else bias[part],
                softcap=softcap,
                scale=scale,
            )
        outside = (wanted < 0) | (wanted >= vocabulary)
        target = own.amax(0).masked_fill_(outside, float("nan"))
        every = torch.empty_like(target)
        merge(Partials(target, partials.sums), (every,))
        found[0][rows].copy_(every[:size])


def _product(a: Any, b: Any, out: Any) -> None:
    """Write a @ b into ``out``, in fp32, which has to be said where a and b are not."""
    if a.dtype == torch.float32:
        torch.mm(a, b, out=out)
    else:
        torch.mm(a, b, out_dtype=torch.float32, out=out)
