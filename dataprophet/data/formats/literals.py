"""Lists and objects that a cell holds as text: as JSON, or as Python and NumPy print them.

For the formats beside it. It knows nothing of what they stand for.
"""

from __future__ import annotations

import ast
import json
import re
from contextlib import suppress
from typing import Any

_TEXT = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_ITEM = re.compile(rf"{_TEXT}|[-+.\w]+")
_NUMPY = re.compile(rf"\[\s*(?:(?:{_TEXT}|[-+]?[.\d]+)\s+)*(?:{_TEXT}|[-+]?[.\d]+)\s*\]")  # no commas
_ARRAY = re.compile(r"array\((\[.*\])(?:,\s*dtype=[^)]*)?\)", re.DOTALL)
_BESIDE = re.compile(  # texts, which stay; arrays within a list; objects of an array
    rf"({_TEXT})|array\((\[\s*(?:(?>{_TEXT}|[-+.\w]+)[\s,]*+)*+\])(?:,\s*dtype=[^)]*)?\)|\}}\s+(?=\{{)"
)
_FIRST, _STARTS = "[{ab \t\r\n", ("[", "{", "array(", "b'", 'b"')


def unpacked(value: Any) -> Any:
    """A value, or what its text stands for where that is a list, an object or bytes: columns of text hold them so."""
    if not isinstance(value, str) or value[:1] not in _FIRST or not (text := value.strip()).startswith(_STARTS):
        return value  # nearly always by its first letter
    found = literal(text)
    return found if isinstance(found, list | dict | bytes) else value


def literal(text: str) -> Any:
    """What a Python, JSON or NumPy literal stands for; the text itself where it is none."""
    if array := _ARRAY.fullmatch(text):
        text = array[1]
    if _NUMPY.fullmatch(text):  # Python would join texts that no comma parts
        text = f"[{', '.join(_ITEM.findall(text))}]"
    for parse in (json.loads, ast.literal_eval, lambda cell: ast.literal_eval(_BESIDE.sub(_as_python, cell))):
        with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            return parse(text)
    return text


def _as_python(match: re.Match[str]) -> str:
    return match[1] or match[2] or "}, "
