# Generated from csrc/bind by tools/stubs.py (make stubs). Do not edit.
from __future__ import annotations
import collections.abc
import typing

__all__: list[str] = [
    "CudaError",
    "architectures",
    "average_directions",
    "cluster_counts",
    "cosine_to",
    "cosine_to_workspace_bytes",
    "device_count",
    "driver_version",
    "kmeans",
    "kmeans_workspace_bytes",
    "mean_direction",
    "mean_direction_workspace_bytes",
    "measure_rows",
    "measure_rows_workspace_bytes",
    "nearest",
    "nearest_workspace_bytes",
    "runtime_version",
    "silhouettes",
    "silhouettes_workspace_bytes",
]

class CudaError(RuntimeError):
    pass

def average_directions(
    fields: collections.abc.Sequence[typing.Any],
    chosen: typing.Any,
    weights: typing.Any,
    out: typing.Any,
    norms: typing.Any,
    stream: typing.SupportsInt | typing.SupportsIndex,
) -> None:
    """
    The directions of rows chosen (m,) int64 of up to four fields (n, d), added up and normalised, into out (m, d) float16, and the lengths of the sums into norms (m,) float32. weights (fields, 2 m) float32 are 1 / length of each row in two factors, 0 for a row without the field.
    """

def cluster_counts(labels: typing.Any, counts: typing.Any, stream: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    How many of labels (n,) int64 each of k clusters has, and how many are outside, into counts (k + 1,) int64.
    """

def cosine_to(
    x: typing.Any,
    directions: typing.Any,
    out: typing.Any,
    bad: typing.Any,
    workspace: typing.Any,
    stream: typing.SupportsInt | typing.SupportsIndex,
) -> None:
    """
    Cosines of the rows of x (n, d) to directions (T, d) float32, used as given, into out (n, T) float32.
    """

def cosine_to_workspace_bytes(
    T: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex
) -> int: ...
def device_count() -> tuple[int, str]:
    """
    Number of CUDA devices, and why there is none
    """

def driver_version() -> int: ...
def kmeans(
    x: typing.Any,
    init: typing.Any,
    draws: typing.Any,
    centroids: typing.Any,
    labels: typing.Any,
    figures: typing.Any,
    bad: typing.Any,
    max_iter: typing.SupportsInt | typing.SupportsIndex,
    tolerance: typing.SupportsFloat | typing.SupportsIndex,
    workspace: typing.Any,
    stream: typing.SupportsInt | typing.SupportsIndex,
) -> None:
    """
    k-means of x (n, d) from init (k, d) float64, or from greedy k-means++ with draws (1 + 4 (k - 1),) float64, into centroids (k, d) float32, labels (n,) int64 and figures (2,) float64: inertia and iterations.
    """

def kmeans_workspace_bytes(
    n: typing.SupportsInt | typing.SupportsIndex,
    d: typing.SupportsInt | typing.SupportsIndex,
    k: typing.SupportsInt | typing.SupportsIndex,
) -> int: ...
def mean_direction(
    x: typing.Any,
    out: typing.Any,
    bad: typing.Any,
    workspace: typing.Any,
    stream: typing.SupportsInt | typing.SupportsIndex,
) -> None:
    """
    Mean of the normalised rows of x (n, d) into out (d,) float64. bad, (3,) int64 here and below, takes the zero rows, the non-finite rows and n minus the first of either.
    """

def mean_direction_workspace_bytes(
    n: typing.SupportsInt | typing.SupportsIndex, d: typing.SupportsInt | typing.SupportsIndex
) -> int: ...
def measure_rows(
    x: typing.Any,
    directions: typing.Any,
    groups: typing.Any,
    order: typing.Any,
    cosines: typing.Any,
    lengths: typing.Any,
    sums: typing.Any,
    workspace: typing.Any,
    stream: typing.SupportsInt | typing.SupportsIndex,
) -> None:
    """
    Cosines (n, T) float32 of the rows of x (n, d) to directions (T, d) float32, lengths (n,) float64, and sums (count, d) int64 of the directions of each group, in multiples of 2^-30. groups (n,) int64 are in [-1, count), -1 for rows left out; order (n,) int64 are the rows, those of a group side by side.
    """

def measure_rows_workspace_bytes(
    n: typing.SupportsInt | typing.SupportsIndex,
    T: typing.SupportsInt | typing.SupportsIndex,
    d: typing.SupportsInt | typing.SupportsIndex,
) -> int: ...
def nearest(
    x: typing.Any,
    y: typing.Any,
    cosine: typing.Any,
    index: typing.Any,
    bad_x: typing.Any,
    bad_y: typing.Any,
    workspace: typing.Any,
    stream: typing.SupportsInt | typing.SupportsIndex,
) -> None:
    """
    Largest cosine (n,) float32 of each row of x (n, d) to a row of y (m, d), and the lowest such row (n,) int64.
    """

def nearest_workspace_bytes(
    n: typing.SupportsInt | typing.SupportsIndex,
    m: typing.SupportsInt | typing.SupportsIndex,
    d: typing.SupportsInt | typing.SupportsIndex,
) -> int: ...
def runtime_version() -> int: ...
def silhouettes(
    x: typing.Any,
    clusters: typing.Any,
    order: typing.Any,
    starts: typing.Any,
    metric: str,
    picked: typing.Any,
    scores: typing.Any,
    means: typing.Any,
    bad: typing.Any,
    workspace: typing.Any,
    stream: typing.SupportsInt | typing.SupportsIndex,
) -> None:
    """
    Silhouettes of x (n, d) with clusters (n,) int32, rows in the order of their clusters (n,) int64, and where each starts (k + 1,) int64; of the places picked (m,) int64 in that order, or all. scores (m,) and means (m, 2) are float64.
    """

def silhouettes_workspace_bytes(
    n: typing.SupportsInt | typing.SupportsIndex,
    d: typing.SupportsInt | typing.SupportsIndex,
    k: typing.SupportsInt | typing.SupportsIndex,
    metric: str,
    m: typing.SupportsInt | typing.SupportsIndex,
) -> int: ...

__version__: str
architectures: str
