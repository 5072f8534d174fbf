"""A linear head and the softmax over it in one kernel: the logits stay in registers.

A program owns some rows of hidden and sweeps one split of the vocabulary; what it knows then, a few numbers a row, goes
to memory, and merge_logprobs.py merges the splits. The target's logit is computed first, by a kernel of its own: the
sweep need not look for it.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from dataprophet.kernels import configurations
from dataprophet.kernels.configurations import Configuration
from dataprophet.kernels.merge_logprobs import Partials, merge
from dataprophet.kernels.softmax_sums import LOG2E, add_tile, finished, scale_and_cap

try:
    from triton.tools.tensor_descriptor import TensorDescriptor
except ImportError:  # Triton before 3.4
    TensorDescriptor = None

WORKSPACE_BYTES = 7_900_000  # rows are cut into chunks whose partial sums fit
GROUP = 16  # blocks of rows that run side by side: they share tiles of weight, and stay in the L2 cache themselves
TARGET_ROWS, TARGET_WARPS, TARGET_STAGES = 64, 4, 2
_ALIGNMENT = 16  # bytes and elements
_MAX_STRIDE = 1 << 23  # times the 128 rows of a tile, this fits into 32 bits


@triton.jit
def _products(  # noqa: PLR0917 (a kernel's)
    hidden,
    weight,
    rows,
    in_rows,
    tokens,
    in_tokens,
    D,
    hidden_column,
    weight_column,
    WIDE: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """Dot products in fp32 of the rows of hidden and of weight that lie at offsets rows and tokens.

    WIDE widens both first, and multiplies in fp32.
    """
    depth = tl.arange(0, DEPTH)
    left = rows[:, None] + depth[None, :] * hidden_column
    right = tokens[None, :] + depth[:, None] * weight_column
    dots = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, D, DEPTH):
        inside = depth < D - start
        a = tl.load(hidden + left, mask=in_rows[:, None] & inside[None, :], other=0.0)
        b = tl.load(weight + right, mask=in_tokens[None, :] & inside[:, None], other=0.0)
        if WIDE:  # noqa: SIM108 (one branch alone is compiled)
            dots = tl.dot(a.to(tl.float32), b.to(tl.float32), dots, input_precision="ieee")
        else:
            dots = tl.dot(a, b, dots)
        # The pointers move, not the offsets: those within a tile then fit into 32 bits, and into fewer registers.
        hidden += DEPTH * hidden_column
        weight += DEPTH * weight_column
    return dots


@triton.jit(do_not_specialize=["n", "first"])
def _target_kernel(  # noqa: PLR0917 (a kernel's)
    hidden,
    weight,
    bias,
    targets,
    out,
    n,
    V,
    D,
    hidden_row,
    hidden_column,
    weight_row,
    weight_column,
    first,
    scale,
    softcap,
    HAS_BIAS: tl.constexpr,
    HAS_SOFTCAP: tl.constexpr,
    FOLDED: tl.constexpr,
    PARTS: tl.constexpr,
    WIDE: tl.constexpr,
    ROWS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """The logit of each row's target: the diagonal of rows by targets, summed as the sweep sums."""
    lane = tl.arange(0, ROWS)
    rows = tl.program_id(0) * ROWS + lane
    in_rows = rows < n
    target = tl.load(targets + rows, mask=in_rows, other=-1).to(tl.int64) - first
    inside = (target >= 0) & (target < V) & in_rows
    dots = _products(
        hidden,
        weight,
        rows.to(tl.int64) * hidden_row,
        in_rows,
        target * weight_row,
        inside,
        D,
        hidden_column,
        weight_column,
        WIDE,
        ROWS,
        ROWS,
        DEPTH,
    )
    own = tl.sum(tl.where(lane[:, None] == lane[None, :], dots, 0.0), 1)
    logit = finished(own, bias, target, inside, scale, softcap, HAS_BIAS, HAS_SOFTCAP, FOLDED)
    absent = float("-inf") if PARTS else float("nan")
    tl.store(out + rows, tl.where(inside, logit, absent), mask=in_rows)


