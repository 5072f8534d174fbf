"""``open_dataset`` and what it returns: a dataset that is read anew, row by row, each time it is iterated.

For everyone who wants samples or rows. Which format a dataset is in is for ``detect`` to say.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

from dataprophet.data.detect import (
    FORMATS,
    ROW_FORMATS,
    Told,
    describe,
    detect_folder,
    detect_rows,
    kind_of_answers,
    shape_of,
)
from dataprophet.data.files.arrow import arrow_labels
from dataprophet.data.files.columns import COLUMNS, Wanted
from dataprophet.data.files.containers import ARROW, read_rows, suffix_of
from dataprophet.data.files.rows import Rows, opened
from dataprophet.data.files.splits import Found, blobs_of, find_files, list_files, snapshot_of
from dataprophet.data.formats.answers import ANSWER_KINDS, Evidence
from dataprophet.data.formats.base import Format, Options, parse_row
from dataprophet.data.formats.huggingface import PREFIX, named_rows, saved_files, saved_labels
from dataprophet.data.formats.llamafactory import INFO, num_samples, read_info
from dataprophet.data.ids import KnownIds
from dataprophet.data.images.decode import MAX_PIXELS
from dataprophet.data.images.policy import ImagePolicy
from dataprophet.data.images.sources import image_sources
from dataprophet.data.index import FileIndex, in_cells, index_file, read_range, relative_name, state_of
from dataprophet.data.remote import exists, is_dir, is_file, is_url, plain_path, real_path
from dataprophet.data.sample import Conversation, Problem, ProblemLog, Sample, Tally, check_bad
from dataprophet.errors import DataError, choose, require

_HEAD = 1000  # rows of a dataset of the hub that say what its answers are


@dataclass(frozen=True)
class _Reading:
    """How the rows of data files become conversations, and the folder that the files' names are relative to."""

    format: Format
    options: Options
    folder: str

    def all(self, files: Sequence[str]) -> Iterator[Conversation | Problem]:
        """Every row of all files."""
        for path in files:
            self.options.check_columns(path)
            yield from self.rows(path, read_rows(path, self.wanted()))

    def wanted(self) -> Collection[str]:
        """Columns worth reading: those of the format, or of the dataset's own description."""
        return Wanted(self.options.wanted().union((self.format.columns or {}).values()))

    def rows(self, path: str, rows: Rows) -> Iterator[Conversation | Problem]:
        """These raw rows of a file."""
        options = self.options
        if self.format.columns is None:  # LLaMA-Factory's images count from its own folder
            options = replace(options, policy=options.policy.beside(os.path.dirname(path) or "."))
        for number, row in self.format.prepare(rows, path):
            yield parse_row(row, path, number, self.format, options)


