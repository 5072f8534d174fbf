"""``dataprophet check``: compares what a scored folder holds with its checksums, and removes what is damaged."""

from __future__ import annotations

import argparse

from dataprophet.cli.common import output
from dataprophet.scoring.check import check
from dataprophet.store import open_store


def run(args: argparse.Namespace) -> int:
    """Check a folder; 1 when something is damaged and was not removed."""
    store = open_store(args.folder)
    found = check(store)
    if args.repair:
        found.repair(store)
    lines = [f"{damage.name}: {damage.why}" for damage in found.damages]
    if found.unchecked:
        lines.append(f"{found.unchecked:,} parts of shards carry no checksum: an earlier version wrote them")
    if not found.damages:
        lines.append(f"{args.folder}: {found.files:,} files are as they were written")
    elif args.repair:
        lines.append("removed: run the command that made the folder again, and it makes them anew")
    else:
        lines.append(
            f"{len(found.damages):,} of {found.files:,} files are damaged; all of it can be made anew: --repair"
        )
    damages = [{"file": damage.name, "why": damage.why, "remove": damage.remove} for damage in found.damages]
    told = {"files": found.files, "unchecked": found.unchecked, "damaged": damages, "repaired": args.repair}
    output(args, told, "\n".join(lines))
    return 1 if found.damages and not args.repair else 0
