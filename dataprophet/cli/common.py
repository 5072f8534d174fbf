"""What several commands share: what the user said about data and models, and results as JSON or as text.

Only commands call it; what they compute it does not know.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from dataprophet.cli.pairs import owner
from dataprophet.cli.progress import Progress, say
from dataprophet.cli.terminal import Shades, is_terminal, terminal_table
from dataprophet.cli.typed import as_typed
from dataprophet.data import Dataset, open_dataset
from dataprophet.data.remote import is_url
from dataprophet.errors import DataProphetError, require
from dataprophet.planning.sample import count_rows
from dataprophet.report.values import number as number  # noqa: PLC0414 (commands take it from here)
from dataprophet.running.check import split_name
from dataprophet.scoring.engines.signals import TERMINATED


def open_from(args: argparse.Namespace, path: str, name: str | None = None) -> Dataset:
    """Open a dataset, a path or NAME=PATH, as the command's reading arguments say."""
    typed, path = split_name(path)
    return open_dataset(path, name=name or typed or None, limit=getattr(args, "limit", None), **reading(args))


def take_name(args: argparse.Namespace, argument: str) -> None:
    """Let NAME=PATH as the argument that names the data say ``--name``, too."""
    typed, path = split_name(getattr(args, argument))
    setattr(args, argument, path)
    args.name = args.name or typed or None


def reading(args: argparse.Namespace) -> dict[str, Any]:
    """Arguments of ``open_dataset`` other than path, name and limit, as far as they were given."""
    columns = {field: column for field, _, column in (text.partition("=") for text in args.columns)}
    options = values(args, "subset split answer_is image_root max_pixels allow_outside allow_urls")
    return _chosen({"format": args.input_format, "columns": columns or None, **options})


def refuse_reading(args: argparse.Namespace) -> None:
    """Refuse options that say how rows are read, where features are given, which have no rows.

    Raises:
        DataProphetError: naming the option.
    """
    for key in _chosen({**reading(args), "limit": getattr(args, "limit", None)}):
        what = "says how the rows of a dataset are read, and --features are not read so"
        fix = f"leave it out{', or cut the features file' if key == 'limit' else ''}"
        raise DataProphetError(what, where=f"--{key.replace('_', '-')}", fix=fix)


def own_reading(args: argparse.Namespace, name: str, names: Sequence[str]) -> dict[str, Any]:
    """The same, and the limit, for one of several sources: values marked with its name, or else those for all."""

    def own(texts: Sequence[str]) -> list[str]:
        marked = [text[len(name) + 1 :] for text in texts if owner(text, names, ":") == name]
        return marked or [text for text in texts if owner(text, names, ":") is None]

    options = ("input_format", "image_root", "subset", "split", "limit", "answer_is")
    last = {option: next(reversed(own(getattr(args, option))), None) for option in options}
    given = reading(argparse.Namespace(**{**vars(args), **last, "columns": own(args.columns)}))
    if (limit := last["limit"]) is not None:
        known = limit == "all" or limit.isdecimal()
        require(known, f"{limit!r} is not a number of rows", "--limit", "give an integer, or all")
        given["limit"] = None if limit == "all" else int(limit)
    return given


def loading(args: argparse.Namespace) -> dict[str, Any]:
    """Arguments of ``load_model`` other than the name, as far as they were given."""
    names = "device dtype revision trust_remote_code batch_tokens workers compile memory score_terminator template"
    return _chosen({**values(args, names), "processor": assigned(args.processor) or None}) | (
        {"fused": False} if args.plain_head else {}
    )


def assigned(texts: Iterable[str]) -> dict[str, Any]:
    """KEY=VALUE texts by key."""
    return {key: _value(text) for key, _, text in (item.partition("=") for item in texts)}


def _value(text: str) -> Any:
    """A value as JSON reads it, such as 512 or true; else the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def warn_of(dataset: Dataset) -> None:
    """Say what of a dataset's rows is passed over and may have been meant to be read."""
    for warning in dataset.told().warnings:
        tell(f"warning: {dataset.name}: {warning}")


def about_rows(datasets: Iterable[Dataset]) -> Callable[[], int]:
    """What estimates the rows of datasets, in half a second each, for progress; 0 where that cannot be told."""

    def estimate() -> int:
        rng, rows = np.random.default_rng(0), 0.0
        for dataset in datasets:
            if any(map(is_url, dataset.files)):  # each would be fetched
                return 0
            with contextlib.suppress(Exception):  # whoever reads the rows tells what is wrong with them
                count = count_rows(dataset, seconds=0.5, rng=rng)
                found = count.rows * count.total_bytes / max(1, count.counted_bytes)
                rows += found if dataset.limit is None else min(found, dataset.limit)
        return round(rows)

    return estimate


def values(of: Any, names: str) -> dict[str, Any]:
    """Attributes by name: arguments for a function whose parameters have these names, or results for ``--json``."""
    return {name: getattr(of, name) for name in names.split()}


def _chosen(given: dict[str, Any]) -> dict[str, Any]:
    """What differs from the defaults. A number 0, as in --workers 0, is a choice, though it equals False."""
    return {key: value for key, value in given.items() if value is not None and value is not False and value != "auto"}


NOISE = "max_nll nll_quantiles min_answer_tokens"
"""Options that limit noise, as the functions call them; ``without`` stands beside them."""


def output(args: argparse.Namespace, value: Any, text: str) -> None:
    """Print a command's result: with --json the value, numbers that are not finite as null; else the text."""
    print(json.dumps(_printed(value), indent=1, ensure_ascii=False, allow_nan=False) if args.json else as_typed(text))


def tell(line: str) -> None:
    """Say something beside the result."""
    say(f"dataprophet: {as_typed(line)}")


def resumable(command: Callable[[argparse.Namespace], int]) -> Callable[[argparse.Namespace], int]:
    """A command that goes on where it was stopped. Its status is then 130 after Ctrl-C and 143 after SIGTERM."""

    def run(args: argparse.Namespace) -> int:
        try:
            return command(args)
        except (KeyboardInterrupt, SystemExit) as stop:
            tell("stopped; run the same command again to go on")
            return 130 if isinstance(stop, KeyboardInterrupt) else TERMINATED

    run.__doc__ = command.__doc__
    return run


@contextlib.contextmanager
def pass_over_rows() -> Iterator[Progress]:
    """Progress of a pass, with standard output kept for the summary: Ray says there what becomes of its processes."""
    with Progress("rows") as progress, contextlib.redirect_stdout(sys.stderr):
        yield progress


def _printed(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): as_typed(item) if key == "fix" else _printed(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_printed(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def table(head: Sequence[str], rows: Iterable[Sequence[str]], shades: Shades = ()) -> str:
    """Text columns: the first to the left, the others to the right; on a terminal as ``terminal.py`` has them."""
    lines = [list(head), *map(list, rows)]
    if is_terminal():
        return terminal_table(lines[0], lines[1:], shades)
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    form = "  ".join([f"{{:<{widths[0]}}}", *(f"{{:>{width}}}" for width in widths[1:])])
    return "\n".join(form.format(*line).rstrip() for line in lines)
