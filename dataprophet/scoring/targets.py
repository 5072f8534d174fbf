"""Scores of single samples for targets, M(u -> t) = QSim * ASim * ISim * PPL({u}) / PPL(t) of arXiv 2603.19688."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataprophet.errors import MetricError, ProfileError
from dataprophet.features.features import FIELDS, Features, Measured, measure, nearest_vectors, sketch_vectors
from dataprophet.profiling.profile import Profile


@dataclass(frozen=True, eq=False)
class SampleScores:
    """Scores of n samples for T targets.

    Attributes:
        similarities: field -> (n, T) float32, the cosine of a sample's embedding to the target's mean direction, which
            is not normalised; NaN where the sample lacks the field.
        values: (n, T) float32, M. NaN where it has no meaning: where the sample lacks one of the fields, where a factor
            is not positive, and where M is beyond what float32 holds (an ``nll`` some 88 nats above the target's).
    """

    similarities: dict[str, NDArray[np.float32]]
    values: NDArray[np.float32]


class Targets:
    """What scoring samples needs of the profiles of targets. It does not change, so threads may share it.

    Attributes:
        names: of the targets.
        fields: similarities in the product.
        directions: field -> (T, d) mean directions of the targets.
        mean_nll: (T,) float64, log PPL of the targets.
        fingerprint: hex hash of all that changes a score.
    """

    def __init__(self, profiles: Sequence[Profile], fields: Sequence[str]) -> None:
        """See :meth:`of`."""
        self.names = [profile.name for profile in profiles]
        self.fields = list(fields)
        self._profiles = list(profiles)
        self._moved: dict[tuple[int, Any], Any] = {}  # (number, device) -> vectors of a target there
        self.directions = {name: _directions(profiles, name) for name in self.fields}
        self.mean_nll = np.array([np.log(profile.perplexity) for profile in profiles])
        self.fingerprint = self._fingerprint()

    @classmethod
    def of(cls, profiles: Iterable[Profile], fields: Iterable[str] = FIELDS) -> Targets:
        """Targets that samples are scored for.

        Args:
            profiles: T profiles, sealed or not; for :meth:`nearest` not sealed.
            fields: similarities in the product. Leave out ``image`` where samples without one are to be scored too.

        Raises:
            ProfileError: profiles come from different models or settings, or hold no samples.
            MetricError: none is given, a field is unknown, or a target has no sample with it.
        """
        given, wanted = list(profiles), set(fields)
        if not given:
            raise MetricError("no targets given", fix="give at least one profile")
        if not wanted or wanted - set(FIELDS):
            what = f"unknown field {min(wanted - set(FIELDS))!r}" if wanted else "no field given"
            raise MetricError(what, fix=f"choose among {', '.join(FIELDS)}")
        given[0].require_comparable(given)
        return cls(given, [name for name in FIELDS if name in wanted])

    def score(self, features: Features) -> SampleScores:
        """Score samples.

        Args:
            features: n samples.

        Raises:
            ProfileError: features are not finite, an embedding is zero, or a width is not that of the targets.
        """
        return self.scores_of(measure(features, "features", directions=self.directions))

    def add(self, features: Features, profile: Profile) -> SampleScores:
        """Score samples and add them to a profile, in one read of their embeddings.

        The scores are those of :meth:`score`, and the profile becomes what ``profile.update`` makes of it.

        Raises:
            ProfileError: as :meth:`score`; the profile is then left as it was.
        """
        return self.scores_of(profile.measure(features, self.directions))

    def nearest(self, features: Features) -> NDArray[np.float32]:
        """Largest cosine of each sample's z to that of a sample of each target, as far as the target keeps them.

        z is the average of a sample's normalised diversity fields, normalised, in float16. A copy has cosine 1 exactly,
        and so has what float16 cannot tell from one: what lies within 2e-3 radians.

        Args:
            features: n samples.

        Returns:
            (n, T) float32, NaN for samples that have no z.

        Raises:
            ProfileError: a target is sealed, or as :meth:`score`.
        """
        return self.nearest_of(measure(features, "features"))

    def nearest_of(self, found: Measured) -> NDArray[np.float32]:
        """As :meth:`nearest`, of samples that were measured."""
        n = len(found.nll)
        nearest = np.full((n, len(self.names)), np.nan, np.float32)
        if n == 0:
            return nearest
        names = self._profiles[0].settings["diversity_fields"]
        z, usable = sketch_vectors(found.fields, names, np.arange(n), "features")
        for number, profile in enumerate(self._profiles):
            if profile.sketch is None:
                what, fix = "is sealed, and keeps no samples to compare with", "give the target's unsealed profile"
                raise ProfileError(what, where=f"profile {profile.name!r}", fix=f"{fix}, or do without nearest")
            if len(profile.sketch):
                nearest[usable, number] = nearest_vectors(z[np.flatnonzero(usable)], self._kept(number, z))[0]
        return nearest

    def _kept(self, number: int, z: Any) -> Any:
        """Vectors that a target keeps, where z is: they go to a device once."""
        sketch = self._profiles[number].sketch
        assert sketch is not None  # it was asked for
        if isinstance(z, np.ndarray) or not z.is_cuda:
            return sketch.z
        if (number, z.device) not in self._moved:
            self._moved[number, z.device] = z.new_tensor(sketch.z)
        return self._moved[number, z.device]

    def scores_of(self, found: Measured) -> SampleScores:
        """Scores of samples that were measured with :attr:`directions`."""
        nothing = np.full((len(found.nll), len(self.names)), np.nan, np.float32)
        similarities = {name: found.fields[name].cosines if name in found.fields else nothing for name in self.fields}
        with np.errstate(over="ignore"):  # beyond float64 is beyond float32, which has no meaning either
            values = np.exp(found.nll[:, None] - self.mean_nll)
            for part in similarities.values():
                values *= np.where(part > 0, part, np.nan)
            held = values <= np.finfo(np.float32).max
            return SampleScores(similarities, np.where(held, values, np.nan).astype(np.float32))

    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        origin = [profile.fingerprint for profile in self._profiles[:1]]
        digest.update(json.dumps([self.names, self.fields, *origin]).encode())
        digest.update(self.mean_nll.tobytes())
        for name in self.fields:
            digest.update(self.directions[name].tobytes())
        return digest.hexdigest()[:16]


def _directions(profiles: Sequence[Profile], name: str) -> NDArray[np.float64]:
    """(T, d) mean directions of a field."""
    found = []
    for profile in profiles:
        if (direction := profile.directions.get(name)) is None:
            what = f"no sample has the field {name!r}, so its similarity is undefined"
            fix = "leave the target out, or score with other fields"
            raise MetricError(what, where=f"profile {profile.name!r}", fix=fix)
        found.append(direction)
    widths = {len(direction) for direction in found}
    if len(widths) > 1:
        raise MetricError(f"{name} embeddings are {sorted(widths)} wide", fix="profile all with one model")
    return np.array(found, np.float64)
