"""``dataprophet doctor``."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from dataprophet.cli.common import print_json
from dataprophet.doctor import format_report, report


def run(args: argparse.Namespace) -> int:
    """Print what is installed; always 0, for nothing optional is an error."""
    checks = report()
    if args.json:
        print_json([asdict(check) for check in checks])
    else:
        print(format_report(checks))
    return 0
