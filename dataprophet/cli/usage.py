"""Wrong usage on one line: the command, what is wrong, and what to do; the nearest name where one is not known.

The texts are ours, and not argparse's, so that every Python says the same.
"""

from __future__ import annotations

import argparse
import itertools
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from dataprophet.errors import choose

_MISSING = re.compile(r"the following arguments are required: (.*)")
_NO_VALUE = re.compile(r"argument (?:[^:]*/)?([^:/]*): expected (?:one|at least one|\d+) arguments?")
_NO_FLAG = re.compile(r"argument (?:[^:]*/)?([^:/]*): ignored explicit argument .*")


class Parser(argparse.ArgumentParser):
    """A parser that says on one line what is wrong, and exits with status 2.

    Args:
        example: a call of the command that works, for whoever leaves a part of it out.
        settings: of ``ArgumentParser``.
    """

    def __init__(self, *, example: str, **settings: Any) -> None:
        super().__init__(**settings)
        self.example = example
        self._commands: Any = None

    def add_subparsers(self, **settings: Any) -> Any:
        self._commands = super().add_subparsers(**settings)
        return self._commands

    def parse_known_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> tuple[Any, list[str]]:  # type: ignore[override]
        """Parse all words; an option that is not known is told first, for it may be what others then lack."""
        words = list(sys.argv[1:] if args is None else args)
        own = words if self._commands is None else itertools.takewhile(_is_option, words)
        for word in filter(_is_option, itertools.takewhile(lambda word: word != "--", own)):
            self._check_option(word.partition("=")[0])
        found, rest = super().parse_known_args(words, namespace)
        if rest:
            self.error(f"{rest[0]!r} is one argument too many; quote what holds spaces, or leave it out")
        return found, rest

    def error(self, message: str) -> NoReturn:
        if missing := _MISSING.fullmatch(message):
            message = f"missing {missing[1].replace(', ', ' and ')}; write it as in: {self.example}"
        elif (found := _NO_VALUE.fullmatch(message)) and found[1] in self._option_string_actions:
            message = f"{found[1]}: its value is missing; write {self._form(found[1])}"
        elif found := _NO_FLAG.fullmatch(message):
            message = f"{found[1]}: takes no value; write {found[1]} alone"
        message = message.removeprefix("argument ")
        self.exit(2, f"{self.prog}: error: {message if ';' in message else f'{message}; see {self.prog} --help'}\n")

    def _check_option(self, name: str) -> None:
        known = [option for option in self._option_string_actions if option.startswith("--")]
        meant = [option for option in known if name.startswith("--") and option.startswith(name)]
        short = name if name.startswith("--") else name[:2]  # -oFILE
        if {name, short} & self._option_string_actions.keys() or len(meant) == 1:
            return
        if meant:
            self.error(f"{name} may be {' or '.join(meant)}; write one of them")
        commands = {} if self._commands is None else self._commands.choices
        if any(name in command._option_string_actions for command in commands.values()):
            self.error(f"{name} stands before the command; write it behind")
        typed = f"--{name.lstrip('-').replace('_', '-')}"  # -target and --max_bad are typed, too
        self.error(f"no option {name}; {choose(typed, known, f'see {self.prog} --help')}")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        if action is self._commands:
            self.error(f"no command {value!r}; {choose(value, action.choices)}")
        raise argparse.ArgumentError(action, f"cannot be {value!r}; {choose(value, action.choices)}")

    def _form(self, option: str) -> str:
        """An option with the first of its choices, or with its value as help shows it."""
        action = self._option_string_actions[option]
        shown = next(iter(action.choices or ()), action.metavar or option.lstrip("-").upper())
        return " ".join([option, *([shown] if isinstance(shown, str) else shown)])


def _is_option(word: str) -> bool:
    """Whether argparse takes a word for an option: it begins with a dash, and is no number and no text with spaces."""
    return len(word) > 1 and word[0] == "-" and " " not in word and not re.fullmatch(r"-\.?\d.*", word)
