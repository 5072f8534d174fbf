"""Features of samples: what a model pass yields, and all that a profile needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from dataprophet.errors import ProfileError
from dataprophet.intake import Operand, load

FIELDS = ("question", "answer", "image")
_ROWS = 512


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


class FieldRows(NamedTuple):
    """Checked embeddings of one field.

    Attributes:
        rows: (n, d) floats as they were given; the rows of samples without the field mean nothing.
        lengths: (n,) float64 l2 norms, 1 for samples without the field.
        present: (n,) bool.
    """

    rows: NDArray[Any]
    lengths: NDArray[np.float64]
    present: NDArray[np.bool_]

    def unit(self, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
        """(m, d) normalised rows, zero for samples without the field."""
        block = self.rows[chosen].astype(np.float64)
        block /= self.lengths[chosen, None]
        block[~self.present[chosen]] = 0.0
        return block

    def sums(self, groups: NDArray[np.int64], count: int) -> NDArray[np.float64]:
        """(count, d) sums of the normalised rows of each group, in the order of the rows."""
        total = np.zeros((count, self.rows.shape[1]))
        for part in chunks_of(len(self.rows)):
            here = np.flatnonzero(self.present[part])
            weights = csr_array(
                (1.0 / self.lengths[part][here], (groups[part][here], here)), shape=(count, len(groups[part]))
            )
            block = self.rows[part].astype(np.float64)
            block[~self.present[part]] = 0.0
            total += weights @ block
        return total


def field_rows(features: Features, where: str) -> dict[str, FieldRows]:
    """Embeddings of each field that some sample has, checked and measured.

    Args:
        features: n samples.
        where: the dataset's name, for messages.

    Raises:
        ProfileError: when shapes do not fit, or a value is not finite or an embedding is zero, naming the first sample.
    """
    n = len(features.ids)
    found = {}
    for name, values in features.embeddings.items():
        if name not in FIELDS:
            raise ProfileError(f"unknown field {name!r}", where=where, fix=f"choose among {', '.join(FIELDS)}")
        rows = _floats(values, name, where)
        if rows.ndim != 2 or len(rows) != n:
            raise ProfileError(
                f"{name} has shape {rows.shape}, expected ({n}, d)", where=where, fix="give a row per id"
            )
        here = np.asarray(features.present.get(name, np.ones(n, np.bool_)), np.bool_)
        if here.shape != (n,):
            raise ProfileError(f"present[{name!r}] has shape {here.shape}", where=where, fix=f"give shape ({n},)")
        if not here.any():
            continue
        if rows.dtype == np.float64:
            rows = _in_range(rows)
        lengths = _lengths(rows)
        _check_rows(np.isfinite(lengths) | ~here, features.ids, f"{name} embedding is not finite", where)
        _check_rows((lengths > 0) | ~here, features.ids, f"{name} embedding is zero", where)
        found[name] = FieldRows(rows, np.where(here, lengths, 1.0), here)
    if n and not found:
        raise ProfileError("features hold no embeddings", where=where, fix=f"give at least one of {', '.join(FIELDS)}")
    return found


def nll_of(features: Features, where: str) -> NDArray[np.float64]:
    """(n,) float64 negative log-likelihoods.

    Raises:
        ProfileError: when there is not one for each sample, or one is not finite, naming the first sample.
    """
    n = len(features.ids)
    nll = _floats(features.nll, "nll", where).astype(np.float64)
    if nll.shape != (n,):
        raise ProfileError(f"nll has shape {nll.shape}, expected ({n},)", where=where, fix="give one value per id")
    _check_rows(np.isfinite(nll), features.ids, "nll is not finite", where)
    return nll


def tokens_of(features: Features, where: str) -> NDArray[np.int64]:
    """(n,) int64 answer tokens, 0 where the features do not tell.

    Raises:
        ProfileError: when there is not one whole number, 0 or more, for each sample.
    """
    n = len(features.ids)
    if features.n_tokens is None:
        return np.zeros(n, np.int64)
    given = _floats(features.n_tokens, "n_tokens", where)
    if given.shape != (n,) or not ((given >= 0) & (given == np.floor(given)) & (given < 2**53)).all():
        raise ProfileError(
            "n_tokens is not one count for each sample", where=where, fix="give whole numbers, 0 where unknown"
        )
    return given.astype(np.int64)


def _floats(values: Any, name: str, where: str) -> NDArray[Any]:
    """Numbers of any library as float16, float32 or float64, laid out in rows, so that the layout changes no sum."""
    try:
        found, library = load(values, name)
        array = Operand(found, name, library).numpy()
        return np.ascontiguousarray(array, None if array.dtype in (np.float16, np.float32) else np.float64)
    except (TypeError, ValueError) as error:
        raise ProfileError(f"{name} is not an array of numbers", where=where, fix="give floats") from error


def _in_range(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same directions where the squares of float64 would overflow or underflow; those of the others never do."""
    largest = np.abs(rows).max(1, initial=0.0)
    extreme = np.isfinite(largest) & (largest > 0) & ((largest > 1e100) | (largest < 1e-100))
    return rows / np.where(extreme, largest, 1.0)[:, None] if extreme.any() else rows


def _lengths(rows: NDArray[Any]) -> NDArray[np.float64]:
    """(n,) l2 norms, accumulated in float64."""
    lengths = np.empty(len(rows))
    for part in chunks_of(len(rows)):
        block = rows[part].astype(np.float64)
        lengths[part] = np.sqrt(np.einsum("ij,ij->i", block, block))
    return lengths


def chunks_of(n: int) -> list[slice]:
    """Slices of rows few enough that a block of them stays in the cache."""
    return [slice(start, start + _ROWS) for start in range(0, n, _ROWS)]


def _check_rows(good: NDArray[np.bool_], ids: list[str], what: str, where: str) -> None:
    if not good.all():
        bad = np.flatnonzero(~good)
        raise ProfileError(
            f"{what} in {len(bad)} of {len(ids)} samples",
            where=f"{where}, sample {ids[int(bad[0])]!r}",
            fix="leave those samples out, or mark the field as not present",
        )
