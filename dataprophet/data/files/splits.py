"""The data files behind a path: a file, a folder of files, or the clone of a hub repository with its splits.

For ``dataset``. It looks at names and at the card (README.md) of a repository, and reads no rows.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataprophet.data.files.containers import COMPRESSED, SUFFIXES, UNPACK, suffix_of
from dataprophet.data.files.rows import opened
from dataprophet.data.remote import files_below, is_dir, is_file, is_url, names_in
from dataprophet.errors import DataError, explained, require

_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
_NOT_DATA = {"dataset_info.json", "manifest.json", "dataset_infos.json", "state.json", "dataset_dict.json"}
_CARD = "README.md"
_SNAPSHOTS, _BLOBS = "snapshots", "blobs"


@dataclass(frozen=True)
class Found:
    """The data files of a dataset.

    Attributes:
        files: in order.
        split: the split that they are, where there are several.
        labels: column of classes -> the name of each, as the folder's card or its ``dataset_info.json`` says.
    """

    files: list[str]
    split: str | None = None
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)


def list_files(path: str) -> list[str]:
    """The data files behind ``path``: itself, or the files of one suffix in that folder or below it, sorted.

    Raises:
        DataError: nothing there, no data files, or files of several suffixes.
    """
    if is_file(path):
        return [path]
    require(is_dir(path), "no such file or folder", path, "check the path")
    return _of_one_kind(path, [os.path.join(path, name) for name in _data_names(path)])


def find_files(path: str, subset: str | None, split: str | None) -> Found:
    """The data files behind ``path``, of one configuration and one split where the folder holds several.

    Raises:
        DataError: as ``list_files``; or a split or configuration has to be chosen, or is not there.
    """
    if is_file(path) or not is_dir(path):
        require(split is None, "a file has no splits", path, "name the split's file, or the folder")
        require(subset is None, f"no dataset {subset!r}: only folders hold several", path, "leave it out")
        return Found(list_files(path))
    card = _card(path)
    listed = _configured(path, card, subset)
    require(listed or subset is None, f"no dataset {subset!r}: its card names none", path, "leave it out")
    splits = listed or _named(_data_names(path))
    labels = _labels(card, subset)
    known = [name for name in splits if name]
    choose = f"choose one (split=): {', '.join(known)}"
    if split is None:
        require(len(known) < 2, f"the folder holds the splits {' and '.join(known)}", path, choose)
        rest = splits.get("") if known else None
        what = f"the folder holds the split {' '.join(known)} and files that tell none"
        require(not rest, f"{what}, such as {rest and rest[0]}", path, f"{choose}, or name a file")
        names = [name for part in splits.values() for name in part]
    else:
        name = split if split in splits else _WORDS.get(split, split)
        none = "its files' names tell no split" if not known else choose
        require(name in splits, f"no split {split!r}", path, none)
        names, split = splits[name], name
    files = _of_one_kind(path, [os.path.join(path, name) for name in sorted(names)])
    return Found(files, split or (known[0] if len(known) == 1 else None), labels)


def snapshot_of(path: str) -> str:
    """The snapshot in a repository's folder of the hub's cache; any other path as it is."""
    folder = os.path.join(path, _SNAPSHOTS)
    if is_url(path) or not os.path.isdir(folder):
        return path
    main = os.path.join(path, "refs", "main")
    revisions = sorted(os.listdir(folder))
    if os.path.isfile(main):
        with opened(main) as file:
            wanted = file.read().decode("ascii", "replace").strip()
        revisions = [name for name in revisions if name == wanted] or revisions
    one = len(revisions) == 1
    require(one, f"the cache holds {len(revisions)} snapshots", path, f"name one of those in {folder}")
    return os.path.join(folder, revisions[0])


def blobs_of(folder: str) -> list[str]:
    """Where the links of a snapshot of the hub's cache lead; nothing for another folder."""
    above, _, inside = os.path.abspath(folder).rpartition(f"{os.sep}{_SNAPSHOTS}{os.sep}")
    blobs = os.path.join(above, _BLOBS)
    return [blobs] if above and inside and not is_url(folder) and os.path.isdir(blobs) else []


def _data_names(folder: str) -> list[str]:
    """Names of the data files in a folder, or of those below it where it has none itself."""
    names = [name for name in names_in(folder) if not name.startswith((".", "_")) and name not in _NOT_DATA]
    found = [name for name in names if suffix_of(name) in SUFFIXES]
    if not is_url(folder) and not any(os.path.isfile(os.path.join(folder, name)) for name in found):
        found = []
    listed = names
    if not found:  # a folder, a pipe or a link to nothing among files is one that cannot be read
        listed = files_below(folder)
        below = (name for name in listed if suffix_of(name) in SUFFIXES)
        found = [name for name in below if os.path.basename(name) not in _NOT_DATA]
    packed = {os.path.splitext(name)[0]: name for name in listed if suffix_of(name) in COMPRESSED}
    alone = next((packed[name] for name in sorted(packed.keys() - set(listed)) if suffix_of(name) in SUFFIXES), "")
    require(not alone, f"{alone} is compressed, and would not be read", folder, UNPACK)
    seen, fix = ", ".join(names[:5]) or "nothing", f"name a file that ends in {', '.join(SUFFIXES)}"
    require(found, f"no data files in the folder (it holds {seen})", folder, fix)
    return found


