"""Operations on arrays: the compiled core where there is one, else torch, Triton or the reference.

Arrays are NumPy arrays, torch tensors (CPU or CUDA) or anything with DLPack, of float32, float16 or bfloat16; float64
is taken too. Results come back in the library and on the device of the first argument. Rows that are all zero or hold
NaN or infinity have no direction: the operations on directions raise, naming the first such row and their number.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from importlib import metadata
from typing import Any

import numpy as np

from dataprophet import checks, reference
from dataprophet.errors import DataProphetError, MissingDependencyError
from dataprophet.intake import Operand, like, operand
from dataprophet.reference import KMeans, Silhouette
from dataprophet.threads import thread_count

__all__ = [
    "KMeans",
    "Silhouette",
    "cluster_entropy",
    "core_info",
    "cosine_to",
    "cuda_info",
    "expected_cosine",
    "kmeans",
    "linear_logprobs",
    "mean_direction",
    "nearest",
    "segment_means",
    "silhouette_samples",
    "silhouette_score",
    "token_logprobs",
]


def mean_direction(x: Any) -> Any:
    """Mean of the l2-normalised rows of an array.

    Args:
        x: (n, d) array, n >= 1.

    Returns:
        (d,) float64. The same bits for any number of threads.

    Raises:
        DataProphetError: no rows, or a row that is all zero or holds NaN or infinity.
    """
    return _mean_direction(checks.rows_of(x, "x"))


def expected_cosine(x: Any, y: Any) -> float:
    """Expected cosine similarity of independent draws from the rows of two arrays.

    It is the dot product of their mean directions, and equals the mean over all pairs of rows: the similarity factors
    of arXiv 2603.19688.

    Args:
        x: (n, d) array, n >= 1.
        y: (m, d) array, m >= 1.

    Returns:
        A number in [-1, 1], without a unit.

    Raises:
        DataProphetError: no rows, different d, or a row that is all zero or holds NaN or infinity.
    """
    first, second = checks.rows_of(x, "x"), checks.rows_of(y, "y")
    checks.same_columns(first, second)
    left, right = (operand(_mean_direction(rows), "mean direction", 1).numpy() for rows in (first, second))
    return float(np.einsum("i,i->", left, right))


def cosine_to(x: Any, directions: Any) -> Any:
    """Dot product of each l2-normalised row with each direction.

    Args:
        x: (n, d) array. n may be 0.
        directions: (T, d) array of finite numbers, used as given, not normalised.

    Returns:
        (n, T) float32. The same bits for any number of threads.

    Raises:
        DataProphetError: different d, or a row without a direction.
    """
    rows = operand(x, "x", 2)
    others = like(directions, "directions", 2, rows)
    checks.same_columns(rows, others)
    if rows.on_cuda:
        return rows.give_back_tensor(_torch_ops().cosine_to(rows.values, others.values))
    with np.errstate(over="ignore"):
        given = np.ascontiguousarray(others.numpy(), np.float32)
    checks.finite_directions(given)
    if rows.dtype == "float64":
        return rows.give_back(reference.cosine_to(rows.numpy(), others.numpy()))
    out = np.empty((rows.shape[0], given.shape[0]), np.float32)
    checks.no_bad_rows(rows, _core().cosine_to(rows.rows(), given, out, thread_count()))
    return rows.give_back(out)


def nearest(x: Any, y: Any) -> tuple[Any, Any]:
    """Best match of each row of x among the rows of y, by cosine.

    Args:
        x: (n, d) array. n may be 0.
        y: (m, d) array, m >= 1.

    Returns:
        The cosine (n,) float32, and the row of y (n,) int64, the lowest among equals. n x m is never stored.

    Raises:
        DataProphetError: y has no rows, different d, or a row without a direction.
    """
    rows = operand(x, "x", 2)
    others = like(y, "y", 2, rows)
    checks.at_least(others, 1)
    checks.same_columns(rows, others)
    if rows.on_cuda:
        cosine, index = _torch_ops().nearest(rows.values, others.values)
        return rows.give_back_tensor(cosine), rows.give_back_tensor(index)
    values, places = reference.nearest(rows.numpy(), others.numpy())
    return rows.give_back(values), rows.give_back(places)


def kmeans(x: Any, k: int, *, seed: int = 0, init: Any = None, max_iter: int = 100, tol: float = 1e-4) -> KMeans:
    """Cluster rows with Lloyd's k-means, from greedy k-means++ or from given centroids.

    Args:
        x: (n, d) array of finite numbers, n >= k.
        k: number of clusters.
        seed: of k-means++; unused with ``init``.
        init: (k, d) array of first centroids.
        max_iter: most Lloyd iterations.
        tol: stop once the centroids' squared shift is at most this times the mean variance of the columns.

    Returns:
        KMeans(centroids (k, d) float32, labels (n,) int64, inertia, n_iter). No cluster is empty: one that would be
        takes the row farthest from its centroid. Ties go to the lowest index. A seed gives the same bits for any
        number of threads.

    Raises:
        DataProphetError: k is not in [1, n], x or init is not finite, or init has another shape.
    """
    rows = operand(x, "x", 2)
    points = checks.finite_values(rows)
    start = checks.first_centroids(rows, k, init, max_iter, tol)
    result = reference.kmeans(points, k, seed=seed, init=start, max_iter=max_iter, tol=tol)
    return result._replace(centroids=rows.give_back(result.centroids), labels=rows.give_back(result.labels))


def silhouette_samples(x: Any, labels: Any, *, metric: str = "euclidean") -> Any:
    """Silhouette of each row: (b - a) / max(a, b).

    Args:
        x: (n, d) array of finite numbers.
        labels: (n,) integers, of 2 to n - 1 different values.
        metric: "euclidean", "sqeuclidean" or "cosine".

    Returns:
        (n,) float32 in [-1, 1]; 0 for a row that is alone in its cluster. n x n is never stored.

    Raises:
        DataProphetError: another number of labels, an unknown metric, or, for "cosine", a row without a direction.
    """
    rows, points, clusters = checks.clustering(x, labels, metric)
    return rows.give_back(reference.silhouette_samples(points, clusters, metric=metric))


def silhouette_score(
    x: Any, labels: Any, *, metric: str = "euclidean", sample_size: int | None = None, seed: int = 0
) -> Silhouette:
    """Mean silhouette of the rows, or its estimate from a sample of them.

    Args:
        x: (n, d) array of finite numbers.
        labels: (n,) integers, of 2 to n - 1 different values.
        metric: "euclidean", "sqeuclidean" or "cosine".
        sample_size: how many rows to score, each exactly against all rows; None scores all.
        seed: of the sample.

    Returns:
        Silhouette(mean, standard_error). The standard error is 0 where all rows were scored.

    Raises:
        DataProphetError: as silhouette_samples, or a sample size below 2.
    """
    _, points, clusters = checks.clustering(x, labels, metric)
    if sample_size is not None and sample_size < 2:
        raise DataProphetError(f"expected at least 2, got {sample_size}", where="sample_size", fix="raise it")
    return reference.silhouette_score(points, clusters, metric=metric, sample_size=sample_size, seed=seed)


def cluster_entropy(labels: Any, k: int) -> float:
    """Entropy of the shares of the clusters over log k.

    Args:
        labels: (n,) integers in [0, k), n >= 1.
        k: number of clusters.

    Returns:
        A number in [0, 1]: 1 for equal shares, 0 for a single cluster.

    Raises:
        DataProphetError: no labels, or a label outside [0, k).
    """
    given = operand(labels, "labels", 1, integers=True)
    checks.at_least(given, 1)
    if k < 1:
        raise DataProphetError(f"expected at least 1, got {k}", where="k", fix="raise it")
    values = given.numpy()
    checks.in_range(values, k, "labels")
    return reference.cluster_entropy(values.astype(np.int64), k)


def token_logprobs(logits: Any, targets: Any) -> Any:
    """Natural log of the softmax of each row at its target, accumulated in fp32 or better.

    Args:
        logits: (n, V) array.
        targets: (n,) integers in [0, V).

    Returns:
        (n,) float32, in nats. A row with NaN or plus infinity, or of minus infinities alone, gives NaN. On CUDA nothing
        waits for the device, so a target out of range is not an error there but gives NaN.

    Raises:
        DataProphetError: different n, V = 0, or a target out of range.
    """
    rows = operand(logits, "logits", 2)
    at = checks.targets_of(targets, rows, rows.shape[1])
    if rows.on_cuda:
        kernel = _kernel("token_logprobs")
        if kernel is not None and rows.dtype != "float64":
            return rows.give_back_tensor(kernel(rows.values, at.values))
        safe, valid = _clamped(at.values, rows.shape[1])
        return rows.give_back_tensor(_torch_ops().token_logprobs(rows.values, safe).masked_fill(~valid, float("nan")))
    if rows.is_torch:
        return _torch_ops().token_logprobs(rows.values, at.values)
    return rows.give_back(reference.token_logprobs(rows.numpy(), at.numpy()))


def linear_logprobs(
    hidden: Any, weight: Any, targets: Any, *, bias: Any = None, softcap: float | None = None, scale: float = 1.0
) -> Any:
    """Log-probabilities of targets under a linear head, without storing the logits.

    The logits are z = scale * (hidden @ weight.T + bias), then softcap * tanh(z / softcap), in transformers' order.

    Args:
        hidden: (n, D) array.
        weight: (V, D) array.
        targets: (n,) integers in [0, V).
        bias: (V,) array, or None.
        softcap: positive bound of the logits, or None.
        scale: factor of the logits.

    Returns:
        (n,) float32, in nats, accumulated in fp32 or better. On CUDA a target out of range gives NaN.

    Raises:
        DataProphetError: shapes that do not fit, a softcap that is not positive, or a target out of range.
    """
    rows = operand(hidden, "hidden", 2)
    head = like(weight, "weight", 2, rows)
    checks.same_columns(rows, head)
    at = checks.targets_of(targets, rows, head.shape[0])
    offset = None if bias is None else checks.bias_of(bias, head, rows)
    if softcap is not None and not softcap > 0.0:
        raise DataProphetError(f"expected a positive number, got {softcap}", where="softcap", fix="use None for no cap")
    if rows.is_torch:
        extra = None if offset is None else offset.values
        return rows.give_back_tensor(
            _torch_ops().linear_logprobs(rows.values, head.values, at.values, bias=extra, softcap=softcap, scale=scale)
        )
    extra = None if offset is None else offset.numpy()
    return rows.give_back(
        reference.linear_logprobs(rows.numpy(), head.numpy(), at.numpy(), bias=extra, softcap=softcap, scale=scale)
    )


def segment_means(values: Any, offsets: Any) -> Any:
    """Mean of each segment of a vector.

    Args:
        values: (n,) array.
        offsets: (S + 1,) increasing integers in [0, n]; segment i is values[offsets[i]:offsets[i + 1]].

    Returns:
        (S,) float32. Offsets that lie on CUDA are not checked, since that would wait for the device: an empty segment
        gives NaN there.

    Raises:
        DataProphetError: no offsets, an empty segment, or offsets out of range.
    """
    numbers = operand(values, "values", 1)
    edges = operand(offsets, "offsets", 1, integers=True)
    checks.at_least(edges, 1)
    if not edges.on_cuda:
        checks.segments(edges, numbers.shape[0])
    kernel = _kernel("segment_means") if numbers.on_cuda and numbers.dtype != "float64" else None
    if kernel is not None:
        moved = like(offsets, "offsets", 1, numbers, integers=True)
        return numbers.give_back_tensor(kernel(numbers.values, moved.values))
    return numbers.give_back(reference.segment_means(numbers.numpy(), edges.numpy()))


def core_info() -> dict[str, Any]:
    """Facts on the compiled core: version, instruction set in use, those available, and threads."""
    core = _core()
    return {
        "version": core.__version__,
        "isa": core.isa(),
        "available_isas": list(core.available_isas()),
        "threads": thread_count(),
    }


def cuda_info() -> dict[str, Any]:
    """Facts on the CUDA module: whether it is built, how many devices it sees, why none, versions, architectures."""
    try:
        module = importlib.import_module("dataprophet._cuda")
    except ImportError as error:
        return {"built": False, "devices": 0, "reason": f"the CUDA module is not built or does not load ({error})"}
    devices, reason = module.device_count()
    return {
        "built": True,
        "devices": devices,
        "reason": reason,
        "runtime": module.runtime_version(),
        "driver": module.driver_version(),
        "architectures": module.architectures.split(),
        "version": module.__version__,
    }


def triton_available() -> bool:
    """Whether the Triton kernels can be imported."""
    return _kernel("token_logprobs") is not None


@functools.cache
def _core() -> Any:
    try:
        core = importlib.import_module("dataprophet._core")
    except ImportError as error:
        raise MissingDependencyError(
            f"the compiled core does not load ({error})",
            where="dataprophet._core",
            fix="did you forget to compile? Run: pip install -e . (in a checkout) or reinstall dataprophet",
        ) from error
    version = metadata.version("dataprophet")
    if core.__version__ != version:
        raise MissingDependencyError(
            f"the compiled core is of version {core.__version__}, the package of {version}",
            where="dataprophet._core",
            fix="did you forget to compile? Run: pip install -e . (in a checkout) or reinstall dataprophet",
        )
    return core


@functools.cache
def _kernel(name: str) -> Callable[..., Any] | None:
    """The Triton kernel of that name, or None where Triton is missing or does not load."""
    try:
        module = importlib.import_module(f"dataprophet.kernels.{name}")
    except ImportError:
        return None
    kernel: Callable[..., Any] = getattr(module, name)
    return kernel


def _torch_ops() -> Any:
    return importlib.import_module("dataprophet.torch_ops")


def _mean_direction(rows: Operand) -> Any:
    if rows.on_cuda:
        return rows.give_back_tensor(_torch_ops().mean_direction(rows.values, rows.name))
    if rows.dtype == "float64":
        return rows.give_back(reference.mean_direction(rows.numpy(), rows.name))
    out = np.empty(rows.shape[1])
    checks.no_bad_rows(rows, _core().mean_direction(rows.rows(), out, thread_count()))
    return rows.give_back(out)


def _clamped(targets: Any, size: int) -> tuple[Any, Any]:
    return targets.clamp(0, size - 1), (targets >= 0) & (targets < size)
