"""Silhouettes for Euclidean distances on Hopper GPUs: tiles by TMA descriptors and the tensor cores' own instruction.

It is the method of csrc/cuda/distance_sums.cu, for rows whose clusters fill whole tiles. Let c be a row around the mean
of its cluster, in fp16, and e the difference of the means of the clusters a and b of two rows i and j. Then
    |c_i - c_j + e|^2 = half(i, b) + half(j, a) - 2 c_i . c_j,   half(i, b) = |c_i|^2 + 2 c_i . e + |e|^2 / 2,
of which a tile computes c_i . c_j, the roots, and the sums over its rows and its columns.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl

try:
    from triton.tools.tensor_descriptor import TensorDescriptor
except ImportError:  # Triton before 3.4
    TensorDescriptor = None

ROWS, COLUMNS, DEPTH, WARPS, STAGES = 128, 256, 64, 8, 4
SIDE = 2048  # rows and columns of a square of tiles that run side by side: they share rows in the L2 cache
_PART = 8192  # rows that are prepared at a time, in double precision
_EXPONENT = 14  # of the largest element: differences fit fp16, and sums of their squares fp32
_MOST_PADDING = 1.1
_NOTHING = -1e30  # the half of a place without a row: its distances are then roots of what is below 0


def suits(capability: int, sizes: Any) -> bool:
    """Whether clusters of these sizes (k,), on the host, are for this kernel: on Hopper, and filling whole tiles."""
    padded = (-(-sizes // COLUMNS) * COLUMNS).sum()
    return bool(TensorDescriptor is not None and capability // 10 == 9 and padded <= _MOST_PADDING * sizes.sum())


@triton.jit
def _products(  # noqa: PLR0917 (a kernel's)
    a, b, first_row, first_column, depth, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr
):
    products = tl.zeros((ROWS, COLUMNS), tl.float32)
    for start in range(0, depth, DEPTH):
        products = tl.dot(a.load([first_row, start]), b.load([first_column, start]).T, products)
    return products


@triton.jit
def _norms_kernel(  # noqa: PLR0917 (a kernel's)
    a, b, norms, depth, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr
):
    """|c_i|^2 from diagonal tiles: the distance of equal rows of a cluster is then 0 to the bit."""
    first_row = tl.program_id(0) * ROWS
    first_column = first_row // COLUMNS * COLUMNS
    products = _products(a, b, first_row, first_column, depth, ROWS, COLUMNS, DEPTH)
    rows, columns = first_row + tl.arange(0, ROWS), first_column + tl.arange(0, COLUMNS)
    tl.store(norms + rows, tl.sum(tl.where(rows[:, None] == columns[None, :], products, 0.0), 1))


@triton.jit
def _add(sums, places, distances):
    """Whole numbers, so that they do not depend on the order of addition; distances are positive."""
    tl.atomic_add(sums + places, (distances + 0.5).to(tl.int64), sem="relaxed")


@triton.jit(do_not_specialize=["n"])
def _tiles_kernel(  # noqa: PLR0917 (a kernel's)
    a,
    b,
    halves,
    sums,
    cluster_of,
    n,
    k,
    depth,
    factor,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    DEPTH: tl.constexpr,
    SIDE: tl.constexpr,
):
    """Adds the distances of one tile of the upper triangle; a tile that the diagonal cuts has both of its halves."""
    tiles: tl.constexpr = (SIDE // ROWS) * (SIDE // COLUMNS)
    square, within = tl.program_id(0) // tiles, tl.program_id(0) % tiles
    right = ((tl.sqrt(8.0 * square.to(tl.float32) + 1.0) - 1.0) / 2.0).to(tl.int32)
    right -= (right * (right + 1) // 2 > square).to(tl.int32)
    right += ((right + 1) * (right + 2) // 2 <= square).to(tl.int32)
    below = square - right * (right + 1) // 2
    first_row = below * SIDE + within // (SIDE // COLUMNS) * ROWS
    first_column = right * SIDE + within % (SIDE // COLUMNS) * COLUMNS
    if (first_row < n) & (first_column < n) & (first_row < first_column + COLUMNS):
        products = _products(a, b, first_row, first_column, depth, ROWS, COLUMNS, DEPTH)
        own, other = tl.load(cluster_of + first_row // COLUMNS), tl.load(cluster_of + first_column // COLUMNS)
        rows = first_row + tl.arange(0, ROWS)
        columns = first_column + tl.arange(0, COLUMNS)
        of_rows, of_columns = rows.to(tl.int64) * k + other, columns.to(tl.int64) * k + own
        squared = tl.load(halves + of_rows)[:, None] + tl.load(halves + of_columns)[None, :] - 2.0 * products
        distances = tl.sqrt(tl.maximum(squared, 0.0))
        if first_row >= first_column:
            distances = tl.where(rows[:, None] == columns[None, :], 0.0, distances)
        else:
            _add(sums, of_columns, tl.sum(distances, 0) * factor)
        _add(sums, of_rows, tl.sum(distances, 1) * factor)


def euclidean_silhouettes(x: Any, clusters: Any, order: Any, sizes: Any) -> tuple[Any, Any]:
    """Silhouettes of rows, and the two mean distances of each.

    Args:
        x: (n, d) float32, float16 or bfloat16 tensor of finite numbers on the GPU.
        clusters: (n,) integers in [0, k) on the same device, none without rows.
        order: (n,) the rows, those of a cluster side by side, clusters in their order.
        sizes: (k,) NumPy array, how many rows each cluster has.

    Returns:
        (n,) float64, 0 for a row that is alone in its cluster, and (n, 2) float64: to the others of the own cluster and
        to the nearest other. Of rows rounded to fp16 around the mean of their cluster; the same bits in every run.
    """
    (n, d), k, device = x.shape, len(sizes), x.device
    room = -(-sizes // COLUMNS) * COLUMNS
    total, starts = int(room.sum()), [0, *room.cumsum().tolist()]
    place = torch.arange(n, device=device)
    gaps = torch.from_numpy((room - sizes).cumsum() - (room - sizes)).to(device)
    place += gaps[clusters[order]]  # of each row in the order of the clusters, behind the gaps of those before
    scale = _power_of_two(x)
    rows = torch.zeros(total, -(-d // DEPTH) * DEPTH, dtype=torch.float16, device=device)
    halves = torch.full((total, k), _NOTHING, device=device)
    means = _means(x, clusters, k, scale)
    block = torch.repeat_interleave(torch.arange(k, dtype=torch.int32), torch.from_numpy(room // COLUMNS)).to(device)
    for begin in range(0, n, _PART):
        part, at = order[begin : begin + _PART], place[begin : begin + _PART]
        rows[at, :d] = (x[part].double() * scale - means[clusters[part]]).half()
    with torch.cuda.device_of(x):
        sums = _sums(rows, halves, means, place, block, _factor(n, d), starts)
    return _scores(sums[place], clusters[order], order, torch.from_numpy(sizes).to(device), _factor(n, d) * scale)


def _sums(  # noqa: PLR0917 (what euclidean_silhouettes has made of its own)
    rows: Any, halves: Any, means: Any, places: Any, block: Any, factor: float, starts: list[int]
) -> Any:
    """Sums of distances (places, k) int64, times the factor."""
    total, pitch, k = *rows.shape, len(means)
    tall, wide = (TensorDescriptor.from_tensor(rows, [side, DEPTH]) for side in (ROWS, COLUMNS))
    shape = {"ROWS": ROWS, "COLUMNS": COLUMNS, "DEPTH": DEPTH}
    options = {"num_warps": WARPS, "num_stages": STAGES, "enable_fp_fusion": True}
    norms = torch.empty(total, device=rows.device)
    _norms_kernel[(total // ROWS,)](tall, wide, norms, pitch, **shape, **options)
    for cluster in range(k):
        apart = means[cluster] - means  # (k, d)
        squared = (apart * apart).sum(1) / 2
        for begin in range(starts[cluster], starts[cluster + 1], _PART):
            end = min(begin + _PART, starts[cluster + 1])
            dots = rows[begin:end, : means.shape[1]].double() @ apart.T
            halves[begin:end] = norms[begin:end, None].double() + 2 * dots + squared
    empty = torch.ones(total, dtype=torch.bool, device=rows.device)
    empty[places] = False
    halves[empty] = _NOTHING
    sums = torch.zeros(total, k, dtype=torch.int64, device=rows.device)
    squares = -(-total // SIDE)
    grid = (squares * (squares + 1) // 2 * (SIDE // ROWS) * (SIDE // COLUMNS),)
    _tiles_kernel[grid](tall, wide, halves, sums, block, total, k, pitch, factor, **shape, SIDE=SIDE, **options)
    return sums


def _power_of_two(x: Any) -> float:
    """The factor that brings the largest absolute element to [2^13, 2^14)."""
    largest = float(x.abs().max())
    return math.ldexp(1.0, _EXPONENT - math.frexp(largest)[1]) if largest > 0 else 1.0


def _factor(n: int, d: int) -> float:
    """Of whole numbers that sums of n distances of d such differences fit: a power of two, 2^24 at most."""
    largest = math.ldexp(math.sqrt(d), _EXPONENT + 2) * n
    return math.ldexp(1.0, min(24, 62 - math.frexp(largest)[1]))


def _means(x: Any, clusters: Any, k: int, scale: float) -> Any:
    """(k, d) float64, added up in the same order in every run."""
    sums = torch.zeros(k, x.shape[1], dtype=torch.float64, device=x.device)
    counts = torch.zeros(k, dtype=torch.float64, device=x.device)
    numbers = torch.arange(k, device=x.device)[:, None]
    for begin in range(0, len(x), _PART):
        member = (clusters[begin : begin + _PART] == numbers).double()
        sums += member @ (x[begin : begin + _PART].double() * scale)
        counts += member.sum(1)
    return sums / counts[:, None]


def _scores(sums: Any, owners: Any, order: Any, sizes: Any, unit: float) -> tuple[Any, Any]:
    """The results by row, from sums (n, k) in the order of the clusters."""
    own, count = owners.long()[:, None], sizes.double()
    wide, size = sums.double(), count[own][:, 0]
    inside = wide.gather(1, own)[:, 0] / (size - 1).clamp(min=1)
    outside = (wide / count).scatter(1, own, math.inf).amin(1)
    largest = torch.maximum(inside, outside)
    scored = torch.where((size > 1) & (largest > 0), (outside - inside) / largest.clamp(min=1e-300), 0.0)
    scores, means = torch.empty_like(scored), torch.empty(len(scored), 2, dtype=torch.float64, device=sums.device)
    scores[order], means[order] = scored, torch.stack([inside, outside], 1) / unit
    return scores, means