def _of_one_kind(folder: str, files: list[str]) -> list[str]:
    kinds = sorted({suffix_of(file) for file in files})
    require(
        len(kinds) == 1, f"the folder mixes {' and '.join(kinds)} files", folder, f"name one file, such as {files[0]}"
    )
    return files


def _named(names: Iterable[str]) -> dict[str, list[str]]:
    """Names of files by the split that they tell, the last part of a path first; empty where one tells none."""
    splits: dict[str, list[str]] = {}
    for name in names:
        parts = (re.findall("[a-z]+", part.lower()) for part in reversed(os.path.splitext(name)[0].split("/")))
        told = ({_WORDS[word] for word in words if word in _WORDS} for words in parts)
        first = next((words for words in told if words), set())
        splits.setdefault(first.pop() if len(first) == 1 else "", []).append(name)
    return splits


def _configured(folder: str, card: Mapping[str, Any], subset: str | None) -> dict[str, list[str]]:
    """Files of each split of a configuration, as the card of a repository names them."""
    configs = {str(entry.get("config_name", "default")): entry for entry in _entries(card.get("configs"))}
    configs = {name: entry for name, entry in configs.items() if entry.get("data_files")}
    if not configs:
        return {}
    fix = f"choose one (subset=): {', '.join(configs)}"
    usual = next((name for name, entry in configs.items() if name == "default" or entry.get("default") is True), None)
    name = subset or (next(iter(configs)) if len(configs) == 1 else usual)
    require(name is not None, f"the card names {len(configs)} configurations", folder, fix)
    require(name in configs, f"no configuration {name!r}", folder, fix)
    given = configs[str(name)]["data_files"]
    if isinstance(given, dict):
        given = [{"split": key, "path": value} for key, value in given.items()]
    if isinstance(given, str) or (isinstance(given, list) and all(isinstance(item, str) for item in given)):
        given = [{"split": "train", "path": given}]
    inside, splits = files_below(folder), dict[str, list[str]]()
    for part in _entries(given):
        path = part.get("path")
        patterns = [
            _as_on_the_hub(str(item).removeprefix("./")) for item in (path if isinstance(path, list) else [path])
        ]
        names = [name for name in inside if any(pattern.fullmatch(name) for pattern in patterns)]
        if names := [name for name in names if suffix_of(name) in SUFFIXES]:
            splits.setdefault(str(part.get("split", "train")), []).extend(names)
    what = f"no data file of configuration {name!r} is here"
    require(splits, what, folder, "download the files that its card names, or name a file")
    return splits


def _as_on_the_hub(pattern: str) -> re.Pattern[str]:
    """A pattern of a card: ``*`` stays within a folder, ``**/`` is any folders or none."""
    made = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.findall(r"\*\*/|\*\*|\*|\?|\[[^\]]+\]|.", pattern)
    plain = (part.replace("[!", "[^") if len(part) > 1 else re.escape(part) for part in parts)
    with explained(
        re.error, DataError, f"no pattern of file names: {pattern!r}", "the card", "correct it, or name a file"
    ):
        return re.compile("".join(made.get(part, own) for part, own in zip(parts, plain, strict=True)))


def _labels(card: Mapping[str, Any], subset: str | None) -> dict[str, list[str]]:
    """Names of classes as the card of a repository tells them."""
    described = _entries(card.get("dataset_info"))
    fitting = [
        entry
        for entry in described
        if len(described) == 1 or entry.get("config_name", "default") == (subset or "default")
    ]
    found: dict[str, list[str]] = {}
    for feature in _entries(fitting[0].get("features")) if fitting else ():
        kind = next((feature[key] for key in ("dtype", "sequence", "list") if key in feature), None)
        names = kind["class_label"].get("names") if isinstance(kind, dict) and "class_label" in kind else None
        if isinstance(names, dict):
            names = [names[key] for key in sorted(names, key=int)]
        if isinstance(names, list):
            found[str(feature.get("name"))] = [str(name) for name in names]
    return found


def _entries(value: Any) -> list[dict[str, Any]]:
    """One object, or the objects of a list."""
    return [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, dict)]


def _card(folder: str) -> dict[str, Any]:
    """What stands before the text of a repository's card, between lines of dashes."""
    path = os.path.join(folder, _CARD)
    if is_url(folder) or not os.path.isfile(path):
        return {}
    with opened(path) as file:
        text = file.read().decode("utf-8", "replace")
    head = re.match(r"\s*---\s*\n(.*?)\n---\s*(\n|$)", text, re.DOTALL)
    if head is None or not re.search("^(configs|dataset_info):", head[1], re.MULTILINE):
        return {}
    import yaml  # here: few folders have a card

    with explained((yaml.YAMLError, ValueError), DataError, "its head is no YAML", path, "repair it, or name a file"):
        read = yaml.safe_load(head[1])
    return read if isinstance(read, dict) else {}
