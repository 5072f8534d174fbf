"""Reads a recipe: YAML or plain values in, a ``Recipe`` out, or an error that names the line, the key and the fix.

Values are read as the fields of ``Recipe`` say, so that ``name: 2024`` is a text. It opens no dataset.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import yaml

from dataprophet.errors import RecipeError, explained
from dataprophet.running.check import check, named, split_name
from dataprophet.running.recipe import Recipe, joined

TODO = "TODO"
"""What stands in a recipe for a value that is still open."""

_SHOWN = 60  # characters of a value in a message
_NULL, _BOOL, _TEXT = (f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "str"))


def read_recipe(
    given: str | os.PathLike[str] | Mapping[str, Any] | None,
    more: Mapping[str, Any] | None = None,
    *,
    place: Callable[[str], str] = lambda key: f"recipe key {key!r}" if key else "recipe",
) -> Recipe:
    """Read a recipe and check what can be told without opening a dataset.

    Args:
        given: a YAML file, or its content as plain values.
        more: keys that count in the place of those of ``given``.
        place: key -> where it was said, for those that are in no file.

    Raises:
        RecipeError: it cannot be read, a key is unknown or missing, or a value is not what the key takes.
    """
    reader = _Reader(os.fspath(given) if isinstance(given, str | os.PathLike) else "", place)
    node = reader.load() if reader.file else _node(given or {})
    if more and isinstance(node, yaml.MappingNode):
        kept = [pair for pair in node.value if str(pair[0].value) not in more]
        node = yaml.MappingNode(node.tag, [*kept, *_node(more).value], node.start_mark, node.end_mark)
    recipe = reader.recipe(node)
    if folder := os.path.dirname(reader.file):  # what the file says is relative to it, what options say is not
        there = partial(joined, folder)
        moved = recipe.moved(there, lambda model: os.path.isdir(there(model)))
        recipe = replace(moved, **{key: getattr(recipe, key) for key in more or ()})
    recipe = named(replace(recipe, places=reader.places))
    check(recipe)
    return recipe


class _Reader:
    """Nodes of YAML to values; remembers where each key stands."""

    def __init__(self, file: str, place: Callable[[str], str]) -> None:
        self.file, self._place = file, place
        self.places: dict[str, str] = {}

    def load(self) -> Any:
        """The root of the file."""
        fix = "give a YAML file, or see `dataprophet init`"
        with explained((OSError, UnicodeDecodeError), RecipeError, "cannot be read", self.file, fix):
            text = Path(self.file).read_text(encoding="utf-8")
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or "not YAML"
            where = f"{self.file} line {mark.line + 1}" if mark else self.file
            what = f"is no YAML ({problem})"
            raise RecipeError(what, where=where, fix="correct the line; texts with : or # need quotes") from error
        if node is None:
            raise RecipeError("is empty", where=self.file, fix=fix)
        return node

    def recipe(self, node: Any) -> Recipe:
        self.places[""] = self.file or self._place("")
        made: Recipe = self._made(Recipe, node, "")
        return made

    def _where(self, node: Any, key: str) -> str:
        if node.start_mark is None:
            return self._place(key)
        return f"{self.file} line {node.start_mark.line + 1}" + (f", key {key!r}" if key else "")

    def _fail(self, what: str, node: Any, key: str, fix: str) -> RecipeError:
        return RecipeError(what, where=self._where(node, key), fix=fix)

    def _made(self, kind: Any, node: Any, above: str) -> Any:
        """A dataclass from a mapping."""
        known = {each.name: each for each in fields(kind) if "help" in each.metadata}
        hints, made = get_type_hints(kind), {}
        for name, key, value in self._pairs(node, above):
            if name not in known:
                close = get_close_matches(name, known, 1)
                fix = f"did you mean {close[0]!r}?" if close else f"the keys are {', '.join(known)}"
                raise self._fail(f"unknown key {name!r}", key, above, fix)
            path = f"{above}.{name}" if above else name
            self.places[path] = self._where(key, path)
            if value.tag != _NULL:  # a key alone is its default
                made[name] = self.value(hints[name], value, path)
                if choices := known[name].metadata.get("choices"):
                    self._choice(choices, value, path)
                self._bounded(known[name].metadata, made[name], value, path)
        needed = [name for name, each in known.items() if each.default is each.default_factory is MISSING]
        if missing := [name for name in needed if name not in made]:
            name, fix = missing[0], f"add it: {known[missing[0]].metadata['help']}"
            raise self._fail(f"{name!r} is missing", node, above if node.start_mark else name, fix)
        return kind(**made)

    def _pairs(self, node: Any, above: str) -> Iterator[tuple[str, Any, Any]]:
        """Names, and the nodes of keys and values, of a mapping."""
        if not isinstance(node, yaml.MappingNode):
            fix = "write KEY: VALUE" + ("" if above else ", or let `dataprophet init` write it; data is for --source")
            raise self._fail(f"is {_kind(node)}, not keys with values", node, above, fix)
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            if name in seen:
                raise self._fail(f"key {name!r} is given twice", key, above, "give it once")
            seen.add(name)
            yield name, key, value

    def value(self, hint: Any, node: Any, key: str) -> Any:
        """A node as a type says."""
        if isinstance(node, yaml.ScalarNode) and node.value == TODO:
            raise self._fail("is still open (TODO)", node, key, "write a value in its place; the comment tells which")
        kind, inside = get_origin(hint), get_args(hint)
        if kind in (Union, UnionType):
            return self._either([each for each in inside if each is not NoneType], node, key)
        if kind is Literal:
            return self._choice(inside, node, key)
        if kind is tuple:
            items = node.value if isinstance(node, yaml.SequenceNode) else [node]
            for number, item in enumerate(items):
                self.places[f"{key}.{number}"] = self._where(item, f"{key}.{number}")
            return tuple(self.value(inside[0], item, f"{key}.{number}") for number, item in enumerate(items))
        if kind is dict:
            return {name: self.value(inside[1], value, f"{key}.{name}") for name, _, value in self._pairs(node, key)}
        if is_dataclass(hint):
            bare = isinstance(node, yaml.ScalarNode) and node.tag != _NULL
            return self._made(hint, _entry(node, self.file) if bare else node, key)
        if hint is Any:
            try:
                found = yaml.constructor.SafeConstructor().construct_document(node)
                json.dumps(found)
            except (yaml.YAMLError, TypeError, ValueError) as error:  # a tag, a date, what holds itself
                fix = "write a text, a number, true or false, or lists or keys of those"
                raise self._fail("is no plain value", node, key, fix) from error
            return found
        return self._scalar(hint, node, key)

    def _either(self, hints: list[Any], node: Any, key: str) -> Any:
        for hint in hints:
            try:
                return self.value(hint, node, key)
            except RecipeError:
                if len(hints) == 1:
                    raise
        words = " or ".join(map(_words, hints))
        raise self._fail(f"is {_kind(node)}, not {words}", node, key, f"write {words}")

    def _choice(self, choices: Collection[str], node: Any, key: str) -> Any:
        if isinstance(node, yaml.ScalarNode) and node.value in choices:
            return node.value
        close = get_close_matches(str(node.value), choices, 1) if isinstance(node, yaml.ScalarNode) else []
        fix = f"did you mean {close[0]!r}?" if close else f"use {', '.join(choices)}"
        raise self._fail(f"cannot be {_kind(node)}", node, key, fix)

    def _scalar(self, hint: Any, node: Any, key: str) -> Any:
        fit = self._fail(f"is {_kind(node)}, not {_words(hint)}", node, key, f"write {_words(hint)}")
        if not isinstance(node, yaml.ScalarNode) or node.tag == _NULL:
            raise fit
        text = str(node.value)
        if hint is str:
            return text
        if hint is bool:
            if node.tag != _BOOL and text.lower() not in ("true", "false"):
                raise fit
            return yaml.SafeLoader.bool_values[text.lower()]
        try:
            percent = hint is float and text.endswith("%")
            value = float(text[:-1]) / 100 if percent else hint(text)
        except ValueError:
            raise fit from None
        if not math.isfinite(value):
            raise fit
        return value

    def _bounded(self, facts: Mapping[str, Any], value: Any, node: Any, key: str) -> None:
        """Refuse a number beyond the bounds of its key."""
        if not isinstance(value, int | float) or isinstance(value, bool):
            return
        bounds = {"least": value.__ge__, "above": value.__gt__, "most": value.__le__, "below": value.__lt__}
        words = {"least": "or more", "above": "", "most": "or less", "below": ""}
        for name, holds in bounds.items():
            if (bound := facts.get(name)) is not None and holds(bound) is not True:
                more = f"{name if not words[name] else ''} {bound:g} {words[name]}".strip()
                shown = f"{value:,}" if isinstance(value, int) else f"{value:g}"
                raise self._fail(f"is {shown}", node, key, f"use a number {more}")


def _entry(node: Any, file: str) -> Any:
    """A dataset that is a text alone, as a mapping: a path, or NAME=PATH."""
    name, path = split_name(node.value, os.path.dirname(file))
    marks = node.start_mark, node.end_mark
    pairs = {"path": path, **({"name": name} if name else {})}
    nodes = [(yaml.ScalarNode(_TEXT, key, *marks), yaml.ScalarNode(_TEXT, text, *marks)) for key, text in pairs.items()]
    return yaml.MappingNode("tag:yaml.org,2002:map", nodes, *marks)


def _node(values: Any) -> Any:
    return yaml.representer.SafeRepresenter(sort_keys=False).represent_data(_plain(values))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _kind(node: Any) -> str:
    """A value as messages show it."""
    if isinstance(node, yaml.SequenceNode):
        return "a list"
    value = str(node.value)
    shown = value if len(value) <= _SHOWN else f"{value[:_SHOWN]}..."
    return "keys with values" if isinstance(node, yaml.MappingNode) else repr(shown)


def _words(hint: Any) -> str:
    """What a type takes, in words."""
    words = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}
    return words.get(hint) or " or ".join(map(str, get_args(hint)))
