"""``dataprophet select``."""

from __future__ import annotations

import argparse
import sys

from dataprophet.cli.common import number, print_json, table
from dataprophet.cli.pairs import numbers, pairs
from dataprophet.cli.progress import Progress
from dataprophet.errors import DataProphetError
from dataprophet.scoring.engines.signals import terminable
from dataprophet.selection import Selection, Settings, select_pool
from dataprophet.selection.verify import verify

_OF_ONE_NAME = ("budget", "unit", "combine", "max_share", "near_duplicates", "leakage", "diverse", "candidates")
"""Settings whose options have the same name."""


def run(args: argparse.Namespace) -> int:
    """Write a selection and tell what it came from; or verify one: 1 where it differs."""
    if args.verify is not None:
        return _verify(args)
    needed = {"DIR": args.scores, "--target": args.target, "--budget": args.budget, "--out": args.out}
    for option, given in needed.items():
        if given in (None, "", []):  # a budget of 0 is a wrong number, not a missing one
            raise DataProphetError("is missing", where=option, fix="see dataprophet select --help")
    # a file's name may hold an equals sign, and a number does not
    quotas = {
        option: numbers(pairs(texts, option, last=True), option)
        for option, texts in (("--quota", args.quota), ("--target-quota", args.target_quota))
    }
    settings = Settings(
        targets=args.target,
        minimum=args.min_score,
        quotas=quotas["--quota"],
        target_quotas=quotas["--target-quota"],
        **{name: getattr(args, name) for name in _OF_ONE_NAME},
    )
    with terminable(), Progress("rows") as progress:  # so that a half-written folder is removed
        done = select_pool(
            args.scores,
            settings,
            args.out,
            format=args.format,
            pools=pairs(args.pool, "--pool"),
            decode=not args.no_decode,
            partial=args.partial,
            overwrite=args.overwrite,
            progress=progress,
        )
    if args.json:
        told = {name: getattr(done, name) for name in ("chosen", "sources", "lowest", "dropped")}
        print_json({"out": str(done.folder), "settings": settings.to_json(), **told})
    else:
        print(describe(done))
    return 0


def describe(done: Selection) -> str:
    """A selection as text: its sources, its lowest score, and what was left out."""
    rows = [[name, f"{count:,}"] for name, count in done.sources.items()]
    lines = [table([f"selection for {', '.join(done.settings.targets)}", f"{done.settings.unit}s"], rows)]
    lines.append(f"lowest score {number(done.lowest)}")
    if done.dropped:
        lines.append("left out: " + ", ".join(f"{count:,} {name}" for name, count in done.dropped.items()))
    return "\n".join([*lines, f"{done.chosen:,} {done.settings.unit}s -> {done.folder}"])


def _verify(args: argparse.Namespace) -> int:
    with terminable(), Progress("rows") as progress:
        found = verify(args.verify, progress=progress)
    if args.json:
        print_json({"out": args.verify, "differences": found})
    else:
        for line in found:
            print(f"dataprophet: {line}", file=sys.stderr)
        print(f"{args.verify}: {f'{len(found)} differences' if found else 'the same to the byte'}")
    return 1 if found else 0
