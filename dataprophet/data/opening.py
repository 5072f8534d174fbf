"""``open_dataset``: of a path, a name of the hub or rows in memory, a dataset.

For everyone who has data. Which format rows are in is for ``formats.detect`` to say.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

from dataprophet.data.dataset import Dataset
from dataprophet.data.files.arrow import arrow_labels
from dataprophet.data.files.columns import COLUMNS
from dataprophet.data.files.containers import ARROW, suffix_of
from dataprophet.data.files.splits import Found, find_files, snapshot_of
from dataprophet.data.formats.answers import ANSWER_KINDS
from dataprophet.data.formats.base import Options
from dataprophet.data.formats.detect import (
    ROW_FORMATS,
    Told,
    detect_folder,
    detect_rows,
    formats,
    kind_of_answers,
    settle,
)
from dataprophet.data.formats.huggingface import PREFIX, load_named, saved_files, saved_labels
from dataprophet.data.formats.llamafactory import INFO, num_samples
from dataprophet.data.formats.memory import hold
from dataprophet.data.formats.places import llamafactory_set, split_path, with_roots
from dataprophet.data.formats.reading import FileReading, HeldReading
from dataprophet.data.images.decode import MAX_PIXELS
from dataprophet.data.images.policy import ImagePolicy
from dataprophet.data.remote import is_dir, is_url, plain_path
from dataprophet.data.sample import Conversation, Problem
from dataprophet.errors import DataError, checked, choose, require, require_type

_HEAD = 1000  # rows of a dataset of the hub that say what its answers are


@checked()
def open_dataset(
    path: Any,
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
            a URL of these that fsspec knows, or ``hf:NAME``; or rows in memory: a list of dicts, a pandas or Arrow
            table (or anything with ``__arrow_c_stream__``), a ``datasets.Dataset``. Images of such rows are paths below
            ``image_root``, bytes, structs of these, or PIL images.
        format: one of ``dataprophet.data.formats()``, or ``auto`` to find out.
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
    by_path = isinstance(path, str | os.PathLike)
    given = arguments["path"] = plain_path(os.fspath(path)) if by_path else name or "the dataset"
    _check_types(columns or {}, limit, max_pixels, name)
    columns = arguments["columns"] = dict(columns or {})
    require_type(
        image_root or "", (str, os.PathLike, list, tuple), "image_root", "give a folder, or several", DataError
    )
    many = [image_root] if isinstance(image_root, str | os.PathLike) else image_root or []
    roots = [os.fspath(root) for root in many]
    arguments["image_root"] = roots[0] if isinstance(image_root, str | os.PathLike) else roots or None
    _check_arguments(given, format, columns, answer_is, limit=limit, max_pixels=max_pixels)
    policy = ImagePolicy(allow_outside=allow_outside, allow_urls=allow_urls, max_pixels=max_pixels)
    if not by_path:
        require(subset is None and split is None, "subset and split are of files", given, "choose the rows yourself")
        policy = with_roots(policy, roots or ["."] * allow_outside, ())
        dataset = _in_memory(path, format, Options(policy, columns, answer_is=answer_is), limit, name)
        dataset.strict, dataset._again = strict, partial(open_dataset, **{**arguments, "path": path})
        return dataset
    by_name = given.startswith(PREFIX) or (format == "huggingface" and not os.path.exists(given))
    if by_name and not is_url(given):
        options = Options(replace(policy, allow_outside=False), columns, answer_is=answer_is)
        dataset = _named(given, options, subset, split, limit)
        dataset.name, dataset.strict, dataset.arguments = name or dataset.name, strict, arguments
        dataset._again = partial(open_dataset, **arguments)
        return dataset
    base, subset = split_path(given, subset)
    stem = os.path.splitext(os.path.basename(os.path.abspath(base)))[0]
    base = snapshot_of(base)
    kind = (detect_folder(base) or "auto") if format == "auto" else format
    folder = base if is_dir(base) else os.path.dirname(base) or "."
    guessed: list[str] = []
    if kind == "llamafactory":
        require(split is None, "a LLaMA-Factory folder has no splits", base, "leave split out")
        stem, found, rows_format = llamafactory_set(folder, subset, allow_outside)
        if (most := num_samples(folder, stem)) is not None:
            limit = most if limit is None else min(limit, most)
            guessed.append(f"num_samples: the first {most:,} rows that can be used (of {INFO})")
    elif kind == "huggingface":
        require(subset is None, f"no dataset {subset!r}: a saved dataset is one", base, "leave it out")
        found = Found(saved_files(base, split), split, saved_labels(base, split))
    else:
        found = find_files(base, subset, split)
    files = found.files
    folders = [folder] if kind != "llamafactory" or is_url(folder) else [folder, os.path.dirname(files[0])]
    labels = dict(found.labels)
    for file in files if files and suffix_of(files[0]) in ARROW else ():
        with suppress(DataError):  # a damaged file is told when it is read
            labels |= arrow_labels(file)
            break
    options = Options(with_roots(policy, roots, folders), columns, labels)
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
    reading = FileReading(rows_format, options, folder, tuple(files))
    dataset = Dataset(name or stem, given, kind, reading.files, reading.all, limit, strict)
    settings = [kind, columns, limit, subset, split, max_pixels]
    dataset.settings = json.dumps(settings if answer_is is None else [*settings, answer_is])
    dataset.arguments, dataset._reading, dataset._told = arguments, reading, Told(guessed, [])
    dataset._again = partial(open_dataset, **arguments)
    return dataset


def _named(path: str, options: Options, subset: str | None, split: str | None, limit: int | None) -> Dataset:
    """A dataset that the ``datasets`` package loads by name."""
    hub_name = path.removeprefix(PREFIX)

    def read() -> Iterator[Conversation | Problem]:
        held = hold(load_named(hub_name, subset, split, limit), path)
        kind, own, _ = settle(held, path, "auto", options, _HEAD)
        yield from HeldReading(ROW_FORMATS[kind], own, held, path).all()

    settings = json.dumps(["huggingface", path, options.columns, limit, subset, split, options.answer_is])
    stem = hub_name.rpartition("/")[2] or hub_name
    return Dataset(stem, path, "huggingface", (), read, limit, settings=settings)


def _in_memory(data: Any, format: str, options: Options, limit: int | None, name: str | None) -> Dataset:
    """A dataset of the rows of an object."""
    held = hold(data, name or "the dataset")
    stem = os.path.splitext(os.path.basename(name or held.kind))[0]  # the rows' file, for messages and ids
    of_files = format in {"webdataset", "vlmeval", "llamafactory", "huggingface"}
    require(not of_files, f"format {format!r} is one of files", stem, "leave it out, or give the path")
    kind, options, told = settle(held, stem, format, options)
    reading = HeldReading(ROW_FORMATS[kind], options, held, stem)
    settings = json.dumps([kind, options.columns, limit, options.policy.max_pixels, options.answer_is])
    made = Dataset(name or held.kind, "", kind, (), reading.all, limit, settings=settings)
    made._reading, made._told = reading, told
    return made


def _check_types(columns: Any, limit: Any, max_pixels: Any, name: Any) -> None:
    """Raise DataError for arguments that are of another type than they should be."""
    require_type(columns, Mapping, "columns", 'give {"our name": "column of the file"}', DataError)
    for ours, column in columns.items():
        require_type(column, str, f"columns {ours!r}", "give the name of a column", DataError)
    for value, where in ((limit, "limit"), (max_pixels, "max_pixels")):
        require_type(0 if value is None else value, int, where, "give a whole number", DataError)
    require_type(name or "", str, "name", "give a text", DataError)


def _check_arguments(
    path: str, format: str, columns: Mapping[str, str], answer_is: str | None, *, limit: int | None, max_pixels: int
) -> None:
    known = format in {"auto", "llamafactory", "huggingface"} or format in ROW_FORMATS
    if not known:  # the list costs the loading of what packages add
        raise DataError(f"unknown format {format!r}", where=path, fix=choose(format, ["auto", *formats()]))
    for ours in columns:
        require(ours in COLUMNS, f"unknown column name {ours!r} in columns", path, choose(ours, COLUMNS))
    require(limit is None or limit >= 0, f"limit is {limit}", path, "use a number that is not negative")
    known = answer_is is None or answer_is in ANSWER_KINDS
    require(known, f"unknown kind of answers {answer_is!r}", path, choose(answer_is, ANSWER_KINDS))
    require(max_pixels >= 1, f"max_pixels is {max_pixels}", path, "use a positive number")