@dataclass
class Dataset:
    """Rows on disk or in memory. Iterating yields samples; rows that cannot be used are logged and left out.

    Attributes:
        name: the stem of the path, or the name given.
        path: as given by the user; empty for a dataset in memory.
        format: one of ``FORMATS``, or ``memory``.
        files: the data files, in order.
        limit: stop after this many good rows.
        strict: raise DataError at the first bad row.
        problems: what was left out in the last (or the running) iteration.
        arguments: of ``open_dataset``, to open it once more in another process; empty for a dataset in memory.
    """

    name: str
    path: str
    format: str
    files: tuple[str, ...]
    read: Callable[[], Iterator[Conversation | Problem]] = field(repr=False)
    limit: int | None = None
    strict: bool = False
    problems: ProblemLog = field(default_factory=ProblemLog, repr=False)
    settings: str = field(default="", repr=False)
    arguments: Mapping[str, Any] = field(default_factory=dict, repr=False)
    _samples: tuple[Sample, ...] | None = field(default=None, repr=False)
    _reading: _Reading | None = field(default=None, repr=False)
    _guessed: tuple[str, ...] = field(default=(), repr=False)

    @classmethod
    def from_samples(cls, name: str, samples: Iterable[Sample]) -> Dataset:
        """A dataset of samples in memory."""
        kept = tuple(samples)
        return cls(name, "", "memory", (), lambda: map(_as_conversation, kept, itertools.count(1)), _samples=kept)

    def rows(self) -> Iterator[Conversation | Problem]:
        """Every row in file order, good or bad.

        A row whose id occurs before is called ``<id>@<file>:<row>``; one that is equal to an earlier row of its id is a
        Problem (``duplicate_row``).

        Raises:
            DataError: a file as a whole cannot be read.
        """
        ids, good = KnownIds(self._reading.folder if self._reading else ""), 0
        if self.limit == 0:
            return
        for row in self.read():
            settled = ids.settled(row, turns=self._samples is None) if isinstance(row, Conversation) else row
            yield settled
            good += isinstance(settled, Conversation)
            if good == self.limit:
                return

    def __iter__(self) -> Iterator[Sample]:
        self.problems = log = ProblemLog()
        for row in self.rows():
            if isinstance(row, Problem):
                self.leave_out(row, log)
            elif self._samples is None:
                yield from row.samples()
            else:
                yield replace(self._samples[row.row - 1], id=row.id)

    def told(self) -> Told:
        """What was found out about how the rows are to be read, and what of them is not read."""
        if self._reading is None:
            return Told(list(self._guessed), [])
        found = describe(self.files, self.format, self._reading.options)
        return Told([*found.guesses, *self._guessed], found.warnings)

    def check_bad(self, max_bad: float) -> None:
        """Read all rows, and raise DataError where more than this share of them cannot be used."""
        tally, codes = self.counted()
        check_bad(codes, tally.rows, max_bad, self.name)

    def counted(self) -> tuple[Tally, Counter[str]]:
        """Read all rows: what they hold, and problems by code."""
        tally, codes = Tally(), Counter[str]()
        for row in self.rows():
            tally.add(row)
            if isinstance(row, Problem):
                codes[row.code] += 1
        return tally, codes

    def leave_out(self, row: Problem, log: ProblemLog) -> None:
        """Note a row that cannot be used. Raises DataError where the dataset is strict."""
        if self.strict:
            place = f"{row.file} row {row.row}" if row.file else self.name
            raise DataError(row.message, where=f"{place} (id {row.id})" if row.id else place, fix=row.fix)
        log.add(row)

    def index(self, number: int) -> FileIndex:
        """Read one of the files once, for its digest and where its rows begin. ``limit`` does not count here.

        Raises:
            DataError: the file cannot be read, or the dataset has no files of its own.
        """
        reading = self._require_files()
        path = self.files[number]
        reading.options.check_columns(path)
        return index_file(path, relative_name(path, reading.folder))

    def state(self, number: int) -> list[int] | str | None:
        """Size and time of change of one of the files, or its version behind a URL; None where they are not known.

        While it is the same, the index is taken to be.
        """
        return state_of(self.files[number])

    def read_cells(self, index: FileIndex, first: int, last: int) -> Iterator[list[Conversation | Problem]]:
        """Rows of the cells [first, last) of a file, a list for each cell: 1,024 rows, fewer in the file's last cell.

        Every row of the file gives one entry. Ids that occur before are not noticed: see ``Shard.settle``.

        Raises:
            DataError: the file is damaged, or has changed since it was indexed.
        """
        reading = self._require_files()
        return in_cells(reading.rows(index.path, read_range(index, first, last, reading.wanted())))

    @property
    def folder(self) -> str:
        """The folder that the names of its files are relative to. Raises DataError where it has no files."""
        return self._require_files().folder

    def _require_files(self) -> _Reading:
        if self._reading is None:
            fix = "write it with save_to_disk of the datasets package, and give that folder"
            raise DataError("it has no files that are read in parts", where=self.path or self.name, fix=fix)
        return self._reading

    def fingerprint(self) -> str:
        """SHA-256 over the bytes of the data files and the reading options; image files count by their path only.

        For a dataset in memory, over its texts and the bytes of its images. For ``hf:NAME``, over name and options.
        """
        digest = hashlib.sha256(self.settings.encode())
        for path in self.files:
            digest.update(f"\0{os.path.basename(path)}\0".encode())
            with opened(path) as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        for sample in self._samples or ():
            images = [source.digest() for source in image_sources(sample.images)]
            turns = [(turn.question, turn.answer, turn.image_offsets) for turn in sample.turns()]
            digest.update(json.dumps([sample.id, images, turns]).encode())
        return digest.hexdigest()


