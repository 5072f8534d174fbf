"""Profiles on disk: one safetensors file, its metadata in JSON. What the values mean is the profile's to say."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from dataprophet.errors import ProfileError, explained
from dataprophet.profiling.diversity import HALVES, DiversitySums
from dataprophet.profiling.sketch import N_GROUPS, Sketch
from dataprophet.store.checksums import dump_tensors, load_tensors

_FORMAT = "dataprophet-profile-1"
_FIX = "profile the dataset again"
_HALF_INFINITY = 0x7C00  # bits of the exponent of what is not finite
_AT_ONCE = 1 << 20  # numbers
_NAME = "name a file that `dataprophet profile` made, or profile the dataset again"

Made = TypeVar("Made")


def to_bytes(head: Mapping[str, Any], tensors: Mapping[str, NDArray[Any]], *, checked: bool = True) -> bytes:
    """The content of a file; as earlier versions wrote it where it is not ``checked`` by a checksum."""
    return dump_tensors({"format": _FORMAT, **head}, tensors, checked=checked)


def read(path: str | os.PathLike[str], build: Callable[[Mapping[str, Any], Parts], Made]) -> Made:
    """What ``build`` makes of a file's head and tensors.

    Raises:
        ProfileError: the file is missing, is of another kind, or ``build`` refuses it.
    """
    from safetensors import SafetensorError

    where = str(Path(path))
    if not Path(path).is_file():
        raise ProfileError("no such profile", where=where, fix="check the path, or make it with `dataprophet profile`")
    with explained((SafetensorError, OSError, ValueError), ProfileError, "not a readable profile", where, _NAME):
        head, tensors = load_tensors(path)
    if head.get("format") != _FORMAT:
        raise ProfileError(f"not a profile of format {_FORMAT}", where=where, fix=_FIX)
    try:
        return build(head, Parts(tensors))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise ProfileError(f"damaged profile ({reason})", where=where, fix=_FIX) from error


def is_profile(path: str | os.PathLike[str]) -> bool:
    """Whether a file says at its beginning that it is a profile of any format."""
    with open(path, "rb") as stream:
        size = int.from_bytes(stream.read(8), "little")
        return b"dataprophet-profile-" in stream.read(min(size, os.path.getsize(path)))


def _finite(value: NDArray[Any]) -> bool:
    """Whether an array of any shape and dtype holds neither NaN nor infinity."""
    if value.dtype == np.float16:  # which NumPy looks at one by one
        bits = value.reshape(-1).view(np.uint16)
        parts = (bits[start : start + _AT_ONCE] & _HALF_INFINITY for start in range(0, len(bits), _AT_ONCE))
        return all(part.max() < _HALF_INFINITY for part in parts)
    return value.dtype.kind != "f" or bool(np.isfinite(value).all())


class Parts:
    """The tensors of a file, checked as they are taken: ValueError for what is wrong, KeyError for what is missing."""

    def __init__(self, tensors: Mapping[str, NDArray[Any]]) -> None:
        self._tensors = tensors

    def take(self, key: str, dtype: type[np.generic], *shape: int | None, finite: bool = True) -> NDArray[Any]:
        """A tensor of that dtype and shape, None for any length."""
        value = self._tensors[key]
        fits = [want in (None, got) for want, got in zip_longest(shape, value.shape, fillvalue=-1)]
        if value.dtype != dtype or not all(fits):
            raise ValueError(f"{key} is {value.dtype} {value.shape}")
        if finite and not _finite(value):
            raise ValueError(f"{key} is not finite")
        return value

    def sketch(self, size: int | None) -> Sketch | None:
        """The sketch of so many samples, or None in a sealed profile."""
        if "sketch.hashes" not in self._tensors:
            return None
        hashes = self.take("sketch.hashes", np.uint64, None)
        z = self.take("sketch.z", np.float16, len(hashes), None)
        if (size is not None and len(hashes) > size) or (hashes[1:] < hashes[:-1]).any():
            raise ValueError("sketch is not in order")
        bound = int(self.take("sketch.bound", np.uint64, 1)[0]) if "sketch.bound" in self._tensors else None
        if bound is not None and (hashes > np.uint64(bound)).any():
            raise ValueError("sketch is beyond its bound")
        return Sketch(size, hashes, z, bound=bound)

    def diversity(self, clusters: int) -> DiversitySums | None:
        """The sums of the diversity, where it was computed."""
        if "diversity.silhouette_sum" not in self._tensors:
            return None
        sums = DiversitySums(
            self.take("diversity.silhouette_sum", np.float64, N_GROUPS),
            self.take("diversity.cluster_counts", np.int64, N_GROUPS, clusters),
            self.take("diversity.halves", np.float64, HALVES, finite=False),
        )
        if (sums.cluster_counts < 0).any() or sums.n == 0:
            raise ValueError("cluster counts do not add up")
        return sums
