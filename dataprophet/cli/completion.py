"""``dataprophet completion``: prints the script that completes commands, options, choices and paths in a shell."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from dataprophet.cli import parser
from dataprophet.cli.common import output
from dataprophet.errors import MissingDependencyError, explained, install

_FOLDERS = frozenset({"DIR", "OUT"})
_FILES = frozenset(
    ["P", "POOL", "DATASET", "RECIPE", "SCORES", "PREDICTED", "OBSERVED", "CSV", "FILE", "FILE.png", "FILE.jinja"]
)
"""What help calls values that are paths."""


def run(args: argparse.Namespace) -> int:
    """Print the script, made from the parser as it is."""
    with explained(ImportError, MissingDependencyError, "shtab is not installed", "completion", install()):
        import shtab
    made = parser.build_parser()
    for action in _actions(made):
        if action.metavar in _FOLDERS | _FILES:
            setattr(action, "complete", shtab.DIRECTORY if action.metavar in _FOLDERS else shtab.FILE)  # noqa: B010
    script = shtab.complete(made, shell=args.shell)
    output(args, {"shell": args.shell, "script": script}, script)
    return 0


def _actions(of: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """All arguments of a parser and of its commands."""
    for action in of._actions:
        yield action
        for command in action.choices.values() if isinstance(action.choices, dict) else ():
            yield from _actions(command)
