"""Words of texts and keys of rows that stand for something else: an image, a clip, a box, an untrained turn.

The one table of them, for ``formats.base``: each is honoured, or its row is refused with a code. It knows no format.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from dataprophet.data.files.columns import LABEL
from dataprophet.data.files.rows import BadRow, Row, short
from dataprophet.data.formats.conversation import IMAGE_MARKER

_STARTS = (
    r"(?:\|(?:vision_start|begin_of_image|start_of_img|(?:image|media)_start)\||im_start|start_of_image|img)>"
    r"(?:image<\|media_content\|>)?"
)
_ENDS = r"<(?:\|(?:vision_end|end_of_image|end_of_img|(?:image|media)_end)\||im_end|end_of_image|/img)>"
_TOKENS = (  # <image>, <|image|>, <image_placeholder>, <ImageHere>, <|image@placeholder|>, <IMG_CONTEXT>
    r"(?:\|?image(?:[ _@-]?(?:placeholder|here|pad|(?:soft_)?token))?\|?"
    r"|img_context|im_patch|\|(?:media_pad|img_patch|img)\|)>"
)
_PLACEHOLDERS = {  # behind their <
    "path": r"(?:img|image(?=>[^<>\n]+\.[a-z0-9]{3,4}<))>(?P<name>[^<>\n]+)</(?:img|image)>",  # Qwen-VL: in the text
    "number": r"\|?(?:image|img)[ _:#-]{0,2}(?P<k>[0-9]{1,2})(?:\|| ?/)?>",  # MMMU <image 1>, Phi <|image_1|>
    "next": rf"{_STARTS}(?:<{_TOKENS})+{_ENDS}"  # one image, however many of its tokens are written out
    r"|(?:fake_token_around_image><)?image>(?:<fake_token_around_image>)"  # of Idefics, which neighbours share
    rf"|start_of_image>|img></img>|image>(?:\./)?</image>|image ?/>|{_TOKENS}|img>| ?image ?>",
    "media": r"\|?(?:video|audio)(?:[ _-]?(?:[0-9]{1,2}|placeholder|here|pad|(?:soft_)?token))?\|?>",
    "objects": r"ref-object>|bbox>(?!.*</bbox>)",  # ms-swift fills them from the row's objects
}
_KINDS = "|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _PLACEHOLDERS.items())
_BRACKETS = "[IMG]"  # of Pixtral, and a word of forums
_WORDS = {IMAGE_MARKER, _BRACKETS.lower(), "<img>"}
_TOKEN = re.compile(rf"<(?:{_KINDS})|\[IMG\]", re.IGNORECASE)
_NUMBER = re.compile(r"(?:<\|?)?(?:image|img)[ _-]?([0-9]{1,2})(?:\|?>)?", re.IGNORECASE)

_ASKS = {"user", "human"}
_REFUSED = {
    "media": ("unsupported_media", "is a clip, and only text and images are scored", "remove the row"),
    "objects": (
        "unfilled_placeholder",
        "is filled from 'objects' in a way that depends on the model",
        "write the name or the box into the text as the model is trained on it",
    ),
}

_TOOLS = ("tools", "functions")
COMPANIONS = (*_TOOLS, *(f"{kind}{end}" for kind in ("video", "audio") for end in ("", "s", "_path", "_url", "_file")))
"""Keys that change what a row's text means: one that has a value refuses the row."""

_TALKS = frozenset({"conversations", "messages", "response", "texts"})
_COMPANIONS = frozenset({*COMPANIONS, LABEL})

CARRIED = frozenset({"objects", "channel", "rejected_response", "solution"})
"""Keys that trainers read and that do not change what is scored: exports write them again."""

UNTRAINED = ("loss", "loss_scale", "loss_weight", "loss_mask", "weight", "train", "training", "trainable")
"""Keys of an answer's message: where one is false or 0, the answer is not trained on, and stays as context only."""

