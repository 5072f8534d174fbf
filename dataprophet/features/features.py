"""Features of samples: what a model pass yields, and all that a profile needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dataprophet.errors import ProfileError, checked, explained
from dataprophet.ops import backend
from dataprophet.ops.arrays import Operand, fetched, load
from dataprophet.ops.directions import average_directions, cosine_to, nearest
from dataprophet.ops.directions import measured as _measured

FIELDS = ("question", "answer", "image")

MAX_NLL = 700.0
"""Nats: exp(709.8) is the largest float64, so a sample or a dataset beyond has no perplexity."""

_ROUNDED = -1e-4  # nats: what the rounding of logits may leave of a log-likelihood of 0
_SAME = 1 - 2.0**-19  # cosine: rounding to float16, twice, turns a vector by less than these 2e-3 radians


@checked()
@dataclass
class Features:
    """Features of n samples, in order.

    Attributes:
        ids: n sample ids.
        nll: (n,) float64, the mean over answer tokens of minus the natural log of their probability, in nats: never
            below 0.
        embeddings: field name -> (n, d) floats of any library and device, not normalised. Rows of absent fields mean
            nothing. Those on a CUDA device are measured there.
        present: field name -> (n,) bool, False where the sample lacks the field (a text-only row has no image).
        n_tokens: (n,) int64 answer tokens, 0 where unknown.
        mean_rank: (n,) float64 mean over answer tokens of the tokens that the model thinks more probable; None where
            it was not asked for.
        mean_entropy: (n,) float64 mean over answer tokens of the entropy of the model's prediction, in nats; likewise.
    """

    ids: list[str]
    nll: NDArray[np.float64]
    embeddings: Mapping[str, Any]
    present: Mapping[str, NDArray[np.bool_]] = field(default_factory=dict)
    n_tokens: NDArray[np.int64] | None = None
    mean_rank: NDArray[np.float64] | None = None
    mean_entropy: NDArray[np.float64] | None = None


class FieldRows(NamedTuple):
    """Embeddings of one field, and what one read of them gave.

    Attributes:
        rows: (m, d) floats, of the library and on the device that they came in; the rows of samples without the field
            mean nothing.
        present: (m,) bool.
        cosines: (m, T) float32 cosines to the directions asked for, NaN for samples without the field.
        lengths: (m,) float64 l2 norms, NaN for samples without the field.
        sums: (count, d) float64 exact sums of the normalised rows of each group.
    """

    rows: Any
    present: NDArray[np.bool_]
    cosines: NDArray[np.float32]
    lengths: NDArray[np.float64]
    sums: NDArray[np.float64]


class Measured(NamedTuple):
    """What one read of n samples gave: arrays of the m that can be used, and why the others cannot.

    Attributes:
        nll: (m,) float64.
        tokens: (m,) int64 answer tokens, 0 where the features do not tell.
        fields: fields that some of the m samples has.
        widths: width of each field that was given.
        usable: (n,) bool, which samples the m are.
        reasons: sample -> what is wrong with it.
    """

    nll: NDArray[np.float64]
    tokens: NDArray[np.int64]
    fields: dict[str, FieldRows]
    widths: dict[str, int]
    usable: NDArray[np.bool_]
    reasons: dict[int, str]


def measure(
    features: Features,
    where: str,
    *,
    groups: NDArray[np.int64] | None = None,
    count: int = 0,
    directions: Mapping[str, NDArray[Any]] | None = None,
    leave_out: bool = False,
) -> Measured:
    """Check features and measure them, in one read of their embeddings.

    Args:
        features: n samples.
        where: the dataset's name, for messages.
        groups: (n,) group of each sample in [0, count), for the sums; without it there are no sums.
        count: number of groups.
        directions: field -> (T, d) directions that cosines are wanted to.
        leave_out: leave out samples with a value that is not finite or beyond all bounds, a count of tokens that is
            none, or an embedding that is zero, in place of an error.

    Raises:
        ProfileError: when shapes do not fit, or a sample cannot be used, naming the first one.
    """
    n = len(features.ids)
    nll = _per_sample(features.nll, "nll", features, where)
    usable, reasons = np.ones(n, np.bool_), dict[int, str]()
    require_signs(nll, lambda place: f"{where}, sample {features.ids[place]!r}")

    def refuse(bad: NDArray[np.bool_], what: str, fix: str = "or mark the field as not present") -> None:
        places = np.flatnonzero(bad)
        if len(places) and not leave_out:
            first, fix = features.ids[int(places[0])], f"leave those samples out, {fix}"
            raise ProfileError(f"{what} in {len(places)} of {n} samples", where=f"{where}, sample {first!r}", fix=fix)
        reasons.update(dict.fromkeys(places.tolist(), what))
        usable[places] = False

    refuse(~np.isfinite(nll), "nll is not finite")
    means = "or give each answer's mean over the tokens, not their sum"
    refuse(np.isfinite(nll) & (nll > MAX_NLL), f"nll is above {MAX_NLL:g} nats, where PPL overflows,", means)
    if leave_out and (wrong := ~_counts(features, where)).any():
        refuse(wrong, "n_tokens is not a count")
        counts = _per_sample(features.n_tokens, "n_tokens", features, where)
        features = replace(features, n_tokens=np.where(wrong, 0, counts))
    tokens = tokens_of(features, where)
    read: dict[str, FieldRows] = {}
    widths: dict[str, int] = {}
    for name, values in features.embeddings.items():
        if name not in FIELDS:
            raise ProfileError(f"unknown field {name!r}", where=where, fix=f"choose among {', '.join(FIELDS)}")
        rows, here = _operand(values, name, where), np.ones(n, np.bool_)
        if len(rows.shape) != 2 or rows.shape[0] != n:
            what = f"{name} has shape {rows.shape}, expected ({n}, d)"
            raise ProfileError(what, where=where, fix="give a row per id")
        if name in features.present:
            flags = _per_sample(features.present[name], f"present[{name!r}]", features, where)
            if not np.isin(flags, (0, 1)).all():
                what, fix = f"{name}_present is not true or false for each sample", "give true or false"
                raise ProfileError(what, where=where, fix=fix)
            here = flags == 1
        widths[name] = rows.shape[1]
        if not here.any():
            continue
        wanted = (directions or {}).get(name, np.zeros((0, widths[name]), np.float32))
        if wanted.shape[1] != widths[name]:
            what = f"{name} embeddings are {widths[name]} wide, those of the targets {wanted.shape[1]}"
            raise ProfileError(what, where=where, fix="use features of one model")
        here &= usable
        own = np.where(here, 0 if groups is None else groups, -1)
        read[name] = FieldRows(rows.values, here, *_measured(rows, wanted, own, max(count, 1)))
    arrived = iter(fetched(*(part for given in read.values() for part in given[2:])))  # of all fields, at once
    read = {name: FieldRows(*given[:2], *islice(arrived, 3)) for name, given in read.items()}
    for name, given in read.items():
        here = given.present & usable
        refuse(here & ~np.isfinite(given.lengths), f"{name} embedding is not finite")
        refuse(here & (given.lengths == 0), f"{name} embedding is zero")
    if reasons:
        read = {name: _without(given, usable, groups, count) for name, given in read.items()}
        read = {name: given for name, given in read.items() if given.present.any()}
    if usable.any() and not read:
        raise ProfileError("features hold no embeddings", where=where, fix=f"give at least one of {', '.join(FIELDS)}")
    return Measured(nll[usable], tokens[usable], read, widths, usable, reasons)


def _without(given: FieldRows, usable: NDArray[np.bool_], groups: NDArray[np.int64] | None, count: int) -> FieldRows:
    """The usable samples of a field. Sums are exact, so what the others added to them can be taken off."""
    added = np.flatnonzero(given.present & ~usable & np.isfinite(given.lengths) & (given.lengths > 0))
    sums = given.sums
    if groups is not None and len(added):
        rows = Operand(given.rows[added], "", "numpy")
        nothing = np.zeros((0, rows.shape[1]), np.float32)
        sums = sums - fetched(_measured(rows, nothing, groups[added], count).sums)[0]
    kept = np.flatnonzero(usable)
    return FieldRows(given.rows[kept], given.present[kept], given.cosines[kept], given.lengths[kept], sums)


def sketch_vectors(
    fields: Mapping[str, FieldRows], names: str, chosen: NDArray[np.int64], where: str
) -> tuple[Any, NDArray[np.bool_]]:
    """Z of samples: the average of their normalised diversity fields, normalised again.

    Args:
        fields: what ``measure`` gave.
        names: the diversity fields, separated by commas.
        chosen: (m,) samples.
        where: the dataset's name, for messages.

    Returns:
        (m, d) float16, where the fields are, and (m,) whether a sample has such a vector: fields that cancel, or none
        present, give it no place on the sphere.

    Raises:
        ProfileError: no sample has a diversity field, or their widths differ.
    """
    wanted = [fields[name] for name in names.split(",") if name in fields]
    if not wanted:
        raise ProfileError("no sample has a diversity field", where=where, fix="choose others with diversity_fields=")
    widths = {given.rows.shape[1] for given in wanted}
    if len(widths) > 1:
        what = f"the diversity averages fields of one width, and they are {sorted(widths)} wide"
        raise ProfileError(what, where=where, fix="choose some of one width with diversity_fields=")
    z, norms = average_directions([given.rows for given in wanted], [given.lengths for given in wanted], chosen)
    return z, fetched(norms)[0] > 1e-6  # less is rounding


def nearest_vectors(z: Any, others: Any) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Best match of each vector z (n, d) among others (m, d) >= 1, as ``ops.nearest``: (n,) cosine, and (n,) row.

    It is sought where z is; many on the host, on a device where there is one. Two vectors that rounding to float16 may
    have made of one have cosine 1: see ``same_as_one``.
    """
    cosine, index = fetched(
        *backend.lifted(lambda rows: nearest(rows, others), z, float(len(z)) * z.shape[1] * len(others))
    )
    return same_as_one(cosine), index


