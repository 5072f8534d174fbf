# Generated from csrc/bind by tools/stubs.py (make stubs). Do not edit.
from __future__ import annotations
import collections.abc
import numpy
import numpy.typing
import typing
import typing_extensions

__all__: list[str] = [
    "available_isas",
    "average_directions",
    "cosine_to",
    "hash_texts",
    "isa",
    "kmeans",
    "linear_logprobs",
    "logprob_parts",
    "mean_direction",
    "measure_rows",
    "nearest",
    "read",
    "silhouettes",
    "spin",
    "token_logprobs",
]

def available_isas() -> list[str]:
    """
    Instruction sets that this machine can run, the fastest first
    """

def average_directions(
    fields: collections.abc.Sequence[typing.Any],
    chosen: numpy.typing.NDArray[numpy.int64],
    scales: numpy.typing.NDArray[numpy.float32],
    out: numpy.typing.NDArray[numpy.float16],
    norms: numpy.typing.NDArray[numpy.float32],
    threads: typing.SupportsInt | typing.SupportsIndex = 1,
    isa: str = "",
) -> None:
    """
    Average of the directions of several fields (n, d), of chosen rows (m,), into out (m, d) and norms (m,). scales (fields, m) are one over the lengths, 0 for none.
    """

def cosine_to(
    x: typing.Any,
    directions: numpy.typing.NDArray[numpy.float32],
    out: numpy.typing.NDArray[numpy.float32],
    threads: typing.SupportsInt | typing.SupportsIndex = 1,
    isa: str = "",
) -> tuple[int, int, int]:
    """
    Cosines of the rows of x (n, d) to directions (T, d), used as given, into out (n, T). Returns the bad rows, as mean_direction.
    """

def hash_texts(
    data: typing_extensions.Buffer,
    offsets: numpy.typing.NDArray[numpy.int64],
    out: numpy.typing.NDArray[numpy.int64],
    threads: typing.SupportsInt | typing.SupportsIndex = 1,
) -> None:
    """
    BLAKE2b of texts, data[offsets[i]:offsets[i + 1]], into out (n,), whose bits are those of the unsigned hashes.
    """

def isa() -> str:
    """
    The instruction set in use
    """

def kmeans(
    x: typing.Any,
    init: numpy.typing.NDArray[numpy.float64] | None,
    draws: numpy.typing.NDArray[numpy.float64],
    centroids: numpy.typing.NDArray[numpy.float32],
    labels: numpy.typing.NDArray[numpy.int64],
    max_iter: typing.SupportsInt | typing.SupportsIndex,
    tol: typing.SupportsFloat | typing.SupportsIndex,
    threads: typing.SupportsInt | typing.SupportsIndex = 1,
    isa: str = "",
) -> tuple[float, int, tuple[int, int, int]]:
    """
    k-means of x (n, d) from init (k, d), or from greedy k-means++ with draws (1 + 4 (k - 1),), into centroids (k, d) and labels (n,). Returns the inertia, the iterations and the bad rows.
    """

def linear_logprobs(
    hidden: typing.Any,
    weight: typing.Any,
    targets: numpy.typing.NDArray[numpy.int64],
    bias: numpy.typing.NDArray[numpy.float32] | None,
    softcap: typing.SupportsFloat | typing.SupportsIndex,
    scale: typing.SupportsFloat | typing.SupportsIndex,
    logprobs: numpy.typing.NDArray[numpy.float32],
    threads: typing.SupportsInt | typing.SupportsIndex = 1,
    isa: str = "",
) -> None:
    """
    The same for the logits hidden (n, D) @ weight (V, D).T, which are not stored.
    """

def logprob_parts(
    hidden: typing.Any,
    weight: typing.Any,
    targets: numpy.typing.NDArray[numpy.int64],
    bias: numpy.typing.NDArray[numpy.float32] | None,
    softcap: typing.SupportsFloat | typing.SupportsIndex,
    scale: typing.SupportsFloat | typing.SupportsIndex,
    maximum: numpy.typing.NDArray[numpy.float32],
    total: numpy.typing.NDArray[numpy.float32],
    target: numpy.typing.NDArray[numpy.float32],
    threads: typing.SupportsInt | typing.SupportsIndex = 1,
    isa: str = "",
) -> None:
    """
    Maximum, total and target (n,) of the logits of a shard of the head; a target may be no row of it.
    """

def mean_direction(
    x: typing.Any,
    out: numpy.typing.NDArray[numpy.float64],
    threads: typing.SupportsInt | typing.SupportsIndex = 1,
    isa: str = "",
) -> tuple[int, int, int]:
    """
    Mean of the normalised rows of x (n, d) into out (d,). Returns the zero rows, the non-finite rows and the first of either or -1.
    """

def measure_rows(
    x: typing.Any,
    directions: numpy.typing.NDArray[numpy.float32],
    groups: numpy.typing.NDArray[numpy.int64],
    cosines: numpy.typing.NDArray[numpy.float32],
    lengths: numpy.typing.NDArray[numpy.float64],
    sums: numpy.typing.NDArray[numpy.float64],
    threads: typing.SupportsInt | typing.SupportsIndex = 1,
    isa: str = "",
) -> None:
    """
    Cosines (n, T) and lengths (n,) of the rows of x (n, d), and their sums by group (count, d). groups (n,) are -1 for rows left out; rows without a direction are known by their lengths.
    """

def nearest(
    x: typing.Any,
    y: typing.Any,
    cosine: numpy.typing.NDArray[numpy.float32],
    index: numpy.typing.NDArray[numpy.int64],
    threads: typing.SupportsInt | typing.SupportsIndex = 1,
    isa: str = "",
) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """
    Largest cosine of each row of x (n, d) to a row of y (m, d), and the lowest such row. Returns the bad rows of x and of y.
    """

def read(x: typing.Any, threads: typing.SupportsInt | typing.SupportsIndex = 1, isa: str = "") -> int:
    """
    For benchmarks: reads the array and does nothing else
    """

def silhouettes(
    x: typing.Any,
    labels: numpy.typing.NDArray[numpy.int32],
    k: typing.SupportsInt | typing.SupportsIndex,
    metric: str,
    rows: numpy.typing.NDArray[numpy.int64] | None,
    scores: numpy.typing.NDArray[numpy.float64],
    means: numpy.typing.NDArray[numpy.float64] | None,
    threads: typing.SupportsInt | typing.SupportsIndex = 1,
    isa: str = "",
) -> tuple[int, int, int]:
    """
    Silhouettes of the rows of x (n, d) with labels (n,) in [0, k), or of those listed in rows, into scores (m,), and the two mean distances that they come from into means (m, 2). Returns the bad rows.
    """

def spin(
    bfloat: bool,
    rounds: typing.SupportsInt | typing.SupportsIndex,
    threads: typing.SupportsInt | typing.SupportsIndex = 1,
    isa: str = "",
) -> float:
    """
    For benchmarks: multiply-adds on registers; returns the number of operations done
    """

def token_logprobs(
    logits: typing.Any,
    targets: numpy.typing.NDArray[numpy.int64],
    bias: numpy.typing.NDArray[numpy.float32] | None,
    softcap: typing.SupportsFloat | typing.SupportsIndex,
    scale: typing.SupportsFloat | typing.SupportsIndex,
    logprobs: numpy.typing.NDArray[numpy.float32],
    threads: typing.SupportsInt | typing.SupportsIndex = 1,
    isa: str = "",
) -> None:
    """
    Log-probabilities of targets (n,) under logits (n, V), bias (V,), softcap (0 for none) and scale.
    """

__version__: str
