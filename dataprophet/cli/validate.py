"""``dataprophet validate``."""

from __future__ import annotations

import argparse
import json

from dataprophet.cli.common import open_from
from dataprophet.cli.progress import Progress
from dataprophet.data.validate import validate


def run(args: argparse.Namespace) -> int:
    """Print every bad row and a summary; 1 when there was one."""
    dataset = open_from(args, args.dataset)
    with Progress("rows") as progress:
        report = validate(dataset, decode=not args.no_decode, progress=progress)
    if args.json:
        print(json.dumps(report.to_json(), indent=1, ensure_ascii=False))
    else:
        for problem in report.problems:
            print(problem)
        counts = ", ".join(f"{count} {code}" for code, count in sorted(report.counts.items()))
        verdict = f"{len(report.problems)} problems: {counts}" if report.problems else "no problems"
        print(f"{dataset.name}: {report.good:,} of {report.rows:,} rows good, {report.samples:,} samples, {verdict}")
    return 1 if report.problems else 0
