"""``dataprophet mix``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict

from dataprophet.cli.common import number, open_from, print_json, table
from dataprophet.cli.pairs import numbers, owner, pairs
from dataprophet.cli.progress import Progress
from dataprophet.errors import MetricError
from dataprophet.metric.matrix import TransferMatrix
from dataprophet.scoring.engines.signals import terminable
from dataprophet.selection.mixture import Mixture, mix


def run(args: argparse.Namespace) -> int:
    """Write a mixture and print its shares."""
    scores = TransferMatrix.from_csv(args.scores)
    paths = pairs(args.dataset, "--dataset", known=scores.sources)
    limits = pairs(args.capacity, "--capacity", known=scores.sources)
    for name in [*paths, *limits]:
        if name not in scores.sources:
            fix = f"the sources are {', '.join(scores.sources)}"
            raise MetricError(f"{name!r} is not a source", where=args.scores, fix=fix)
    most = numbers(limits, "--capacity")
    datasets = {name: open_from(_reading(args, name, scores.sources), path, name) for name, path in paths.items()}
    capacity = [most.get(name, 2**62) for name in scores.sources] if most else None
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
        sources = [asdict(share) for share in mixture.shares]
        out = str(mixture.folder)
        print_json({"target": mixture.target, "budget": mixture.budget, "sources": sources, "out": out})
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


def _reading(args: argparse.Namespace, name: str, sources: Sequence[str]) -> argparse.Namespace:
    """The arguments of one source: values marked with its name, or else those for all."""

    def values(texts: Sequence[str]) -> list[str]:
        own = [text[len(name) + 1 :] for text in texts if owner(text, sources, ":") == name]
        return own or [text for text in texts if owner(text, sources, ":") is None]

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
