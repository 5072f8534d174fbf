"""What the arguments of all commands are made of: the types of their values, and those that several commands share.

The parser reads the tables; a command gets back from ``common.py`` what the user said. Nothing here imports what a
command needs to run, so that ``--help`` is quick.
"""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Callable
from typing import Any

from dataprophet.features.features import FIELDS

Argument = tuple[str, dict[str, Any]]
"""Name and settings, as ``add_argument`` takes them."""

FORMATS = "llava, llamafactory, swift, finevision, vqa, webdataset, vlmeval or huggingface"
EXPORTS = ("llava", "llamafactory", "swift", "webdataset", "huggingface", "ids")


def argument(name: str, help: str, metavar: str | None = None, **settings: Any) -> Argument:
    return name, {"help": help, **({"metavar": metavar} if metavar else {}), **settings}


def flag(name: str, help: str) -> Argument:
    return argument(name, help, action="store_true")


def several(name: str, help: str, metavar: str, **settings: Any) -> Argument:
    """An option that takes one value or more, and may be given again."""
    return argument(name, help, metavar, nargs="+", action="extend", default=[], **settings)


def _number(what: str, kind: type[int] | type[float], holds: Callable[[Any], bool]) -> Callable[[str], Any]:
    def parse(text: str) -> int | float:
        with contextlib.suppress(ValueError):
            if holds(value := kind(text)):
                return value
        raise argparse.ArgumentTypeError(f"{text!r} is not {what}")

    return parse


count = _number("a count: 0 or more", int, lambda value: value >= 0)
positive = _number("a count of 1 or more", int, lambda value: value > 0)
seconds = _number("a number of seconds", float, lambda value: 0 <= value < math.inf)


def count_or_all(text: str) -> int | None:
    return None if text == "all" else count(text)


def names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def assignment(text: str) -> str:
    if "=" not in text[1:-1]:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    return text


def fields(name: str, help: str) -> Argument:
    return argument(name, help, "F,...", default=",".join(FIELDS), type=names)


def seed(help: str, type: Callable[[str], Any] = count) -> Argument:
    return argument("--seed", help, "N", type=type, default=0)


MODEL = argument("--model", "name, local folder or 'demo'; with --features, a label", required=True)
PRODUCT_FIELDS = fields("--fields", "similarities in the product")
TARGET_PROFILES = several("--target", "profiles of the targets", "P", required=True)
MATRIX_FILE = argument("scores", "matrix written by `dataprophet matrix`", "SCORES")
TARGET_NAME = argument("--target", "name of the target", "T", required=True)
EXPORT = argument("--format", "the trainer's format", choices=EXPORTS, default="llava")

LOADING = (
    argument("--device", "auto, cpu, cuda or cuda:N", default="auto"),
    argument("--dtype", "auto, float32, bfloat16 or float16", default="auto"),
    argument("--revision", "revision of a model from the hub"),
    flag("--trust-remote-code", "run code that comes with the model"),
    argument("--batch-tokens", "padded tokens of a batch (default: by device)", "N", type=int),
    argument("--workers", "threads that prepare batches (default: by device)", "N", type=int),
    flag("--compile", "torch.compile the layers: for large pools"),
    flag("--plain-head", "score by the model's own logits, rounded to its dtype"),
)
"""How a model is loaded."""

_ALLOWANCES = (
    flag("--allow-outside", "allow image paths outside that folder"),
    flag("--allow-urls", "fetch images from http(s) addresses"),
)
_SUBSET = "dataset of a dataset_info.json, or configuration of a hub dataset"
_SPLIT = "split of a Hugging Face dataset"
_COLUMNS = "columns of a table, such as question=query"
_IMAGE_ROOT = "folder that image paths are relative to"

READING = (
    argument("--subset", _SUBSET),
    argument("--split", _SPLIT),
    argument("--format", f"auto or {FORMATS}", "FORMAT", dest="input_format", default="auto"),
    several("--columns", f"{_COLUMNS} answer=label", "FIELD=COLUMN", type=assignment),
    argument("--image-root", _IMAGE_ROOT, "DIR"),
    *_ALLOWANCES,
)
"""How a dataset is read."""

DATASET = (
    argument("dataset", "file, folder or hf:NAME", "DATASET"),
    argument("--limit", "rows to read", "N", type=count),
    *READING,
)

READING_SOURCES = (
    several("--input-format", f"auto or {FORMATS} (default: auto)", "[NAME:]FORMAT"),
    several("--columns", f"{_COLUMNS} tallyqa:answer=label", "[NAME:]FIELD=COLUMN", type=assignment),
    several("--image-root", _IMAGE_ROOT, "[NAME:]DIR"),
    several("--subset", _SUBSET, "[NAME:]SUBSET"),
    several("--split", _SPLIT, "[NAME:]SPLIT"),
    *_ALLOWANCES,
)
"""How several datasets are read: each value counts for all of them, or for one as NAME:VALUE."""

WORKERS = (
    argument("--engine", "what runs the shards", choices=("local", "ray"), default="local"),
    argument("--processes", "worker processes; 0 works in this one", "N", type=count),
    argument("--ray-address", "of a running Ray cluster (default: start one here)", "ADDRESS"),
)
"""Who works on a pool."""
