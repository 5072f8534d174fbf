"""``dataprophet select``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from dataprophet.cli.common import number, print_json, table
from dataprophet.cli.progress import Progress
from dataprophet.errors import BudgetError, DataProphetError
from dataprophet.scoring.engines.signals import terminable
from dataprophet.selection import Selection, Settings, select_pool
from dataprophet.selection.verify import verify


def run(args: argparse.Namespace) -> int:
    """Write a selection and tell what it came from; or verify one: 1 where it differs."""
    if args.verify is not None:
        return _verify(args)
    for option, given in (
        ("DIR", args.scores),
        ("--target", args.target),
        ("--budget", args.budget),
        ("--out", args.out),
    ):
        if given in (None, "", []):  # a budget of 0 is a wrong number, not a missing one
            raise DataProphetError("is missing", where=option, fix="see dataprophet select --help")
    settings = Settings(
        targets=args.target,
        budget=args.budget,
        unit=args.unit,
        combine=args.combine,
        target_quotas=_numbers(args.target_quota, "--target-quota"),
        minimum=args.min_score,
        quotas=_numbers(args.quota, "--quota"),
        max_share=args.max_share,
        near_duplicates=args.near_duplicates,
        leakage=args.leakage,
        diverse=args.diverse,
        candidates=args.candidates,
    )
    with terminable(), Progress("rows") as progress:  # so that a half-written folder is removed
        done = select_pool(
            args.scores,
            settings,
            args.out,
            format=args.format,
            pools=_pairs(args.pool, "--pool"),
            decode=not args.no_decode,
            partial=args.partial,
            overwrite=args.overwrite,
            progress=progress,
        )
    if args.json:
        print_json(
            {
                "out": str(done.folder),
                "settings": settings.to_json(),
                "chosen": done.chosen,
                "sources": done.sources,
                "lowest": done.lowest,
                "dropped": done.dropped,
            }
        )
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


def _pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """``NAME=VALUE`` texts."""
    found: dict[str, str] = {}
    for text in texts:
        # a file's name may hold an equals sign and a number does not, so the last one counts; a path may hold some
        name, _, value = text.rpartition("=") if option != "--pool" else text.partition("=")
        if name in found:
            raise BudgetError(f"{name!r} is given twice", where=option, fix="give each name once")
        found[name] = value
    return found


def _numbers(texts: Sequence[str], option: str) -> dict[str, int]:
    pairs = _pairs(texts, option)
    for name, value in pairs.items():
        if not value.isdecimal():
            raise BudgetError(f"{value!r} is not a number of rows", where=f"{option} {name}", fix="give an integer")
    return {name: int(value) for name, value in pairs.items()}
