"""Features of samples: what a model pass yields, and all that a profile needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataprophet.errors import ProfileError
from dataprophet.intake import Operand, load

FIELDS = ("question", "answer", "image")


@dataclass
class Features:
    """Features of n samples, in order.

    Attributes:
        ids: n sample ids.
        nll: (n,) float64, the mean over answer tokens of minus the natural log of their probability, in nats.
        embeddings: field name -> (n, d) float32, not normalised. Rows of absent fields are zero.
        present: field name -> (n,) bool, False where the sample lacks the field (a text-only row has no image).
        n_tokens: (n,) int64 answer tokens, 0 where unknown.
    """

    ids: list[str]
    nll: NDArray[np.float64]
    embeddings: Mapping[str, NDArray[np.float32]]
    present: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    n_tokens: NDArray[np.int64] | None = None


def unit_rows(features: Features, where: str) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.bool_]]]:
    """Normalised rows of each field that some sample has, zero where it is absent; and where it is present.

    Args:
        features: n samples.
        where: the dataset's name, for messages.

    Returns:
        field -> (n, d) float64 unit rows, and field -> (n,) bool.

    Raises:
        ProfileError: when shapes do not fit, or a value is not finite or an embedding is zero, naming the first sample.
    """
    n = len(features.ids)
    nll = numbers_of(features.nll, "nll", where)
    if nll.shape != (n,):
        raise ProfileError(f"nll has shape {nll.shape}, expected ({n},)", where=where, fix="give one value per id")
    _check_rows(np.isfinite(nll), features.ids, "nll is not finite", where)
    unit, present = {}, {}
    for name, values in features.embeddings.items():
        if name not in FIELDS:
            raise ProfileError(f"unknown field {name!r}", where=where, fix=f"choose among {', '.join(FIELDS)}")
        rows = numbers_of(values, name, where)
        if rows.ndim != 2 or len(rows) != n:
            raise ProfileError(
                f"{name} has shape {rows.shape}, expected ({n}, d)", where=where, fix="give a row per id"
            )
        here = np.asarray(features.present.get(name, np.ones(n, np.bool_)), np.bool_)
        if here.shape != (n,):
            raise ProfileError(f"present[{name!r}] has shape {here.shape}", where=where, fix=f"give shape ({n},)")
        if not here.any():
            continue
        largest = np.abs(rows).max(1, initial=0.0)
        _check_rows(np.isfinite(largest) | ~here, features.ids, f"{name} embedding is not finite", where)
        _check_rows((largest > 0) | ~here, features.ids, f"{name} embedding is zero", where)
        scaled = rows / np.where(here, largest, 1.0)[:, None]  # no overflow or underflow in the squares
        norms = np.sqrt((scaled * scaled).sum(1, keepdims=True))
        unit[name] = np.where(here[:, None], scaled / np.where(here[:, None], norms, 1.0), 0.0)
        present[name] = here
    if n and not unit:
        raise ProfileError("features hold no embeddings", where=where, fix=f"give at least one of {', '.join(FIELDS)}")
    return unit, present


def tokens_of(features: Features, where: str) -> NDArray[np.int64]:
    """(n,) int64 answer tokens, 0 where the features do not tell.

    Raises:
        ProfileError: when there is not one whole number, 0 or more, for each sample.
    """
    n = len(features.ids)
    if features.n_tokens is None:
        return np.zeros(n, np.int64)
    given = numbers_of(features.n_tokens, "n_tokens", where)
    if given.shape != (n,) or not ((given >= 0) & (given == np.floor(given)) & (given < 2**53)).all():
        raise ProfileError(
            "n_tokens is not one count for each sample", where=where, fix="give whole numbers, 0 where unknown"
        )
    return given.astype(np.int64)


def numbers_of(values: Any, name: str, where: str) -> NDArray[np.float64]:
    """Numbers of any library as float64, laid out in rows: sums then have the same bits for any layout given."""
    try:
        found, library = load(values, name)
        return np.ascontiguousarray(Operand(found, name, library).numpy(), np.float64)
    except (TypeError, ValueError) as error:
        raise ProfileError(f"{name} is not an array of numbers", where=where, fix="give floats") from error


def _check_rows(good: NDArray[np.bool_], ids: list[str], what: str, where: str) -> None:
    if not good.all():
        bad = np.flatnonzero(~good)
        raise ProfileError(
            f"{what} in {len(bad)} of {len(ids)} samples",
            where=f"{where}, sample {ids[int(bad[0])]!r}",
            fix="leave those samples out, or mark the field as not present",
        )
