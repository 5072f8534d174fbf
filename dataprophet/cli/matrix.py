"""``dataprophet matrix``: reads profiles, writes the matrix of their scores, and a picture of it on request."""

from __future__ import annotations

import argparse

from dataprophet.cli.common import number, output, table
from dataprophet.files import check_file
from dataprophet.metric.heatmap import save_heatmap
from dataprophet.metric.matrix import TransferMatrix
from dataprophet.metric.transfer import transfer_matrix


def run(args: argparse.Namespace) -> int:
    """Score, write and print the matrix."""
    if args.heatmap:
        check_file(args.heatmap)  # now, not after the matrix was made
    matrix = transfer_matrix(args.source, args.target, fields=args.fields, allow_nonpositive=args.allow_nonpositive)
    matrix.to_csv(args.out)
    if args.heatmap:
        save_heatmap(matrix, args.heatmap)
    value = {
        "sources": matrix.sources,
        "targets": matrix.targets,
        "values": matrix.values.tolist(),
        "factors": {name: part.tolist() for name, part in matrix.factors.items()},
    }
    output(args, value, lambda: matrix_table(matrix))
    return 0


def matrix_table(matrix: TransferMatrix) -> str:
    """The matrix as text, sources by targets."""
    lines = zip(matrix.sources, matrix.values.tolist(), strict=True)
    rows = [[name, *map(number, values)] for name, values in lines]
    return table(["source\\target", *matrix.targets], rows)