REASONING = ("reasoning_content", "reasoning", "thinking")
"""Keys of a message whose text chat templates write before its content: one that has a value refuses the row."""


def refuse_companions(row: Row, columns: Mapping[str, str] | None = None) -> None:
    """Raise BadRow for a row with clips or tools, or with an answer that is one to avoid.

    ``columns``: key -> the column that holds it, else its own name.
    """
    if columns is None and _COMPANIONS.isdisjoint(row):
        return
    label = row.get(columns.get("kto_tag", "") if columns is not None else "" if _TALKS.isdisjoint(row) else LABEL)
    if label is False or (isinstance(label, str) and label.strip().lower() == "false"):
        raise BadRow("untrained", "label is false: the answer is one to avoid", "remove the row")
    for key in COMPANIONS:
        value = row.get(key if columns is None else columns.get(key, ""))
        if value and value != "[]":
            if key in _TOOLS:
                what, fix = f"the row has {key!r}, which each model reads in a way of its own", "remove the row"
                raise BadRow("tool_turn", what, fix)
            raise BadRow("unsupported_media", f"the row has {key!r}; only text and images are scored", "remove the row")


def placeholder_in(text: str) -> str:
    """The first placeholder of a text, or an empty text."""
    found = (match for match in _TOKEN.finditer(text) if not _is_word(match)) if "<" in text else ()
    return next((match[0] for match in found), "")


def inline_mark(number: int) -> str:
    """The mark of the image with this place among those that stand between texts."""
    return f"<img>\0{number}</img>"


def mark_images(text: str, images: Sequence[Any], inline: list[Any]) -> str:
    """The text of a message with a mark for each of its own images, which ``inline`` takes: at its marks, or before it.

    Raises:
        BadRow: marks with numbers, or another number of marks than images.
    """
    marks = [inline_mark(number) for number in range(len(inline), len(inline) + len(images))]
    inline.extend(images)
    if not placeholder_in(text):
        return "".join([*marks, text])
    found = [match.lastgroup for match in _TOKEN.finditer(text) if not _is_word(match)]
    if found != ["next"] * len(marks):
        what = f"a message with {len(marks)} images of its own, and {len(found)} marks"
        raise BadRow("image_count", what, "make the numbers equal, and the marks <image>")
    rest = iter(marks)
    return _TOKEN.sub(lambda match: match[0] if _is_word(match) else next(rest), text)


def place_images(
    messages: list[tuple[str, str]], images: Any, inline: Sequence[Any]
) -> tuple[list[tuple[str, str]], list[Any]]:
    """Messages in which ``<image>`` alone marks images, and the images in the order of these marks.

    Args:
        messages: (role, text).
        images: the row's images: one, a list, or an object that numbers them.
        inline: the images that ``inline_mark`` names.

    Raises:
        BadRow: a placeholder that is not honoured, or that has no image.
    """
    numbered = _by_number(images) if isinstance(images, dict) else None
    values = listed(images) if numbered is None else list(numbered.values())
    marked = [text for _, text in messages if "<" in text or _BRACKETS in text]
    if all(text.count("<") == text.count(IMAGE_MARKER) and _BRACKETS not in text for text in marked):  # nearly all rows
        return messages, values
    found = [(at, match) for at, (_, text) in enumerate(messages) for match in _TOKEN.finditer(text)]
    if all(match[0] == IMAGE_MARKER for _, match in found):
        return messages, values
    marks = [(at, match) for at, match in found if not _is_word(match)]
    if not marks and len(found) == len(values) and all(messages[at][0] in _ASKS for at, _ in found):
        marks = found
    for at, match in marks:
        _check_mark(match, messages[at][0], at + 1)
    numbers = [int(match["k"]) for _, match in marks if match["k"]]
    rest = iter(values)
    if numbers:
        rest = iter(_in_order(numbers, numbered or dict(enumerate(values, min(numbers) > 0))))
        plain = next((match[0] for _, match in marks if match.lastgroup == "next"), "")
        if plain:
            what = f"marks with a number beside {plain!r}, which has none"
            raise BadRow("image_count", what, "number all marks, or none")
    named = [_named(match["name"], inline) for _, match in marks if match["name"]]
    if named == values:  # given twice: in the text, and beside it
        rest = iter(())
    paths = iter(named)
    order = [value for _, match in marks for value in islice(paths if match["name"] else rest, 1)]
    starts = [{match.start() for place, match in marks if place == at} for at in range(len(messages))]
    messages = [
        (role, _plain(text, marked) if marked else text) for (role, text), marked in zip(messages, starts, strict=True)
    ]
    return messages, [*order, *rest]  # as many as marks, or the row is refused for it


