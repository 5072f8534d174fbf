"""Names of columns: those that formats read, and those in which images stand or seem to stand.

For ``formats.base`` and for ``images.unused``. It knows nothing of values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from string import ascii_uppercase
from typing import Any

COLUMNS = (
    *("id", "image", "images", "question", "answer", "answers", "options", "conversations", "messages", "texts"),
    *("query", "response", "history", "system"),
)
"""Names that a ``columns`` mapping may give, each to a column of the file (or to ``=text``, the same for every row)."""

FILE_NAMES = ("image_path", "file_name", "file_names", "image_file_name", "image_file_names", "images_file_names")
"""Columns of names of image files, as ImageFolder has them; they count where a row has no image elsewhere."""

FLAT = ("image.bytes", "image.path")
"""The columns of an image struct that was flattened."""

ANSWERS = ("answer", "answers", "answerKey")
"""Columns of answers, the first of which that has one counts; the last is that of ARC and its like."""

LABEL = "label"
"""Column of preference data (KTO), in rows of conversations: where it is false, the answer is one to avoid."""

READ = frozenset(
    {*COLUMNS, *ANSWERS, *FILE_NAMES, *FLAT, "question_id", "choices", "hint", "index", *"ABCDEFGHIJ"}
).union({"prompt", "reward_model"})  # of verl
"""Columns that some format reads, beside those with the number of an image."""

_NUMBERED = re.compile(r"(?:image|img|picture|photo)s?[ _-]?([0-9]{1,2})", re.IGNORECASE)
_NOUN = re.compile(
    r"(?!(?:has|is|no|n|num|count|total|with|use)[_ .-])(?:.*[_ .-])?(?:image|img|picture|photo|pic)s?"
    r"(?:[_ .-]?(?:paths?|files?|names?|urls?|data|bytes|base64|b64|[0-9]+))*",
    re.IGNORECASE,
)


_IMAGE_ID = re.compile(r"(?:.*[_ .-])?(?:image|img|picture|photo)[_ .-]?(?:ids?|idx|index|key|hash)", re.IGNORECASE)
_CLIP = re.compile(r".*(?:video|audio|clip|speech).*", re.IGNORECASE)
_OPTION = re.compile(r"([A-Z])|(?i:op(?:t|tion)?|choice)s?[ _-]?(?:([A-Ja-j])|([0-9]{1,2}))")


class Wanted(frozenset[str]):
    """Names of columns worth reading, and all that are those of images, their ids, clips, one option or a label."""

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or _worth_reading(str(name))


@lru_cache(4096)
def _worth_reading(name: str) -> bool:
    patterns = (_IMAGE_ID, _OPTION, _CLIP)
    return name == LABEL or named_like_image(name) or any(pattern.fullmatch(name) for pattern in patterns)


@lru_cache(4096)
def named_like_image(name: str) -> bool:
    """Whether a column has the name of images: ``img``, ``left_image``, ``picture_url``; not ``image_id``."""
    return _NOUN.fullmatch(name) is not None


@lru_cache(1024)
def image_ids(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names of columns that tell which image of elsewhere is meant, such as VQAv2's ``image_id``."""
    return tuple(name for name in names if _IMAGE_ID.fullmatch(name))


@lru_cache(1024)
def option_columns(names: tuple[str, ...]) -> tuple[str, ...]:
    """Columns of one option each, ``A`` to ``J``, ``choice_a``, ``option1``, in order, with "" where one is missing.

    A letter behind J counts where the one before it is there: ``Q`` and ``A`` are no options.
    """
    found = [(match, name) for name in names if (match := _OPTION.fullmatch(name)) and _follows(match[1], names)]
    first = min((int(match[3]) for match, _ in found if match[3]), default=0) > 0
    places = {_place(match) - (first if match[3] else 0): name for match, name in reversed(found)}
    return tuple(places.get(place, "") for place in range(max(places) + 1)) if len(places) > 1 else ()


def _follows(letter: str | None, names: tuple[str, ...]) -> bool:
    return letter is None or letter <= "J" or chr(ord(letter) - 1) in names


def _place(match: re.Match[str]) -> int:
    letter = match[1] or match[2]
    return ascii_uppercase.index(letter.upper()) if letter else int(match[3])


@lru_cache(1024)
def numbered(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names with the number of an image, such as MMMU's ``image_1``, in the order of the numbers."""
    found = [(int(match[1]), name) for name in names if (match := _NUMBERED.fullmatch(name))]
    return tuple(name for _, name in sorted(found))


def by_number(row: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Values of several columns as an object that numbers them: as their names do, or else from 1."""
    listed = list(names)
    numbers = [match[1].lstrip("0") for name in listed if (match := _NUMBERED.fullmatch(name))]
    own = len(set(numbers)) == len(listed)
    return {name if own else f"image_{number}": row.get(name) for number, name in enumerate(listed, 1)}


def other_images(row: Mapping[str, Any]) -> Any:
    """Images of a row that has none under its usual names: in columns with a number, flattened, or as file names."""
    names = _others(tuple(row))
    if not names:
        return None
    if names[0] not in READ:
        return by_number(row, names)
    return next((row[name] for name in names if row[name]), None)


@lru_cache(1024)
def _others(names: tuple[str, ...]) -> tuple[str, ...]:
    return numbered(names) or tuple(name for name in (*FLAT, *FILE_NAMES) if name in names)


@lru_cache(1024)
def beside(names: tuple[str, ...], read: frozenset[str]) -> tuple[str, ...]:
    """The names that are not among those that are read."""
    return tuple(name for name in names if name not in read)
