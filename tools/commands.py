"""Writes docs/commands.md: every command with its arguments, as the parser has them.

    python -P tools/commands.py    write it, with the parser of the installed package (make commands)

A test tells where it is not what the parser says.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator
from pathlib import Path

from dataprophet.cli.parser import build_parser

PAGE = Path(__file__).resolve().parents[1] / "docs" / "commands.md"
WIDTH = 118
HEAD = """# Commands

<!-- Made by tools/commands.py (make commands). Do not edit. -->

`dataprophet COMMAND --help` prints the same. Every command takes `--json`, and then prints one JSON document.
Results go to standard output, everything else to standard error.
The exit status is 0 only on success, 1 where something is wrong with data or results, 2 for wrong usage,
130 after Ctrl-C and 143 after SIGTERM.
`dataprophet completion SHELL` completes all of this in bash, zsh and fish.
"""


def page() -> str:
    """The page, in lines of at most 118 characters."""
    (commands,) = (action for action in build_parser()._actions if isinstance(action, argparse._SubParsersAction))
    parts = [HEAD]
    for name, command in commands.choices.items():
        lines = [f"## {name}", "", *wrapped(str(command.description)), "", "```bash", command.example, "```", ""]
        for group in command._action_groups:
            actions = [action for action in group._group_actions if action.dest not in ("help", "json")]
            if group.description:
                lines += ["", *wrapped(f"{str(group.title).capitalize()}, {group.description}:"), ""]
            lines += [line for action in actions for line in described(action)]
        parts.append("\n".join(lines).rstrip() + "\n")
    return "\n".join(parts)


def described(action: argparse.Action) -> Iterator[str]:
    """An argument: how it is written, what it is for, its choices, and its default where that says something."""
    value = action.metavar or ("|".join(map(str, action.choices or ())) or action.dest.upper())
    shown = value if isinstance(value, str) else " ".join(value)
    if action.nargs == "?":
        shown = f"[{shown}]"
    elif action.nargs in ("+", "*"):
        shown = f"{shown} ..." if action.nargs == "+" else f"[{shown} ...]"
    name = " or ".join(action.option_strings)
    written = f"{name} {shown}" if name and action.nargs != 0 else name or shown
    default = action.default
    silent = default is None or default is False or default in ([], argparse.SUPPRESS)
    told = "" if silent else f" (default: {default})"
    needed = " (required)" if action.required and action.option_strings else ""
    yield from wrapped(f"- `{written}`: {action.help}{told}{needed}", indent="  ")


def wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
