"""``open_dataset`` and what it returns: a dataset that is read anew, row by row, each time it is iterated."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataprophet.data.detect import FORMATS, detect_folder, detect_rows, list_files, shape_of
from dataprophet.data.files.text import opened
from dataprophet.data.formats.base import COLUMNS, Options, RowParser, check_columns, parse_row, parse_rows
from dataprophet.data.formats.finevision import parse_finevision
from dataprophet.data.formats.huggingface import PREFIX, named_rows, saved_files
from dataprophet.data.formats.llamafactory import INFO, read_info
from dataprophet.data.formats.llava import parse_llava
from dataprophet.data.formats.swift import parse_swift
from dataprophet.data.formats.vlmeval import parse_vlmeval, read_vlmeval, with_shared_images
from dataprophet.data.formats.vqa import parse_vqa
from dataprophet.data.formats.webdataset import parse_webdataset, read_webdataset
from dataprophet.data.images.decode import MAX_PIXELS
from dataprophet.data.images.sources import image_sources
from dataprophet.data.index import FileIndex, in_cells, index_file, read_range, relative_name, state_of
from dataprophet.data.remote import exists, is_dir, is_file, is_url, plain_path, real_path
from dataprophet.data.rows import ImagePolicy
from dataprophet.data.sample import Conversation, Problem, ProblemLog, Sample
from dataprophet.errors import DataError

Rows = Callable[[], Iterator[Conversation | Problem]]


@dataclass(frozen=True)
class _Parts:
    """How any part of a data file is read: row parser and options, and the folder that names are relative to."""

    parse: RowParser
    options: Options
    folder: str


_PARSERS: dict[str, RowParser] = {
    "llava": parse_llava,
    "swift": parse_swift,
    "finevision": parse_finevision,
    "vqa": parse_vqa,
    "vlmeval": parse_vlmeval,
    "webdataset": parse_webdataset,
}


class KnownIds:
    """The ids of the rows so far: 8 bytes of a hash of each, which stay small where the ids would not."""

    def __init__(self) -> None:
        self._seen: set[int] = set()

    def repeated(self, row: Conversation, *, turns: bool = True) -> bool:
        """Whether a row's id, or with ``turns`` that of one of its samples, occurred before; if not, it has now."""
        keys = {_key(row.id)}
        if turns and len(row.turns) > 1:
            keys |= {_key(f"{row.id}#{turn + 1}") for turn in range(len(row.turns))}
        if self._seen & keys:
            return True
        self._seen |= keys
        return False


def repeated_id(row: Conversation | Problem) -> Problem:
    """What is wrong with a row whose id occurred before."""
    message = f"the id {row.id!r} occurs before"
    return Problem("duplicate_id", message, "give every row an id of its own", row.file, row.row, row.id)


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
    read: Rows = field(repr=False)
    limit: int | None = None
    strict: bool = False
    problems: ProblemLog = field(default_factory=ProblemLog, repr=False)
    settings: str = field(default="", repr=False)
    arguments: Mapping[str, Any] = field(default_factory=dict, repr=False)
    _samples: tuple[Sample, ...] | None = field(default=None, repr=False)
    _parts: _Parts | None = field(default=None, repr=False)

    @classmethod
    def from_samples(cls, name: str, samples: Iterable[Sample]) -> Dataset:
        """A dataset of samples in memory."""
        kept = tuple(samples)
        return cls(name, "", "memory", (), lambda: (_as_conversation(sample) for sample in kept), _samples=kept)

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
                continue
            if ids.repeated(row, turns=self._samples is None):
                yield repeated_id(row)
                continue
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
        parts = self._require_parts()
        path = self.files[number]
        check_columns(path, parts.options)
        return index_file(path, relative_name(path, parts.folder))

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
        parts = self._require_parts()
        options = parts.options
        rows = read_range(index, first, last, options.wanted(), options.policy.max_pixels)
        if self.format == "vlmeval":
            rows = with_shared_images(rows, index.path, options)
        return in_cells(parse_row(row, index.path, number, parts.parse, options) for number, row in rows)

    @property
    def folder(self) -> str:
        """The folder that the names of its files are relative to. Raises DataError where it has no files."""
        return self._require_parts().folder

    def _require_parts(self) -> _Parts:
        if self._parts is None:
            raise DataError(
                "it has no files that are read in parts",
                where=self.path or self.name,
                fix="write it with save_to_disk of the datasets package, and give that folder",
            )
        return self._parts

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
    given = plain_path(os.fspath(path))
    columns = dict(columns or {})
    root = image_root if image_root is None or isinstance(image_root, str | os.PathLike) else list(image_root)
    arguments = {
        "path": given,
        "format": format,
        "columns": columns,
        "limit": limit,
        "name": name,
        "subset": subset,
        "split": split,
        "image_root": [os.fspath(item) for item in root] if isinstance(root, list) else root and os.fspath(root),
        "allow_outside": allow_outside,
        "allow_urls": allow_urls,
        "max_pixels": max_pixels,
        "strict": strict,
    }
    _check_arguments(given, format, columns, limit, max_pixels)
    if not is_url(given) and (given.startswith(PREFIX) or (format == "huggingface" and not os.path.exists(given))):
        options = Options(ImagePolicy((), False, allow_urls, max_pixels), columns, split)
        return _open_named(given, options, limit, name=name, subset=subset, strict=strict)
    if is_url(given) and ("::" in given.rpartition("::")[0] or "/" in given.partition("::")[2]):
        raise DataError("a chain of URLs is not read", where=given, fix="unpack the archive first")
    named = "::" in given and (is_url(given) or not os.path.exists(given))
    base, _, suffix = given.rpartition("::") if named else (given, "", "")
    if suffix and subset and suffix != subset:
        raise DataError(f"the path says {suffix!r} and subset {subset!r}", where=given, fix="name the dataset once")
    subset = subset or suffix or None
    if not exists(base):
        raise DataError("no such file or folder", where=base, fix=_check_path(base))
    base = base.rstrip(os.sep) or base
    kind = (detect_folder(base) or "auto") if format == "auto" else format
    folder = base if is_dir(base) else os.path.dirname(base) or "."
    options = Options(_policy(folder, image_root, allow_outside, allow_urls, max_pixels), columns, split)
    if split is not None and kind != "huggingface":
        raise DataError("only Hugging Face datasets have splits here", where=base, fix="name the split's file")
    if subset is not None and kind != "llamafactory":
        raise DataError(
            f"no dataset {subset!r}: only LLaMA-Factory folders hold several", where=base, fix="leave it out"
        )
    stem = os.path.splitext(os.path.basename(os.path.abspath(base)))[0]
    read: Rows
    if kind == "llamafactory":
        if not is_file(os.path.join(folder, INFO)):
            raise DataError(
                f"no {INFO} in the folder", where=folder, fix="pass the folder that holds it, or format='llava'"
            )
        entry = read_info(folder, subset)
        files, stem = list_files(entry.path), entry.name
        inside = os.path.join(real_path(folder), "")
        if not allow_outside and not all(real_path(file).startswith(inside) for file in files):
            raise DataError(
                "the data file lies outside the folder",
                where=entry.path,
                fix="move it, or pass allow_outside (--allow-outside)",
            )
        parse = entry.parse
        read = _reader(files, parse, options)
    elif kind == "huggingface":
        files = saved_files(base, split)
        parse = _PARSERS[detect_rows(files, options) if files else "vqa"]
        read = _reader(files, parse, options)
    else:
        files = list_files(base)
        kind = detect_rows(files, options) if kind == "auto" else kind
        parse, read = _PARSERS[kind], _reader_of(kind, files, options)
    settings = json.dumps([kind, columns, limit, subset, split, max_pixels])
    dataset = Dataset(name or stem, given, kind, tuple(files), read, limit, strict, settings=settings)
    dataset.arguments, dataset._parts = arguments, _Parts(parse, options, folder)
    return dataset


