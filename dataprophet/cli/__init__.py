"""The ``dataprophet`` command."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from dataprophet.cli.parser import build_parser
from dataprophet.errors import DataProphetError

__all__ = ["build_parser", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0 only on success, 2 for wrong usage, 130 when interrupted."""
    args = build_parser().parse_args(argv)
    try:
        status: int = args.run(args)
        if sys.stdout is not None:  # None where the caller closed it
            sys.stdout.flush()
        return status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left: nothing more to say
        return 1
    except DataProphetError as error:
        print(f"dataprophet: error: {error}", file=sys.stderr)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        print(f"dataprophet: error: {place}{error.strerror or error}; check the path and its rights", file=sys.stderr)
    except KeyboardInterrupt:
        print("dataprophet: interrupted; nothing was written under a final name", file=sys.stderr)
        return 130
    return 1