def open_dataset(
    path: str | os.PathLike[str],
    format: str = "auto",
    columns: Mapping[str, str] | None = None,
    limit: int | None = None,
    *,
    name: str | None = None,
    subset: str | None = None,
    split: str | None = None,
    image_root: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None = None,
    allow_outside: bool = False,
    allow_urls: bool = False,
    max_pixels: int = MAX_PIXELS,
    strict: bool = False,
    answer_is: str | None = None,
) -> Dataset:
    """Open a dataset for reading. Nothing but its first rows is read here, and answers that stand beside options.

    Args:
        path: a file, a folder of files of one format, ``folder::name`` for one dataset of a LLaMA-Factory folder,
            a URL of these that fsspec knows, or ``hf:NAME``.
        format: one of ``FORMATS``, or ``auto`` to find out.
        columns: our column name -> the file's, such as ``{"question": "q"}``; ``"=text"`` gives every row that text.
        limit: stop after this many good rows.
        name: name of the dataset; by default the stem of the path.
        subset: dataset of a LLaMA-Factory folder, or configuration of a repository of the hub or of ``hf:NAME``.
        split: split of a Hugging Face dataset, or of a folder whose files' names or card tell several.
        image_root: folder, or folders, or URLs, in which image paths are looked up before the dataset's own folder.
        allow_outside: read image files outside the dataset's folder and ``image_root``.
        allow_urls: fetch images from http(s) addresses.
        max_pixels: images with more pixels are refused.
        strict: raise DataError at the first bad row, instead of leaving it out.
        answer_is: what answers beside options are: ``text``, ``letter``, ``index0`` or ``index1``. By default what
            explains the dataset's answers; where two would, and name different options, that is an error.

    Raises:
        DataError: no such file, a format that is not recognised, or an argument that does not fit.
    """
    arguments = dict(locals())
    given = arguments["path"] = plain_path(os.fspath(path))
    columns = arguments["columns"] = dict(columns or {})
    many = [image_root] if isinstance(image_root, str | os.PathLike) else image_root or []
    roots = [os.fspath(root) for root in many]
    arguments["image_root"] = roots[0] if isinstance(image_root, str | os.PathLike) else roots or None
    _check_arguments(given, format, columns, answer_is, limit=limit, max_pixels=max_pixels)
    by_name = given.startswith(PREFIX) or (format == "huggingface" and not os.path.exists(given))
    if by_name and not is_url(given):
        options = Options(ImagePolicy((), False, allow_urls, max_pixels), columns, answer_is=answer_is)
        dataset = _named(given, options, subset, split, limit)
        dataset.name, dataset.strict, dataset.arguments = name or dataset.name, strict, arguments
        return dataset
    base, subset = _split_path(given, subset)
    stem = os.path.splitext(os.path.basename(os.path.abspath(base)))[0]
    base = snapshot_of(base)
    kind = (detect_folder(base) or "auto") if format == "auto" else format
    folder = base if is_dir(base) else os.path.dirname(base) or "."
    guessed: list[str] = []
    if kind == "llamafactory":
        require(split is None, "a LLaMA-Factory folder has no splits", base, "leave split out")
        stem, found, rows_format = _llamafactory(folder, subset, allow_outside)
        if (most := num_samples(folder, stem)) is not None:
            limit = most if limit is None else min(limit, most)
            guessed.append(f"num_samples: the first {most:,} rows that can be used (of {INFO})")
    elif kind == "huggingface":
        require(subset is None, f"no dataset {subset!r}: a saved dataset is one", base, "leave it out")
        found = Found(saved_files(base, split), split, saved_labels(base, split))
    else:
        found = find_files(base, subset, split)
    files = found.files
    labels = dict(found.labels)
    for file in files if files and suffix_of(files[0]) in ARROW else ():
        with suppress(DataError):  # a damaged file is told when it is read
            labels |= arrow_labels(file)
            break
    folders = [folder] if kind != "llamafactory" or is_url(folder) else [folder, os.path.dirname(files[0])]
    policy = ImagePolicy(allow_outside=allow_outside, allow_urls=allow_urls, max_pixels=max_pixels)
    options = Options(_with_roots(policy, roots, folders), columns, labels)
    if kind == "huggingface":
        rows_format = ROW_FORMATS[detect_rows(files, options) if files else "vqa"]
    elif kind != "llamafactory":
        kind = detect_rows(files, options) if kind == "auto" else kind
        rows_format = ROW_FORMATS[kind]
        fits = (suffix_of(files[0]) == ".tar") == (kind == "webdataset")
        require(fits, f"the file does not fit format {kind!r}", files[0], "leave --format out")
    if answer_is is None and files and (told := kind_of_answers(files, rows_format, options)):
        answer_is, words = told
        guessed.append(words)
    options = replace(options, answer_is=answer_is)
    arguments["answer_is"] = answer_is
    if found.split and split is None:
        guessed.append(f"split: {found.split}, by the files' names")
    guessed += [f"classes: {column} by the {len(names)} names of its schema" for column, names in labels.items()]
    reading = _Reading(rows_format, options, folder)
    dataset = Dataset(name or stem, given, kind, tuple(files), lambda: reading.all(files), limit, strict)
    settings = [kind, columns, limit, subset, split, max_pixels]
    dataset.settings = json.dumps(settings if answer_is is None else [*settings, answer_is])
    dataset.arguments, dataset._reading, dataset._guessed = arguments, reading, tuple(guessed)
    return dataset


