"""``dataprophet score``."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from dataprophet.cli.common import loading, pass_over_rows, print_json, reading, resumable
from dataprophet.scoring.driver import remarks
from dataprophet.scoring.pool import ScoredPool
from dataprophet.scoring.score import score

_SHOWN = 5


@resumable
def run(args: argparse.Namespace) -> int:
    """Score a pool; 1 when a file could not be read or a shard is missing, 130 and 143 when it was stopped."""
    scored = _score(args)
    summary = scored.summary
    for entry in summary["unreadable"]:
        print(f"dataprophet: not read: {entry['error']}", file=sys.stderr)
    for entry in summary["missing"][:_SHOWN]:
        first, behind = entry["rows"]
        why = f": {entry['why']}" if entry["why"] else ""
        print(f"dataprophet: not scored: {entry['file']} rows {first + 1} to {behind}{why}", file=sys.stderr)
    if len(summary["missing"]) > _SHOWN:
        print(f"dataprophet: not scored: {len(summary['missing']) - _SHOWN} more shards", file=sys.stderr)
    if args.json:
        print_json({**summary, "out": args.out})
    else:
        print(describe(scored, summary))
    return 0 if scored.complete else 1


def _score(args: argparse.Namespace) -> ScoredPool:
    with pass_over_rows() as progress:
        return score(
            args.pool,
            args.target,
            args.model,
            out=args.out,
            name=args.name,
            features=args.features,
            fields=args.fields,
            embeddings=args.embeddings,
            nearest=args.nearest,
            shard_rows=args.shard_rows,
            engine=args.engine,
            processes=args.processes,
            threads=args.threads,
            reading={} if args.features else reading(args),
            loading=loading(args),
            ray_address=args.ray_address,
            progress=progress.of,
        )


def describe(scored: ScoredPool, summary: dict[str, Any]) -> str:
    """What a run came to, in a few lines."""
    bad = {name: count for name, count in summary["statuses"].items() if name != "ok"}
    lines = [f"{scored.name}: {summary['rows']:,} rows, {summary['samples']:,} samples scored -> {scored.folder}"]
    if bad:
        lines.append("left out: " + ", ".join(f"{count:,} {name}" for name, count in bad.items()))
    for target, count in summary["unscored"].items():
        lines.append(
            f"no score for {target}: {count:,} samples without an image, or with a factor that is not positive"
        )
    lines += remarks(summary)
    if not scored.complete:
        lines.append("incomplete: run the same command again to go on")
    return "\n".join(lines)
