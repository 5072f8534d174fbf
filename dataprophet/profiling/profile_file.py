"""Profiles on disk: one safetensors file, its metadata in JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataprophet.errors import ProfileError
from dataprophet.features.features import FIELDS
from dataprophet.files import atomic_file
from dataprophet.profiling.diversity import HALVES, DiversitySums
from dataprophet.profiling.profile import ALL, Profile
from dataprophet.profiling.sketch import N_GROUPS, Sketch

_FORMAT = "dataprophet-profile-1"
_FIX = "profile the dataset again"


def save(profile: Profile, path: str | os.PathLike[str]) -> None:
    """Write a profile atomically."""
    data = profile_bytes(profile)
    with atomic_file(path) as temporary:  # not save_file: it takes no umask, and a full disk is no OSError there
        temporary.write_bytes(data)


def profile_bytes(profile: Profile) -> bytes:
    """The content of a profile's file."""
    from safetensors.numpy import save as serialise

    tensors: dict[str, NDArray[Any]] = {
        "count": profile.count,
        "nll_sum": profile.nll_sum,
        "tokens": profile.tokens,
    }
    for name in FIELDS:
        tensors[f"{name}.count"] = profile.field_count[name]
        tensors[f"{name}.sum"] = profile.field_sum[name]
    if profile.sketch is not None:
        tensors["sketch.hashes"] = profile.sketch.hashes
        tensors["sketch.z"] = profile.sketch.z
        if profile.sketch.bound is not None:
            tensors["sketch.bound"] = np.array([profile.sketch.bound], np.uint64)
    if profile._diversity is not None:
        tensors["diversity.silhouette_sum"] = profile._diversity.silhouette_sum
        tensors["diversity.cluster_counts"] = profile._diversity.cluster_counts
        tensors["diversity.halves"] = profile._diversity.halves
    head = {"format": _FORMAT, "name": profile.name, "model": profile.model, "settings": profile.settings}
    return bytes(
        serialise(
            {key: np.ascontiguousarray(value) for key, value in tensors.items()},
            {"dataprophet": json.dumps(head, sort_keys=True)},
        )
    )


def load(path: str | os.PathLike[str]) -> Profile:
    """Read a profile and check every part of it."""
    from safetensors import SafetensorError, safe_open

    where = str(Path(path))
    if not Path(path).is_file():
        raise ProfileError("no such profile", where=where, fix="check the path, or make it with `dataprophet profile`")
    try:
        with safe_open(path, framework="numpy") as stream:
            metadata = stream.metadata() or {}
            tensors = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118 (not a dict)
        head = json.loads(metadata.get("dataprophet", "{}"))
    except (SafetensorError, OSError, ValueError) as error:
        raise ProfileError(f"not a readable profile ({error})", where=where, fix=_FIX) from error
    if not isinstance(head, dict) or head.get("format") != _FORMAT:
        raise ProfileError(f"not a profile of format {_FORMAT}", where=where, fix=_FIX)
    try:
        return _build(head, tensors)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise ProfileError(f"damaged profile ({reason})", where=where, fix=_FIX) from error


def _build(head: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> Profile:
    settings = {str(key): str(value) for key, value in head["settings"].items()}
    clusters = int(settings["clusters"])
    size = None if settings["sketch_size"] == ALL else int(settings["sketch_size"])

    def take(key: str, dtype: type[np.generic], *shape: int | None, finite: bool = True) -> NDArray[Any]:
        value = tensors[key]
        fits = len(shape) == value.ndim and all(
            want in (None, got) for want, got in zip(shape, value.shape, strict=True)
        )
        if value.dtype != dtype or not fits:
            raise ValueError(f"{key} is {value.dtype} {value.shape}")
        if finite and value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ValueError(f"{key} is not finite")
        return value

    sketch = None
    if "sketch.hashes" in tensors:
        hashes = take("sketch.hashes", np.uint64, None)
        z = take("sketch.z", np.float16, len(hashes), None)
        if (size is not None and len(hashes) > size) or (hashes[1:] < hashes[:-1]).any():
            raise ValueError("sketch is not in order")
        bound = int(take("sketch.bound", np.uint64, 1)[0]) if "sketch.bound" in tensors else None
        if bound is not None and (hashes > np.uint64(bound)).any():
            raise ValueError("sketch is beyond its bound")
        sketch = Sketch(size, hashes, z, bound=bound)
    diversity = None
    if "diversity.silhouette_sum" in tensors:
        diversity = DiversitySums(
            take("diversity.silhouette_sum", np.float64, N_GROUPS),
            take("diversity.cluster_counts", np.int64, N_GROUPS, clusters),
            take("diversity.halves", np.float64, HALVES, finite=False),
        )
        if (diversity.cluster_counts < 0).any() or diversity.n == 0:
            raise ValueError("cluster counts do not add up")
    if sketch is None and diversity is None:
        raise ValueError("neither sketch nor diversity")
    count = take("count", np.int64, N_GROUPS)
    field_count = {name: take(f"{name}.count", np.int64, N_GROUPS) for name in FIELDS}
    if (count < 0).any() or any((part < 0).any() or (part > count).any() for part in field_count.values()):
        raise ValueError("counts do not add up")
    return Profile(
        name=str(head["name"]),
        model=str(head["model"]),
        settings=settings,
        count=count,
        nll_sum=take("nll_sum", np.float64, N_GROUPS),
        tokens=take("tokens", np.int64, N_GROUPS),
        field_count=field_count,
        field_sum={name: take(f"{name}.sum", np.float64, N_GROUPS, None) for name in FIELDS},
        sketch=sketch,
        _diversity=diversity,
    )