def _reader_of(kind: str, files: list[str], options: Options) -> Rows:
    is_tar = files[0].lower().endswith(".tar")
    if is_tar != (kind == "webdataset"):
        raise DataError(f"the file does not fit format {kind!r}", where=files[0], fix="pass format='auto'")
    if kind == "webdataset":
        return lambda: read_webdataset(files, options)
    if kind == "vlmeval":
        return lambda: read_vlmeval(files, options)
    return _reader(files, _PARSERS[kind], options)


def _reader(files: list[str], parse: RowParser, options: Options) -> Rows:
    return lambda: parse_rows(files, parse, options)


def _open_named(
    path: str, options: Options, limit: int | None, *, name: str | None, subset: str | None, strict: bool
) -> Dataset:
    hub_name = path.removeprefix(PREFIX)

    def read() -> Iterator[Conversation | Problem]:
        parse: RowParser | None = None
        for number, row in named_rows(hub_name, subset, options.split, limit, options.policy.max_pixels):
            if parse is None:
                parse = _PARSERS[shape_of(row, "", path, options)]
            yield parse_row(row, path, number, parse, options)

    settings = json.dumps(["huggingface", path, options.columns, limit, subset, options.split])
    stem = hub_name.rpartition("/")[2] or hub_name
    return Dataset(name or stem, path, "huggingface", (), read, limit, strict, settings=settings)


def _policy(
    folder: str,
    image_root: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None,
    allow_outside: bool,
    allow_urls: bool,
    max_pixels: int,
) -> ImagePolicy:
    extra = (
        [] if image_root is None else [image_root] if isinstance(image_root, str | os.PathLike) else list(image_root)
    )
    roots = []
    for root in (*extra, folder):
        if not is_url(os.fspath(root)) and not os.path.isdir(root):
            raise DataError(
                "image_root is not a folder", where=os.fspath(root), fix="pass the folder that holds the images"
            )
        roots.append(real_path(os.fspath(root)))
    return ImagePolicy(tuple(dict.fromkeys(roots)), allow_outside, allow_urls, max_pixels)


def _check_arguments(path: str, format: str, columns: Mapping[str, str], limit: int | None, max_pixels: int) -> None:
    if format != "auto" and format not in FORMATS:
        raise DataError(f"unknown format {format!r}", where=path, fix=f"use auto or one of {', '.join(FORMATS)}")
    for ours in columns:
        if ours not in COLUMNS:
            raise DataError(f"unknown column name {ours!r} in columns", where=path, fix=f"use {', '.join(COLUMNS)}")
    if limit is not None and limit < 0:
        raise DataError(f"limit is {limit}", where=path, fix="use a number that is not negative")
    if max_pixels < 1:
        raise DataError(f"max_pixels is {max_pixels}", where=path, fix="use a positive number")


def _check_path(path: str) -> str:
    if any(mark in path for mark in "*?"):
        return "name one file, or the folder of the files"
    if path.count("/") == 1 and not os.path.splitext(path)[1]:
        return f"check the path, or write {PREFIX}{path} for a dataset of the hub"
    return "check the path"


def _as_conversation(sample: Sample) -> Conversation:
    return Conversation(sample.id, image_sources(sample.images), sample.turns(), "", 0)


def _key(id: str) -> int:
    """8 bytes of a hash: a set of these stays small where the ids would not."""
    return int.from_bytes(hashlib.blake2b(id.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
