"""Sketch: a uniform sample of a dataset, or all of it, that does not depend on order, shards or workers, and merges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dataprophet.ops import backend
from dataprophet.threads import thread_count

N_GROUPS = 64


def hash_ids(ids: Sequence[str]) -> NDArray[np.uint64]:
    """64-bit BLAKE2b hash of each id as text: the order of the sketch. Its low 6 bits are the sample's group."""
    try:
        texts = pa.array(ids, pa.large_string())
    except (UnicodeEncodeError, pa.ArrowException):  # not text, or half a surrogate pair, which JSON may hold
        texts = pa.array([str(name).encode("utf-8", "surrogatepass") for name in ids], pa.large_binary())
    _, offsets, data = texts.buffers()
    hashes = np.empty(len(texts), np.int64)
    if len(texts):
        own = np.frombuffer(offsets, np.int64, len(texts) + 1, texts.offset * 8)
        backend.core().hash_texts(data or b"", own, hashes, thread_count())
    return hashes.view(np.uint64)


def groups_of(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Group of each hash, in [0, 64). Low bits, so that it is independent of the order of a sketch."""
    return (hashes & np.uint64(N_GROUPS - 1)).astype(np.int64)


Run = tuple[NDArray[np.uint64], NDArray[np.float16]]


class Sketch:
    """The ``size`` samples whose id hashes are smallest, or all samples, in order of their hash.

    What was merged is kept in runs, and one array is made of them when it is asked for. With a limit that happens too
    when there is twice as much as is kept; without one the runs are of at least doubling length, so that a sample is
    moved only log2(n) times.
    """

    def __init__(self, size: int | None, hashes: NDArray[np.uint64], z: NDArray[np.float16]):
        """A sketch of samples that are in order.

        Args:
            size: most samples kept; None for all.
            hashes: (m,) uint64, ascending.
            z: (m, d) float16 unit vectors. Equal hashes are ordered by the bytes of their vectors.
        """
        self.size = size
        self._runs: tuple[Run, ...] = ((hashes, z),) if len(hashes) else ()
        self._last: np.uint64 | None = None  # the largest hash that is kept, once it is known

    @classmethod
    def empty(cls, size: int | None) -> Sketch:
        return cls(size, np.empty(0, np.uint64), np.empty((0, 0), np.float16))

    @property
    def hashes(self) -> NDArray[np.uint64]:
        return self._whole()[0]

    @property
    def z(self) -> NDArray[np.float16]:
        return self._whole()[1]

    def __len__(self) -> int:
        return self._held if self.size is None else min(self._held, self.size)

    @property
    def _held(self) -> int:
        """Samples in the runs, of which some may have no place."""
        return sum(len(hashes) for hashes, _ in self._runs)

    def takes(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which samples may enter: all, until the sketch is full."""
        if self.size is None or len(self) < self.size:
            return np.ones(len(hashes), np.bool_)
        if self._last is None:
            every = np.concatenate([run[0] for run in self._runs])
            self._last = np.partition(every, self.size - 1)[self.size - 1]
        return np.asarray(hashes <= self._last, np.bool_)

    def merge(self, hashes: NDArray[np.uint64], z: NDArray[np.float16]) -> Sketch:
        """The sketch of both sets of samples. The result is the same for any order and split."""
        low = self.takes(hashes)
        if not low.any():
            return self
        merged = Sketch.empty(self.size)
        run = hashes[low], z[low]
        # with a limit all are put in order at once, later
        merged._runs = (*self._runs, run if self._runs and self.size is not None else _in_order([run]))
        if self.size is not None:
            if merged._held > 2 * self.size:
                merged._whole()
            return merged
        while len(merged._runs) > 1 and 2 * len(merged._runs[-1][0]) >= len(merged._runs[-2][0]):
            merged._runs = (*merged._runs[:-2], _in_order(merged._runs[-2:]))
        return merged

    def _whole(self) -> Run:
        """The samples that are kept as one run, which replaces the runs."""
        if not self._runs:
            return np.empty(0, np.uint64), np.empty((0, 0), np.float16)
        if len(self._runs) > 1 or len(self) < self._held:
            self._runs = (_in_order(self._runs, self.size),)
        return self._runs[0]

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Sketch)
            and self.size == other.size
            and np.array_equal(self.hashes, other.hashes)
            and self.z.tobytes() == other.z.tobytes()
        )


def _in_order(runs: Sequence[Run], size: int | None = None) -> Run:
    """One run of the samples of several, or of those of them that ``size`` keeps."""
    hashes = np.concatenate([run[0] for run in runs])
    order = np.argsort(hashes, kind="stable")
    if size is not None and size < len(order):  # with all that tie for the last place
        order = order[: np.searchsorted(hashes[order], hashes[order[size - 1]], side="right")]
    z = np.empty((len(order), max(run[1].shape[1] for run in runs)), np.float16)
    first = 0
    for run in runs:
        there = np.flatnonzero((order >= first) & (order < first + len(run[0])))
        z[there] = run[1][order[there] - first]
        first += len(run[0])
    hashes = hashes[order]
    _order_ties(hashes, z)
    return hashes[:size], z[:size]


def _order_ties(hashes: NDArray[np.uint64], z: NDArray[np.float16]) -> None:
    """Order the vectors of equal hashes (repeated ids) by their bytes, in place."""
    ties = np.flatnonzero(hashes[1:] == hashes[:-1])
    done = -1
    for start in ties:
        if start <= done:
            continue
        stop = int(np.searchsorted(hashes, hashes[start], side="right"))
        rows = sorted(range(start, stop), key=lambda row: z[row].tobytes())
        z[start:stop] = z[rows]
        done = stop - 1
