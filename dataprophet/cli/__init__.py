"""The ``dataprophet`` command."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from dataprophet.cli.parser import build_parser
from dataprophet.cli.progress import say
from dataprophet.cli.typed import as_typed, error_as_typed
from dataprophet.errors import DataProphetError, ModelWarning

__all__ = ["build_parser", "main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0 only on success, 2 for wrong usage, 130 when interrupted."""
    args = build_parser().parse_args(argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files are any bytes
    try:
        with warnings.catch_warnings():
            warnings.showwarning = partial(_show, warnings.showwarning)
            status: int = args.run(args)
        if sys.stdout is not None:  # None where the caller closed it
            sys.stdout.flush()
        return status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left: nothing more to say
        return 1
    except DataProphetError as error:
        print(f"dataprophet: error: {error_as_typed(error, vars(args))}", file=sys.stderr)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        print(f"dataprophet: error: {place}{error.strerror or error}; check the path and its rights", file=sys.stderr)
    except KeyboardInterrupt:
        print("dataprophet: interrupted; nothing was written under a final name", file=sys.stderr)
        return 130
    return 1


def _show(
    other: Callable[..., None], message: Warning | str, category: type[Warning], *rest: Any, **named: Any
) -> None:
    """A warning about a model on one line; ``other`` shows all others."""
    if issubclass(category, ModelWarning):
        say(f"dataprophet: {as_typed(str(message))}")
    else:
        other(message, category, *rest, **named)
