"""The metric M(s -> t) = QSim * ASim * ISim * PPL(s) * (Sil + H)(s) / PPL(t) of arXiv 2603.19688, over profiles.

The matrix command and the demo call it. It reads profiles and computes the factors with their errors; what the matrix
is then used for it does not know.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from dataprophet.errors import MetricError, checked, choose
from dataprophet.features.features import FIELDS
from dataprophet.metric.added import influences_of, require_added, values_of
from dataprophet.metric.calibration import read_weights, weighted
from dataprophet.metric.factors import FACTORS, Floats, product
from dataprophet.metric.matrix import Influences, TransferMatrix
from dataprophet.ops.reference.products import exact_dots, exact_dots_with
from dataprophet.profiling.jackknife import influence
from dataprophet.profiling.profile import Profile

Item: TypeAlias = Profile | str | os.PathLike[str]
Pairs: TypeAlias = dict[str, tuple[Floats, Floats]]  # field -> directions of the sources, and of the targets

_MOST_CELLS_WITH_ERRORS = 16_384
"""Above this many cells errors=None computes none: their influences would take over 50 MB for each similarity."""

_NO_INFLUENCE = np.zeros((1, 1, 1))


@checked()
def transfer_matrix(
    sources: Iterable[Item] | Item,
    targets: Iterable[Item] | Item,
    *,
    fields: Iterable[str] = FIELDS,
    factors: Iterable[str] = (),
    errors: bool | None = None,
    allow_nonpositive: bool = False,
    weights: Mapping[str, float] | str | os.PathLike[str] | None = None,
) -> TransferMatrix:
    """Score every source for every target.

    Args:
        sources: S profiles, or paths of saved ones; a single one need not be in a list.
        targets: T profiles, or paths, likewise.
        fields: similarities in the product. Leave out ``image`` to compare datasets of which some have no images.
        factors: names of further factors in the product, which packages add (``dataprophet.metric.added.Factor``).
            Where one has no standard errors, the scores have none.
        errors: compute standard errors; by default for up to 16,384 cells.
        allow_nonpositive: give NaN for a score that has a factor that is not positive, instead of an error.
        weights: factor -> exponent, 1 for those that are not named, or the path of what `dataprophet calibrate` wrote.
            Without it the score is the published one.

    Returns:
        The matrix with every factor.

    Raises:
        ProfileError: when profiles come from different models or settings, or hold no samples.
        MetricError: when a field is missing or a factor is not positive, naming the datasets.
    """
    s, t = Profile.load_all(sources, "sources"), Profile.load_all(targets, "targets")
    if not s or not t:
        raise MetricError(f"no {'targets' if s else 'sources'} given", fix="give at least one profile of each")
    s[0].require_comparable([*s, *t])
    more, wanted = require_added(factors), list(dict.fromkeys(fields))
    if set(wanted) - set(FIELDS):
        unknown = sorted(set(wanted) - set(FIELDS))[0]
        raise MetricError(f"unknown field {unknown!r}", where="fields", fix=choose(unknown, FIELDS))
    shape = (len(s), len(t))
    known = {id(p): p.directions for p in [*s, *t]}  # sums over the groups: once for each profile, not for each use
    directions = {name: (_directions(s, known, name), _directions(t, known, name)) for name in FIELDS if name in wanted}
    made = {f"{name}_similarity": exact_dots(of_s, of_t) for name, (of_s, of_t) in directions.items()}
    rows = {"source_perplexity": [p.perplexity for p in s], "diversity": [p.diversity for p in s]}
    made |= {name: np.repeat(np.array(column)[:, None], len(t), axis=1) for name, column in rows.items()}
    made["inverse_target_perplexity"] = np.repeat([[1 / p.perplexity for p in t]], len(s), axis=0)
    made |= {name: values_of(name, s, t) for name in more}
    if not allow_nonpositive:
        _require_positive(made, s, t)
    if errors is None:
        errors = len(s) * len(t) <= _MOST_CELLS_WITH_ERRORS
    with np.errstate(divide="ignore", invalid="ignore"):
        influences = _influences(s, t, made, directions) if errors else {}
        for name in more if errors else ():
            if (parts := influences_of(name, made[name], s, t)) is not None:
                influences[name] = Influences(*map(_with_clustering, parts))
        same = np.array([[a is b or a == b for b in t] for a in s], np.bool_) if errors else None
        names, values = ([p.name for p in s], [p.name for p in t]), product(made, shape)
        tokens = np.array([p.n_tokens / p.n_samples for p in s])
        made_of = {"sources": {p.name: p.identity for p in s}, "targets": {p.name: p.identity for p in t}}
        beside: dict[str, Any] = {"same": same, "answer_tokens": tokens, "identities": made_of}
        matrix = TransferMatrix(*names, values, made, influences=influences, **beside)
        return matrix if weights is None else weighted(matrix, read_weights(weights))


def _directions(profiles: Sequence[Profile], known: dict[int, dict[str, Floats]], name: str) -> Floats:
    """(P, d) mean directions of a field, which every profile must have and in one width."""
    found = [known[id(profile)].get(name) for profile in profiles]
    for profile, direction in zip(profiles, found, strict=True):
        if direction is None:
            others = ",".join(field for field in FIELDS if field != name)
            what = f"no sample has the field {name!r}, so its similarity is undefined"
            fix = f"leave the dataset out, or compare without it (fields={others})"
            raise MetricError(what, where=f"profile {profile.name!r}", fix=fix)
    widths = {len(direction) for direction in found if direction is not None}
    if len(widths) > 1:
        raise MetricError(f"{name} embeddings are {sorted(widths)} wide", fix="profile all with one model")
    return np.array(found, np.float64)


def _require_positive(factors: dict[str, Floats], sources: Sequence[Profile], targets: Sequence[Profile]) -> None:
    for name, part in factors.items():
        bad = np.argwhere(~(part > 0))
        for i, j in bad[:1]:
            of_source = name in ("diversity", "source_perplexity")
            pair = repr(sources[i].name) if of_source else f"{sources[i].name!r} -> {targets[j].name!r}"
            more = f" (and {len(bad) - 1} more cells)" if len(bad) > 1 else ""
            what = f"{FACTORS.get(name, name)} is {part[i, j]:.4g}, not positive, so the score has no meaning{more}"
            fix = "leave the dataset out, drop the factor, or allow non-positive factors to get NaN there"
            raise MetricError(what, where=pair, fix=fix)


def _influences(
    sources: list[Profile], targets: list[Profile], factors: dict[str, Floats], directions: Pairs
) -> dict[str, Influences]:
    """Relative influence of groups of samples on each factor; first order, so that those of log M are their sum."""
    found = {}
    for name, (of_sources, of_targets) in directions.items():
        value = factors[f"{name}_similarity"]
        by_source = _similarity_influence(sources, of_targets, value, name)
        by_target = _similarity_influence(targets, of_sources, value.T, name).transpose(1, 0, 2)
        parts = (_with_clustering(part / value[..., None]) for part in (by_source, by_target))
        found[f"{name}_similarity"] = Influences(*parts)
    perplexities = factors["source_perplexity"][:, 0]
    of_groups = influence(perplexities, *_perplexities(sources)) / perplexities[:, None]
    found["source_perplexity"] = Influences(_with_clustering(of_groups)[:, None], _NO_INFLUENCE)
    sums = [profile.diversity_sums for profile in sources]
    clustering = np.array([part.clustering_error() for part in sums])
    relative = _with_clustering(np.stack([part.influence() for part in sums]), clustering)
    found["diversity"] = Influences((relative / factors["diversity"][:, :1])[:, None], _NO_INFLUENCE)
    inverse = factors["inverse_target_perplexity"][0]
    without, counts = _perplexities(targets)
    of_groups = influence(inverse, 1 / without, counts) / inverse[:, None]
    found["inverse_target_perplexity"] = Influences(_NO_INFLUENCE, _with_clustering(of_groups)[None])
    return found


def _with_clustering(influences: Floats, error: Floats | None = None) -> Floats:
    """(..., 65): the influences of the 64 groups, and the part of the error that comes from the clustering."""
    last = np.zeros((*influences.shape[:-1], 1)) if error is None else error[..., None]
    return np.concatenate([influences, last], axis=-1)


def _perplexities(profiles: Sequence[Profile]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(P, 64) perplexity of each profile without each group, and samples in each group."""
    count = np.stack([profile.count for profile in profiles])
    nll = np.stack([profile.nll_sum for profile in profiles])
    left = count.sum(1, keepdims=True) - count
    return np.exp((nll.sum(1, keepdims=True) - nll) / np.where(left > 0, left, np.nan)), count


def _similarity_influence(profiles: Sequence[Profile], directions: Floats, value: Floats, name: str) -> Floats:
    """(P, Q, 64) influence of the groups of P profiles on their similarity to Q mean directions."""
    result = np.empty((*value.shape, len(profiles[0].count)))
    along_all = exact_dots_with(directions)
    for row, profile in enumerate(profiles):
        count = profile.field_count[name]
        means = profile.field_sum[name] / np.maximum(count, 1)[:, None]
        along = along_all(means) * count
        left = count.sum() - count
        replicates = (along.sum(1, keepdims=True) - along) / np.where(left > 0, left, np.nan)
        result[row] = influence(value[row], replicates, count)
    return result
