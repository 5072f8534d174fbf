"""A selector to be embedded: batches in, scores out, and at any time the best samples seen and not yet used.

``dp.Selector``, for training loops. It knows targets and features, and nothing of pools or folders but its snapshot.
"""

from __future__ import annotations

import copy
import heapq
import os
import tempfile
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError

from dataprophet.data.sample import Problem, Sample
from dataprophet.errors import DataProphetError, MetricError, checked, explained
from dataprophet.features.features import FIELDS, Features
from dataprophet.files import atomic_file
from dataprophet.profiling.profile import Profile
from dataprophet.scoring.targets import Targets
from dataprophet.selection.settings import combined
from dataprophet.store.checksums import dump_tensors, load_tensors

if TYPE_CHECKING:
    from dataprophet.model import Model

CAPACITY = 100_000
"""Samples that a selector remembers, unless another number is asked for."""

Key = tuple[float, str]  # minus the score, and the id: the smallest key is the best sample

_FORMAT = "dataprophet-selector-1"


@dataclass(frozen=True, slots=True)
class Scored:
    """A sample that was scored.

    Attributes:
        id: its id.
        score: what ranks it.
        values: M for each target, in the order of the targets.
        sample: the sample itself, where the selector keeps them.
    """

    id: str
    score: float
    values: tuple[float, ...]
    sample: Sample | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class BatchScores:
    """Scores of a batch.

    Attributes:
        ids: n ids, in the order of the batch, without samples that could not be used.
        scores: (n,) float64, what ranks them; NaN where M is not defined for a target.
        values: (n, T) float32, M for each target.
        problems: samples that could not be used.
    """

    ids: list[str]
    scores: NDArray[np.float64]
    values: NDArray[np.float32]
    problems: list[Problem] = field(default_factory=list)


