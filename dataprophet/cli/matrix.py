"""``dataprophet matrix``."""

from __future__ import annotations

import argparse

from dataprophet.cli.common import number, print_json, table
from dataprophet.metric.matrix import TransferMatrix
from dataprophet.metric.transfer import transfer_matrix


def run(args: argparse.Namespace) -> int:
    """Score, write and print the matrix."""
    matrix = transfer_matrix(args.source, args.target, fields=args.fields, allow_nonpositive=args.allow_nonpositive)
    matrix.to_csv(args.out)
    if args.json:
        factors = {name: part.tolist() for name, part in matrix.factors.items()}
        print_json(
            {"sources": matrix.sources, "targets": matrix.targets, "values": matrix.values.tolist(), "factors": factors}
        )
    else:
        print(matrix_table(matrix))
    return 0


def matrix_table(matrix: TransferMatrix) -> str:
    """The matrix as text, sources by targets."""
    rows = [
        [name, *(number(float(value)) for value in row)]
        for name, row in zip(matrix.sources, matrix.values, strict=True)
    ]
    return table(["source\\target", *matrix.targets], rows)