def cosines_between(z: NDArray[np.float16]) -> NDArray[np.float32]:
    """(n, n) float32 cosines of vectors z (n, d) with each other, exactly 1 as ``nearest_vectors`` says."""
    wide = z.astype(np.float32)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)  # float16 leaves unit vectors up to 5e-4 longer or shorter
    (cosine,) = fetched(backend.lifted(lambda rows: cosine_to(rows, rows), wide, float(wide.size) * len(wide)))
    return same_as_one(cosine)


def same_as_one(cosine: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cosines of which those that float16 cannot tell from 1 are 1, so that a threshold of 1 finds every copy."""
    return np.where(cosine >= _SAME, np.float32(1), cosine)


def require_signs(nll: NDArray[np.float64], place_of: Callable[[int], str]) -> None:
    """Refuse log-likelihoods with the wrong sign.

    Args:
        nll: (n,) of samples.
        place_of: number of a sample -> where it is, for the message.

    Raises:
        ProfileError: one is below 0 by more than rounding.
    """
    wrong = np.flatnonzero(nll < _ROUNDED)
    if len(wrong):
        what = f"nll is {nll[wrong[0]]:.4g}, below 0, in {len(wrong)} of {len(nll)} samples"
        fix = "give minus the mean log-probability of the answer's tokens: change the sign"
        raise ProfileError(what, where=place_of(int(wrong[0])), fix=fix)


def tokens_of(features: Features, where: str) -> NDArray[np.int64]:
    """(n,) int64 answer tokens, 0 where the features do not tell.

    Raises:
        ProfileError: when there is not one whole number, 0 or more, for each sample.
    """
    if features.n_tokens is None:
        return np.zeros(len(features.ids), np.int64)
    given = _per_sample(features.n_tokens, "n_tokens", features, where)
    if not _counts(features, where).all():
        what, fix = "n_tokens is not one count for each sample", "give whole numbers, 0 where unknown"
        raise ProfileError(what, where=where, fix=fix)
    return given.astype(np.int64)


def _counts(features: Features, where: str) -> NDArray[np.bool_]:
    """(n,) bool, which samples have a whole number of answer tokens, 0 or more, or none is told."""
    if features.n_tokens is None:
        return np.ones(len(features.ids), np.bool_)
    given = _per_sample(features.n_tokens, "n_tokens", features, where)
    counts: NDArray[np.bool_] = (given >= 0) & (given == np.floor(given)) & (given < 2**53)
    return counts


def _per_sample(values: Any, name: str, features: Features, where: str) -> NDArray[np.float64]:
    found, n = _operand(values, name, where).numpy().astype(np.float64), len(features.ids)
    if found.shape != (n,):
        raise ProfileError(f"{name} has shape {found.shape}, expected ({n},)", where=where, fix="give one value per id")
    return found


def _operand(values: Any, name: str, where: str) -> Operand:
    """Floats of any library as they came, laid out in rows, so that the layout changes no sum; integers as float64."""
    with explained((TypeError, ValueError), ProfileError, f"{name} is not an array of numbers", where, "give floats"):
        found, library = load(values, name)
        given = Operand(found, name, library)
        if given.dtype not in ("float16", "bfloat16", "float32", "float64"):
            given = Operand(given.numpy().astype(np.float64), name, "numpy")
    laid_out = given.values.contiguous() if given.is_torch else np.ascontiguousarray(given.values)
    return Operand(laid_out, name, given.library)