@checked()
class Selector:
    """Scores samples as they come and remembers the best of them.

    What ``best`` and ``take`` give is exact: the best of all samples that were fed and not taken, ties by id as text,
    whatever the order, the batches, the threads, and the processes whose selectors were merged. For that a bounded
    number of samples is remembered, and when one has been dropped for lack of room, samples below it are not given
    any more, since a better one is gone; ``take`` then gives fewer than were asked for, or none.

    An id stands for one sample: fed again, it counts with the higher of its scores. (The profile counts it twice.)
    All methods may be called from several threads at a time.

    Attributes:
        names: of the targets.
        capacity: samples that are remembered.
        keep_samples: whether samples are remembered themselves, and not their ids and scores alone.
        taken: ids that were taken.
        unscored: samples fed that have no score.
    """

    def __init__(
        self,
        targets: Iterable[Profile | str | os.PathLike[str]] | Profile | str | os.PathLike[str],
        model: Model | None = None,
        *,
        combine: str = "mean",
        means: Mapping[str, float] | None = None,
        fields: Sequence[str] = FIELDS,
        capacity: int = CAPACITY,
        name: str = "pool",
        keep_samples: bool = False,
    ) -> None:
        """A selector that has seen nothing.

        Args:
            targets: profiles of the benchmarks, or their files.
            model: scores samples; without one, features are fed.
            combine: for several targets, ``mean`` or ``worst`` of the scores, each divided by its entry in ``means``.
            means: target -> a typical score, needed for several targets, since their scores have different units: such
                as the means in the manifest of a selection, or those of the first batches.
            fields: similarities in the product.
            capacity: samples to remember.
            name: of the profile of what is fed.
            keep_samples: remember the samples that are fed, which ``take(..., samples=True)`` gives: what they hold
                stays in memory, images that were decoded before among it. A snapshot does not hold them.

        Raises:
            DataProphetError: targets that do not go together or with the model, or arguments that do not fit.
        """
        profiles = Profile.load_all(targets, "targets")
        self._targets = Targets.of(profiles, fields)
        self.names = list(self._targets.names)
        self.combine, self.keep_samples = combine, keep_samples
        self._divisors = _divisors(self.names, combine, means, capacity)
        self.capacity = int(capacity)
        self._model = model
        self._profile = _empty_profile(name, profiles[0], model)
        profiles[0].require_comparable([self._profile])
        self.taken: set[str] = set()
        self.unscored = 0
        self._kept: dict[str, Scored] = {}
        self._floor: Key = (np.inf, "")  # the best sample that was dropped; everything is better than this one
        self._state = threading.RLock()
        self._device = threading.Lock()

    @property
    def profile(self) -> Profile:
        """A copy of the profile of all samples fed."""
        with self._state:
            return copy.deepcopy(self._profile)

    @property
    def n_samples(self) -> int:
        """Samples fed."""
        return self._profile.n_samples

    def __len__(self) -> int:
        """Samples that can be taken."""
        with self._state:
            self._trim()
            return len(self._kept)

    @checked()
    def feed(self, batch: Features | Iterable[Sample]) -> BatchScores:
        """Score a batch, remember its best samples and add it to the profile.

        Args:
            batch: features, or samples where there is a model.

        Raises:
            ProfileError: features that are not finite, or of another width; nothing is remembered of them.
            DataProphetError: samples without a model.
        """
        if isinstance(batch, Features):
            return self._add(batch)
        if self._model is None:
            raise DataProphetError("samples need a model", where="feed", fix="pass model=, or feed Features")
        problems: list[Problem] = []
        if self.keep_samples:
            batch = list(batch)
        with self._device:
            parts = list(self._model.features(batch, on_problem=problems.append))
        known = {sample.id: sample for sample in batch} if self.keep_samples else {}
        nothing = BatchScores([], np.empty(0), np.empty((0, len(self.names)), np.float32))
        fed = [nothing, *(self._add(part, known) for part in parts)]
        ids = [name for part in fed for name in part.ids]
        scores, values = (np.concatenate([getattr(part, name) for part in fed]) for name in ("scores", "values"))
        return BatchScores(ids, scores, values, problems)

    @checked()
    def best(self, count: int) -> list[Scored]:
        """The best samples that were not taken, from the highest score down; fewer where there are no more.

        Raises:
            DataProphetError: the count is not a whole number, 0 or more.
        """
        if isinstance(count, bool) or not isinstance(count, int | np.integer) or count < 0:
            raise DataProphetError(f"{count!r} is no number of samples", where="count", fix="give 0 or more")
        with self._state:
            self._trim()
            return heapq.nsmallest(count, self._kept.values(), key=_key)

    @overload
    def take(self, count: int, *, samples: Literal[False] = False) -> list[Scored]: ...
    @overload
    def take(self, count: int, *, samples: Literal[True]) -> list[Sample]: ...
    @overload
    def take(self, count: int, *, samples: bool) -> list[Scored] | list[Sample]: ...
    @checked()
    def take(self, count: int, *, samples: bool = False) -> list[Scored] | list[Sample]:
        """The next best batch: as ``best``, and these samples are not given again, even when they are fed again.

        Args:
            count: how many.
            samples: give the samples themselves.

        Raises:
            DataProphetError: the count is not a whole number, 0 or more; or a sample is not kept, and none is taken.
        """
        with self._state:
            chosen = self.best(count)
            found = [scored.sample for scored in chosen if scored.sample is not None]
            if samples and len(found) < len(chosen):
                lost = next(scored.id for scored in chosen if scored.sample is None)
                fix = "make the selector with keep_samples=True, and feed samples; a snapshot does not hold them"
                raise DataProphetError(f"sample {lost!r} is not kept", where="take", fix=fix)
            self._take({scored.id for scored in chosen})
            return found if samples else chosen

    @checked()
    def merge(self, other: Selector) -> None:
        """Take over what another selector has seen, such as one that ran in another process and was saved and loaded.

        The result is that of one selector fed with both; the order of merging does not matter.

        Raises:
            DataProphetError: other targets, or another way to combine them; or the selector itself.
        """
        if other is self:
            raise DataProphetError("it is the selector itself", where="merge", fix="merge another one")
        with other._state:
            theirs, floor, taken = list(other._kept.values()), other._floor, set(other.taken)
            unscored, profile = other.unscored, other.profile
        if self._request != other._request:
            what = "the selectors have other targets, models, means or ways to combine"
            raise DataProphetError(what, where="merge", fix="merge selectors that were made with the same arguments")
        with self._state:
            self._profile = replace(self._profile + profile, name=self._profile.name)
            self._take(taken)
            self.unscored += unscored
            self._floor = min(self._floor, floor)
            self._remember(theirs)

    @checked()
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write a snapshot, atomically; ``load`` gives back an equal selector. The same state gives the same bytes."""
        with self._state:
            self._trim()
            kept = sorted(self._kept.values(), key=lambda sample: sample.id)
            head: dict[str, Any] = {"format": _FORMAT, "combine": self.combine, "capacity": self.capacity}
            head |= {"targets": self._targets.fingerprint, "fields": self._targets.fields, "unscored": self.unscored}
            head["means"] = dict(zip(self.names, self._divisors.tolist(), strict=True))
            head["floor"] = None if np.isinf(self._floor[0]) else list(self._floor)  # infinity is no JSON
            tensors: dict[str, NDArray[Any]] = {
                "score": np.array([sample.score for sample in kept], np.float64),
                "values": np.array([sample.values for sample in kept], np.float32).reshape(len(kept), len(self.names)),
                "profile": np.frombuffer(self._profile.to_bytes(), np.uint8),
                **_texts("id", [sample.id for sample in kept]),
                **_texts("taken", sorted(self.taken)),
            }
        data = dump_tensors(head, tensors)
        with atomic_file(path) as temporary:
            temporary.write_bytes(data)

    @classmethod
    @checked()
    def load(
        cls,
        path: str | os.PathLike[str],
        targets: Iterable[Profile | str | os.PathLike[str]],
        model: Model | None = None,
    ) -> Selector:
        """Read a snapshot.

        Args:
            path: what ``save`` wrote.
            targets: the profiles that the selector was made with.
            model: as it was made with.

        Raises:
            DataProphetError: a damaged file, or other targets.
        """
        where, fix = str(path), "save it again"
        kinds = (SafetensorError, OSError, ValueError)
        with explained(kinds, DataProphetError, "not a readable snapshot", where, fix):
            head, tensors = load_tensors(path)
        if head.get("format") != _FORMAT:
            raise DataProphetError(f"not a snapshot of format {_FORMAT}", where=where, fix=fix)
        try:
            made = cls(targets, model, **{name: head[name] for name in ("combine", "means", "fields", "capacity")})
            if made._targets.fingerprint != head["targets"]:
                fix = "give the profiles that it was made with"
                raise DataProphetError("it was made for other targets", where=where, fix=fix)
            values = tensors["values"].tolist()
            for name, score, row in zip(_split(tensors, "id"), tensors["score"].tolist(), values, strict=True):
                made._kept[name] = Scored(name, score, tuple(row))
            made.taken = set(_split(tensors, "taken"))
            made.unscored = int(head["unscored"])
            if head["floor"] is not None:
                made._floor = (float(head["floor"][0]), str(head["floor"][1]))
            with tempfile.TemporaryDirectory() as folder:
                Path(folder, "profile").write_bytes(tensors["profile"].tobytes())
                made._profile = Profile.load(Path(folder, "profile"))
        except (KeyError, TypeError, IndexError, UnicodeDecodeError) as error:
            raise DataProphetError(f"damaged snapshot ({error!r})", where=where, fix=fix) from error
        return made

    def _add(self, features: Features, known: Mapping[str, Sample] | None = None) -> BatchScores:
        samples = known or {}
        with self._state:
            values = self._targets.add(features, self._profile).values
            scores = combined(values, self._divisors, self.combine)
            self.unscored += int(np.isnan(scores).sum())
            # what is worse than the floor cannot matter
            high = np.flatnonzero(scores >= (-self._floor[0]))
            rows = zip(high.tolist(), values[high].tolist(), strict=True)
            ids = [str(name) for name in features.ids]
            self._remember(
                Scored(ids[place], float(scores[place]), tuple(row), samples.get(ids[place])) for place, row in rows
            )
            if len(self._kept) >= 2 * self.capacity:
                self._trim()
        return BatchScores(ids, scores, values)

    def _take(self, ids: Collection[str]) -> None:
        self.taken.update(ids)
        for name in ids:
            self._kept.pop(name, None)

    def _remember(self, samples: Iterable[Scored]) -> None:
        for sample in samples:
            before = self._kept.get(sample.id)
            if sample.id not in self.taken and (before is None or _key(sample) < _key(before)):
                self._kept[sample.id] = sample

    def _trim(self) -> None:
        """Drop what there is no room for, and what is worse than anything dropped before."""
        if len(self._kept) > self.capacity:
            ranked = sorted(self._kept.values(), key=_key)
            self._floor = min(self._floor, _key(ranked[self.capacity]))
            self._kept = {sample.id: sample for sample in ranked[: self.capacity]}
        self._kept = {name: sample for name, sample in self._kept.items() if _key(sample) < self._floor}

    @property
    def _request(self) -> tuple[Any, ...]:
        """What two selectors must share to be merged."""
        return self._targets.fingerprint, self._profile.fingerprint, self.combine, self._divisors.tolist()


def _key(sample: Scored) -> Key:
    return -sample.score, sample.id


def _divisors(
    names: Sequence[str], combine: str, means: Mapping[str, float] | None, capacity: int
) -> NDArray[np.float64]:
    if combine not in {"mean", "worst"}:
        raise MetricError(f"unknown combine {combine!r}", where="combine", fix="use mean or worst")
    if isinstance(capacity, bool) or not isinstance(capacity, int | np.integer) or capacity < 1:
        raise DataProphetError(f"it is {capacity!r}", where="capacity", fix="remember at least one sample")
    if len(names) == 1 and not means:
        return np.ones(1)
    given = means or {}
    if missing := [name for name in names if not given.get(name, 0.0) > 0]:
        what = f"no typical score, above zero, for {missing[0]!r}"
        fix = "scores for several targets have different units: give each target's mean score"
        raise MetricError(what, where="means", fix=fix)
    return np.array([given[name] for name in names], np.float64)


def _empty_profile(name: str, like: Profile, model: Model | None) -> Profile:
    """A profile of no samples with the diversity settings of another, of the same model or of the one given."""
    if model is None:
        return Profile.blank(name, like.model, like.settings)
    own = {key: like.settings[key] for key in ("clusters", "sketch_size", "diversity_fields", "seed")}
    return Profile.blank(name, model.fingerprint, {**model.settings, **own})


def _texts(name: str, texts: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Texts as UTF-8, one after the other, and where each ends."""
    each = [text.encode("utf-8", "surrogatepass") for text in texts]
    ends = np.cumsum([len(part) for part in each], dtype=np.int64)
    return {name: np.frombuffer(b"".join(each), np.uint8), f"{name}.ends": ends}


def _split(tensors: dict[str, NDArray[Any]], name: str) -> list[str]:
    data, ends = tensors[name].tobytes(), tensors[f"{name}.ends"].tolist()
    return [data[start:end].decode("utf-8", "surrogatepass") for start, end in pairwise([0, *ends])]
