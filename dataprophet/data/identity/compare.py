"""What a profile or scored pool was made of: where the data lay, how it was read, and digests to know it again.

Profiles, matrices and scored folders keep it, and ``mix`` and ``select`` compare before they read rows for a trainer.
It knows datasets, and not what was computed of them.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, TypeAlias

import xxhash

from dataprophet.data.dataset import Dataset
from dataprophet.data.files.rows import opened
from dataprophet.data.formats.huggingface import PREFIX
from dataprophet.data.identity.census import Census, added, as_text
from dataprophet.data.index import relative_name
from dataprophet.data.opening import open_dataset
from dataprophet.data.remote import exists, is_url
from dataprophet.data.sample import COUNTS
from dataprophet.errors import DataError, explained, require
from dataprophet.files import absolute, write_text
from dataprophet.store.checksums import dump_document, parse_document

PERMISSIONS = frozenset({"allow_outside", "allow_urls"})
"""Options that a user gives each time: a file that came from elsewhere must not lift a guard."""

_PLACES = frozenset({"image_root"})  # the images themselves are compared
_UNSAID = frozenset({"path", "name", "strict", "max_bad"})  # change nothing of what is read
_FORMAT = "dataprophet-identity-1"
_SHOWN = 12  # digits of a digest in messages


Known: TypeAlias = Mapping[str, Mapping[str, Sequence["Identity"]]]
"""``sources`` and ``targets`` -> name -> what its profile was made of."""


@dataclass(frozen=True)
class Identity:
    """What was read of one dataset.

    Attributes:
        path: as the user typed it.
        lies: the same as an absolute path; relative in a file, where it begins at the file's folder.
        kind: ``samples``, or ``features`` that were computed before.
        format: as it was found.
        reading: the other arguments of ``open_dataset``, as far as they differ from its defaults.
        files: name of each data file that was read -> XXH3 of its bytes, in order.
        counts: as of a ``Tally``; empty where they are not known.
        texts: mark of the questions and answers, in hexadecimal; empty where it is not known.
        images: mark of the image files, likewise.
    """

    path: str
    lies: str
    kind: str = "samples"
    format: str = ""
    reading: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    texts: str = ""
    images: str = ""

    @property
    def digest(self) -> str:
        """Hex digest of the content, wherever it lies: of the data files and the image files."""
        text = json.dumps([list(self.files.values()), self.images])
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()

    def __str__(self) -> str:
        options = " ".join(option(name, value) for name, value in sorted(self.reading.items()))
        how = ", ".join(part for part in (self.format, options) if part)
        counts = ", ".join(f"{self.counts[name]:,} {name.replace('_', ' ')}" for name in COUNTS if name in self.counts)
        return f"{self.path}{f' ({how})' if how else ''}: {counts}{', ' if counts else ''}digest {self.digest[:_SHOWN]}"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "digest": self.digest}

    @classmethod
    def from_json(cls, document: Mapping[str, Any], folder: str) -> Identity:
        """What ``to_json`` gave, from a file in that folder. Raises TypeError or KeyError where it is damaged."""
        made = {each.name: document[each.name] for each in fields(cls)}
        if not _by_name(made["lies"]):
            made["lies"] = os.path.normpath(os.path.join(folder, made["lies"]))
        for each in ("reading", "files", "counts"):
            made[each] = dict(made[each])
        return cls(**made)

    def arguments(self, given: Mapping[str, Any], name: str, path: str | None = None) -> dict[str, Any]:
        """Arguments of ``open_dataset`` that read the same rows again.

        Args:
            given: what the user says of how to read, which must agree.
            name: of the source, for messages.
            path: where the data lies now, if not where it lay.

        Raises:
            DataError: what is given does not agree, or the data is not there any more.
        """
        require_reading(given, self._read, _where(name))
        there = path is not None or _by_name(self.lies) or exists(_base(self.lies))
        what = f"its dataset {self.path} is not at {self.lies} any more"
        require(there, what, _where(name), f"say where it lies: --dataset {name}=PATH")
        own = {key: value for key, value in self.reading.items() if key not in PERMISSIONS}
        free = {key: value for key, value in given.items() if key in {*_PLACES, "limit"} or key not in own}
        return moved({**own, **free, "path": path or self.lies}, self.lies)

    def require_files(self, dataset: Dataset, name: str, others: Mapping[str, Identity]) -> None:
        """Refuse a dataset that is read in another way, or whose data files are others.

        Args:
            dataset: what is given.
            name: of the source that it should be.
            others: name -> what else it may be, to say so.

        Raises:
            DataError: naming what was read then and what is given.
        """
        given = {**reading_of(dataset.arguments), "format": dataset.format}
        require_reading(given, self._read, _where(name), whole=True)
        limited = dataset.limit is not None or "limit" in self.reading  # files behind it were not looked at
        now = file_digests(dataset, len(self.files) if limited else None)
        if [*now.values()] == [*self.files.values()]:
            return
        what = f"was profiled from {self.lies}, and {dataset.path} holds other data"
        if absolute(dataset.path) == self.lies:
            what = f"{self.path} has changed since it was profiled"
        known = next((other for other, its in others.items() if [*its.files.values()] == [*now.values()]), None)
        what += f" ({_difference(self.files, now)})" if known is None else f": that of {known!r}"
        raise DataError(what, where=_where(name), fix="give the data that was profiled, or profile it anew")

    def require_rows(self, census: Census, dataset: Dataset, name: str) -> None:
        """Refuse rows of which others can be used than then, or whose images are others.

        Raises:
            DataError: naming what was read then and what is given.
        """
        reading = reading_of(dataset.arguments)
        roots = [_root(self.reading, self.lies), _root(reading, absolute(dataset.path))]
        places = f"{roots[0]} then, {roots[1]} now" if roots[0] != roots[1] else roots[0]
        if self.counts and _without_turns(self.counts) != _without_turns(asdict(census.tally)):
            then, now = (
                "{good} of {rows} rows with {images} images".format(**each)
                for each in (self.counts, asdict(census.tally))
            )
            lifted = " ".join(option(key, True) for key in sorted(PERMISSIONS & self.reading.keys() - reading.keys()))
            what = f"was profiled on {then}, and {now} can be read (images in {places})"
            fix = f"add {lifted}" if lifted else "restore the images, or give their image_root="
            raise DataError(what, where=_where(name), fix=fix)
        if self.texts and self.texts != as_text(census.texts):
            what = f"questions and answers of {dataset.path} are read as others than those that were profiled"
            raise DataError(what, where=_where(name), fix="restore what says how to read them, or profile it anew")
        if self.images and self.images != as_text(census.images, census.rule):
            what = f"its images are not those that it was profiled with (in {places})"
            fix = "restore them, give the image_root= of then, or profile it anew"
            raise DataError(what, where=_where(name), fix=fix)

    @property
    def _read(self) -> dict[str, Any]:
        """How it was read, with the format that was found."""
        return {**self.reading, **({"format": self.format} if self.format else {})}


def _without_turns(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts but for the turns, which ``texts`` tells apart; those of older profiles have the unscored among them."""
    return {name: count for name, count in counts.items() if name != "turns"}


