"""Profile of a dataset: mergeable sufficient statistics of the metric, kept in 64 groups for a jackknife."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from dataprophet.data.sample import ProblemLog, Sample
from dataprophet.errors import ProfileError
from dataprophet.features.features import FIELDS, Features, FieldRows, field_rows, nll_of, sketch_vectors, tokens_of
from dataprophet.ops.reference import SUM_UNIT
from dataprophet.profiling.diversity import DiversitySums, diversity_of
from dataprophet.profiling.origin import require_same_origin
from dataprophet.profiling.sketch import N_GROUPS, Sketch, groups_of, hash_ids

if TYPE_CHECKING:
    from dataprophet.model import Model

CLUSTERS = 10
SKETCH_SIZE = 20_000
ALL = "all"  # the sketch size, among the settings, of a sketch without a limit
_LARGEST_NLL = 700.0  # exp(709.8) is the largest float64


@dataclass(eq=False)
class Profile:
    """Sums over the samples of a dataset, from which every factor of M(s -> t) follows (arXiv 2603.19688).

    ``a + b`` is the profile of both sets of samples, the same bits for any order, batches and split: what a sample adds
    to a sum is a multiple of 2^-30, and such numbers add up without rounding below 2^23. (A group whose sum grows
    beyond that has more than 8 million samples, of 500 million in all; its sums are then as exact as float64, and their
    last bits may depend on the order.) Numerators and denominators are kept apart. Profiles of different models or
    settings refuse to mix.

    Attributes:
        name: the dataset's name.
        model: fingerprint of the model that made the features.
        settings: everything else that changes the numbers, as text.
        count: (64,) int64 samples in each group; a sample's group is a hash of its id.
        nll_sum: (64,) float64, sums of each sample's mean negative log-likelihood per answer token, in nats.
        tokens: (64,) int64 answer tokens.
        field_count: field -> (64,) int64 samples that have the field.
        field_sum: field -> (64, d) float64 sums of l2-normalised embeddings.
        sketch: bottom-k sample of z, or all of it, or None in a sealed profile.
    """

    name: str
    model: str
    settings: dict[str, str]
    count: NDArray[np.int64]
    nll_sum: NDArray[np.float64]
    tokens: NDArray[np.int64]
    field_count: dict[str, NDArray[np.int64]]
    field_sum: dict[str, NDArray[np.float64]]
    sketch: Sketch | None
    problems: ProblemLog = field(default_factory=ProblemLog, repr=False)
    _diversity: DiversitySums | None = field(default=None, repr=False)

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def empty(
        cls,
        name: str,
        model: str,
        settings: Mapping[str, str] | None = None,
        *,
        clusters: int = CLUSTERS,
        sketch_size: int | None = SKETCH_SIZE,
        diversity_fields: Iterable[str] = FIELDS,
        seed: int = 0,
    ) -> Profile:
        """A profile of no samples, to be filled with :meth:`update`."""
        fields = [name for name in FIELDS if name in set(diversity_fields)]
        if not fields or set(diversity_fields) - set(FIELDS):
            raise ProfileError(
                f"unknown diversity fields {sorted(set(diversity_fields))}", fix=f"choose among {', '.join(FIELDS)}"
            )
        if clusters < 2 or (sketch_size is not None and sketch_size <= clusters):
            raise ProfileError(
                f"clusters={clusters} and sketch_size={sketch_size} do not fit",
                fix="use at least 2 clusters and a sketch larger than that",
            )
        own = {
            "clusters": str(clusters),
            "sketch_size": ALL if sketch_size is None else str(sketch_size),
            "diversity_fields": ",".join(fields),
            "seed": str(seed),
        }
        return cls(
            name=name,
            model=model,
            settings={**(settings or {}), **own},
            count=np.zeros(N_GROUPS, np.int64),
            nll_sum=np.zeros(N_GROUPS),
            tokens=np.zeros(N_GROUPS, np.int64),
            field_count={name: np.zeros(N_GROUPS, np.int64) for name in FIELDS},
            field_sum={name: np.zeros((N_GROUPS, 0)) for name in FIELDS},
            sketch=Sketch.empty(sketch_size),
        )

    @property
    def n_samples(self) -> int:
        return int(self.count.sum())

    @property
    def n_tokens(self) -> int:
        """Answer tokens, 0 when the features did not tell."""
        return int(self.tokens.sum())

    @property
    def mean_nll(self) -> float:
        """Mean over samples of the mean over answer tokens of the negative log-likelihood, in nats."""
        return float(self.nll_sum.sum() / self._some_samples())

    @property
    def perplexity(self) -> float:
        """PPL(D), the exponential of :attr:`mean_nll`."""
        if self.mean_nll > _LARGEST_NLL:
            raise ProfileError(
                f"mean_nll is {self.mean_nll:.4g} nats, whose exponential overflows",
                where=f"profile {self.name!r}",
                fix="give the mean over the tokens of each answer, not their sum",
            )
        return float(np.exp(self.mean_nll))

    @property
    def directions(self) -> dict[str, NDArray[np.float64]]:
        """Field -> (d,) float64 mean of the normalised embeddings; fields that no sample has are left out."""
        return {
            name: self.field_sum[name].sum(0) / total
            for name in FIELDS
            if (total := int(self.field_count[name].sum())) > 0
        }

    @property
    def diversity(self) -> float:
        """Sil + H. Computed at first use, then kept until samples are added."""
        return self.diversity_sums.value

    @property
    def silhouette(self) -> float:
        return self.diversity_sums.silhouette

    @property
    def entropy(self) -> float:
        return self.diversity_sums.entropy

    @property
    def diversity_sums(self) -> DiversitySums:
        if self._diversity is None:
            self._some_samples()
            if self.sketch is None:
                raise ProfileError("sealed without a diversity", where=self.name, fix="profile the dataset again")
            self._diversity = diversity_of(
                self.sketch, int(self.settings["clusters"]), int(self.settings["seed"]), where=f"profile {self.name!r}"
            )
        return self._diversity

    @property
    def fingerprint(self) -> str:
        """Hex hash of the model and the settings; profiles add up and compare only when it is the same."""
        text = json.dumps([self.model, sorted(self.settings.items())])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def sealed(self) -> bool:
        return self.sketch is None

    def seal(self) -> Profile:
        """A copy of a few megabytes: the diversity computed, the sketch dropped. It no longer merges."""
        sealed = copy(self)
        sealed._diversity, sealed.sketch = self.diversity_sums, None
        return sealed

    def update(self, features: Features) -> None:
        """Add samples.

        Raises:
            ProfileError: when an embedding or log-likelihood is not finite, an embedding is zero, or a width differs
                from earlier samples; the profile is left as it was.
        """
        self.measure(features)

    def measure(self, features: Features, directions: Mapping[str, NDArray[Any]] | None = None) -> dict[str, FieldRows]:
        """Add samples, and take their cosines in the same read of the embeddings.

        Args:
            features: n samples.
            directions: field -> (T, d) directions.

        Returns:
            What was read of each field that some sample has.

        Raises:
            ProfileError: as :meth:`update`.
        """
        n = len(features.ids)
        if self.sketch is None:
            raise ProfileError("is sealed and takes no more samples", where=self.name, fix="keep the unsealed profile")
        nll, tokens = nll_of(features, self.name), tokens_of(features, self.name)
        hashes = hash_ids(features.ids)
        groups = groups_of(hashes)
        fields = field_rows(features, self.name, groups=groups, count=N_GROUPS, directions=directions)
        if n == 0:
            return fields
        for name, given in fields.items():
            width = given.rows.shape[1]
            if int(self.field_count[name].sum()) and self.field_sum[name].shape[1] != width:
                raise ProfileError(
                    f"{name} embeddings are {width} wide, earlier ones {self.field_sum[name].shape[1]}",
                    where=self.name,
                    fix="use features of one model",
                )
        self.sketch = self._sketched(self.sketch, hashes, fields)
        self.count = self.count + np.bincount(groups, minlength=N_GROUPS)
        units = np.bincount(groups, weights=np.rint(nll / SUM_UNIT), minlength=N_GROUPS)
        self.nll_sum = self.nll_sum + units * SUM_UNIT
        self.tokens = self.tokens.copy()
        np.add.at(self.tokens, groups, tokens)
        # new dictionaries: a copy, such as a sealed one, shares the old ones
        self.field_count, self.field_sum = dict(self.field_count), dict(self.field_sum)
        for name, given in fields.items():
            here = np.bincount(groups[given.present], minlength=N_GROUPS)
            self.field_count[name] = self.field_count[name] + here
            self.field_sum[name] = _padded(self.field_sum[name], given.rows.shape[1]) + given.sums
        self._diversity = None
        return fields

    def _sketched(self, sketch: Sketch, hashes: NDArray[np.uint64], fields: Mapping[str, FieldRows]) -> Sketch:
        """The sketch with z of new samples."""
        low = np.flatnonzero(sketch.takes(hashes))
        z, usable = sketch_vectors(fields, self.settings["diversity_fields"], low, self.name)
        return sketch.merge(hashes[low[usable]], z[usable])

    def __add__(self, other: Profile) -> Profile:
        if not isinstance(other, Profile):
            return NotImplemented
        require_same_origin([self, other])
        for profile in (self, other):
            if profile.sketch is None:
                raise ProfileError(
                    "is sealed and no longer merges", where=f"profile {profile.name!r}", fix="merge before sealing"
                )
        both = copy(self)
        both.name = self.name if self.name == other.name else f"{self.name}+{other.name}"
        both.count = self.count + other.count
        both.nll_sum = self.nll_sum + other.nll_sum
        both.tokens = self.tokens + other.tokens
        both.field_count = {name: self.field_count[name] + other.field_count[name] for name in FIELDS}
        both.field_sum = {name: _added(self.field_sum[name], other.field_sum[name], name, both.name) for name in FIELDS}
        assert self.sketch is not None  # both were checked above
        assert other.sketch is not None
        empty = len(self.sketch) == 0 and self.sketch.bound is None
        both.sketch = (
            other.sketch if empty else self.sketch.merge(other.sketch.hashes, other.sketch.z, bound=other.sketch.bound)
        )
        both.problems = ProblemLog(self.problems.keep)
        both.problems.counts = self.problems.counts + other.problems.counts
        both.problems.first = [*self.problems.first, *other.problems.first][: self.problems.keep]
        both._diversity = None
        return both

    def __radd__(self, other: object) -> Profile:
        """``sum(profiles)`` starts from 0."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __eq__(self, other: object) -> bool:
        """Equal state to the bit: name, origin, sums and sketch."""
        return (
            isinstance(other, Profile)
            and (self.name, self.model, self.settings) == (other.name, other.model, other.settings)
            and np.array_equal(self.count, other.count)
            and np.array_equal(self.nll_sum, other.nll_sum)
            and np.array_equal(self.tokens, other.tokens)
            and all(np.array_equal(self.field_count[name], other.field_count[name]) for name in FIELDS)
            and all(np.array_equal(self.field_sum[name], other.field_sum[name]) for name in FIELDS)
            and self.sketch == other.sketch
            and (not self.sealed or self._diversity == other._diversity)
        )

    def _some_samples(self) -> int:
        if self.n_samples == 0:
            raise ProfileError("holds no samples", where=f"profile {self.name!r}", fix="check the dataset's problems")
        return self.n_samples

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file with JSON metadata; :meth:`load` gives back an equal profile."""
        from dataprophet.profiling.profile_file import save

        save(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Profile:
        """Read a profile.

        Raises:
            ProfileError: when the file is missing, is not a profile, or is damaged.
        """
        from dataprophet.profiling.profile_file import load

        return load(path)


def profile(
    dataset: Iterable[Sample] | Iterable[Features] | Features,
    model: Model | str | None = None,
    *,
    name: str | None = None,
    clusters: int = CLUSTERS,
    sketch_size: int | None = SKETCH_SIZE,
    diversity_fields: Iterable[str] = FIELDS,
    seed: int = 0,
    progress: Callable[[int], Any] | None = None,
) -> Profile:
    """Profile a dataset in one pass.

    Args:
        dataset: a ``Dataset``, any iterable of samples, or features that were computed before.
        model: the model that scores the samples; for features, a label of the model they came from.
        name: the dataset's name; by default its own.
        clusters: K of the k-means (10 in the paper).
        sketch_size: samples that the diversity is computed on, chosen by the hash of their id. None takes all, which
            keeps 2 d bytes of each (3 GB for a million of width 1,536; at moments three times that) until it is sealed.
        diversity_fields: fields averaged into z.
        seed: of the k-means.
        progress: called with the number of samples done so far.

    Returns:
        The profile. Rows that could not be used are counted in its ``problems``.

    Raises:
        ProfileError: when no sample could be used, or features are not finite.
    """
    problems = ProblemLog()
    name = name or str(getattr(dataset, "name", "") or "dataset")
    batches, label, settings = _features(dataset, model, name, problems)
    result = Profile.empty(
        name, label, settings, clusters=clusters, sketch_size=sketch_size, diversity_fields=diversity_fields, seed=seed
    )
    for features in batches:
        result.update(features)
        if progress is not None:
            progress(result.n_samples)
    found = getattr(dataset, "problems", None)
    if isinstance(found, ProblemLog):
        problems.counts += found.counts
        problems.first = [*found.first, *problems.first][: problems.keep]
    result.problems = problems
    if result.n_samples == 0:
        why = f": {problems.first[0]}" if problems.first else ""
        raise ProfileError(f"no sample could be used{why}", where=name, fix="run `dataprophet validate` on it")
    return result


def _features(
    dataset: Iterable[Sample] | Iterable[Features] | Features,
    model: Model | str | None,
    name: str,
    problems: ProblemLog,
) -> tuple[Iterator[Features], str, dict[str, str]]:
    """Batches of features, the model's label and its settings, whatever the dataset is."""
    if not isinstance(dataset, Iterable | Features) or isinstance(dataset, str):
        raise ProfileError(
            f"a {type(dataset).__name__} is not a dataset", where=name, fix="open files with dataprophet.open_dataset"
        )
    items: Iterator[Any] = iter([dataset] if isinstance(dataset, Features) else dataset)
    first = next(items, None)
    items = chain([first], items) if first is not None else iter(())
    if isinstance(first, Features):
        if model is not None and not isinstance(model, str):
            raise ProfileError(
                "features need no model", where=name, fix="pass model=<label of the model they came from>"
            )
        return items, model or "precomputed", {}
    if first is not None and not isinstance(first, Sample):
        raise ProfileError(
            f"holds {type(first).__name__}, not samples", where=name, fix="open it with dataprophet.open_dataset"
        )
    if model is None or isinstance(model, str):
        raise ProfileError("samples need a model", where=name, fix="pass model=dataprophet.load_model(...)")

    return model.features(items, on_problem=problems.add), model.fingerprint, dict(model.settings)


def _padded(sums: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    return sums if sums.shape[1] else np.zeros((N_GROUPS, width))


def _added(a: NDArray[np.float64], b: NDArray[np.float64], field: str, where: str) -> NDArray[np.float64]:
    width = max(a.shape[1], b.shape[1])
    if 0 not in (a.shape[1], b.shape[1]) and a.shape != b.shape:
        raise ProfileError(
            f"{field} embeddings are {a.shape[1]} and {b.shape[1]} wide", where=where, fix="use features of one model"
        )
    return _padded(a, width) + _padded(b, width)
