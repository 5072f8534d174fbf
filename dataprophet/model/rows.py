"""Rows of a batch: samples packed into token trees, and their tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
        members: the members of the rows, in order.
        ids: (B, N) int64.
        kinds: (B, N) int64 token types, by the name under which the model takes them.
        lengths: (B,) int64 nodes of each row.
        ends: (B, N) int64, see `TokenTree`; None where every row is a chain, as in a plain batch.
        depth: (B, N) int64, the place of each node in its sequence.
        positions: (A, B, N) int64 for the rotary embedding, None where they are ``depth``.
        spots: (n,) int64 places b * N + node whose states are asked for, member after member: those that predict the
            answer tokens of a sample, or those of the content of a text.
        targets: (n,) int64 the tokens that stand behind the spots in their sequences.
        counts: how many spots each member has.
        pixels: what the vision tower takes for the image sets of the batch.
        image_tokens: how many features each image set has.
        sets: for each member its image set, by number.
        features: (F,) int64, which feature stands on each image token of the batch; None where they follow in order.
    """

    members: list[int]
    ids: Any
    kinds: dict[str, Any]
    lengths: Any
    ends: Any | None
    depth: Any
    positions: Any | None
    spots: Any
    targets: Any
    counts: list[int]
    pixels: dict[str, Any]
    image_tokens: list[int]
    sets: list[int]
    features: Any | None

    def tensors(self, change: Any) -> Batch:
        """The batch with ``change`` applied to every tensor."""
        values = {name: getattr(self, name) for name in self.__slots__}
        for name, value in values.items():
            if hasattr(value, "is_floating_point"):
                values[name] = change(value)
        values["kinds"] = {name: change(value) for name, value in self.kinds.items()}
        values["pixels"] = {
            name: change(value) if hasattr(value, "is_floating_point") else value for name, value in self.pixels.items()
        }
        return Batch(**values)


def assemble(rows: Sequence[Row], image_token_id: int, *, content: bool = False) -> Batch:
    """The tensors of some rows; either every row has images or none has.

    Args:
        rows: B rows.
        image_token_id: the token that vision features stand on.
        content: ask for the states of the masked tokens themselves, rather than of those that predict them.
    """
    import torch

    width = max(len(row.tree) for row in rows)
    shape = (len(rows), width)
    sets: dict[int, int] = {}
    images: list[ImageSet] = []
    for row in rows:
        if row.images is not None and id(row.images) not in sets:
            sets[id(row.images)] = len(images)
            images.append(row.images)
    first = np.cumsum([0, *(image.tokens for image in images)])

    ids, depth = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    # Padding sees itself alone, so that no row of the attention is empty.
    ends = np.tile(np.arange(1, width + 1), (len(rows), 1))
    kinds = {name: np.zeros(shape, np.int64) for name in rows[0].encoded[0].kinds}
    spots, targets, features, counts, numbers = [], [], [], [], []
    for index, row in enumerate(rows):
        size = len(row.tree)
        ends[index, :size] = row.tree.ends
        depth[index, :size] = row.tree.depth
        number = sets[id(row.images)] if row.images is not None else -1
        # Sequences write what they share over each other: it is the same.
        for encoded, path in zip(row.encoded, row.tree.paths, strict=True):
            ids[index, path] = encoded.ids
            for name, values in kinds.items():
                values[index, path] = encoded.kinds[name]
            asked = np.flatnonzero(encoded.mask)
            spots.append(index * width + path[asked if content else asked - 1])
            targets.append(encoded.ids[asked])
            counts.append(len(asked))
            numbers.append(number)
        if number >= 0:
            features.append(first[number] + _image_ordinals(row, ids[index, :size] == image_token_id, image_token_id))
    order = np.concatenate(features) if features else np.empty(0, np.int64)
    in_order = np.array_equal(order, np.arange(first[-1]))
    return Batch(
        members=[member for row in rows for member in row.members],
        ids=torch.from_numpy(ids),
        kinds={name: torch.from_numpy(values) for name, values in kinds.items()},
        lengths=torch.tensor([len(row.tree) for row in rows]),
        ends=None if all(row.tree.is_chain for row in rows) else torch.from_numpy(ends),
        depth=torch.from_numpy(depth),
        positions=_positions(rows, width),
        spots=torch.from_numpy(np.concatenate(spots)),
        targets=torch.from_numpy(np.concatenate(targets)),
        counts=counts,
        pixels=joined([image.inputs for image in images]),
        image_tokens=[image.tokens for image in images],
        sets=numbers,
        features=None if in_order else torch.from_numpy(order),
    )


def _image_ordinals(row: Row, is_image: NDArray[np.bool_], image_token_id: int) -> NDArray[np.int64]:
    """For each image token of a row, in order, the number of image tokens before it in its own sequence."""
    ordinal = np.empty(len(row.tree), np.int64)
    for encoded, path in zip(row.encoded, row.tree.paths, strict=True):
        ordinal[path] = np.cumsum(encoded.ids == image_token_id) - 1
    return ordinal[is_image]


def _positions(rows: Sequence[Row], width: int) -> Any | None:
    """(A, B, N) positions on the axes of the rows that give them; the others count along on every axis."""
    import torch

    given = next((item.positions for row in rows for item in row.encoded if item.positions is not None), None)
    if given is None:
        return None
    positions = np.zeros((len(given), len(rows), width), np.int64)
    for index, row in enumerate(rows):
        for encoded, path in zip(row.encoded, row.tree.paths, strict=True):
            plain = np.arange(len(encoded))
            positions[:, index, path] = plain if encoded.positions is None else encoded.positions
    return torch.from_numpy(positions)


def joined(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Vision inputs one behind the other; where their other dimensions differ they are padded with zeros at the end.

    That is how processors lay out a batch: fewer tiles, or a smaller picture, are filled up with zeros. Parts that need
    no padding become views of the result, so that pixels are held once.
    """
    import torch

    if len(parts) == 1:
        return dict(parts[0])
    found: dict[str, Any] = {}
    for name in parts[0] if parts else ():
        values = [part[name] for part in parts]
        if not torch.is_tensor(values[0]):
            found[name] = [entry for value in values for entry in value]
            continue
        sizes = [max(extents) for extents in zip(*(value.shape[1:] for value in values), strict=True)]
        found[name] = values[0].new_zeros((sum(map(len, values)), *sizes))
        start = 0
        for part, value in zip(parts, values, strict=True):
            place = (slice(start, start + len(value)), *(slice(0, size) for size in value.shape[1:]))
            found[name][place] = value
            if list(value.shape[1:]) == sizes:
                part[name] = found[name][place]
            start += len(value)
    return found
