"""Operations on torch tensors on a CUDA device, by the compiled module.

Outputs and workspace are torch's, from the caching allocator of the current stream, on which the work is enqueued:
nothing here waits for the device except to read, at the end, how many rows were bad.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from dataprophet.ops import backend, checks
from dataprophet.ops.arrays import Operand
from dataprophet.ops.reference import SUM_UNIT, RowMeasures

_BAD = 3  # zero rows, non-finite rows, and n minus the first of either
_ALIGNMENT = 16  # bytes
_LONG, _LIFT = 1e30, 2.0**64  # rows longer or shorter than fp32 scales in one step, and what brings them there


def mean_direction(rows: Operand) -> Any:
    """Mean of the normalised rows: (d,) float64."""
    x, (n, d) = rows.rows(on_cpu=False), rows.shape
    out, bad = _empty(x, "float64", d), _empty(x, "int64", _BAD)
    workspace = _workspace(x, backend.cuda.mean_direction_workspace_bytes(n, d))
    _enqueue("mean_direction", x, out, bad, workspace)
    _raise_for(rows, bad)
    return out


def cosine_to(rows: Operand, directions: Any) -> Any:
    """Cosines of the rows to directions (T, d), used as given: (n, T) float32."""
    x, vectors = rows.rows(on_cpu=False), directions.float().contiguous()
    if vectors.data_ptr() % _ALIGNMENT:
        vectors = vectors.clone()
    out, bad = _empty(x, "float32", rows.shape[0], vectors.shape[0]), _empty(x, "int64", _BAD)
    workspace = _workspace(x, backend.cuda.cosine_to_workspace_bytes(*vectors.shape))
    _enqueue("cosine_to", x, vectors, out, bad, workspace)
    _raise_for(rows, bad)
    return out


def measure_rows(
    rows: Operand, directions: npt.NDArray[np.float32], groups: npt.NDArray[np.int64], count: int
) -> RowMeasures:
    """Cosines (n, T) float32, lengths (n,) float64 and sums (count, d) float64, as ``directions.measured``."""
    import torch

    x, (n, d) = _packed(rows), rows.shape
    own, vectors = _moved(x, groups), _moved(x, directions)
    order = torch.argsort(own, stable=True)
    cosines, lengths = _empty(x, "float32", n, len(directions)), _empty(x, "float64", n)
    sums = _empty(x, "int64", count, d)
    workspace = _workspace(x, backend.cuda.measure_rows_workspace_bytes(n, len(directions), d))
    _enqueue("measure_rows", x, vectors, own, order, cosines, lengths, sums, workspace)
    return RowMeasures(cosines, lengths, sums.double() * SUM_UNIT)


def average_directions(
    fields: Sequence[Operand], lengths: Sequence[npt.NDArray[np.float64]], chosen: npt.NDArray[np.int64]
) -> tuple[Any, Any]:
    """Unit vectors (m, d) float16 and lengths of sums (m,) float32, as ``directions.average_directions``."""
    given, m = [rows.rows(on_cpu=False) for rows in fields], len(chosen)
    weights = np.zeros((len(given), m, 2), np.float32)
    for place, own in enumerate(lengths):
        length = own[chosen]
        lift = np.select([length > _LONG, length < 1 / _LONG], [1 / _LIFT, _LIFT], 1.0)
        some = np.isfinite(length) & (length > 0)
        weights[place, some] = np.stack([lift[some], 1 / (length[some] * lift[some])], 1)
    z, norms = _empty(given[0], "float16", m, fields[0].shape[1]), _empty(given[0], "float32", m)
    places, factors = _moved(given[0], chosen), _moved(given[0], weights.reshape(len(given), -1))
    _enqueue("average_directions", given, places, factors, z, norms)
    return z, norms


def nearest(rows: Operand, others: Operand) -> tuple[Any, Any]:
    """Largest cosine of each row to another, and the lowest such: (n,) float32, (n,) int64."""
    x, y, n = rows.rows(on_cpu=False), others.rows(on_cpu=False), rows.shape[0]
    cosine, index = _empty(x, "float32", n), _empty(x, "int64", n)
    bad_x, bad_y = _empty(x, "int64", _BAD), _empty(x, "int64", _BAD)
    workspace = _workspace(x, backend.cuda.nearest_workspace_bytes(n, *others.shape))
    _enqueue("nearest", x, y, cosine, index, bad_x, bad_y, workspace)
    _raise_for(rows, bad_x)
    _raise_for(others, bad_y)
    return cosine, index


def kmeans(
    rows: Operand, k: int, draws: npt.NDArray[np.float64], init: npt.NDArray[Any] | None, *, max_iter: int, tol: float
) -> tuple[Any, Any, float, int]:
    """Centroids (k, d) float32, labels (n,) int64, inertia and iterations."""
    x, (n, d) = rows.rows(on_cpu=False), rows.shape
    start = None if init is None else _moved(x, np.ascontiguousarray(init, np.float64))
    centroids, labels, bad = _empty(x, "float32", k, d), _empty(x, "int64", n), _empty(x, "int64", _BAD)
    figures = _empty(x, "float64", 2)
    workspace = _workspace(x, backend.cuda.kmeans_workspace_bytes(n, d, k))
    results = centroids, labels, figures, bad
    _enqueue("kmeans", x, start, _moved(x, draws), *results, max_iter, tol, workspace)
    _raise_for(rows, bad)
    inertia, n_iter = figures.tolist()
    return centroids, labels, inertia, int(n_iter)


def silhouettes(
    rows: Operand, clusters: npt.NDArray[np.int32], metric: str, picked: npt.NDArray[np.int64] | None = None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Silhouettes of the rows, or of those picked, and the two mean distances of each, as ``clusters.silhouettes``."""
    import torch

    x, (n, d) = rows.rows(on_cpu=False), rows.shape
    of_rows, k = _moved(x, clusters), int(clusters.max()) + 1
    order = torch.argsort(of_rows, stable=True)  # on the device, where sorting 100,000 takes no time
    starts = torch.searchsorted(of_rows[order], torch.arange(k + 1, dtype=torch.int32, device=x.device))
    tiles = backend.silhouette_tiles(x, sizes := np.bincount(clusters)) if metric == "euclidean" else None
    if tiles and picked is None and bool(x.isfinite().all()):  # other rows are counted, and named, by the module
        values, distances = tiles(x, of_rows, order, sizes)
        return values.cpu().numpy(), distances.cpu().numpy()
    chosen = wanted = None
    if picked is not None:
        wanted, place_of = _moved(x, picked), torch.empty_like(order)
        place_of[order] = torch.arange(n, device=x.device)
        chosen = place_of[wanted].sort().values
    m = n if chosen is None else len(chosen)
    scores, means, bad = _empty(x, "float64", m), _empty(x, "float64", m, 2), _empty(x, "int64", _BAD)
    workspace = _workspace(x, backend.cuda.silhouettes_workspace_bytes(n, d, k, metric, m))
    _enqueue("silhouettes", x, of_rows, order, starts, metric, chosen, scores, means, bad, workspace)
    _raise_for(rows, bad)
    by_row = _empty(x, "float64", n, 3)
    by_row[order if chosen is None else order[chosen]] = torch.cat([scores[:, None], means], dim=1)
    found: npt.NDArray[np.float64] = (by_row if wanted is None else by_row[wanted]).cpu().numpy()
    return found[:, 0], found[:, 1:]