def reading_of(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of ``open_dataset`` that say how to read, other than its defaults; image roots as whole paths."""
    usual = {name: each.default for name, each in inspect.signature(open_dataset).parameters.items()}
    said = {name: value for name, value in arguments.items() if name not in _UNSAID and value not in ({}, None)}
    found = {name: value for name, value in said.items() if value is not False and value != usual.get(name)}
    if root := found.get("image_root"):
        found["image_root"] = [absolute(each) for each in root] if isinstance(root, list) else absolute(root)
    return found


def identity_of(dataset: Dataset, census: Census) -> tuple[Identity, ...]:
    """The identity of a dataset that was read to its end, or to its limit; none of one in memory."""
    if not dataset.arguments:
        return ()
    full = dataset.limit is not None and census.tally.good >= dataset.limit and census.file in dataset.files
    files = file_digests(dataset, dataset.files.index(census.file) + 1 if full else None)
    made = Identity(
        dataset.path, absolute(dataset.path), "samples", dataset.format, reading_of(dataset.arguments), files
    )
    images = as_text(census.images, census.rule)
    return (replace(made, counts=asdict(census.tally), texts=as_text(census.texts), images=images),)


def file_digests(dataset: Dataset, first: int | None = None) -> dict[str, str]:
    """Name -> hex XXH3 (128 bits) of the bytes of each data file, as an index has it; of the first ones only."""
    found = {}
    for path in dataset.files[:first]:
        with opened(path) as file:
            name = relative_name(path, dataset.folder)
            found[name] = hashlib.file_digest(file, xxhash.xxh3_128).hexdigest()
    return found


def joined(identities: Sequence[Identity]) -> Identity | None:
    """Several datasets that went into one profile as one, to be compared with a dataset of all their files."""
    if len(identities) < 2:
        return identities[0] if identities else None
    first = identities[0]
    files = {f"{number}:{name}": text for number, each in enumerate(identities) for name, text in each.files.items()}
    counts = {name: sum(each.counts[name] for each in identities) for name in COUNTS if name in first.counts}

    marks = [added(each.texts for each in identities), added(each.images for each in identities)]
    path = " + ".join(each.path for each in identities)
    return Identity(path, path, first.kind, first.format, first.reading, files, counts, *marks)


def save(path: str | os.PathLike[str], known: Known, of: Mapping[str, str]) -> None:
    """Write the identities behind a file of scores beside it, or remove those of an earlier one where none is known.

    Args:
        path: of the scores.
        known: the identities.
        of: digests of the scores, by which ``load`` knows that they are still the same.
    """
    beside = Path(path).with_suffix(".identity.json")
    if any(many for its in known.values() for many in its.values()):
        write_text(beside, dump_document({"format": _FORMAT, "of": dict(of), **to_json(known)}, indent=1).decode())
    else:
        beside.unlink(missing_ok=True)


def load(path: str | os.PathLike[str], of: Mapping[str, str]) -> dict[str, dict[str, tuple[Identity, ...]]]:
    """What ``save`` wrote beside a file of scores; nothing where it wrote nothing.

    Args:
        path: of the scores.
        of: digests of those that are there now.

    Raises:
        DataError: it is damaged, or was written beside other scores.
    """
    beside = Path(path).with_suffix(".identity.json")
    if not beside.is_file():
        return {}
    folder, damage = os.path.dirname(os.path.abspath(beside)), (KeyError, TypeError, AttributeError, ValueError)
    fix = "remove it, or make the matrix again"
    with explained(damage, DataError, "is damaged", str(beside), fix):
        document = parse_document(beside.read_bytes())
        written = document.get("of", of)  # earlier versions did not note it
        same = all(written.get(name) == digest for name, digest in of.items())
        require(same, f"belongs to other scores than {os.path.basename(path)} holds", str(beside), fix)
        sides = {side: its for side, its in document.items() if side not in {"format", "of"}}
        return {
            side: {name: tuple(Identity.from_json(each, folder) for each in many) for name, many in its.items()}
            for side, its in sides.items()
        }


def to_json(known: Known) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Identities as plain values."""
    return {
        side: {name: [each.to_json() for each in many] for name, many in its.items()} for side, its in known.items()
    }


def same_data(known: Known) -> Iterator[list[str]]:
    """Sources and targets of the same data, such as ``source 'a'``, two or more at a time."""
    by_digest: dict[str, list[str]] = {}
    for side, its in known.items():
        for name, many in its.items():
            if (made_of := joined(many)) and made_of.files:
                by_digest.setdefault(made_of.digest, []).append(f"{side[:-1]} {name!r}")
    yield from (names for names in by_digest.values() if len(names) > 1)


def option(name: str, value: Any) -> str:
    """An argument of ``open_dataset`` as it is typed on the command line."""
    typed = f"--{name.replace('_', '-')}"
    if value is True:
        return typed
    if isinstance(value, Mapping):
        value = [f"{key}={text}" for key, text in value.items()]
    return f"{typed} {' '.join(map(str, value)) if isinstance(value, list | tuple) else value}"


def require_reading(
    given: Mapping[str, Any],
    then: Mapping[str, Any],
    where: str,
    verb: str = "profiled",
    fix: str = "leave the option out, or profile it anew",
    *,
    whole: bool = False,
    strict: bool = False,
) -> None:
    """Refuse options that differ from those of then.

    Args:
        given: options that are given now.
        then: those of then.
        where: whose they are.
        verb: what was done then.
        fix: what helps.
        whole: what is not given differs, too.
        strict: places, permissions and a limit that is taken away differ, too.

    Raises:
        DataError: naming the option with both values.
    """
    for name in sorted(
        {*given, *(then if whole else ())} - _UNSAID - (frozenset() if strict else _PLACES | PERMISSIONS)
    ):
        mine, its = given.get(name), then.get(name)
        if name == "limit" and mine is None and not strict:  # more rows than were read then: those are compared
            continue
        if isinstance(mine, Mapping) and not whole:
            its = {key: value for key, value in (its or {}).items() if key in mine}
        if mine != its:
            flag = option(name, True)
            was, now = (f"with {option(name, each)}" if each else f"without {flag}" for each in (its, mine))
            raise DataError(f"was {verb} {was}, and is given {now}", where=where, fix=fix)


def moved(arguments: Mapping[str, Any], lay: str) -> dict[str, Any]:
    """Arguments of ``open_dataset``, with roots of images that lay with the dataset looked for where it lies now."""
    root, new, old = arguments.get("image_root"), _base(absolute(arguments["path"])), _base(lay)
    if not os.path.isdir(new):
        new, old = os.path.dirname(new), os.path.dirname(old)

    def place(path: str) -> str:
        beside = os.path.normpath(os.path.join(new, os.path.relpath(path, old)))
        return beside if os.path.join(path, "").startswith(os.path.join(old, "")) and os.path.isdir(beside) else path

    if not root or old == new:
        return dict(arguments)
    return {**arguments, "image_root": [place(each) for each in root] if isinstance(root, list) else place(root)}


def _root(reading: Mapping[str, Any], lies: str) -> str:
    """Where images were looked for first."""
    root = reading.get("image_root") or (_base(lies) if os.path.isdir(_base(lies)) else os.path.dirname(lies))
    return " ".join(root) if isinstance(root, list) else str(root)


def _where(name: str) -> str:
    return f"source {name!r}"


def _base(path: str) -> str:
    """A path without the name of one of several datasets in it."""
    return path.rpartition("::")[0] or path


def _by_name(path: str) -> bool:
    return is_url(path) or path.startswith(PREFIX)


def _difference(then: Mapping[str, str], now: Mapping[str, str]) -> str:
    """The first file that is not the same, with both digests."""
    if len(then) != len(now):
        return f"{len(then)} files then, {len(now)} now"
    pairs = zip(now, zip(then.values(), now.values(), strict=True), strict=True)
    name, digests = next((name, both) for name, both in pairs if both[0] != both[1])
    return "{}: digest {} then, {} now".format(name, *(digest[:_SHOWN] for digest in digests))
