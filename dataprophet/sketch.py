"""Bottom-k sketch: a uniform sample of a dataset that does not depend on order, shards or workers, and merges."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

N_GROUPS = 64


def hash_ids(ids: Sequence[str]) -> NDArray[np.uint64]:
    """64-bit BLAKE2b hash of each id as text: the order of the sketch. Its low 6 bits are the sample's group."""
    texts = (str(name).encode("utf-8", "surrogatepass") for name in ids)  # JSON may hold half a surrogate pair
    digests = b"".join(hashlib.blake2b(text, digest_size=8).digest() for text in texts)
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def groups_of(hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Group of each hash, in [0, 64). Low bits, so that it is independent of the order of a sketch."""
    return (hashes & np.uint64(N_GROUPS - 1)).astype(np.int64)


@dataclass(eq=False)
class Sketch:
    """The ``size`` samples whose id hashes are smallest, in order of their hash.

    Attributes:
        size: most samples kept.
        hashes: (m,) uint64, ascending.
        z: (m, d) float16 unit vectors. Equal hashes are ordered by the bytes of their vectors.
    """

    size: int
    hashes: NDArray[np.uint64]
    z: NDArray[np.float16]

    @classmethod
    def empty(cls, size: int) -> Sketch:
        return cls(size, np.empty(0, np.uint64), np.empty((0, 0), np.float16))

    def takes(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which samples may enter: all, until the sketch is full."""
        if len(self.hashes) < self.size:
            return np.ones(len(hashes), np.bool_)
        return np.asarray(hashes <= self.hashes[-1], np.bool_)

    def merge(self, hashes: NDArray[np.uint64], z: NDArray[np.float16]) -> Sketch:
        """The sketch of both sets of samples. The result is the same for any order and split."""
        low = self.takes(hashes)
        if not low.any():
            return self
        hashes, z = hashes[low], z[low]
        every = np.concatenate([self.hashes, hashes])
        vectors = np.concatenate([self.z.reshape(len(self.hashes), z.shape[1]), z])
        order = np.argsort(every, kind="stable")
        every, vectors = every[order], vectors[order]
        _order_ties(every, vectors)
        return Sketch(self.size, every[: self.size], vectors[: self.size])

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Sketch)
            and self.size == other.size
            and np.array_equal(self.hashes, other.hashes)
            and self.z.tobytes() == other.z.tobytes()
        )


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
