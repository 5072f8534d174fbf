"""``dataprophet validate``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from dataprophet.cli.common import about_rows, open_from, output
from dataprophet.cli.progress import Progress
from dataprophet.data.validate import ValidationReport, validate


def run(args: argparse.Namespace) -> int:
    """Print how the rows are read, what is wrong with them, by kind, and what they hold; 1 when something is wrong."""
    dataset = open_from(args, args.dataset)
    told = dataset.told()
    with Progress("rows", about_rows([dataset])) as progress:
        report = validate(dataset, decode=not args.no_decode, progress=progress)
    guesses = [*told.guesses, *report.held.guesses(dataset.format)]
    lines = [*guesses, *(f"warning: {warning}" for warning in told.warnings), *_problems(report, args.show)]
    lines += [f"hint: {hint}" for hint in report.hints]
    counts = ", ".join(f"{count:,} {code}" for code, count in sorted(report.counts.items()))
    verdict = f"{len(report.problems):,} problems: {counts}" if report.problems else "no problems"
    lines += [f"{dataset.name}: {report.held}", f"{report.good:,} of {report.rows:,} rows good, {verdict}"]
    output(args, {**report.to_json(), "read_as": guesses, "warnings": told.warnings}, "\n".join(lines))
    return 1 if report.problems else 0


def _problems(report: ValidationReport, show: int) -> Iterator[str]:
    """The first problems of each kind, the most frequent kind first, and how many more there are."""
    for code, count in report.counts.most_common():
        yield from (str(problem) for problem in [each for each in report.problems if each.code == code][:show])
        if count > show:
            yield f"... {count - show:,} more {code} (--show {count})"
