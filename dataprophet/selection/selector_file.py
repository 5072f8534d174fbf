"""Snapshots of selectors: one safetensors file, its settings in JSON."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dataprophet.errors import DataProphetError
from dataprophet.files import atomic_file
from dataprophet.profiling.profile import Profile
from dataprophet.selection.selector import Scored, Selector

if TYPE_CHECKING:
    from dataprophet.model import Model

_FORMAT = "dataprophet-selector-1"


def save(selector: Selector, path: str | os.PathLike[str]) -> None:
    """Write a snapshot atomically."""
    from safetensors.numpy import save as serialise

    kept = sorted(selector._kept.values(), key=lambda sample: sample.id)
    head = {
        "format": _FORMAT,
        "targets": selector._targets.fingerprint,
        "fields": selector._targets.fields,
        "combine": selector.combine,
        "means": dict(zip(selector.names, selector._divisors.tolist(), strict=True)),
        "capacity": selector.capacity,
        "unscored": selector.unscored,
        # infinity is no JSON
        "floor": None if np.isinf(selector._floor[0]) else list(selector._floor),
    }
    tensors: dict[str, NDArray[Any]] = {
        "score": np.array([sample.score for sample in kept], np.float64),
        "values": np.array([sample.values for sample in kept], np.float32).reshape(len(kept), len(selector.names)),
        "profile": np.frombuffer(selector._profile.to_bytes(), np.uint8),
        **_texts("id", [sample.id for sample in kept]),
        **_texts("taken", sorted(selector.taken)),
    }
    data = serialise(tensors, {"dataprophet": json.dumps(head, sort_keys=True)})
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


def load(
    path: str | os.PathLike[str], targets: Iterable[Profile | str | os.PathLike[str]], model: Model | None
) -> Selector:
    """Read a snapshot; see ``Selector.load``."""
    from safetensors import SafetensorError, safe_open

    where, fix = str(path), "save it again"
    try:
        with safe_open(path, framework="numpy") as stream:
            head = json.loads((stream.metadata() or {}).get("dataprophet", "{}"))
            tensors = {key: stream.get_tensor(key) for key in stream.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError, ValueError) as error:
        raise DataProphetError(f"not a readable snapshot ({error})", where=where, fix=fix) from error
    if not isinstance(head, dict) or head.get("format") != _FORMAT:
        raise DataProphetError(f"not a snapshot of format {_FORMAT}", where=where, fix=fix)
    try:
        made = Selector(
            targets,
            model,
            combine=head["combine"],
            means=head["means"],
            fields=head["fields"],
            capacity=head["capacity"],
        )
        if made._targets.fingerprint != head["targets"]:
            raise DataProphetError(
                "it was made for other targets", where=where, fix="give the profiles that it was made with"
            )
        values = tensors["values"].tolist()
        for name, score, row in zip(_split(tensors, "id"), tensors["score"].tolist(), values, strict=True):
            made._kept[name] = Scored(name, score, tuple(row))
        made.taken = set(_split(tensors, "taken"))
        made.unscored = int(head["unscored"])
        if head["floor"] is not None:
            made._floor = (float(head["floor"][0]), str(head["floor"][1]))
        made._profile = _profile(tensors["profile"].tobytes())
    except (KeyError, TypeError, IndexError, UnicodeDecodeError) as error:
        raise DataProphetError(f"damaged snapshot ({error!r})", where=where, fix=fix) from error
    return made


def _profile(data: bytes) -> Profile:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "profile"
        path.write_bytes(data)
        return Profile.load(path)


def _texts(name: str, texts: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Texts as UTF-8, one after the other, and where each ends."""
    each = [text.encode("utf-8", "surrogatepass") for text in texts]
    ends = np.cumsum([len(part) for part in each], dtype=np.int64) if each else np.empty(0, np.int64)
    return {name: np.frombuffer(b"".join(each), np.uint8), f"{name}.ends": ends}


def _split(tensors: dict[str, NDArray[Any]], name: str) -> list[str]:
    data, ends = tensors[name].tobytes(), tensors[f"{name}.ends"].tolist()
    starts = [0, *ends[:-1]]
    return [data[start:end].decode("utf-8", "surrogatepass") for start, end in zip(starts, ends, strict=False)]
