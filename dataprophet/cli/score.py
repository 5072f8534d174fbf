"""``dataprophet score``."""

from __future__ import annotations

import argparse
from typing import Any

from dataprophet.cli.common import (
    assigned,
    loading,
    open_from,
    output,
    pass_over_rows,
    reading,
    refuse_reading,
    resumable,
    take_name,
    tell,
    values,
    warn_of,
)
from dataprophet.data.sample import Tally
from dataprophet.scoring.driver import remarks
from dataprophet.scoring.folder.pool import ScoredPool
from dataprophet.scoring.folder.rows import CRASHED, OUT_OF_MEMORY
from dataprophet.scoring.score import score

_SHOWN = 5
# parameters whose options have the same name
_OF_ONE_NAME = (
    "out name features fields embeddings nearest details shard_rows engine processes threads ray_address stall "
    "max_bad recheck"
)


@resumable
def run(args: argparse.Namespace) -> int:
    """Score a pool; 1 when a file could not be read or a shard is missing, 130 and 143 when it was stopped."""
    take_name(args, "pool")
    if args.features:
        refuse_reading(args)
    reads = {} if args.features else reading(args)
    if not args.features:
        warn_of(pool := open_from(args, args.pool, args.name))
        reads |= {"answer_is": pool.arguments.get("answer_is")}  # is not looked for twice
    if not args.target:
        tell("no --target: rows get no scores, and the pool its profile; another --out is needed to add targets")
    with pass_over_rows() as progress:
        options = {"reading": reads, "loading": loading(args), "progress": progress.of, **values(args, _OF_ONE_NAME)}
        options |= {"retry": args.retry or [], "tell": tell, "ray_option": assigned(args.ray_option)}
        scored = score(args.pool, args.target, args.model, **options)
    summary = scored.summary
    for entry in summary["unreadable"]:
        tell(f"not read: {entry['error']}")
    for entry in summary["missing"][:_SHOWN]:
        first, behind = entry["rows"]
        why = f": {entry['why']}" if entry["why"] else ""
        tell(f"not scored: {entry['file']} rows {first + 1} to {behind}{why}")
    if len(summary["missing"]) > _SHOWN:
        tell(f"not scored: {len(summary['missing']) - _SHOWN} more shards")
    output(args, {**summary, "out": args.out}, describe(scored, summary))
    return 0 if scored.complete else 1


def describe(scored: ScoredPool, summary: dict[str, Any]) -> str:
    """What a run came to, in a few lines."""
    bad = {name: count for name, count in summary["statuses"].items() if name != "ok"}
    lines = [f"{scored.name}: {summary['rows']:,} rows, {summary['samples']:,} samples scored -> {scored.folder}"]
    if summary.get("read"):
        tally = Tally(**summary["read"])
        lines += [f"read: {tally}", *tally.guesses(scored.identity.format)]
    for target, count in summary["unscored"].items():
        why = "samples without an image, or with a factor that is not positive"
        lines.append(f"no score for {target}: {count:,} {why}")
    lines += remarks(summary)
    if bad:
        many, why = sum(bad.values()), ", ".join(f"{count:,} {name}" for name, count in bad.items())
        again = ",".join(name for name in (CRASHED, OUT_OF_MEMORY) if name in bad)
        fix = f" (--retry {again} tries such rows again)" if again else ""
        lines.append(f"without a score: {many:,} of {sum(summary['statuses'].values()):,} rows: {why}{fix}")
    if not scored.complete:
        rows, files = (
            sum(last - first for first, last in (e["rows"] for e in summary["missing"])),
            summary["unreadable"],
        )
        what = " and ".join(f"{n:,} {kind}" for n, kind in ((len(files), "files"), (rows, "rows")) if n)
        lines.append(f"incomplete: {what} are not scored; run the same command again to go on")
    return "\n".join(lines)
