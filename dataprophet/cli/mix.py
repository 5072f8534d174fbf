"""``dataprophet mix``."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from dataprophet.cli.common import number, open_from, print_json, table
from dataprophet.errors import BudgetError, MetricError
from dataprophet.matrix import TransferMatrix
from dataprophet.mixture import Mixture, mix
from dataprophet.progress import Progress


def run(args: argparse.Namespace) -> int:
    """Write a mixture and print its shares."""
    scores = TransferMatrix.from_csv(args.scores)
    paths, limits = _unique(args.dataset, "--dataset"), _unique(args.capacity, "--capacity")
    for name in [*paths, *limits]:
        if name not in scores.sources:
            raise MetricError(
                f"{name!r} is not a source", where=args.scores, fix=f"the sources are {', '.join(scores.sources)}"
            )
    for name, text in limits.items():
        if not text.isdecimal():
            raise BudgetError(f"{text!r} is not a number of rows", where=f"--capacity {name}", fix="give an integer")
    datasets = {name: open_from(args, path, name) for name, path in paths.items()}
    capacity = [int(limits[name]) if name in limits else 2**62 for name in scores.sources] if limits else None
    with Progress("rows") as progress:
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


def _unique(pairs: list[tuple[str, str]], option: str) -> dict[str, str]:
    names = [name for name, _ in pairs]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise MetricError(f"{twice[0]!r} is given twice", where=option, fix="give each source once")
    return dict(pairs)