def _split_path(path: str, subset: str | None) -> tuple[str, str | None]:
    """The file or folder that a path names, and the dataset behind ``::``, or ``subset``."""
    chained = is_url(path) and ("::" in path.rpartition("::")[0] or "/" in path.partition("::")[2])
    require(not chained, "a chain of URLs is not read", path, "unpack the archive first")
    named = "::" in path and (is_url(path) or not os.path.exists(path))
    base, _, suffix = path.rpartition("::") if named else (path, "", "")
    agree = not suffix or subset in {None, "", suffix}
    require(agree, f"the path says {suffix!r} and subset {subset!r}", path, "name the dataset once")
    fix = "check the path"
    if any(mark in base for mark in "*?"):
        fix = "name one file, or the folder of the files"
    elif base.count("/") == 1 and not os.path.splitext(base)[1]:
        fix = f"check the path, or write {PREFIX}{base} for a dataset of the hub"
    require(exists(base), "no such file or folder", base, fix)
    return base.rstrip(os.sep) or base, subset or suffix or None


def _llamafactory(folder: str, subset: str | None, allow_outside: bool) -> tuple[str, Found, Format]:
    """Name, data files and format of a dataset of a LLaMA-Factory folder."""
    found = is_file(os.path.join(folder, INFO))
    require(found, f"no {INFO} in the folder", folder, "pass the folder that holds it, or --format llava")
    name, path, format = read_info(folder, subset)
    files = list_files(path)
    inside = tuple(os.path.join(real_path(root), "") for root in (folder, *blobs_of(folder)))
    allowed = allow_outside or all(real_path(file).startswith(inside) for file in files)
    require(allowed, "the data file lies outside the folder", path, "move it, or pass allow_outside=True")
    return name, Found(files), format


def _named(path: str, options: Options, subset: str | None, split: str | None, limit: int | None) -> Dataset:
    """A dataset that the ``datasets`` package loads by name."""
    hub_name = path.removeprefix(PREFIX)

    def read() -> Iterator[Conversation | Problem]:
        rows = named_rows(hub_name, subset, split, limit)
        head = list(itertools.islice(rows, _HEAD))
        if not head:
            return
        format = ROW_FORMATS[shape_of(head[0][1], "", path, options, head[0][1])]
        own = options
        if options.answer_is is None:
            evidence = Evidence()
            for _, row in head:
                evidence.look(dict(row), format.options, options)
            own = replace(options, answer_is=evidence.decide(path, format.answer_is)) if evidence.rows else options
        for number, row in itertools.chain(head, rows):
            yield parse_row(row, path, number, format, own)

    settings = json.dumps(["huggingface", path, options.columns, limit, subset, split, options.answer_is])
    stem = hub_name.rpartition("/")[2] or hub_name
    return Dataset(stem, path, "huggingface", (), read, limit, settings=settings)


def _with_roots(policy: ImagePolicy, given: Sequence[str], own: Sequence[str]) -> ImagePolicy:
    """The policy with folders that the user named, and those of the dataset, the first of which is its root."""
    for root in given:
        found = is_url(root) or os.path.isdir(root)
        require(found, "--image-root is not a folder", root, "name the folder that holds the images")
    named = dict.fromkeys(map(real_path, given))
    roots = named | dict.fromkeys(map(real_path, (*own, *blobs_of(own[0]))))
    return replace(policy, roots=tuple(roots), given=len(named))


def _check_arguments(
    path: str, format: str, columns: Mapping[str, str], answer_is: str | None, *, limit: int | None, max_pixels: int
) -> None:
    known = format in {"auto", *FORMATS}
    require(known, f"unknown format {format!r}", path, choose(format, ["auto", *FORMATS]))
    for ours in columns:
        require(ours in COLUMNS, f"unknown column name {ours!r} in columns", path, choose(ours, COLUMNS))
    require(limit is None or limit >= 0, f"limit is {limit}", path, "use a number that is not negative")
    known = answer_is is None or answer_is in ANSWER_KINDS
    require(known, f"unknown kind of answers {answer_is!r}", path, choose(answer_is or "", ANSWER_KINDS))
    require(max_pixels >= 1, f"max_pixels is {max_pixels}", path, "use a positive number")


def _as_conversation(sample: Sample, number: int) -> Conversation:
    return Conversation(sample.id, image_sources(sample.images), sample.turns(), "", number)
