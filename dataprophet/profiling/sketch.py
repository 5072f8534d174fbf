"""Sketch: a uniform sample of a dataset, or all of it, that does not depend on order, shards or workers, and merges."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dataprophet.ops import backend
from dataprophet.ops.threads import thread_count

N_GROUPS = 64
_LARGEST = 2**64 - 1
_SMALL = 4096  # samples of a piece that is joined with the next


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
        backend.core.hash_texts(data or b"", own, hashes, thread_count())
    return hashes.view(np.uint64)


def groups_of(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Group of each hash, in [0, 64). Low bits, so that it is independent of the order of a sketch."""
    return (hashes & np.uint64(N_GROUPS - 1)).astype(np.int64)


Piece = tuple[NDArray[np.uint64], NDArray[np.float16]]


def bound_of(size: int | None, rows: int) -> int | None:
    """Bound for the sketches of the parts of a pool of so many rows.

    Hashes are uniform: about twice as many samples lie below it as a sketch keeps, so that half of the rows may be bad
    before it keeps fewer.

    Args:
        size: most samples kept; None for all.
        rows: of the whole pool.

    Returns:
        The largest hash worth keeping; None where all are.
    """
    wanted = rows if size is None else 2 * size + 64  # for small sketches, whose numbers vary more
    return None if wanted >= rows else (wanted << 64) // rows


class Sketch:
    """The ``size`` samples whose id hashes are smallest, or all samples, in order of their hash.

    Part of a large pool need not keep what cannot be among the pool's smallest: it may have a ``bound``, and takes no
    sample of a larger hash. Merging keeps the lowest bound, until as many samples as are wanted lie below it.

    What was merged is kept in pieces as it came, and one run in order is made of them when it is asked for, or when the
    pieces hold twice what the sketch keeps. Small pieces are joined, into ones of at least doubling length.
    """

    def __init__(
        self, size: int | None, hashes: NDArray[np.uint64], z: NDArray[np.float16], *, bound: int | None = None
    ):
        """A sketch of samples that are in order.

        Args:
            size: most samples kept; None for all.
            hashes: (m,) uint64, ascending.
            z: (m, d) float16 unit vectors. Equal hashes are ordered by the bytes of their vectors.
            bound: largest hash that the sketch takes; None for any.
        """
        self.size, self._bound = size, bound
        self._pieces: tuple[Piece, ...] = ((hashes, z),) if len(hashes) else ()
        self._ordered = True

    @classmethod
    def empty(cls, size: int | None, *, bound: int | None = None) -> Sketch:
        return cls(size, np.empty(0, np.uint64), np.empty((0, 0), np.float16), bound=bound)

    @property
    def hashes(self) -> NDArray[np.uint64]:
        return self._whole()[0]

    @property
    def z(self) -> NDArray[np.float16]:
        return self._whole()[1]

    @property
    def bound(self) -> int | None:
        """Largest hash taken. None where no sample was left out for it: for want of a bound, or of room."""
        return None if self.size is not None and len(self) >= self.size else self._bound

    def __len__(self) -> int:
        return self._held if self.size is None else min(self._held, self.size)

    @property
    def _held(self) -> int:
        """Samples in the pieces, of which some may have no place."""
        return sum(len(hashes) for hashes, _ in self._pieces)

    def takes(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which samples may enter: all up to the bound, until the sketch is full."""
        if self.size is None or len(self) < self.size:
            return hashes <= np.uint64(_LARGEST if self._bound is None else self._bound)
        return np.asarray(hashes <= self._last, np.bool_)

    @cached_property
    def _last(self) -> np.uint64:
        """The largest hash that a full sketch keeps."""
        every, last = np.concatenate([hashes for hashes, _ in self._pieces]), (self.size or 0) - 1
        return np.uint64(np.partition(every, last)[last])

    def merge(self, hashes: NDArray[np.uint64], z: NDArray[np.float16], *, bound: int | None = None) -> Sketch:
        """The sketch of both sets of samples. The result is the same for any order and split.

        Args:
            hashes: (m,) uint64.
            z: (m, d) float16 unit vectors.
            bound: of the sketch that they come from.
        """
        if bound is not None and (self._bound is None or bound < self._bound):
            count = int(np.searchsorted(self.hashes, np.uint64(bound), side="right"))
            return Sketch(self.size, self.hashes[:count], self.z[:count], bound=bound).merge(hashes, z)
        low = self.takes(hashes)
        if not low.any():
            return self
        pieces = [*self._pieces, (hashes, z) if low.all() else (hashes[low], z[low])]
        while len(pieces) > 1 and 2 * len(pieces[-1][0]) >= len(pieces[-2][0]) and len(pieces[-2][0]) < _SMALL:
            first, last = pieces[-2:]
            pieces[-2:] = [(np.concatenate([first[0], last[0]]), np.concatenate([first[1], last[1]]))]
        merged = Sketch.empty(self.size, bound=self._bound)
        merged._pieces, merged._ordered = tuple(pieces), False
        if self.size is not None and merged._held > 2 * self.size:
            merged._whole()
        return merged

    def _whole(self) -> Piece:
        """The samples that are kept, in order, which replace the pieces."""
        if not self._pieces:
            return np.empty(0, np.uint64), np.empty((0, 0), np.float16)
        if not self._ordered or len(self) < self._held:
            self._pieces, self._ordered = (_in_order(self._pieces, self.size),), True
        return self._pieces[0]

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Sketch)
            and (self.size, self.bound) == (other.size, other.bound)
            and np.array_equal(self.hashes, other.hashes)
            and self.z.tobytes() == other.z.tobytes()
        )


def _in_order(pieces: Sequence[Piece], size: int | None = None) -> Piece:
    """The samples of all pieces in order, or those of them that ``size`` keeps."""
    hashes = np.concatenate([piece[0] for piece in pieces])
    order = np.argsort(hashes, kind="stable")
    if size is not None and size < len(order):  # with all that tie for the last place
        order = order[: np.searchsorted(hashes[order], hashes[order[size - 1]], side="right")]
    place = np.full(len(hashes), -1)  # of each sample in the order
    place[order] = np.arange(len(order))
    z = np.empty((len(order), max(piece[1].shape[1] for piece in pieces)), np.float16)
    first = 0
    for own, vectors in pieces:
        to = place[first : first + len(own)]
        kept = to >= 0
        if kept.all():
            z[to] = vectors
        else:
            z[to[kept]] = vectors[kept]
        first += len(own)
    hashes = hashes[order]
    _order_ties(hashes, z)
    return hashes[:size], z[:size]


def _order_ties(hashes: NDArray[np.uint64], z: NDArray[np.float16]) -> None:
    """Order the vectors of equal hashes (repeated ids) by their bytes, in place."""
    for repeated in np.unique(hashes[1:][hashes[1:] == hashes[:-1]]):
        start, stop = np.searchsorted(hashes, repeated, "left"), np.searchsorted(hashes, repeated, "right")
        z[start:stop] = z[sorted(range(start, stop), key=lambda row: z[row].tobytes())]