def row_images(row: Row) -> Any:
    """Images of a row under their usual names. Raises BadRow where ``image`` and ``images`` hold different ones."""
    image, images = row.get("image"), row.get("images")
    if _is_nothing(image) or _is_nothing(images):
        return images if _is_nothing(image) else image
    if listed(image) != listed(images):
        what, fix = "'image' and 'images' hold different images", "pass --columns image=image, or image=images"
        raise BadRow("image_count", what, fix)
    return image


def _is_nothing(value: Any) -> bool:
    """Whether a value of an image column stands for no image."""
    return value is None or (isinstance(value, str | list | tuple | dict) and not value)


def listed(value: Any) -> list[Any]:
    """A value of an image column as a list: of one, of its own, or of nothing."""
    if _is_nothing(value):
        return []
    return value if isinstance(value, list) else list(value) if isinstance(value, tuple) else [value]


def _by_number(images: dict[Any, Any]) -> dict[int, Any] | None:
    """Images of an object whose keys number them, such as ``{"<image_00>": path}``; None where they do not."""
    keys = [int(match[1]) for key in images if (match := _NUMBER.fullmatch(str(key)))]
    if not keys or len(keys) != len(images):
        return None
    return {key: image for key, image in zip(keys, images.values(), strict=True) if image not in (None, "")}


def _is_word(match: re.Match[str]) -> bool:
    """Whether it is ``<Image>``, ``<img>`` or ``[IMG]``, words of code: a mark only where there is no other."""
    return match[0] != IMAGE_MARKER and match[0].replace(" ", "").lower() in _WORDS


def _check_mark(match: re.Match[str], role: str, number: int) -> None:
    kind = str(match.lastgroup)
    if kind in _REFUSED:
        code, what, fix = _REFUSED[kind]
        raise BadRow(code, f"{match[0]!r} in message {number} {what}", fix)
    if role not in _ASKS:
        mark = "" if "\0" in match[0] else f" ({short(match[0])})"
        what = f"message {number} holds an image{mark} and is no question"
        raise BadRow("image_in_answer", what, "keep marks in questions")


def _in_order(numbers: list[int], images: Mapping[int, Any]) -> list[Any]:
    """The images that numbers name. Raises BadRow for a number without an image, or the other way round."""
    for number in numbers:
        if number not in images:
            what = f"the text names image {number}, and the row has {', '.join(map(str, images)) or 'none'}"
            raise BadRow("image_count", what, "add the image, or drop its mark")
    for number in images:
        if number not in numbers:
            raise BadRow("image_count", f"image {number} has no mark", "add its mark to the question, or drop it")
    return [images[number] for number in numbers]


def _named(name: str, inline: Sequence[Any]) -> Any:
    """The image that a mark holds: a name, or its place among ``inline``."""
    number = name[1:] if name[0] == "\0" else ""
    return inline[int(number)] if number.isdecimal() and int(number) < len(inline) else name.strip()


def _plain(text: str, starts: set[int]) -> str:
    return _TOKEN.sub(lambda match: IMAGE_MARKER if match.start() in starts else match[0], text)
