"""Arguments of ``dataprophet select``."""

from __future__ import annotations

import argparse

from dataprophet.cli.parser import EXPORTS, _assignment, _count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to choose, how, and where to write it."""
    parser.add_argument("scores", nargs="*", metavar="DIR", help="folders written by `dataprophet score`")
    parser.add_argument("--target", nargs="+", action="extend", default=[], metavar="T", help="names of the targets")
    parser.add_argument("--budget", type=_count, metavar="K", help="rows or samples to choose, exactly")
    parser.add_argument("--out", metavar="DIR", help="folder to write")
    parser.add_argument("--format", choices=EXPORTS, default="llava", help="the trainer's format")
    parser.add_argument(
        "--unit",
        choices=("row", "sample"),
        default="row",
        help="a row with all its turns, by their mean score; or one turn with those before it",
    )
    parser.add_argument("--min-score", type=float, metavar="M", help="least score")
    parser.add_argument(
        "--combine",
        choices=("mean", "worst", "quota"),
        default="mean",
        help="several targets: by the mean or the worst of the scores, each divided by its mean over the pool; or a "
        "share of the budget for each target",
    )
    parser.add_argument(
        "--target-quota",
        nargs="+",
        action="extend",
        default=[],
        type=_assignment,
        metavar="T=N",
        help="with --combine quota: rows for each target (default: equal)",
    )
    parser.add_argument(
        "--quota",
        nargs="+",
        action="extend",
        default=[],
        type=_assignment,
        metavar="NAME=N",
        help="exactly so many from a source: a pool where several DIRs are given, else a file",
    )
    parser.add_argument("--max-share", type=float, metavar="F", help="most of one source, as a share of the budget")
    parser.add_argument(
        "--near-duplicates", type=float, metavar="COS", help="leave out copies of better rows, from this cosine on"
    )
    parser.add_argument(
        "--leakage", type=float, metavar="COS", help="leave out copies of the targets' samples, from this cosine on"
    )
    parser.add_argument(
        "--diverse", type=float, metavar="W", help="weight, 0 to 1, of the difference from what is chosen already"
    )
    parser.add_argument(
        "--candidates", type=_count, default=4, metavar="C", help="with --diverse: among the best C times K"
    )
    parser.add_argument(
        "--pool",
        nargs="+",
        action="extend",
        default=[],
        type=_assignment,
        metavar="NAME=PATH",
        help="where a pool lies, if not where it was scored",
    )
    parser.add_argument("--no-decode", action="store_true", help="copy images without decoding them first")
    parser.add_argument("--partial", action="store_true", help="accept pools that are not scored to the end")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier selection's folder")
    parser.add_argument(
        "--verify", metavar="OUT", help="make the selection of that folder again and tell what differs; nothing else"
    )
