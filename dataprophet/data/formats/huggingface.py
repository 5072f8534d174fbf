"""Hugging Face datasets: a ``save_to_disk`` folder, read from its Arrow files, or ``hf:NAME`` through ``datasets``.

For ``opening``, which finds out the format of the rows; those of the ``datasets`` package are read in ``memory``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from dataprophet.data.files.arrow import class_names
from dataprophet.data.files.rows import read_object
from dataprophet.data.formats.llamafactory import INFO
from dataprophet.data.remote import is_file
from dataprophet.errors import DataError, MissingDependencyError, explained, install, require

PREFIX = "hf:"
DESCRIPTION = "Hugging Face dataset: a save_to_disk folder, or hf:NAME"
_STATE, _DICT = "state.json", "dataset_dict.json"
_AGAIN = "save the dataset again"


def is_saved(folder: str) -> bool:
    """Whether ``folder`` was written by ``Dataset.save_to_disk`` or ``DatasetDict.save_to_disk``."""
    return any(is_file(os.path.join(folder, name)) for name in (_STATE, _DICT))


def saved_files(folder: str, split: str | None) -> list[str]:
    """The Arrow files of a saved dataset, in order.

    Raises:
        DataError: a damaged state file, no such split, or a split that must be chosen.
    """
    folder = _split_folder(folder, split)
    path = os.path.join(folder, _STATE)
    state = read_object(path, _AGAIN)
    what, fix = "the dataset keeps a list of row indices", "call flatten_indices() and save it again"
    require(not state.get("_indices_data_files"), what, path, fix)
    entries: Any = state.get("_data_files")
    named = isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)
    require(named, "names no data files", path, _AGAIN)
    files = [os.path.join(folder, os.path.basename(str(entry.get("filename")))) for entry in entries]
    for file in files:
        require(is_file(file), "data file not found", file, "copy the whole folder")
    return files


def saved_labels(folder: str, split: str | None) -> dict[str, list[str]]:
    """Columns of classes of a saved dataset, and the name of each class."""
    path = os.path.join(_split_folder(folder, split), INFO)
    return class_names(read_object(path, _AGAIN).get("features")) if is_file(path) else {}


def is_built(info: Mapping[str, Any]) -> bool:
    """Whether a ``dataset_info.json`` is that of the ``datasets`` package, and not of LLaMA-Factory."""
    return isinstance(info.get("features"), dict) or isinstance(info.get("builder_name"), str)


def _split_folder(folder: str, split: str | None) -> str:
    path = os.path.join(folder, _DICT)
    if not is_file(path):
        require(split is None, f"no split {split!r}: the folder holds a single dataset", folder, "leave split out")
        return folder
    splits: Any = read_object(path, _AGAIN).get("splits")
    names = splits and isinstance(splits, list) and all(_is_name(split) for split in splits)
    require(names, "'splits' is not a list of names", path, _AGAIN)
    listed = ", ".join(splits)
    one = split is not None or len(splits) == 1
    require(one, "the folder holds several splits", folder, f"pass split=, one of {listed}")
    name = str(splits[0] if split is None else split)
    require(name in splits, f"no split {name!r}", folder, f"choose from {listed}")
    return os.path.join(folder, name)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value == os.path.basename(value)


def load_named(name: str, subset: str | None, split: str | None, limit: int | None) -> Any:
    """The dataset that the hub calls ``name``, of the ``datasets`` package.

    Raises:
        MissingDependencyError: the package is not installed.
        DataError: it cannot be loaded, or a split must be chosen.
    """
    where = f"{PREFIX}{name}"
    what, fix = "the datasets package is needed to load by name", install("data")
    with explained(ImportError, MissingDependencyError, what, where, fix):
        import datasets
    require(split is not None, "no split chosen", where, "pass split=, such as train")
    fix = "check name, subset and split, or save it to disk and pass the folder"
    with explained((OSError, ValueError, RuntimeError), DataError, "cannot be loaded", where, fix):
        return datasets.load_dataset(name, subset, split=split, streaming=limit is not None)
