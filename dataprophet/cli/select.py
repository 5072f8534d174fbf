"""``dataprophet select``."""

from __future__ import annotations

import argparse

from dataprophet.cli.common import number, output, table, tell, values
from dataprophet.cli.pairs import numbers, pairs
from dataprophet.cli.progress import Progress
from dataprophet.errors import DataProphetError, require
from dataprophet.scoring.engines.signals import terminable
from dataprophet.selection import Selection, Settings, select_pool
from dataprophet.selection.verify import verify

# settings whose options have the same name
_OF_ONE_NAME = (
    "budget unit combine max_share near_duplicates leakage diverse candidates without max_nll nll_quantiles "
    "drop_inconsistent"
)


def run(args: argparse.Namespace) -> int:
    """Write a selection and tell what it came from; or verify one: 1 where it differs."""
    needed = {"DIR": args.scores, "--target": args.target, "--budget": args.budget, "--out": args.out}
    if args.verify is not None:
        for option, given in needed.items():
            fix = "leave it out, or --verify"
            require(given in (None, []), "is not for --verify, which makes the same selection again", option, fix)
        return _verify(args)
    for option, given in needed.items():
        if given in (None, "", []):  # a budget of 0 is a wrong number, not a missing one
            raise DataProphetError("is missing", where=option, fix="see dataprophet select --help")
    settings = Settings(
        targets=args.target,
        minimum=args.min_score,
        min_answer_tokens=args.min_answer_tokens or 0,
        quotas=numbers(args.quota, "--quota"),
        target_quotas=numbers(args.target_quota, "--target-quota"),
        **values(args, _OF_ONE_NAME),
    )
    pools = pairs(args.pool, "--pool")
    options = values(args, "format partial overwrite") | {"pools": pools, "decode": not args.no_decode}
    options["image_roots"] = pairs(args.image_root, "--image-root")
    with terminable(), Progress(f"{args.unit}s", args.budget) as progress:  # so that a half-written folder is removed
        done = select_pool(args.scores, settings, args.out, progress=progress, **options)
    told = values(done, "chosen sources lowest noisy dropped")
    output(args, {"out": str(done.folder), "settings": settings.to_json(), **told}, describe(done))
    return 0


def describe(done: Selection) -> str:
    """A selection as text: its sources, its lowest score, and what was left out."""
    rows = [[name, f"{count:,}"] for name, count in done.sources.items()]
    lines = [table([f"selection for {', '.join(done.settings.targets)}", f"{done.settings.unit}s"], rows)]
    lines.append(f"lowest score {number(done.lowest)}")
    if left_out := {**done.noisy, **done.dropped}:
        lines.append("left out: " + ", ".join(f"{count:,} {name}" for name, count in left_out.items()))
    return "\n".join([*lines, f"{done.chosen:,} {done.settings.unit}s -> {done.folder}"])


def _verify(args: argparse.Namespace) -> int:
    with terminable(), Progress("rows") as progress:
        found = verify(args.verify, progress=progress)
    if not args.json:
        for line in found:
            tell(line)
    verdict = f"{len(found)} differences" if found else "the same to the byte"
    output(args, {"out": args.verify, "differences": found}, f"{args.verify}: {verdict}")
    return 1 if found else 0
