"""Arguments of the form NAME=VALUE, for ``mix`` and ``select``. What the names stand for is theirs to know."""

from __future__ import annotations

from collections.abc import Sequence

from dataprophet.errors import BudgetError, DataProphetError


def pairs(texts: Sequence[str], option: str, known: Sequence[str] = (), *, last: bool = False) -> dict[str, str]:
    """``NAME=VALUE`` texts by name.

    Args:
        texts: what was given.
        option: the option's name, for messages.
        known: names that may hold an equals sign themselves.
        last: in other texts the last equals sign counts, for values that hold none.
    """
    found: dict[str, str] = {}
    for text in texts:
        name = owner(text, known, "=") or (text.rpartition("=") if last else text.partition("="))[0]
        if name in found:
            raise DataProphetError(f"{name!r} is given twice", where=option, fix="give each name once")
        found[name] = text[len(name) + 1 :]
    return found


def numbers(texts: Sequence[str], option: str, known: Sequence[str] = ()) -> dict[str, int]:
    """``NAME=N`` texts by name, where N is a number of rows; the other names may hold an equals sign, too."""
    values = pairs(texts, option, known, last=True)
    for name, text in values.items():
        if not text.isdecimal():
            raise BudgetError(f"{text!r} is not a number of rows", where=f"{option} {name}", fix="give an integer")
    return {name: int(text) for name, text in values.items()}


def owner(text: str, names: Sequence[str], mark: str) -> str | None:
    """The name which, with ``mark`` behind it, a text begins with; the longest if several do."""
    return max((name for name in names if text.startswith(name + mark)), key=len, default=None)
