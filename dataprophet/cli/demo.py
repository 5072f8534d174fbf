"""``dataprophet demo``: runs the demo and prints what the other commands would."""

from __future__ import annotations

import argparse
import sys
import time

from dataprophet.cli.common import output
from dataprophet.cli.matrix import matrix_table
from dataprophet.cli.mix import mixture_table
from dataprophet.cli.profile import describe
from dataprophet.cli.rank import rank_table


def run(args: argparse.Namespace) -> int:
    """Run the demo and print what it found."""
    from dataprophet.demo.run import run_demo

    start = time.monotonic()

    def say(text: str) -> None:
        print(text, file=sys.stderr if args.json else sys.stdout, flush=True)

    demo = run_demo(args.out, budget=args.budget, seed=args.seed, overwrite=args.overwrite, say=say)
    scores = demo.scores
    value = {
        "profiles": [describe(made) for made in (*demo.sources, *demo.targets)],
        "rankings": {name: [entry.as_dict() for entry in scores.rank(name)] for name in scores.targets},
        "mixture": {share.name: share.taken for share in demo.mixture.shares},
        "out": str(demo.folder),
    }
    parts = [*(rank_table(scores, name) for name in scores.targets), matrix_table(scores)]
    parts += [demo.lesson(), mixture_table(demo.mixture)]
    parts.append(
        "The model is tiny and drawn pictures are its whole world: this shows the work, not a finding."
        f"\nwrote {demo.folder}: datasets, profiles, scores.csv, scores.factors.csv, heatmap.png, mixture"
        f" ({time.monotonic() - start:.0f} s)\ndataprophet report {demo.folder} -o report.html puts it all on one page"
    )
    output(args, value, "\n" + "\n\n".join(parts))
    return 0
