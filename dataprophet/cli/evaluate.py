"""``dataprophet evaluate``."""

from __future__ import annotations

import argparse

from dataprophet.cli.common import print_json, table
from dataprophet.errors import MetricError
from dataprophet.metric.agreement import kendall_tau
from dataprophet.metric.matrix import TransferMatrix


def run(args: argparse.Namespace) -> int:
    """Print the agreement of two matrices, or the figures of the paper."""
    if args.published:
        return _published(args)
    if not (args.predicted and args.observed):
        raise MetricError("needs two matrices", fix="give PREDICTED and OBSERVED, or --published")
    predicted, observed = TransferMatrix.from_csv(args.predicted), TransferMatrix.from_csv(args.observed)
    result = kendall_tau(predicted, observed, args.variant, diagonal=not args.off_diagonal)
    if args.json:
        print_json(
            {
                "tau": result.tau,
                "tau_target": result.tau_target,
                "tau_source": result.tau_source,
                "per_target": result.per_target,
                "per_source": result.per_source,
                "variant": args.variant,
            }
        )
        return 0
    print(table(["target", "tau"], [[name, f"{tau:.4f}"] for name, tau in result.per_target.items()]))
    print()
    print(table(["source", "tau"], [[name, f"{tau:.4f}"] for name, tau in result.per_source.items()]))
    print(
        f"\nKendall tau-{args.variant}: {result.tau_target:.4f} over targets (ranking sources), "
        f"{result.tau_source:.4f} over sources (ranking targets), {result.tau:.4f} mean"
    )
    return 0


def _published(args: argparse.Namespace) -> int:
    from dataprophet.metric.published import findings

    found = findings()
    if args.json:
        print_json(found)
    else:
        rows = []
        for name, value in found.items():
            parts = value.items() if isinstance(value, dict) else [("", value)]
            rows += [[f"{name} {part}".rstrip(), f"{number:.4f}"] for part, number in parts]
        print(table(["recomputed from the published matrices and tables", "value"], rows))
    return 0
