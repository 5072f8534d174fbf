"""Sequences that begin alike, laid out once: what questions about one image, or the turns of one chat, share.

Rows are made of it, and batching asks it what rows would share. It knows token ids alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TokenTree:
    """The prefix tree of K token sequences, its N nodes in depth-first order.

    A token of a causal model sees itself and the tokens before it, so that equal prefixes have equal states and need to
    be computed once. Node k is seen by the nodes q of its own subtree, and these stand in one piece: k <= q < ends[k].

    Attributes:
        paths: K arrays, the node of each token of a sequence.
        ends: (N,) int64, one behind the last node of each node's subtree.
        depth: (N,) int64, the node's place in the sequences that it lies on.
    """

    paths: list[NDArray[np.int64]]
    ends: NDArray[np.int64]
    depth: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ends)

    @property
    def is_chain(self) -> bool:
        """Whether no two sequences part: every node then sees all that stand before it."""
        return bool((self.ends == len(self.ends)).all())


def token_tree(sequences: Sequence[NDArray[np.int64]]) -> TokenTree:
    """Merges the common beginnings of sequences of token ids, each (T_i,) int64 and not empty."""
    paths: list[NDArray[np.int64]] = [np.empty(0, np.int64)] * len(sequences)
    depths, ends = [], np.empty(sum(map(len, sequences)), np.int64)
    size, before = 0, -1
    # In sorted order a sequence shares with those before it just what it shares with the last one of them.
    for index in sorted(range(len(sequences)), key=lambda index: sort_key(sequences[index])):
        ids = sequences[index]
        shared = 0 if before < 0 else common_prefix(sequences[before], ids)
        fresh = np.arange(size, size + len(ids) - shared)
        ends[paths[before][shared:]] = size  # subtrees that are left: no later sequence passes through them
        paths[index] = np.concatenate([paths[before][:shared], fresh])
        depths.append(np.arange(shared, len(ids)))
        size, before = size + len(fresh), index
    ends[paths[before]] = size
    return TokenTree(paths, ends[:size], np.concatenate(depths))


def sort_key(ids: NDArray[np.int64]) -> bytes:
    """Sorts sequences of ids (0 or more, below 2**32) as lists of them would sort: big-endian bytes, one memcmp."""
    return ids.astype(">u4").tobytes()


def common_prefix(a: NDArray[np.int64], b: NDArray[np.int64]) -> int:
    """How many elements two sequences have in common at their beginnings."""
    length = min(len(a), len(b))
    differs = np.flatnonzero(a[:length] != b[:length])
    return int(differs[0]) if len(differs) else length
