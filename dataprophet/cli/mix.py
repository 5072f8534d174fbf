"""``dataprophet mix``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict

from dataprophet.cli.common import number, open_from, print_json, table
from dataprophet.cli.progress import Progress
from dataprophet.errors import BudgetError, MetricError
from dataprophet.metric.matrix import TransferMatrix
from dataprophet.scoring.engines.signals import terminable
from dataprophet.selection.mixture import Mixture, mix


def run(args: argparse.Namespace) -> int:
    """Write a mixture and print its shares."""
    scores = TransferMatrix.from_csv(args.scores)
    paths = _by_source(args.dataset, scores.sources, "--dataset")
    limits = _by_source(args.capacity, scores.sources, "--capacity")
    for name in [*paths, *limits]:
        if name not in scores.sources:
            raise MetricError(
                f"{name!r} is not a source", where=args.scores, fix=f"the sources are {', '.join(scores.sources)}"
            )
    for name, text in limits.items():
        if not text.isdecimal():
            raise BudgetError(f"{text!r} is not a number of rows", where=f"--capacity {name}", fix="give an integer")
    datasets = {name: open_from(_reading(args, name, scores.sources), path, name) for name, path in paths.items()}
    capacity = [int(limits[name]) if name in limits else 2**62 for name in scores.sources] if limits else None
    with terminable(), Progress("rows") as progress:  # so that a half-written folder is removed
        mixture = mix(
            scores,
            args.target,
            args.budget,
            datasets,
            args.out,
            format=args.format,
            seed=args.seed,
            capacity=capacity,
            minimum=args.minimum,
            overwrite=args.overwrite,
            progress=progress,
        )
    if args.json:
        print_json(
            {
                "target": mixture.target,
                "budget": mixture.budget,
                "sources": [asdict(share) for share in mixture.shares],
                "out": str(mixture.folder),
            }
        )
    else:
        print(mixture_table(mixture))
    return 0


def mixture_table(mixture: Mixture) -> str:
    """The shares of a mixture as text."""
    rows = [
        [share.name, number(share.score), f"{share.available:,}", str(sum(share.left_out.values())), f"{share.taken:,}"]
        for share in mixture.shares
    ]
    head = [f"mixture for {mixture.target}", "M", "rows", "bad", "taken"]
    return f"{table(head, rows)}\n{mixture.budget:,} rows -> {mixture.folder}"


def _by_source(texts: Sequence[str], sources: Sequence[str], option: str) -> dict[str, str]:
    """``NAME=VALUE`` texts by name; a source's name may itself hold an equals sign."""
    found: dict[str, str] = {}
    for text in texts:
        name = _owner(text, sources, "=") or text.partition("=")[0]
        if name in found:
            raise MetricError(f"{name!r} is given twice", where=option, fix="give each source once")
        found[name] = text[len(name) + 1 :]
    return found


def _owner(text: str, sources: Sequence[str], mark: str) -> str | None:
    """The source whose name and ``mark`` a text begins with, the longest if several do."""
    return max((name for name in sources if text.startswith(name + mark)), key=len, default=None)


def _reading(args: argparse.Namespace, name: str, sources: Sequence[str]) -> argparse.Namespace:
    """The arguments of one source: values marked with its name, or else those for all."""

    def values(texts: Sequence[str]) -> list[str]:
        own = [text[len(name) + 1 :] for text in texts if _owner(text, sources, ":") == name]
        return own or [text for text in texts if _owner(text, sources, ":") is None]

    def last(texts: Sequence[str], default: str | None = None) -> str | None:
        return next(reversed(values(texts)), default)

    return argparse.Namespace(
        input_format=last(args.input_format, "auto"),
        columns=values(args.columns),
        image_root=last(args.image_root),
        subset=last(args.subset),
        split=last(args.split),
        allow_outside=args.allow_outside,
        allow_urls=args.allow_urls,
    )