@triton.jit(do_not_specialize=["n", "splits"])
def _sweep_kernel(  # noqa: PLR0917 (a kernel's)
    hidden,
    weight,
    bias,
    peaks,
    totals,
    n,
    V,
    D,
    hidden_row,
    hidden_column,
    weight_row,
    weight_column,
    splits,
    scale,
    softcap,
    HAS_BIAS: tl.constexpr,
    HAS_SOFTCAP: tl.constexpr,
    FOLDED: tl.constexpr,
    WIDE: tl.constexpr,
    DESCRIPTORS: tl.constexpr,
    FLAT: tl.constexpr,
    GROUP: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """Sums of the softmax of a block of rows over a split of the vocabulary."""
    # One axis, since the others stop at 65,535. GROUP blocks go through a split side by side.
    program = tl.program_id(0)
    group = program // (GROUP * splits) * GROUP
    size = tl.minimum(tl.cdiv(n, ROWS) - group, GROUP)
    within = program - group * splits
    block, split = group + within % size, within // size
    rows = block * ROWS + tl.arange(0, ROWS)
    in_rows = rows < n
    tiles = tl.cdiv(V, COLUMNS)
    begin, end = split * tiles // splits, (split + 1) * tiles // splits

    factor = scale if FOLDED else LOG2E
    peak = tl.full((ROWS,), float("-inf"), tl.float32)
    total = tl.zeros((ROWS,), tl.float32)

    for tile in tl.range(begin, end, flatten=FLAT):
        start = tile * COLUMNS
        if DESCRIPTORS:
            dots = tl.zeros((ROWS, COLUMNS), tl.float32)
            for depth in range(0, D, DEPTH):  # what lies beyond the arrays reads as 0
                dots = tl.dot(hidden.load([block * ROWS, depth]), weight.load([start, depth]).T, dots)
        else:
            tokens = tl.arange(0, COLUMNS)
            dots = _products(
                hidden + block.to(tl.int64) * ROWS * hidden_row,
                weight + start.to(tl.int64) * weight_row,
                tl.arange(0, ROWS) * hidden_row,
                in_rows,
                tokens * weight_row,
                start + tokens < V,
                D,
                hidden_column,
                weight_column,
                WIDE,
                ROWS,
                COLUMNS,
                DEPTH,
            )
        low, high = tl.split(dots.reshape((ROWS, 2, COLUMNS // 2)).permute(0, 2, 1))
        for half in tl.static_range(2):
            z = high if half else low
            token = (start + half * (COLUMNS // 2) + tl.arange(0, COLUMNS // 2))[None, :]
            z = finished(z, bias, token, token < V, scale, softcap, HAS_BIAS, HAS_SOFTCAP, FOLDED)
            # After the softcap, which would make a number of minus infinity. Through pointers every tile is masked: a
            # branch would take registers that are not there.
            if not DESCRIPTORS or start + COLUMNS > V:
                z = tl.where(token < V, z, float("-inf"))
            peak, total = add_tile(peak, total, z, factor)

    place = split.to(tl.int64) * n + rows
    tl.store(peaks + place, peak, mask=in_rows)
    tl.store(totals + place, total, mask=in_rows)


def sweep(
    hidden: Any,
    weight: Any,
    targets: Any,
    found: tuple[Any, ...],
    *,
    first: int = 0,
    bias: Any = None,
    softcap: float | None = None,
    scale: float = 1.0,
    configuration: Configuration | None = None,
) -> None:
    """Fill ``found`` for the tokens [first, first + V) of a head, whose rows are weight (V, D) and bias (V,).

    Args:
        hidden: (n, D) tensor on the GPU.
        weight: (V, D) tensor on the same device.
        targets: (n,) integer tensor on the same device.
        found: (n,) tensors: log-probabilities alone, or the fields of LogprobParts.
        first: the first token of a shard.
        bias: (V,) float tensor on the same device, or None.
        softcap: positive bound of the logits, or None.
        scale: factor of the logits.
        configuration: another than that of the table, to measure it.
    """
    hidden, weight = _near(hidden), _near(weight)
    chosen = configuration_of(hidden, weight) if configuration is None else configuration
    if _regular(weight) and not _regular(hidden):  # or the rows' place in memory would choose the instructions
        hidden = hidden.clone(memory_format=torch.contiguous_format)
    bias = None if bias is None else bias.contiguous()
    targets = targets.contiguous()
    numbers, folded = scale_and_cap(scale, softcap, fold=len(found) == 1)  # parts hold logits as they are
    flags = {"HAS_BIAS": bias is not None, "HAS_SOFTCAP": softcap is not None, "FOLDED": folded}
    step = Partials.rows_within(WORKSPACE_BYTES, chosen.splits(len(weight)))
    # The kernels run on the current device, which need not be the tensor's.
    with torch.cuda.device_of(hidden):
        for begin in range(0, len(hidden), step):
            rows = slice(begin, begin + step)
            part = tuple(field[rows] for field in found)
            _sweep_rows(hidden[rows], weight, targets[rows], part, first, bias, numbers, flags, chosen)


def _sweep_rows(  # noqa: PLR0917 (what sweep has made of its own)
    hidden: Any,
    weight: Any,
    targets: Any,
    found: tuple[Any, ...],
    first: int,
    bias: Any,
    numbers: tuple[float, float],
    head: dict[str, bool],
    chosen: Configuration,
) -> None:
    """``sweep`` of so few rows that the partial sums fit into the workspace, which is given back at the end."""
    n, splits = len(hidden), chosen.splits(len(weight))
    factor = numbers[0] if head["FOLDED"] else LOG2E.value
    partials = Partials.empty(splits, n, hidden.device, factor)
    offsets = targets if bias is None else bias  # unused where there is none
    shape = (n, *weight.shape, *hidden.stride(), *weight.stride())
    flags = {**head, "WIDE": not _sixteen_bit(hidden, weight), "DEPTH": chosen.depth}
    _target_kernel[(triton.cdiv(n, TARGET_ROWS),)](
        hidden,
        weight,
        offsets,
        targets,
        partials.target,
        *shape,
        first,
        *numbers,
        **flags,
        PARTS=len(found) == 3,
        ROWS=TARGET_ROWS,
        num_warps=TARGET_WARPS,
        num_stages=TARGET_STAGES,
        enable_fp_fusion=True,
    )
    _sweep_kernel[(triton.cdiv(n, chosen.rows) * splits,)](
        *_tiles(hidden, weight, chosen),
        offsets,
        *partials.sums,
        *shape,
        splits,
        *numbers,
        **flags,
        DESCRIPTORS=chosen.descriptors,
        FLAT=chosen.flat,
        GROUP=GROUP,
        ROWS=chosen.rows,
        COLUMNS=chosen.columns,
        num_warps=chosen.warps,
        num_stages=chosen.stages,
        enable_fp_fusion=True,
    )
    merge(partials, found)


def configuration_of(hidden: Any, weight: Any) -> Configuration:
    """The configuration for a head: it depends on the device, the dtypes and the layout of the weight alone."""
    regular = _regular(weight)
    return configurations.configuration(
        capability(hidden.device),
        sixteen_bit=_sixteen_bit(hidden, weight),
        regular=regular,
        descriptors=regular and TensorDescriptor is not None,
    )


def capability(device: Any) -> int:
    """Compute capability, times ten; 0 for the CPU, where the interpreter runs."""
    if device.type != "cuda":
        return 0
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor


def _sixteen_bit(hidden: Any, weight: Any) -> bool:
    return bool(hidden.dtype == weight.dtype and hidden.dtype.itemsize == 2)


def _tiles(hidden: Any, weight: Any, chosen: Configuration) -> tuple[Any, Any]:
    if not chosen.descriptors:
        return hidden, weight
    return (
        TensorDescriptor.from_tensor(hidden, [chosen.rows, chosen.depth]),
        TensorDescriptor.from_tensor(weight, [chosen.columns, chosen.depth]),
    )


def _regular(x: Any) -> bool:
    """Whether Triton knows that the rows of x (m, D) are aligned, so that it reads them in wide steps or by TMA."""
    (height, width), (apart, step) = x.shape, x.stride()
    whole = width % _ALIGNMENT == 0 and apart % _ALIGNMENT == 0 and x.data_ptr() % _ALIGNMENT == 0
    return bool(height > 0 and step == 1 and apart >= width > 0 and whole)


def _near(x: Any) -> Any:
    """x, or a copy of it where offsets within a tile would not fit into 32 bits."""
    return x.contiguous() if max(x.stride()) > _MAX_STRIDE else x
