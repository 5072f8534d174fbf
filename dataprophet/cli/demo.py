"""``dataprophet demo``."""

from __future__ import annotations

import argparse
import sys
import time

from dataprophet.cli.common import print_json
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
    if args.json:
        rankings = {name: [entry.as_dict() for entry in scores.rank(name)] for name in scores.targets}
        profiles = [describe(made) for made in (*demo.sources, *demo.targets)]
        shares = {share.name: share.taken for share in demo.mixture.shares}
        print_json({"profiles": profiles, "rankings": rankings, "mixture": shares, "out": str(demo.folder)})
        return 0
    for name in scores.targets:
        print(f"\n{rank_table(scores, name)}")
    print(f"\n{matrix_table(scores)}")
    print(f"\n{mixture_table(demo.mixture)}")
    print(
        f"\nThe model is tiny and drawn pictures are its whole world: this shows the work, not a finding."
        f"\nwrote {demo.folder}: datasets, profiles, scores.csv, scores.factors.csv, heatmap.png, mixture"
        f" ({time.monotonic() - start:.0f} s)"
    )
    return 0
