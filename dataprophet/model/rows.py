"""Rows of a batch: samples packed into token trees, and their tensors.

Batching makes rows and batches, the adapter computes them, results read what each member got. Nothing here knows the
model, the processor or the device.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dataprophet.model.token_tree import TokenTree, token_tree
from dataprophet.model.tokens import Encoded, ImageSet


@dataclass(slots=True, eq=False)
class Row:
    """Samples or texts that are computed in one sequence.

    Attributes:
        members: what the caller knows them by.
        encoded: their tokens.
        images: the images that all of them share, None without.
        tree: their tokens, common beginnings merged.
    """

    members: list[int]
    encoded: list[Encoded]
    images: ImageSet | None
    tree: TokenTree

    @classmethod
    def pack(cls, members: Sequence[int], encoded: Sequence[Encoded], images: ImageSet | None = None) -> Row:
        return cls(list(members), list(encoded), images, token_tree([item.ids for item in encoded]))

    def halves(self) -> list[Row]:
        """The same samples in two rows."""
        middle = len(self.members) // 2
        parts = (slice(0, middle), slice(middle, None))
        return [Row.pack(self.members[part], self.encoded[part], self.images) for part in parts]


@dataclass(slots=True)
class Batch:
    """B rows of N nodes, padded on the right, as tensors.

    Attributes:
        rows: what it was assembled from.
        texts: whether they are texts to embed, rather than samples to score.
        budget: the bound on padded tokens that it was planned under.
        ids: (B, N) int64.
        types: (B, N) int64 token types, by the name under which the model takes them.
        lengths: (B,) int64 nodes of each row.
        ends: (B, N) int64, see `TokenTree`; None where every row is a chain, as in a plain batch.
        depth: (B, N) int64, the place of each node in its sequence.
        positions: (A, B, N) int64 for the rotary embedding, None where they are ``depth``.
        spots: (n,) int64 indices b * N + node whose states are asked for, member after member: those that predict the
            answer tokens of a sample, or those of the content of a text.
        targets: (n,) int64 the tokens that stand behind the spots in their sequences.
        counts: how many spots each member has.
        pixels: what the vision tower takes for the image sets of the batch, call by call.
        call_tokens: how many features each call gives.
        join_images: whether one call takes several of them.
        image_tokens: how many features each image set has.
        sets: for each member its image set, by number; -1 without images.
        features: (F,) int64, which feature stands on each image token of the batch; None where they follow in order.
    """

    rows: list[Row]
    texts: bool
    budget: int
    ids: Any
    types: dict[str, Any]
    lengths: Any
    ends: Any
    depth: Any
    positions: Any | None
    spots: Any
    targets: Any
    counts: list[int]
    pixels: list[dict[str, Any]]
    call_tokens: list[int]
    join_images: bool
    image_tokens: list[int]
    sets: list[int]
    features: Any | None

    @property
    def members(self) -> list[int]:
        return [member for row in self.rows for member in row.members]

    def tensors(self, change: Callable[[Any], Any]) -> Batch:
        """The batch with ``change`` applied to every tensor."""

        def changed(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: changed(part) for name, part in value.items()}
            if isinstance(value, list):
                return [changed(part) for part in value]
            return change(value) if hasattr(value, "is_floating_point") else value

        return replace(self, **{name: changed(getattr(self, name)) for name in self.__slots__})

    def halves(self, budget: int) -> list[Batch]:
        """The same in two parts, each with half of the rows or, of a single row, half of its members."""
        middle = len(self.rows) // 2
        parts = [self.rows[:middle], self.rows[middle:]] if middle else [[half] for half in self.rows[0].halves()]
        return [assemble(part, texts=self.texts, budget=budget, join_images=self.join_images) for part in parts]


def assemble(rows: Sequence[Row], *, texts: bool = False, budget: int = 0, join_images: bool = True) -> Batch:
    """The tensors of some rows; either every row has images or none has.

    Args:
        rows: B rows.
        texts: ask for the states of the masked tokens themselves, rather than of those that predict them.
        budget: see `Batch`.
        join_images: see `Batch`.
    """
    import torch

    width = max(len(row.tree) for row in rows)
    shape = (len(rows), width)
    images = list({id(row.images): row.images for row in rows if row.images is not None}.values())
    numbers = {id(image): number for number, image in enumerate(images)}
    first = np.cumsum([0, *(image.tokens for image in images)])
    axes = next((len(item.positions) for row in rows for item in row.encoded if item.positions is not None), 0)

    ids, depth = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    # Padding sees itself alone, so that no row of the attention is empty.
    ends = np.tile(np.arange(1, width + 1), (len(rows), 1))
    types = {name: np.zeros(shape, np.int64) for name in rows[0].encoded[0].types}
    positions = np.zeros((axes, *shape), np.int64)
    spots, targets, counts, sets = [], [], [], []
    features = [np.empty(0, np.int64)]
    for index, row in enumerate(rows):
        size = len(row.tree)
        ends[index, :size], depth[index, :size] = row.tree.ends, row.tree.depth
        number = numbers.get(id(row.images), -1)
        ordinal = np.empty(size, np.int64)  # of an image token: how many stand before it in its own sequence
        # Sequences write what they share over each other: it is the same.
        for encoded, path in zip(row.encoded, row.tree.paths, strict=True):
            ids[index, path] = encoded.ids
            for name, values in types.items():
                values[index, path] = encoded.types[name]
            # those that give none count along on every axis
            positions[:, index, path] = np.arange(len(encoded)) if encoded.positions is None else encoded.positions
            asked = np.flatnonzero(encoded.mask)
            spots.append(index * width + path[asked if texts else asked - 1])
            targets.append(encoded.ids[asked])
            counts.append(len(asked))
            sets.append(number)
            if row.images is not None:
                ordinal[path] = np.cumsum(encoded.ids == row.images.token_id) - 1
        if row.images is not None:
            features.append(first[number] + ordinal[ids[index, :size] == row.images.token_id])
    order = np.concatenate(features)
    # Sets with inputs of other names, as where pictures without tiles lack those of tiles, go into calls of their own.
    calls = [
        list(call) for _, call in itertools.groupby(images, lambda image: {*image.inputs} if join_images else image)
    ]
    return Batch(
        rows=list(rows),
        texts=texts,
        budget=budget,
        ids=torch.from_numpy(ids),
        types={name: torch.from_numpy(values) for name, values in types.items()},
        lengths=torch.tensor([len(row.tree) for row in rows]),
        ends=None if all(row.tree.is_chain for row in rows) else torch.from_numpy(ends),
        depth=torch.from_numpy(depth),
        positions=torch.from_numpy(positions) if axes else None,
        spots=torch.from_numpy(np.concatenate(spots)),
        targets=torch.from_numpy(np.concatenate(targets)),
        counts=counts,
        pixels=[joined([image.inputs for image in call]) for call in calls],
        call_tokens=[sum(image.tokens for image in call) for call in calls],
        join_images=join_images,
        image_tokens=[image.tokens for image in images],
        sets=sets,
        features=None if np.array_equal(order, np.arange(first[-1])) else torch.from_numpy(order),
    )


def joined(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Vision inputs one behind the other; where their other dimensions differ they are padded with zeros at the end.

    That is how processors lay out a batch: fewer tiles, or a smaller picture, are filled up with zeros. Parts that need
    no padding become views of the result, so that pixels are held once.
    """
    import torch

    if len(parts) == 1:
        return dict(parts[0])
    found: dict[str, Any] = {}
    for name in parts[0]:
        values = [part[name] for part in parts]
        if not torch.is_tensor(values[0]):
            found[name] = [entry for value in values for entry in value]
            continue
        sizes = [max(extents) for extents in zip(*(value.shape[1:] for value in values), strict=True)]
        found[name] = values[0].new_zeros((sum(map(len, values)), *sizes))
        for part, value, room in zip(parts, values, found[name].split([*map(len, values)]), strict=True):
            room[tuple(slice(0, size) for size in value.shape)] = value
            if room.shape == value.shape:
                part[name] = room
    return found
