"""``dataprophet calibrate``: fits the exponents of the factors to measured gains, and tells what that is worth."""

from __future__ import annotations

import argparse
import math

from dataprophet.cli.common import output, table
from dataprophet.files import check_replaced
from dataprophet.metric.calibration import calibrate, is_weights
from dataprophet.metric.factors import FACTORS
from dataprophet.metric.gains import read_gains
from dataprophet.metric.matrix import TransferMatrix


def run(args: argparse.Namespace) -> int:
    """Fit, write and print the weights."""
    check_replaced(args.out, "file of weights", is_weights)
    scores, gains = TransferMatrix.from_csv(args.scores), read_gains(args.gains)
    found = calibrate(scores, gains.matrix, diagonal=not args.off_diagonal)
    found.save(args.out)
    weights = [[FACTORS.get(name, name), f"{weight:.3f}"] for name, weight in found.weights.items()]
    taus = [[name, *(f"{tau:.3f}" for tau in each.values())] for name, each in found.per_target.items()]
    taus.append(["mean", f"{found.tau:.3f}", f"{found.tau_left_out:.3f}"])
    shrinkage = "infinite: the published weights" if math.isinf(found.shrinkage) else f"{found.shrinkage:g}"
    gain = found.tau_left_out - found.tau
    verdict = "better than" if gain > 0 else "no better than"
    told = [
        f"{args.gains}: {gains.read_as}",
        "",
        table(["factor", "weight"], weights),
        f"shrinkage towards 1: {shrinkage}",
        "",
        table(["target", "published", "weights of the other targets"], taus),
        f"Kendall's tau-b: targets left out are ranked {verdict} by the published metric ({gain:+.3f})",
        f"error of a target left out: {found.error_left_out:.3f}, published {found.error:.3f}",
    ]
    output(args, found.to_json(), "\n".join(told))
    return 0