def cluster_counts(labels: Any, k: int) -> tuple[npt.NDArray[np.int64], int]:
    """How many of the labels (n,) int64 each of k clusters has, and how many labels are outside [0, k)."""
    counts = _empty(labels, "int64", k + 1)
    _enqueue("cluster_counts", labels.contiguous(), counts)
    found: npt.NDArray[np.int64] = counts.cpu().numpy()
    return found[:k], int(found[k])


def _enqueue(name: str, x: Any, *given: Any) -> None:
    """An operation of the module on the current stream of the device of x, a tensor or several of one device.

    torch makes that device the current one, as only torch knows which have a context: to go back to one without would
    make a context there, hundreds of megabytes of another GPU.
    """
    import torch

    first = x[0] if isinstance(x, list) else x
    with torch.cuda.device_of(first):
        getattr(backend.cuda, name)(x, *given, _stream(first))


def _stream(x: Any) -> int:
    import torch

    return int(torch.cuda.current_stream(x.device).cuda_stream)


def _empty(x: Any, dtype: str, *shape: int) -> Any:
    import torch

    return torch.empty(shape, dtype=getattr(torch, dtype), device=x.device)


def _workspace(x: Any, size: int) -> Any:
    return _empty(x, "uint8", size)


def _moved(x: Any, array: npt.NDArray[Any]) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(array)).pin_memory().to(x.device, non_blocking=True)


def _packed(rows: Operand) -> Any:
    """Rows that are read 16 bytes at a time wherever their width allows it: what they give depends on no alignment."""
    import torch

    x = rows.rows(on_cpu=False)
    size = x.element_size()
    aligned = x.data_ptr() % _ALIGNMENT == 0 and x.stride(0) * size % _ALIGNMENT == 0
    return x if aligned or x.shape[1] * size % _ALIGNMENT else x.clone(memory_format=torch.contiguous_format)


def _raise_for(rows: Operand, bad: Any) -> None:
    zero, nonfinite, before_end = bad.tolist()
    checks.no_bad_rows(rows, (zero, nonfinite, rows.shape[0] - before_end))
