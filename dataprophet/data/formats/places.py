"""What a path names: a file or folder, and one dataset in it; and the folders in which its images may lie.

For ``opening``, which opens them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace

from dataprophet.data.files.splits import Found, blobs_of, list_files
from dataprophet.data.formats.base import Format
from dataprophet.data.formats.huggingface import PREFIX
from dataprophet.data.formats.llamafactory import INFO, read_info
from dataprophet.data.images.policy import ImagePolicy
from dataprophet.data.remote import exists, is_file, is_url, real_path
from dataprophet.errors import require


def split_path(path: str, subset: str | None) -> tuple[str, str | None]:
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


def llamafactory_set(folder: str, subset: str | None, allow_outside: bool) -> tuple[str, Found, Format]:
    """Name, data files and format of a dataset of a LLaMA-Factory folder."""
    found = is_file(os.path.join(folder, INFO))
    require(found, f"no {INFO} in the folder", folder, "pass the folder that holds it, or --format llava")
    name, path, format = read_info(folder, subset)
    files = list_files(path)
    inside = tuple(os.path.join(real_path(root), "") for root in (folder, *blobs_of(folder)))
    allowed = allow_outside or all(real_path(file).startswith(inside) for file in files)
    require(allowed, "the data file lies outside the folder", path, "move it, or pass allow_outside=True")
    return name, Found(files), format


def with_roots(policy: ImagePolicy, given: Sequence[str], own: Sequence[str]) -> ImagePolicy:
    """The policy with folders that the user named, and those of the dataset, the first of which is its root."""
    for root in given:
        found = is_url(root) or os.path.isdir(root)
        require(found, "--image-root is not a folder", root, "name the folder that holds the images")
    named = dict.fromkeys(map(real_path, given))
    links = [blob for folder in own[:1] for blob in blobs_of(folder)]
    roots = named | dict.fromkeys(map(real_path, (*own, *links)))
    return replace(policy, roots=tuple(roots), given=len(named))
