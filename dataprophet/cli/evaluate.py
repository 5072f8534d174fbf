"""``dataprophet evaluate``: how well one matrix ranks what another one measured."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from dataprophet.cli.common import output, table
from dataprophet.errors import MetricError
from dataprophet.metric.agreement import RankAgreement, kendall_tau
from dataprophet.metric.matrix import TransferMatrix


def run(args: argparse.Namespace) -> int:
    """Print the agreement of two matrices, or the figures of the paper."""
    if args.published:
        return _published(args)
    if not (args.predicted and args.observed):
        raise MetricError("needs two matrices", fix="give PREDICTED and OBSERVED, or --published")
    predicted, observed = TransferMatrix.from_csv(args.predicted), TransferMatrix.from_csv(args.observed)
    result = kendall_tau(predicted, observed, args.variant, diagonal=not args.off_diagonal)
    output(args, asdict(result), describe(result))
    return 0


def describe(result: RankAgreement) -> str:
    """The taus as two tables, and their means."""
    tables = (
        table([kind, "tau"], [[name, f"{tau:.4f}"] for name, tau in taus.items()])
        for kind, taus in (("target", result.per_target), ("source", result.per_source))
    )
    means = (
        f"Kendall tau-{result.variant}: {result.tau_target:.4f} over targets (ranking sources), "
        f"{result.tau_source:.4f} over sources (ranking targets), {result.tau:.4f} mean"
    )
    return "\n\n".join([*tables, means])


def _published(args: argparse.Namespace) -> int:
    from dataprophet.metric.published import findings

    found = findings()
    rows = []
    for name, value in found.items():
        parts = value.items() if isinstance(value, dict) else [("", value)]
        rows += [[f"{name} {part}".rstrip(), f"{number:.4f}"] for part, number in parts]
    output(args, found, table(["recomputed from the published matrices and tables", "value"], rows))
    return 0
