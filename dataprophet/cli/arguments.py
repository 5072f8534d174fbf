"""What the arguments of all commands are made of: the types of their values, and those that several commands share.

The parser reads the tables; a command gets back from ``common.py`` what the user said. Nothing here imports what a
command needs to run, so that ``--help`` is quick.
"""

from __future__ import annotations

import argparse
import contextlib
import math
from collections.abc import Callable
from dataclasses import MISSING
from functools import partial
from pathlib import Path
from typing import Any

from dataprophet.features.features import FIELDS
from dataprophet.running.recipe import EXPORTS, Recipe

# name and settings, as ``add_argument`` takes them
Argument = tuple[str, dict[str, Any]]

FORMATS = "llava, llamafactory, swift, finevision, verl, vqa, webdataset, vlmeval or huggingface"


def argument(name: str, help: str, type: Callable[[str], Any] | None = None, **settings: Any) -> Argument:
    """One argument; behind its name, and a space, stands what ``--help`` calls its value."""
    name, _, metavar = name.partition(" ")
    given = {"metavar": metavar or None, "type": type}
    return name, {"help": help, **{key: value for key, value in given.items() if value is not None}, **settings}


flag = partial(argument, action="store_true")
# an option that takes one value or more, and may be given again
several = partial(argument, nargs="+", action="extend", default=[])


def _number(wanted: str, kind: type[int] | type[float], holds: Callable[[Any], bool]) -> Callable[[str], Any]:
    def parse(text: str) -> int | float:
        with contextlib.suppress(ValueError):
            if holds(value := kind(text)):
                return value
        raise argparse.ArgumentTypeError(f"cannot be {text!r}; give {wanted}")

    return parse


count = _number("an integer of 0 or more", int, lambda value: value >= 0)
positive = _number("an integer of 1 or more", int, lambda value: value > 0)
integer = _number("an integer", int, lambda _: True)
real = _number("a number", float, lambda value: not math.isnan(value))
seconds = _number("a number of seconds, 0 or more", float, lambda value: 0 <= value < math.inf)
above_zero = _number("a number above 0", float, lambda value: 0 < value < math.inf)
level = _number("a number between 0 and 1, such as 0.95", float, lambda value: 0 < value < 1)
quantile = _number("two numbers from 0 to 1, such as 0.05 0.9", float, lambda value: 0 <= value <= 1)
weight = _number("a number from 0 to 1", float, lambda value: 0 <= value <= 1)
cosine = _number("a cosine from -1 to 1, such as 0.95", float, lambda value: -1 <= value <= 1)
_SHARE = "a share from 0 to 1, such as 0.2 or 20%"


def share(text: str) -> float:
    part = _number(_SHARE, float, lambda value: 0 <= value <= 100)
    with contextlib.suppress(argparse.ArgumentTypeError):
        value = float(part(text.removesuffix("%")) / (100 if text.endswith("%") else 1))
        if value <= 1:
            return value
    raise argparse.ArgumentTypeError(f"cannot be {text!r}; give {_SHARE}")


def count_or_all(text: str) -> int | None:
    with contextlib.suppress(argparse.ArgumentTypeError):
        return None if text == "all" else int(count(text))
    raise argparse.ArgumentTypeError(f"cannot be {text!r}; give an integer of 0 or more, or all")


def names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def assignment(text: str) -> str:
    if "=" not in text[1:-1]:
        raise argparse.ArgumentTypeError(f"cannot be {text!r}; write NAME=VALUE")
    return text


def jinja_file(text: str) -> str:
    if not text.endswith(".jinja"):
        raise argparse.ArgumentTypeError(f"cannot be {text!r}; name a file that ends in .jinja")
    return str(Path(text).absolute())  # workers may run elsewhere


def fields(name: str, help: str) -> Argument:
    return argument(f"{name} F,...", help, names, default=",".join(FIELDS))


def seed(help: str, type: Callable[[str], Any] = count) -> Argument:
    return argument("--seed N", help, type, default=0)


MODEL = argument("--model", "name, local folder or 'demo'; with --features, a label", required=True)
PRODUCT_FIELDS = fields("--fields", "similarities in the product")
MATRIX_FILE = argument("scores SCORES", "matrix written by `dataprophet matrix`")
TARGET_NAME = argument("--target T", "name of the target", required=True)
NOISE = (
    several("--without FACTOR", "leave factors out, such as ISim or perplexity"),
    argument("--max-nll X", "leave out what has a mean negative log-likelihood above X nats", real),
    argument(
        "--nll-quantiles",
        "leave out what is outside these quantiles of the mean negative log-likelihood, such as 0.05 0.9",
        quantile,
        nargs=2,
        metavar=("LOW", "HIGH"),
    ),
    argument("--min-answer-tokens N", "leave out what has fewer answer tokens", count),
)
EXPORT = argument(
    "--format FORMAT", f"the trainer's: {', '.join(EXPORTS.own)}, or a package's", choices=EXPORTS, default="llava"
)

