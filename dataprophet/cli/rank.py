"""``dataprophet rank``: reads a matrix file and prints one column of it, best first."""

from __future__ import annotations

import argparse

from dataprophet.cli.common import NOISE, number, output, table, values
from dataprophet.metric.factors import FACTORS
from dataprophet.metric.matrix import TransferMatrix


def run(args: argparse.Namespace) -> int:
    """Print the ranking of a target."""
    matrix = TransferMatrix.from_csv(args.scores).within(**values(args, NOISE))
    if args.without:
        matrix = matrix.without(*args.without)
    ranking = matrix.rank(args.target, level=args.level)
    sources = [{**entry.as_dict(), "factors": _factors(matrix, entry.source, args.target)} for entry in ranking]
    told = {"remarks": matrix.remarks(args.target)}
    value = {"target": args.target, "level": args.level, "sources": sources, **told}
    output(args, value, rank_table(matrix, args.target, args.level))
    return 0


def rank_table(matrix: TransferMatrix, target: str, level: float = 0.95) -> str:
    """A ranking as text: score, interval, factors, a mark where a source is not resolved from the next, and remarks."""
    names = list(matrix.factors)
    ranking = matrix.rank(target, level=level)
    rows = []
    for place, entry in enumerate(ranking, 1):
        interval = f"{number(entry.low)} .. {number(entry.high)}" if matrix.log_error is not None else "-"
        factors = _factors(matrix, entry.source, target)
        mark = "~" if entry.resolved is False else ""
        cells = [number(entry.score), interval, *(number(factors[name]) for name in names), mark]
        rows.append([f"{place:>2} {entry.source}", *cells])
    head = [
        f"   sources for {target}",
        "M",
        f"{100 * level:g}% interval",
        *(FACTORS.get(name, name) for name in names),
        "",
    ]
    lines = [table(head, rows, [[entry.score] for entry in ranking])]
    if matrix.log_error is None and (not matrix.errors or matrix.errors.keys() >= matrix.factors.keys()):
        lines.append("no intervals: a matrix that was read from a file does not tell them once something is left out")
    if unresolved := sum(entry.resolved is False for entry in ranking):
        of = f"{unresolved} of {len(ranking) - 1} neighbours"
        lines.append(f"~ {of} not resolved at {100 * level:g}%: their order may be chance")
    return "\n".join([*lines, *(f"! {remark}" for remark in matrix.remarks(target))])


def _factors(matrix: TransferMatrix, source: str, target: str) -> dict[str, float]:
    row, column = matrix.sources.index(source), matrix.column(target)
    return {name: float(part[row, column]) for name, part in matrix.factors.items()}
