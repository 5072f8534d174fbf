"""``dataprophet matrix``: reads profiles, writes the matrix of their scores, and a picture of it on request."""

from __future__ import annotations

import argparse
import os

from dataprophet.cli.common import number, output, table, tell, values
from dataprophet.data.identity.compare import same_data, to_json
from dataprophet.errors import DataProphetError
from dataprophet.files import check_file
from dataprophet.metric.matrix import TransferMatrix
from dataprophet.metric.matrix_csv import check_replaced
from dataprophet.metric.transfer import transfer_matrix
from dataprophet.report.pictures import check_suffix, save_heatmap


def run(args: argparse.Namespace) -> int:
    """Score, write and print the matrix."""
    check_replaced(args.out)  # now, not after the matrix was made
    if args.heatmap:
        check_file(args.heatmap)
        check_suffix(args.heatmap)
        if os.path.realpath(args.heatmap) == os.path.realpath(args.out):
            raise DataProphetError("is the matrix's own file", where="--heatmap", fix="give the picture another name")
    options = values(args, "fields factors allow_nonpositive weights")
    matrix = transfer_matrix(args.source, args.target, **options)
    matrix.to_csv(args.out)
    if args.heatmap:
        save_heatmap(matrix, args.heatmap)
    factors = {name: part.tolist() for name, part in matrix.factors.items()}
    value = {**values(matrix, "sources targets"), "values": matrix.values.tolist(), "factors": factors}
    value["identity"] = to_json(matrix.identities)
    for names in same_data(matrix.identities):
        tell(f"{' and '.join(names)} were made of the same data")
    remarks = matrix.remarks()
    output(args, {**value, "remarks": remarks}, "\n".join([matrix_table(matrix), *(f"! {line}" for line in remarks)]))
    return 0


def matrix_table(matrix: TransferMatrix) -> str:
    """The matrix as text, sources by targets; on a terminal coloured within each target."""
    values = matrix.values.tolist()
    rows = [[name, *map(number, row)] for name, row in zip(matrix.sources, values, strict=True)]
    return table(["source\\target", *matrix.targets], rows, values)
