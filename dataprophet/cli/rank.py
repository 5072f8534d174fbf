"""``dataprophet rank``: reads a matrix file and prints one column of it, best first."""

from __future__ import annotations

import argparse

from dataprophet.cli.common import number, output, table
from dataprophet.metric.matrix import FACTORS, TransferMatrix


def run(args: argparse.Namespace) -> int:
    """Print the ranking of a target."""
    matrix = TransferMatrix.from_csv(args.scores)
    if args.without:
        matrix = matrix.without(*args.without)
    column = matrix.column(args.target)
    sources = []
    for entry in matrix.rank(args.target, level=args.level):
        row = matrix.sources.index(entry.source)
        factors = {name: float(part[row, column]) for name, part in matrix.factors.items()}
        sources.append({**entry.as_dict(), "factors": factors})
    value = {"target": args.target, "level": args.level, "sources": sources}
    output(args, value, lambda: rank_table(matrix, args.target, args.level))
    return 0


def rank_table(matrix: TransferMatrix, target: str, level: float = 0.95) -> str:
    """A ranking as text: score, interval, factors, and a mark where a source is not resolved from the next."""
    column = matrix.column(target)
    names = [name for name in FACTORS if name in matrix.factors]
    ranking = matrix.rank(target, level=level)
    rows = []
    for place, entry in enumerate(ranking, 1):
        i = matrix.sources.index(entry.source)
        interval = f"{number(entry.low)} .. {number(entry.high)}" if matrix.log_error is not None else "-"
        factors = [number(float(matrix.factors[name][i, column])) for name in names]
        rows.append(
            [
                f"{place:>2} {entry.source}",
                number(entry.score),
                interval,
                *factors,
                "~" if entry.resolved is False else "",
            ]
        )
    head = [f"   sources for {target}", "M", f"{level:.0%} interval", *(FACTORS[name] for name in names), ""]
    lines = [table(head, rows)]
    unresolved = sum(entry.resolved is False for entry in ranking)
    if unresolved:
        lines.append(
            f"~ {unresolved} of {len(ranking) - 1} neighbours not resolved at {level:.0%}: their order may be chance"
        )
    return "\n".join(lines)
