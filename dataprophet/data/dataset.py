"""``open_dataset`` and what it returns: a dataset that is read anew, row by row, each time it is iterated.

For everyone who wants samples or rows. Which format a dataset is in is for ``detect`` to say.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataprophet.data.columns import COLUMNS, Wanted
from dataprophet.data.detect import FORMATS, ROW_FORMATS, detect_folder, detect_rows, list_files, shape_of
from dataprophet.data.files.containers import read_rows, suffix_of
from dataprophet.data.files.rows import Rows, opened
from dataprophet.data.formats.base import Format, Options, parse_row
from dataprophet.data.formats.huggingface import PREFIX, named_rows, saved_files
from dataprophet.data.formats.llamafactory import INFO, read_info
from dataprophet.data.ids import KnownIds, repeated_id
from dataprophet.data.images.decode import MAX_PIXELS
from dataprophet.data.images.policy import ImagePolicy
from dataprophet.data.images.sources import image_sources
from dataprophet.data.index import FileIndex, in_cells, index_file, read_range, relative_name, state_of
from dataprophet.data.remote import exists, is_dir, is_file, is_url, plain_path, real_path
from dataprophet.data.sample import Conversation, Problem, ProblemLog, Sample
from dataprophet.errors import DataError, require


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
        for number, row in self.format.prepare(rows, path):
            yield parse_row(row, path, number, self.format, self.options)


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

    @classmethod
    def from_samples(cls, name: str, samples: Iterable[Sample]) -> Dataset:
        """A dataset of samples in memory."""
        kept = tuple(samples)
        return cls(name, "", "memory", (), lambda: map(_as_conversation, kept), _samples=kept)

    def rows(self) -> Iterator[Conversation | Problem]:
        """Every row in file order, good or bad. The second and later rows of an id are problems (duplicate_id).

        Raises:
            DataError: a file as a whole cannot be read.
        """
        ids, good = KnownIds(), 0
        if self.limit == 0:
            return
        for row in self.read():
            if isinstance(row, Problem):
                yield row
            elif ids.repeated(row, turns=self._samples is None):
                yield repeated_id(row)
            else:
                yield row
                good += 1
                if good == self.limit:
                    return

    def __iter__(self) -> Iterator[Sample]:
        self.problems = log = ProblemLog()
        given = {sample.id: sample for sample in reversed(self._samples)} if self._samples is not None else None
        for row in self.rows():
            if isinstance(row, Conversation):
                yield from row.samples() if given is None else (given[row.id],)
            else:
                self.leave_out(row, log)

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

        Every row of the file gives one entry. Ids that occur before are not noticed.

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
) -> Dataset:
    """Open a dataset for reading. Nothing but its first rows is read here.

    Args:
        path: a file, a folder of files of one format, ``folder::name`` for one dataset of a LLaMA-Factory folder,
            a URL of these that fsspec knows, or ``hf:NAME``.
        format: one of ``FORMATS``, or ``auto`` to find out.
        columns: our column name -> the file's, such as ``{"question": "q"}``; ``"=text"`` gives every row that text.
        limit: stop after this many good rows.
        name: name of the dataset; by default the stem of the path.
        subset: dataset of a LLaMA-Factory folder, or configuration of ``hf:NAME``.
        split: split of a Hugging Face dataset.
        image_root: folder, or folders, or URLs, in which image paths are looked up before the dataset's own folder.
        allow_outside: read image files outside the dataset's folder and ``image_root``.
        allow_urls: fetch images from http(s) addresses.
        max_pixels: images with more pixels are refused.
        strict: raise DataError at the first bad row, instead of leaving it out.

    Raises:
        DataError: no such file, a format that is not recognised, or an argument that does not fit.
    """
    arguments = dict(locals())
    given = arguments["path"] = plain_path(os.fspath(path))
    columns = arguments["columns"] = dict(columns or {})
    many = [image_root] if isinstance(image_root, str | os.PathLike) else image_root or []
    roots = [os.fspath(root) for root in many]
    arguments["image_root"] = roots[0] if isinstance(image_root, str | os.PathLike) else roots or None
    _check_arguments(given, format, columns, limit, max_pixels)
    by_name = given.startswith(PREFIX) or (format == "huggingface" and not os.path.exists(given))
    if by_name and not is_url(given):
        options = Options(ImagePolicy((), False, allow_urls, max_pixels), columns)
        dataset = _named(given, options, subset, split, limit)
        dataset.name, dataset.strict = name or dataset.name, strict
        return dataset
    base, subset = _split_path(given, subset)
    kind = (detect_folder(base) or "auto") if format == "auto" else format
    folder = base if is_dir(base) else os.path.dirname(base) or "."
    options = Options(_policy(roots, folder, allow_outside, allow_urls, max_pixels), columns)
    lone = "only Hugging Face datasets have splits here"
    require(split is None or kind == "huggingface", lone, base, "name the split's file")
    lone = f"no dataset {subset!r}: only LLaMA-Factory folders hold several"
    require(subset is None or kind == "llamafactory", lone, base, "leave it out")
    stem = os.path.splitext(os.path.basename(os.path.abspath(base)))[0]
    if kind == "llamafactory":
        stem, files, rows_format = _llamafactory(folder, subset, allow_outside)
    elif kind == "huggingface":
        files = saved_files(base, split)
        rows_format = ROW_FORMATS[detect_rows(files, options) if files else "vqa"]
    else:
        files = list_files(base)
        kind = detect_rows(files, options) if kind == "auto" else kind
        rows_format = ROW_FORMATS[kind]
        fits = (suffix_of(files[0]) == ".tar") == (kind == "webdataset")
        require(fits, f"the file does not fit format {kind!r}", files[0], "pass format='auto'")
    reading = _Reading(rows_format, options, folder)
    dataset = Dataset(name or stem, given, kind, tuple(files), lambda: reading.all(files), limit, strict)
    dataset.settings = json.dumps([kind, columns, limit, subset, split, max_pixels])
    dataset.arguments, dataset._reading = arguments, reading
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


def _llamafactory(folder: str, subset: str | None, allow_outside: bool) -> tuple[str, list[str], Format]:
    """Name, data files and format of a dataset of a LLaMA-Factory folder."""
    found = is_file(os.path.join(folder, INFO))
    require(found, f"no {INFO} in the folder", folder, "pass the folder that holds it, or format='llava'")
    name, path, format = read_info(folder, subset)
    files = list_files(path)
    inside = os.path.join(real_path(folder), "")
    allowed = allow_outside or all(real_path(file).startswith(inside) for file in files)
    require(allowed, "the data file lies outside the folder", path, "move it, or pass allow_outside (--allow-outside)")
    return name, files, format


def _named(path: str, options: Options, subset: str | None, split: str | None, limit: int | None) -> Dataset:
    """A dataset that the ``datasets`` package loads by name."""
    hub_name = path.removeprefix(PREFIX)

    def read() -> Iterator[Conversation | Problem]:
        format: Format | None = None
        for number, row in named_rows(hub_name, subset, split, limit):
            format = format or ROW_FORMATS[shape_of(row, "", path, options, row)]
            yield parse_row(row, path, number, format, options)

    settings = json.dumps(["huggingface", path, options.columns, limit, subset, split])
    stem = hub_name.rpartition("/")[2] or hub_name
    return Dataset(stem, path, "huggingface", (), read, limit, settings=settings)


def _policy(roots: Sequence[str], folder: str, allow_outside: bool, allow_urls: bool, max_pixels: int) -> ImagePolicy:
    for root in roots:
        found = is_url(root) or os.path.isdir(root)
        require(found, "image_root is not a folder", root, "pass the folder that holds the images")
    resolved = dict.fromkeys(real_path(root) for root in (*roots, folder))
    return ImagePolicy(tuple(resolved), allow_outside, allow_urls, max_pixels)


def _check_arguments(path: str, format: str, columns: Mapping[str, str], limit: int | None, max_pixels: int) -> None:
    known = format in {"auto", *FORMATS}
    require(known, f"unknown format {format!r}", path, f"use auto or one of {', '.join(FORMATS)}")
    for ours in columns:
        require(ours in COLUMNS, f"unknown column name {ours!r} in columns", path, f"use {', '.join(COLUMNS)}")
    require(limit is None or limit >= 0, f"limit is {limit}", path, "use a number that is not negative")
    require(max_pixels >= 1, f"max_pixels is {max_pixels}", path, "use a positive number")


def _as_conversation(sample: Sample) -> Conversation:
    return Conversation(sample.id, image_sources(sample.images), sample.turns(), "", 0)
