"""The package's errors. Each prints on one line: where, what, and the fix."""

from __future__ import annotations

import contextlib
import functools
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from importlib import metadata
from pathlib import Path

_LISTED = 20  # names in a message


class DataProphetError(ValueError):
    """Base of every error that bad input can cause.

    Args:
        what: what is wrong, with the offending value.
        where: the file, row, dataset or argument it was found in.
        fix: what the user can do about it.
    """

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        self.what, self.where, self.fix = what, where, fix
        text = f"{where}: {what}" if where else what
        super().__init__(" ".join(f"{text}; {fix}".split()) if fix else " ".join(text.split()))

    def to_dict(self) -> dict[str, str]:
        """The error as plain values, on its way to another process."""
        return {"kind": type(self).__name__, "what": self.what, "where": self.where, "fix": self.fix}

    @staticmethod
    def from_dict(values: Mapping[str, str]) -> DataProphetError:
        """The error that ``to_dict`` was called on."""
        kind = globals().get(values["kind"], DataProphetError)
        made: DataProphetError = kind(values["what"], where=values["where"], fix=values["fix"])
        return made


class DataError(DataProphetError):
    """A dataset, one of its rows or one of its images cannot be used."""


class NotCountedError(DataError, TypeError):
    """Rows of a dataset come one after another, so that it has no length. A TypeError, so that ``list`` takes it."""


class ModelError(DataProphetError):
    """A model cannot be loaded, or fails one of its start-up checks."""


class ProfileError(DataProphetError):
    """A profile or a features file is damaged, or does not match the others."""


class MetricError(DataProphetError):
    """A score matrix is malformed, or a factor makes the score meaningless."""


class BudgetError(DataProphetError):
    """A budget, capacity or minimum that no allocation can meet."""


class RecipeError(DataProphetError):
    """A recipe cannot be read, or asks for what cannot be done."""


class StoreError(DataProphetError):
    """The output folder of a run cannot be read or written, or holds something else."""


class MissingDependencyError(DataProphetError, ImportError):
    """An optional dependency is missing or broken; the message names the packages to install."""


class ModelWarning(UserWarning):
    """A model can be scored, more slowly than others: why."""


@contextlib.contextmanager
def explained(
    kinds: type[Exception] | tuple[type[Exception], ...], error: type[DataProphetError], what: str, where: str, fix: str
) -> Iterator[None]:
    """Errors of other packages, of these kinds, as one of ours: what, and in brackets what they say."""
    try:
        yield
    except DataProphetError:  # which explains itself, and may be a ValueError or ImportError
        raise
    except kinds as cause:
        reason = cause.strerror if isinstance(cause, OSError) and cause.strerror else first_line(cause)
        raise error(f"{what} ({reason})", where=where, fix=fix) from cause


def require(holds: object, what: str, where: str, fix: str, kind: type[DataProphetError] = DataError) -> None:
    """Raise an error of this kind unless something holds."""
    if not holds:
        raise kind(what, where=where, fix=fix)


def require_type(
    value: object,
    kinds: type | tuple[type, ...],
    where: str,
    fix: str,
    error: type[DataProphetError] = DataProphetError,
) -> None:
    """Raise an error of this kind unless a value is of these types; a truth value is no number."""
    holds = isinstance(value, kinds) and not isinstance(value, bool)
    require(holds, f"it is of type {type(value).__name__}", where, fix, error)


@functools.cache
def install(*extras: str) -> str:
    """The command that brings the packages of these extras; without any, those of the base install.

    It names packages, in the versions of pyproject.toml, and no extra: `dataprophet[ray]` is there for those alone who
    got this package from an index, and not from a file or a checkout.
    """
    wanted: dict[str, None] = {}
    for line in metadata.requires("dataprophet") or []:
        package, _, marker = line.partition(";")
        extra = re.search(r"""extra == ["'](.+?)["']""", marker)
        if (extra[1] if extra else "") in (extras or ("",)):
            wanted[package.strip()] = None
    return pip_install(wanted)


def pip_install(packages: Iterable[str]) -> str:
    """The command that installs packages into this environment, which pipx or uv may have made without a pip."""
    prefix = Path(sys.prefix)
    if (prefix / "pipx_metadata.json").exists():
        command = ["pipx", "runpip", prefix.name, "install"]
    elif (prefix / "uv-receipt.toml").exists():
        command = ["uv", "pip", "install", "--python", str(prefix)]
    else:
        command = ["pip", "install"]
    return shlex.join([*command, *packages])


def first_line(error: BaseException) -> str:
    """What an error of another package says, short enough for one line; its class where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def choose(name: object, known: Iterable[str], otherwise: str = "") -> str:
    """A fix for a name that is not known: the nearest one; where none is near, ``otherwise`` or the names there are."""
    names = list(known)
    near = get_close_matches(str(name), names, 1) or [each for each in names if each.lower() == str(name).lower()]
    if near:
        return f"did you mean {near[0]}?"
    return otherwise or f"choose among {', '.join(names[:_LISTED])}{', ...' * (len(names) > _LISTED)}"