# how a model is loaded
LOADING = (
    argument("--device", "auto, cpu, cuda or cuda:N", default="auto"),
    argument("--dtype", "auto, float32, bfloat16 or float16", default="auto"),
    argument("--revision", "revision of a model from the hub"),
    flag("--trust-remote-code", "run code that comes with the model"),
    argument("--batch-tokens N", "padded tokens of a batch (default: by device)", positive),
    argument("--workers N", "threads that prepare batches (default: by device)", count),
    flag("--compile", "torch.compile the layers: for large pools"),
    argument("--memory SIZE", "what each worker may take beside the model, such as 8G, at least 1G (default: 4G)"),
    argument("--template FILE.jinja", "chat template to use in the place of the model's own", jinja_file),
    several("--processor KEY=VALUE", "arguments of the processor, such as max_pixels=200704", assignment),
    flag("--score-terminator", "count the end-of-turn token as part of each answer"),
    flag("--plain-head", "score by the model's own logits, rounded to its dtype"),
)

_ALLOWANCES = (
    flag("--allow-outside", "allow image paths outside that folder"),
    flag("--allow-urls", "fetch images from http(s) addresses"),
    argument("--max-pixels N", "pixels of the largest image that is read (default: 89478485)", positive),
)
_SUBSET = "dataset of a dataset_info.json, or configuration of a hub dataset"
_ANSWER_IS = "what answers beside options are: text, letter, index0 or index1 (default: what explains them)"
_SPLIT = "split of a Hugging Face dataset, or of a folder of files whose names tell it"
_COLUMNS = "columns of a table, such as question=query"
_IMAGE_ROOT = "folder that image paths are relative to"

# how a dataset is read
READING = (
    argument("--subset", _SUBSET),
    argument("--split", _SPLIT),
    argument("--format FORMAT", f"auto or {FORMATS}", dest="input_format", default="auto"),
    several("--columns FIELD=COLUMN", f"{_COLUMNS} answer=label", assignment),
    argument("--answer-is KIND", _ANSWER_IS),
    argument("--image-root DIR", _IMAGE_ROOT),
    *_ALLOWANCES,
)

_LIMIT = argument("--limit N", "rows to read", count)
DATASET = (argument("dataset DATASET", "file, folder or hf:NAME, or NAME=PATH"), _LIMIT, *READING)

# how several datasets are read, if not as they were profiled: each value counts for all of them, or for one as
# NAME:VALUE
READING_SOURCES = (
    several("--input-format [NAME:]FORMAT", f"auto or {FORMATS} (default: auto)"),
    several("--columns [NAME:]FIELD=COLUMN", f"{_COLUMNS} tallyqa:answer=label", assignment),
    several("--answer-is [NAME:]KIND", _ANSWER_IS),
    several("--image-root [NAME:]DIR", _IMAGE_ROOT),
    several("--subset [NAME:]SUBSET", _SUBSET),
    several("--split [NAME:]SPLIT", _SPLIT),
    several("--limit [NAME:]N", "rows to read, or 'all'"),
    *_ALLOWANCES,
)


def of_recipe() -> tuple[Argument, ...]:
    """An option for each key of a recipe but its datasets; the recipe's reader checks their values."""
    shown = {
        key: each for key, each in Recipe.__dataclass_fields__.items() if key not in ("sources", "targets", "places")
    }
    return tuple(_of_key(name, str(each.type), each) for name, each in shown.items())


def _of_key(name: str, kind: str, key: Any) -> Argument:
    usual = " ".join(key.default) if isinstance(key.default, tuple) else key.default
    default = "" if usual in (MISSING, None, False, "") else f" (default: {usual})"
    option, help = f"--{name.replace('_', '-')}", f"{key.metadata['help']}{default}"
    settings: dict[str, Any] = {"help": help, "default": argparse.SUPPRESS}
    if kind == "bool":
        return option, {**settings, "action": "store_true"}
    if kind.startswith("dict"):
        return option, {**settings, "nargs": "+", "metavar": "KEY=VALUE", "type": assignment}
    if kind.startswith("tuple"):
        return option, {**settings, "nargs": "+", "metavar": "VALUE"}
    return option, {**settings, "metavar": "N" if kind.startswith(("int", "float")) else "VALUE"}


MAX_BAD = argument("--max-bad SHARE", "largest share of rows that cannot be used, 1 for all", share, default=0.05)

# who works on a pool
WORKERS = (
    argument("--engine", "what runs the shards", choices=("local", "ray"), default="local"),
    argument("--processes N", "worker processes; 0 works in this one", count),
    argument("--ray-address ADDRESS", "of a running Ray cluster (default: start one here)"),
    several("--ray-option KEY=VALUE", "options of each Ray actor, such as num_gpus=0.5", assignment),
    argument("--stall SECONDS", "a worker process without progress is replaced after so long", above_zero, default=600),
    flag("--recheck", "also read the files that look unchanged, and compare them with what was read before"),
)
