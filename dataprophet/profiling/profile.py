"""Profile of a dataset: mergeable sufficient statistics of the metric, kept in 64 groups for a jackknife."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dataprophet.data.export.notebook import html_table
from dataprophet.data.identity.compare import Identity
from dataprophet.data.sample import ProblemLog
from dataprophet.errors import ProfileError, checked, require_type
from dataprophet.features.features import FIELDS, MAX_NLL, Features, Measured, measure, require_signs, sketch_vectors
from dataprophet.files import atomic_file
from dataprophet.ops.arrays import fetched
from dataprophet.ops.reference import SUM_UNIT
from dataprophet.profiling import profile_file
from dataprophet.profiling.diversity import DiversitySums, diversity_of
from dataprophet.profiling.profile_file import Parts
from dataprophet.profiling.sketch import N_GROUPS, Sketch, groups_of, hash_ids

CLUSTERS = 10
SKETCH_SIZE = 20_000
ALL = "all"  # the sketch size, among the settings, of a sketch without a limit


@checked()
@dataclass(eq=False, repr=False)
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
        identity: what was read, one for each dataset that went in; empty where it is not known. Profiles that differ
            in it alone are equal.
        model_name: the model's name as it was given; empty where it is not known.
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
    identity: tuple[Identity, ...] = field(default=(), repr=False)
    model_name: str = ""
    _diversity: DiversitySums | None = field(default=None, repr=False)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Profile {self.name!r}: {', '.join(f'{name} {text}' for name, text in self._facts().items())}>"

    def _repr_html_(self) -> str:
        facts = {**self._facts(), "left out": self.problems.summary(), "made of": "; ".join(map(str, self.identity))}
        return html_table([], [pair for pair in facts.items() if pair[1]], f"Profile {self.name}")

    def _facts(self) -> dict[str, str]:
        """What it tells of itself in short. What is costly, or cannot be computed, is not there."""
        facts = {"samples": f"{self.n_samples:,}", "answer tokens": f"{self.n_tokens:,}" if self.n_tokens else ""}
        with suppress(ProfileError):
            facts["PPL"] = f"{self.perplexity:.4g}"
        if (known := self._diversity) is not None:
            facts["Sil + H"] = f"{known.silhouette:.3f} + {known.entropy:.3f}"
        facts["model"] = self.model_name or self.model[:16]
        return {name: text for name, text in facts.items() if text}

    @classmethod
    @checked()
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
        given = set(diversity_fields)
        fields = [name for name in FIELDS if name in given]
        if not fields or given - set(FIELDS):
            raise ProfileError(f"unknown diversity fields {sorted(given)}", fix=f"choose among {', '.join(FIELDS)}")
        if clusters < 2 or (sketch_size is not None and sketch_size <= clusters):
            what = f"{clusters} clusters do not fit a sketch of {sketch_size or ALL} samples"
            raise ProfileError(what, fix="use at least 2 clusters and a sketch larger than that")
        own = {
            "clusters": str(clusters),
            "sketch_size": ALL if sketch_size is None else str(sketch_size),
            "diversity_fields": ",".join(fields),
            "seed": str(seed),
        }
        return cls.blank(name, model, {**(settings or {}), **own})

    @classmethod
    def blank(cls, name: str, model: str, settings: Mapping[str, str]) -> Profile:
        """A profile of no samples with settings such as another profile has, those of the diversity among them."""
        return cls(
            name=name,
            model=model,
            settings=dict(settings),
            count=np.zeros(N_GROUPS, np.int64),
            nll_sum=np.zeros(N_GROUPS),
            tokens=np.zeros(N_GROUPS, np.int64),
            field_count={name: np.zeros(N_GROUPS, np.int64) for name in FIELDS},
            field_sum={name: np.zeros((N_GROUPS, 0)) for name in FIELDS},
            sketch=Sketch.empty(_size_of(settings)),
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
        require_signs(np.array([self.mean_nll]), lambda _: f"profile {self.name!r}")
        if self.mean_nll > MAX_NLL:
            what = f"mean_nll is {self.mean_nll:.4g} nats, whose exponential overflows"
            fix = "give the mean over the tokens of each answer, not their sum"
            raise ProfileError(what, where=f"profile {self.name!r}", fix=fix)
        return float(np.exp(self.mean_nll))

    @property
    def directions(self) -> dict[str, NDArray[np.float64]]:
        """Field -> (d,) float64 mean of the normalised embeddings; fields that no sample has are left out."""
        totals = {name: int(count.sum()) for name, count in self.field_count.items()}
        return {name: self.field_sum[name].sum(0) / totals[name] for name in FIELDS if totals[name]}

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
            assert self.sketch is not None  # a sealed profile has its diversity
            clusters, seed = int(self.settings["clusters"]), int(self.settings["seed"])
            self._diversity = diversity_of(self.sketch, clusters, seed, where=f"profile {self.name!r}")
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
        return replace(self, _diversity=self.diversity_sums, sketch=None)

    def require_comparable(self, others: Iterable[Profile]) -> None:
        """Refuse profiles of another model or other settings.

        Raises:
            ProfileError: naming the first of them and what differs.
        """
        for other in others:
            if (other.model, other.settings) == (self.model, self.settings):
                continue
            names = (f"{item.model_name} {item.model[:16]}".strip() for item in (self, other))
            mine, its = ({**item.settings, "model": name} for item, name in zip((self, other), names, strict=True))
            differ = sorted(key for key in {*mine, *its} if mine.get(key) != its.get(key))
            what = "model" if other.model != self.model else next(key for key in differ if key != "model")
            values = f"{its.get(what, 'unset')} against {mine.get(what, 'unset')}"
            fix = "profile both with the same model and settings"
            found = f"{what} differs from profile {self.name!r} ({values})"
            raise ProfileError(found, where=f"profile {other.name!r}", fix=fix)

    @checked()
    def update(self, features: Features) -> None:
        """Add samples.

        Raises:
            ProfileError: features are not finite or zero, or of another width; the profile is left as it was.
        """
        self.measure(features)

    def measure(
        self, features: Features, directions: Mapping[str, NDArray[Any]] | None = None, *, leave_out: bool = False
    ) -> Measured:
        """Add samples, and take their cosines in the same read of the embeddings.

        Args:
            features: n samples.
            directions: field -> (T, d) directions.
            leave_out: leave out samples that cannot be used, in place of an error; the result tells which and why.

        Raises:
            ProfileError: as :meth:`update`.
        """
        if self.sketch is None:
            raise ProfileError("is sealed and takes no more samples", where=self.name, fix="keep the unsealed profile")
        groups = groups_of(hashes := hash_ids(features.ids))
        found = measure(features, self.name, groups=groups, count=N_GROUPS, directions=directions, leave_out=leave_out)
        if not found.usable.any():
            return found
        sums = {name: _added(self.field_sum[name], given.sums, name, self.name) for name, given in found.fields.items()}
        hashes, groups = hashes[found.usable], groups[found.usable]
        low = np.flatnonzero(self.sketch.takes(hashes))
        z, placed = sketch_vectors(found.fields, self.settings["diversity_fields"], low, self.name)
        self.sketch = self.sketch.merge(hashes[low[placed]], fetched(z)[0][... if placed.all() else placed])
        self.count = self.count + np.bincount(groups, minlength=N_GROUPS)
        units = np.bincount(groups, weights=np.rint(found.nll / SUM_UNIT), minlength=N_GROUPS)
        self.nll_sum = self.nll_sum + units * SUM_UNIT
        self.tokens = self.tokens.copy()  # shared with copies of the profile, such as a sealed one
        np.add.at(self.tokens, groups, found.tokens)
        self.field_sum = self.field_sum | sums
        self.field_count = self.field_count | {
            name: self.field_count[name] + np.bincount(groups[given.present], minlength=N_GROUPS)
            for name, given in found.fields.items()
        }
        self._diversity = None
        return found

    def __add__(self, other: Profile) -> Profile:
        if not isinstance(other, Profile):
            return NotImplemented
        self.require_comparable([other])
        if self.sketch is None or other.sketch is None:
            sealed = self if self.sketch is None else other
            fix = "merge before sealing"
            raise ProfileError("is sealed and no longer merges", where=f"profile {sealed.name!r}", fix=fix)
        name, keep = self.name if self.name == other.name else f"{self.name}+{other.name}", self.problems.keep
        first = [*self.problems.first, *other.problems.first][:keep]
        known = all(each.identity for each in (self, other) if each.n_samples)  # half of it would pass for all
        return replace(
            self,
            name=name,
            count=self.count + other.count,
            nll_sum=self.nll_sum + other.nll_sum,
            tokens=self.tokens + other.tokens,
            field_count={key: self.field_count[key] + other.field_count[key] for key in FIELDS},
            field_sum={key: _added(self.field_sum[key], other.field_sum[key], key, name) for key in FIELDS},
            sketch=self.sketch.merge(other.sketch.hashes, other.sketch.z, bound=other.sketch.bound),
            problems=ProblemLog(keep, self.problems.counts + other.problems.counts, first),
            identity=self.identity + other.identity if known else (),
            model_name=self.model_name or other.model_name,
            _diversity=None,
        )

    def __radd__(self, other: object) -> Profile:
        """``sum(profiles)`` starts from 0."""
        return self if isinstance(other, int) and other == 0 else NotImplemented

    def __eq__(self, other: object) -> bool:
        """Equal state to the bit: name, model, settings, sums and sketch, wherever the data lay."""
        return (
            isinstance(other, Profile)
            and (self.name, self.model, self.settings) == (other.name, other.model, other.settings)
            and all(np.array_equal(mine, other._sums()[key]) for key, mine in self._sums().items())
            and self.sketch == other.sketch
            and (not self.sealed or self._diversity == other._diversity)
        )

    def _some_samples(self) -> int:
        if self.n_samples == 0:
            raise ProfileError("holds no samples", where=f"profile {self.name!r}", fix="check the dataset's problems")
        return self.n_samples

    @checked()
    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file with JSON metadata, atomically; :meth:`load` gives back an equal profile."""
        with atomic_file(path) as temporary:  # not save_file: it takes no umask, and a full disk is no OSError there
            temporary.write_bytes(self.to_bytes())

    def to_bytes(self, *, checked: bool = True) -> bytes:
        """The content of the profile's file, with its checksum unless it is not ``checked``."""
        tensors = self._sums()
        if self.sketch is not None:
            tensors |= {"sketch.hashes": self.sketch.hashes, "sketch.z": self.sketch.z}
            if self.sketch.bound is not None:
                tensors["sketch.bound"] = np.array([self.sketch.bound], np.uint64)
        if self._diversity is not None:
            tensors |= {f"diversity.{part.name}": getattr(self._diversity, part.name) for part in fields(DiversitySums)}
        head: dict[str, Any] = {"name": self.name, "model": self.model, "settings": self.settings}
        head |= {"model_name": self.model_name} if self.model_name else {}
        head |= {"identity": [each.to_json() for each in self.identity]} if self.identity else {}
        return profile_file.to_bytes(head, tensors, checked=checked)

    def digest(self) -> str:
        """Hex digest of what the numbers are: without names, and without where the data lay."""
        data = replace(self, name="", model_name="", identity=()).to_bytes(checked=False)
        return hashlib.blake2b(data, digest_size=16).hexdigest()

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Profile:
        """Read a profile, and check every part of it.

        Raises:
            ProfileError: when the file is missing, is not a profile, or is damaged.
        """
        fix = "give the path of a saved profile, or profile the dataset first"
        require_type(path, (str, os.PathLike), "Profile.load", fix, ProfileError)
        return profile_file.read(path, partial(cls._of_parts, folder=os.path.dirname(os.path.abspath(path))))

    @classmethod
    def load_all(cls, items: Iterable[Any] | Any, where: str) -> list[Profile]:
        """Profiles, or those at paths, or a single one of these. Raises ProfileError for anything else."""
        items = [items] if isinstance(items, Profile | str | os.PathLike) else items
        require_type(items, Iterable, where, "give profiles, or their paths", ProfileError)
        return [item if isinstance(item, Profile) else cls.load(item) for item in items]

    def _sums(self) -> dict[str, NDArray[Any]]:
        sums: dict[str, NDArray[Any]] = {"count": self.count, "nll_sum": self.nll_sum, "tokens": self.tokens}
        sums |= {f"{name}.count": self.field_count[name] for name in FIELDS}
        return sums | {f"{name}.sum": self.field_sum[name] for name in FIELDS}

    @classmethod
    def _of_parts(cls, head: Mapping[str, Any], parts: Parts, folder: str) -> Profile:
        """The profile of a file's head and tensors. Raises ValueError, or what follows from a lack of one."""
        settings = {str(key): str(value) for key, value in head["settings"].items()}
        count = parts.take("count", np.int64, N_GROUPS)
        field_count = {name: parts.take(f"{name}.count", np.int64, N_GROUPS) for name in FIELDS}
        if (count < 0).any() or any((part < 0).any() or (part > count).any() for part in field_count.values()):
            raise ValueError("counts do not add up")
        made = cls(
            name=str(head["name"]),
            model=str(head["model"]),
            settings=settings,
            count=count,
            nll_sum=parts.take("nll_sum", np.float64, N_GROUPS),
            tokens=parts.take("tokens", np.int64, N_GROUPS),
            field_count=field_count,
            field_sum={name: parts.take(f"{name}.sum", np.float64, N_GROUPS, None) for name in FIELDS},
            sketch=parts.sketch(_size_of(settings)),
            identity=tuple(Identity.from_json(each, folder) for each in head.get("identity", ())),
            model_name=str(head.get("model_name", "")),
            _diversity=parts.diversity(int(settings["clusters"])),
        )
        if made.sketch is None and made._diversity is None:
            raise ValueError("neither sketch nor diversity")
        return made


def _size_of(settings: Mapping[str, str]) -> int | None:
    """Size of the sketch, None without a limit."""
    return None if settings["sketch_size"] == ALL else int(settings["sketch_size"])


def _added(a: NDArray[np.float64], b: NDArray[np.float64], field: str, where: str) -> NDArray[np.float64]:
    """Sums of both; those of a field that no sample had have no width yet."""
    if 0 in (a.shape[1], b.shape[1]):
        return a if a.shape[1] else b
    if a.shape != b.shape:
        what = f"{field} embeddings are {b.shape[1]} wide, earlier ones {a.shape[1]}"
        raise ProfileError(what, where=where, fix="use features of one model")
    return np.asarray(a + b)
