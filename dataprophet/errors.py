"""The package's errors. Each prints on one line: where, what, and the fix."""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from difflib import get_close_matches
from importlib import metadata
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

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


class ArgumentError(DataProphetError, TypeError):
    """A call has an argument too few or too many, or one of another type than the function takes."""


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


T = TypeVar("T", bound=Callable[..., Any])


def checked(*but: str) -> Callable[[T], T]:
    """For a public function, or a class: its arguments are compared with its annotations before it runs.

    Numbers, texts, paths, functions, collections and what a list or tuple holds are compared; and no plain value passes
    for an object of a class. What else an annotation says, and whether a value makes sense, is for the function itself.

    Args:
        but: arguments of which it says more itself.
    """

    def made(of: T) -> T:
        if isinstance(of, type):
            setattr(of, "__init__", made(vars(of)["__init__"]))  # noqa: B010 (mypy takes no assignment to a method)
            return of
        signature, name = inspect.signature(of), of.__qualname__.removesuffix(".__init__")
        said = {key: each.annotation for key, each in signature.parameters.items() if key not in but}
        many = {key for key, each in signature.parameters.items() if each.kind is each.VAR_POSITIONAL}

        @functools.wraps(of)
        def call(*args: Any, **named: Any) -> Any:
            try:
                given = signature.bind(*args, **named).arguments
            except TypeError as error:
                unknown = next((key for key in named if key not in signature.parameters), None)
                known = [key for key in signature.parameters if key != "self"]
                fix = f"its arguments are {', '.join(known)}" if unknown is None else choose(unknown, known)
                raise ArgumentError(str(error), where=name, fix=fix) from None
            for key, value in given.items():
                if isinstance(kind := said.get(key), str):
                    for each in value if key in many else (value,):
                        _check(each, _parsed(kind), of.__globals__, key)
            return of(*args, **named)

        return call  # type: ignore[return-value]

    return made


_parsed = functools.cache(lambda annotation: ast.parse(annotation, mode="eval").body)
_PLAIN: dict[str, tuple[Callable[[Any], bool], str]] = {
    "None": (lambda value: value is None, "None"),
    "bool": (lambda value: isinstance(value, Integral) or type(value).__name__ == "bool", "true or false"),
    "int": (lambda value: isinstance(value, Integral) and not isinstance(value, bool), "a whole number"),
    "float": (lambda value: isinstance(value, Real) and not isinstance(value, bool), "a number"),
    **dict.fromkeys(("str", "Literal"), (lambda value: isinstance(value, str), "a text")),
    "PathLike": (lambda value: isinstance(value, os.PathLike), "a path"),
    "Callable": (callable, "a function"),
    **dict.fromkeys(("Mapping", "dict"), (lambda value: isinstance(value, Mapping), "a dict")),
    **dict.fromkeys(("Any", "SupportsInt"), (lambda _: True, "")),
}
"""Kinds that annotations name -> whether a value is one, and what it is called."""
_SCALARS = (object, bool, int, float, str, bytes, type(None))
_SEVERAL, _LOOKED_AT = ("Iterable", "Sequence", "Collection", "list"), 100  # items of a list


def _check(value: Any, said: ast.expr, known: Mapping[str, Any], where: str) -> None:
    """Raise ArgumentError unless a value is what an annotation says; ``known`` are the names that it may use."""
    if _fits(value, said, known):
        return
    inside = [kind.slice for kind in _either(said) if isinstance(kind, ast.Subscript) and _name(kind) in _SEVERAL]
    items = value[:_LOOKED_AT] if inside and isinstance(value, list | tuple) else ()
    wrong = [item for item in items if not any(_fits(item, kind, known) for kind in inside)]
    what = f"it holds a {type(wrong[0]).__name__}" if wrong else f"it is of type {type(value).__name__}"
    raise ArgumentError(what, where=where, fix=f"give {_words(said, known)}")


def _either(said: ast.expr) -> list[ast.expr]:
    """The kinds that an annotation allows."""
    return [*_either(said.left), *_either(said.right)] if isinstance(said, ast.BinOp) else [said]


def _name(said: ast.expr) -> str:
    bare = said.value if isinstance(said, ast.Subscript) else said
    return "None" if isinstance(bare, ast.Constant) else ast.unparse(bare).rpartition(".")[2]


def _fits(value: Any, said: ast.expr, known: Mapping[str, Any]) -> bool:
    if isinstance(said, ast.BinOp):
        return any(_fits(value, kind, known) for kind in _either(said))
    if (name := _name(said)) in _PLAIN:
        return _PLAIN[name][0](value)
    if name in _SEVERAL:
        flat = getattr(value, "ndim", 1) == 1  # or no array
        several = isinstance(value, Iterable) and flat and not isinstance(value, str | bytes)
        if not several or not isinstance(said, ast.Subscript) or not isinstance(value, list | tuple):
            return several
        return all(_fits(item, said.slice, known) for item in value[:_LOOKED_AT])
    if isinstance(kind := known.get(name), type):
        return isinstance(value, kind)
    if name in known:  # of a type
        return True
    # a type of another module, or a class that is imported for type checkers alone
    elsewhere = isinstance(said, ast.Subscript | ast.Attribute)
    return type(value) not in _SCALARS if elsewhere else type(value).__module__ not in ("builtins", "numpy")


def _words(said: ast.expr, known: Mapping[str, Any], *, many: bool = False) -> str:
    """What an annotation calls a value, or several."""
    if isinstance(said, ast.BinOp):
        *words, last = dict.fromkeys(filter(None, (_words(kind, known, many=many) for kind in _either(said))))
        return f"{', '.join(words)} or {last}" if words else last
    if (name := _name(said)) in _SEVERAL:
        inside = _words(said.slice, known, many=True) if isinstance(said, ast.Subscript) else ""
        return f"a list of {inside}" if inside else "a list"
    usual = "" if name in known and not isinstance(known[name], type) else f"a {name}"
    word = _PLAIN[name][1] if name in _PLAIN else usual
    return f"{word.removeprefix('a ')}s" if many and word.startswith("a ") else word


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
