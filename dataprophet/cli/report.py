"""``dataprophet report``: reads what the other commands wrote, and writes a page that opens without a network."""

from __future__ import annotations

import argparse
import os

from dataprophet.cli.common import loading, output, tell
from dataprophet.report.build import MOST_BYTES, write_report


def run(args: argparse.Namespace) -> int:
    """Write the report, and say which sections it has."""
    pictures = {suffix: getattr(args, suffix) for suffix in ("png", "svg") if getattr(args, suffix)}
    model = None
    if args.model is not None:
        from dataprophet.model import load_model

        model = load_model(args.model, **loading(args))
    page = write_report(args.path, args.out, gains=args.gains, selection=args.selection, pictures=pictures, model=model)
    size = os.path.getsize(args.out)
    if size > MOST_BYTES:
        tell(
            f"the page has {size / 1e6:.1f} MB, more than {MOST_BYTES / 1e6:.0f}: some browsers will be slow to open it"
        )
    sections = [heading for _, heading in page.contents]
    value = {"out": args.out, "sections": sections, "warnings": page.warnings, "missing": page.missing, "bytes": size}
    lines = [f"{', '.join(sections)} -> {args.out} ({size / 1e6:.1f} MB)"]
    lines += [f"! {line}" for line in page.warnings] + [f"not there: {line}" for line in page.missing]
    output(args, value, "\n".join(lines))
    return 0
