"""``dataprophet evaluate``: how well one matrix ranks what another one measured."""

from __future__ import annotations

import argparse
import math
from dataclasses import asdict

from dataprophet.cli.common import output, table
from dataprophet.errors import MetricError, require
from dataprophet.metric.agreement import RankAgreement, kendall_tau
from dataprophet.metric.gains import read_gains
from dataprophet.metric.matrix import TransferMatrix


def run(args: argparse.Namespace) -> int:
    """Print the agreement of two matrices, or the figures of the paper."""
    if args.published:
        fix = "leave the files out, or --published"
        require(args.predicted is None, "is of the paper's own matrices, and takes no files", "--published", fix)
        return _published(args)
    if not (args.predicted and args.observed):
        raise MetricError("needs two matrices", fix="give PREDICTED and OBSERVED, or --published")
    predicted, gains = TransferMatrix.from_csv(args.predicted), read_gains(args.observed)
    options = {"diagonal": not args.off_diagonal, "blanks": True}
    result = kendall_tau(predicted, gains.matrix, args.variant, **options)
    told = [f"{args.observed}: {gains.read_as}"]
    for kind, names, taus in (
        ("target", predicted.targets, result.per_target),
        ("source", predicted.sources, result.per_source),
    ):
        if without := [name for name in names if name not in taus]:
            listed = ", ".join(without) if taus else "all"
            told.append(f"no tau, with fewer than 2 cells that differ: {kind}s {listed}")
    numbers = asdict(result)
    numbers.update({name: None for name in ("tau_target", "tau_source") if math.isnan(numbers[name])})
    output(args, numbers, "\n".join([*told, "", describe(result)]))
    return 0


def describe(result: RankAgreement) -> str:
    """The taus as two tables, and their means."""
    tables = (
        table([kind, "tau"], [[name, f"{tau:.4f}"] for name, tau in taus.items()])
        for kind, taus in (("target", result.per_target), ("source", result.per_source))
        if taus
    )
    means = [
        f"{result.tau_target:.4f} over targets (ranking sources)" if result.per_target else "",
        f"{result.tau_source:.4f} over sources (ranking targets)" if result.per_source else "",
        f"{result.tau:.4f} mean" if result.per_target and result.per_source else "",
    ]
    return "\n\n".join([*tables, f"Kendall tau-{result.variant}: {', '.join(filter(None, means))}"])


def _published(args: argparse.Namespace) -> int:
    from dataprophet.metric.published import findings

    found = findings()
    rows = []
    for name, value in found.items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        rows += [[f"{name} {part}".rstrip(), f"{number:.4f}"] for part, number in parts]
    output(args, found, table(["recomputed from the published matrices and tables", "value"], rows))
    return 0
