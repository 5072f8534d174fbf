"""Features of samples: what a model pass yields, and all that a profile needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dataprophet.errors import ProfileError
from dataprophet.ops.arrays import Operand, load
from dataprophet.ops.directions import average_directions, measured

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


class FieldRows(NamedTuple):
    """Checked embeddings of one field, and what one read of them gave.

    Attributes:
        rows: (n, d) floats as they were given; the rows of samples without the field mean nothing.
        present: (n,) bool.
        lengths: (n,) float64 l2 norms, NaN for samples without the field.
        cosines: (n, T) float32 cosines to the directions asked for, NaN for samples without the field.
        sums: (count, d) float64 exact sums of the normalised rows of each group.
    """

    rows: NDArray[Any]
    present: NDArray[np.bool_]
    lengths: NDArray[np.float64]
    cosines: NDArray[np.float32]
    sums: NDArray[np.float64]


def field_rows(
    features: Features,
    where: str,
    *,
    groups: NDArray[np.int64] | None = None,
    count: int = 0,
    directions: Mapping[str, NDArray[Any]] | None = None,
) -> dict[str, FieldRows]:
    """Embeddings of each field that some sample has, checked and measured in one read.

    Args:
        features: n samples.
        where: the dataset's name, for messages.
        groups: (n,) group of each sample in [0, count), for the sums; without it there are no sums.
        count: number of groups.
        directions: field -> (T, d) directions that cosines are wanted to.

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
        wanted = (directions or {}).get(name, np.zeros((0, rows.shape[1]), np.float32))
        if wanted.shape[1] != rows.shape[1]:
            raise ProfileError(
                f"{name} embeddings are {rows.shape[1]} wide, those of the targets {wanted.shape[1]}",
                where=where,
                fix="use features of one model",
            )
        own = np.where(here, np.zeros(n, np.int64) if groups is None else groups, -1)
        measures = measured(Operand(rows, name, "numpy"), wanted, own, max(count, 1))
        _check_rows(np.isfinite(measures.lengths) | ~here, features.ids, f"{name} embedding is not finite", where)
        _check_rows((measures.lengths > 0) | ~here, features.ids, f"{name} embedding is zero", where)
        found[name] = FieldRows(rows, here, measures.lengths, measures.cosines, measures.sums)
    if n and not found:
        raise ProfileError("features hold no embeddings", where=where, fix=f"give at least one of {', '.join(FIELDS)}")
    return found


def sketch_vectors(
    fields: Mapping[str, FieldRows], names: str, chosen: NDArray[np.int64], where: str
) -> tuple[NDArray[np.float16], NDArray[np.bool_]]:
    """Z of samples: the average of their normalised diversity fields, normalised again.

    Args:
        fields: what ``field_rows`` gave.
        names: the diversity fields, separated by commas.
        chosen: (m,) samples.
        where: the dataset's name, for messages.

    Returns:
        (m, d) float16, and (m,) whether a sample has such a vector: fields that cancel, or none present, give it no
        place on the sphere.

    Raises:
        ProfileError: no sample has a diversity field, or their widths differ.
    """
    wanted = [fields[name] for name in names.split(",") if name in fields]
    if not wanted:
        raise ProfileError("no sample has a diversity field", where=where, fix="choose other diversity_fields")
    widths = {given.rows.shape[1] for given in wanted}
    if len(widths) > 1:
        raise ProfileError(
            f"the diversity averages fields of one width, and they are {sorted(widths)} wide",
            where=where,
            fix="choose diversity_fields of one width",
        )
    z, norms = average_directions([given.rows for given in wanted], [given.lengths for given in wanted], chosen)
    return z, norms > 1e-6  # less is rounding


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


def _check_rows(good: NDArray[np.bool_], ids: list[str], what: str, where: str) -> None:
    if not good.all():
        bad = np.flatnonzero(~good)
        raise ProfileError(
            f"{what} in {len(bad)} of {len(ids)} samples",
            where=f"{where}, sample {ids[int(bad[0])]!r}",
            fix="leave those samples out, or mark the field as not present",
        )
