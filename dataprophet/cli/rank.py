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
    ranking = matrix.rank(args.target, level=args.level)
    sources = [{**entry.as_dict(), "factors": _factors(matrix, entry.source, args.target)} for entry in ranking]
    value = {"target": args.target, "level": args.level, "sources": sources}
    output(args, value, rank_table(matrix, args.target, args.level))
    return 0


def rank_table(matrix: TransferMatrix, target: str, level: float = 0.95) -> str:
    """A ranking as text: score, interval, factors, and a mark where a source is not resolved from the next."""
    names = [name for name in FACTORS if name in matrix.factors]
    ranking = matrix.rank(target, level=level)
    rows = []
    for place, entry in enumerate(ranking, 1):
        interval = f"{number(entry.low)} .. {number(entry.high)}" if matrix.log_error is not None else "-"
        factors = _factors(matrix, entry.source, target)
        mark = "~" if entry.resolved is False else ""
        cells = [number(entry.score), interval, *(number(factors[name]) for name in names), mark]
        rows.append([f"{place:>2} {entry.source}", *cells])
    head = [f"   sources for {target}", "M", f"{level:.0%} interval", *(FACTORS[name] for name in names), ""]
    text = table(head, rows)
    if unresolved := sum(entry.resolved is False for entry in ranking):
        of = f"{unresolved} of {len(ranking) - 1} neighbours"
        return f"{text}\n~ {of} not resolved at {level:.0%}: their order may be chance"
    return text


def _factors(matrix: TransferMatrix, source: str, target: str) -> dict[str, float]:
    row, column = matrix.sources.index(source), matrix.column(target)
    return {name: float(part[row, column]) for name, part in matrix.factors.items()}
