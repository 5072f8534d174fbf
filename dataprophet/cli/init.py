"""``dataprophet init``: looks at datasets and writes a first recipe for ``dataprophet run``."""

from __future__ import annotations

import argparse
import os

from dataprophet.cli.common import output, tell
from dataprophet.errors import RecipeError
from dataprophet.files import check_file, write_text
from dataprophet.running.init import first_recipe


def run(args: argparse.Namespace) -> int:
    """Write a recipe, and tell what is open in it."""
    if os.path.exists(args.out) and not args.overwrite:
        raise RecipeError("is there already", where=args.out, fix="choose another --out, or --overwrite")
    check_file(args.out)
    made = first_recipe(args.dataset, args.target, args.out, model=args.model, budget=args.budget, tell=tell)
    write_text(args.out, made.text)
    lines = [f"open: {question}" for question in made.open]
    then = "settle what is open, then" if made.open else "now"
    lines.append(f"wrote {args.out}; {then}: dataprophet run {args.out}")
    output(args, {"out": args.out, "open": made.open}, "\n".join(lines))
    return 0
