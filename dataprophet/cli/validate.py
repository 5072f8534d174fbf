"""``dataprophet validate``."""

from __future__ import annotations

import argparse

from dataprophet.cli.common import open_from, output
from dataprophet.cli.progress import Progress
from dataprophet.data.validate import validate


def run(args: argparse.Namespace) -> int:
    """Print every bad row and a summary; 1 when there was one."""
    dataset = open_from(args, args.dataset)
    with Progress("rows") as progress:
        report = validate(dataset, decode=not args.no_decode, progress=progress)
    counts = ", ".join(f"{count} {code}" for code, count in sorted(report.counts.items()))
    verdict = f"{len(report.problems)} problems: {counts}" if report.problems else "no problems"
    end = f"{dataset.name}: {report.good:,} of {report.rows:,} rows good, {report.samples:,} samples, {verdict}"
    output(args, report.to_json(), "\n".join([*map(str, report.problems), end]))
    return 1 if report.problems else 0
