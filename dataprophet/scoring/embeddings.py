"""Embeddings kept beside the rows of a shard: unit vectors in float16, one safetensors file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataprophet.features.features import FIELDS, Measured
from dataprophet.ops.arrays import fetched
from dataprophet.ops.directions import average_directions


def unit_embeddings(found: Measured, lines: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """Embeddings of samples as they are kept.

    Args:
        found: n samples.
        lines: (n,) line of each in the rows file.

    Returns:
        ``question``, ``answer`` and ``image`` (n, d) float16 unit vectors, zeros where a sample lacks the field;
        ``<field>_present`` (n,) uint8; ``row`` (n,) int64, the lines. float16 moves a cosine by up to 6e-5.
    """
    made: dict[str, NDArray[Any]] = {"row": lines}
    for name in FIELDS:
        if name in found.fields:
            given = found.fields[name]
            (made[name],) = fetched(average_directions([given.rows], [given.lengths], np.arange(len(lines)))[0])
            made[name][~given.present] = 0
            made[f"{name}_present"] = given.present.astype(np.uint8)
        elif name in found.widths:
            made[name] = np.zeros((len(lines), found.widths[name]), np.float16)
            made[f"{name}_present"] = np.zeros(len(lines), np.uint8)
    return made


def write_embeddings(path: str, kept: Sequence[dict[str, NDArray[Any]]]) -> None:
    """Write what ``unit_embeddings`` gave for the parts of a shard, in order, as one safetensors file."""
    from safetensors.numpy import save

    names = list(dict.fromkeys(name for part in kept for name in part))
    full = [part for part in kept if len(part["row"])]
    tensors = {name: np.concatenate([part[name] for part in full]) for name in names if full}
    Path(path).write_bytes(save(tensors))
