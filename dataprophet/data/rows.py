"""What every reader shares: cleaning of values, ``<image>`` markers, the order of turns, and image policy."""

from __future__ import annotations

import math
import os
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from dataprophet.data.images.decode import MAX_PIXELS
from dataprophet.data.images.sources import Base64Image, BytesImage, FileImage, ImageSource, RemoteImage, UrlImage
from dataprophet.data.remote import is_file, is_url, real_path
from dataprophet.data.sample import Conversation, Problem, Turn

IMAGE_MARKER = "<image>"
Row = dict[str, Any]

_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# Base64 of the first bytes of JPEG, PNG, GIF, RIFF (WebP), and the two TIFF orders.
_BASE64_STARTS = ("/9j/", "iVBORw0KGgo", "R0lGOD", "UklGR", "SUkq", "TU0AK")
_SHORTEST_BASE64 = 64
_LONGEST_NAME = 512
_FOLDERS_KEPT = 4096


class BadRow(Exception):
    """Raised inside a reader for a row that cannot be used; becomes a Problem with the row's place."""

    def __init__(self, code: str, message: str, fix: str) -> None:
        super().__init__(message)
        self.code, self.message, self.fix = code, message, fix


@dataclass(frozen=True, slots=True)
class ImagePolicy:
    """Which images a dataset's rows may name.

    Attributes:
        roots: folders, resolved, or URLs. Relative paths are looked up in them in order; files outside them are
            refused. What only the last one can hold, and is a URL, is looked for when the image is read.
        allow_outside: read files outside the roots.
        allow_urls: accept http(s) addresses.
        max_pixels: limit given to every image.
    """

    roots: tuple[str, ...]
    allow_outside: bool = False
    allow_urls: bool = False
    max_pixels: int = MAX_PIXELS
    _folders: dict[str, str] = field(default_factory=dict, repr=False, compare=False)

    def source(self, value: Any, place: str) -> ImageSource:
        """The source of an image cell: path, URL, data URI, base64 text, bytes or ``{"bytes", "path"}``."""
        if isinstance(value, ImageSource):
            return value
        if isinstance(value, dict) and value.get("bytes") is not None:
            value = value["bytes"]
        elif isinstance(value, dict):
            value = next((value[key] for key in ("path", "url", "image") if value.get(key)), None)
        if isinstance(value, bytes):
            return BytesImage(value, f"{place} image", self.max_pixels)
        if not isinstance(value, str) or not value.strip():
            raise BadRow("bad_row", f"an image is {_kind(value)}", "give a path, base64 text, or a bytes/path struct")
        text = value.strip()
        known = len(text) >= _SHORTEST_BASE64 and text.startswith(_BASE64_STARTS)
        if known or text[:5].lower() == "data:" or (len(text) > _LONGEST_NAME and "." not in text):
            return Base64Image(text, f"{place} image", self.max_pixels)
        if scheme := _SCHEME.match(text):
            return self._url(text, scheme.group().lower())
        path = self._file(text)
        return RemoteImage(path, self.max_pixels) if is_url(path) else FileImage(path, self.max_pixels)

    def sources(self, values: Any, place: str) -> list[ImageSource]:
        """Sources of a row's ``image``/``images`` value: one, a list, or nothing."""
        if values is None or values in ("", []):
            return []
        return [self.source(value, place) for value in (values if isinstance(values, list | tuple) else [values])]

    def _url(self, text: str, scheme: str) -> ImageSource:
        roots = tuple(f"{root}/" for root in self.roots if is_url(root))
        if text.startswith(roots) and ".." not in text.split("/"):
            return RemoteImage(real_path(text), self.max_pixels)
        if scheme not in {"http://", "https://"}:
            raise BadRow(
                "url_refused", f"image address {_short(text)} is not http(s)", "name a file in the dataset's folder"
            )
        if not self.allow_urls:
            raise BadRow(
                "url_refused",
                f"image address {_short(text)} is not fetched",
                "pass allow_urls (--allow-urls) to fetch it",
            )
        return UrlImage(text, self.max_pixels)

    def _file(self, text: str) -> str:
        missing = BadRow(
            "missing_image", f"image {_short(text)} not found", "restore it, or pass image_root (--image-root)"
        )
        if "\0" in text:
            raise missing
        outside = None
        for root in self.roots:
            if is_url(root):
                if text.startswith("/") or os.path.normpath(text).split("/")[0] == "..":
                    outside = outside or text
                    continue
                path = real_path(f"{root}/{text}")
                if root == self.roots[-1] or is_file(path):  # nobody is asked where nothing else is possible
                    return path
                continue
            path, found = self._resolve(os.path.join(root, text))
            inside = self.allow_outside or any(path.startswith(os.path.join(other, "")) for other in self.roots)
            if inside and found:
                return path
            outside = outside or (None if inside else path)
        if outside:
            raise BadRow(
                "outside_root",
                f"image {_short(text)} lies outside the dataset's folder",
                "pass image_root (--image-root), or allow_outside (--allow-outside) if you trust the file",
            )
        raise missing

    def _resolve(self, path: str) -> tuple[str, bool]:
        """The path without links and ``..``, and whether a regular file is there. Folders are resolved once."""
        folder, name = os.path.split(path)
        if name in {"", ".", ".."}:
            return os.path.realpath(path), False
        if folder not in self._folders:
            if len(self._folders) >= _FOLDERS_KEPT:
                self._folders.clear()
            self._folders[folder] = os.path.realpath(folder)
        path = os.path.join(self._folders[folder], name)
        try:
            mode = os.lstat(path).st_mode
        except OSError:
            return path, False
        if stat.S_ISLNK(mode):
            path = os.path.realpath(path)
            return path, os.path.isfile(path)
        return path, stat.S_ISREG(mode)


def clean_text(value: Any, what: str) -> str:
    """Text without surrounding white space; numbers are written out, booleans become yes and no, None is empty."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    raise BadRow("bad_row", f"{what} is {_kind(value)}, not text", f"make {what} a string")


def row_id(value: Any, file: str, row: int) -> str:
    """The row's id as text, or ``<file stem>:<row>``."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | None):
        raise BadRow("bad_id", f"the id is {_kind(value)}", "use a string or an integer")
    text = clean_text(value, "the id")
    if any(not letter.isprintable() for letter in text):
        raise BadRow("bad_id", f"the id {_short(text)} holds a control character", "use printable ids")
    return text or f"{os.path.splitext(os.path.basename(file))[0]}:{row}"


def take_markers(text: str) -> tuple[str, tuple[int, ...]]:
    r"""Text without ``<image>`` markers, stripped, and the offsets at which they stood.

    One white-space character behind a marker goes with it when nothing or white space stands before the marker, so
    that ``<image>\nQ`` is ``Q`` and ``a <image> b`` is ``a b``. ``put_markers`` is the exact inverse.
    """
    head, *rest = text.split(IMAGE_MARKER)
    offsets: list[int] = []
    out = [head]
    length, last = len(head), head[-1:] or " "
    for part in rest:
        offsets.append(length)
        kept = part[1:] if part[:1].isspace() and last.isspace() else part
        last = kept[-1:] or last
        out.append(kept)
        length += len(kept)
    joined = "".join(out)
    lead = len(joined) - len(joined.lstrip())
    stripped = joined.strip()
    return stripped, tuple(min(max(offset - lead, 0), len(stripped)) for offset in offsets)


def put_markers(question: str, offsets: Iterable[int]) -> str:
    """The question with a marker at each offset; ``take_markers`` gives both back."""
    out: list[str] = []
    done = 0
    for offset in offsets:
        out.append(question[done:offset] + IMAGE_MARKER)
        before = question[offset - 1 : offset] if offset else "\n"
        if before.isspace():
            out.append("\n" if before in "\r\n" else " ")
        done = offset
    return "".join([*out, question[done:]])


def make_turns(messages: Sequence[tuple[str, str]], n_images: int) -> tuple[Turn, ...]:
    """Turns of a conversation of (role, text).

    System messages stand before the first question and become its first paragraph, so that nothing is lost in formats
    without a system role. Without any marker the images stand before the first question.

    Raises:
        BadRow: roles out of order, an unanswered question, empty text, or markers and images that do not match.
    """
    roles = [_role(role) for role, _ in messages]
    n_system = next((index for index, role in enumerate(roles) if role != "system"), len(roles))
    system = "\n\n".join(text.strip() for _, text in messages[:n_system] if text.strip())
    roles, talk = roles[n_system:], messages[n_system:]
    if not talk:
        raise BadRow("bad_row", "the conversation has no turns", "add a question and its answer, or remove the row")
    for index, role in enumerate(roles):
        wanted = "assistant" if index % 2 else "user"
        if role != wanted:
            raise BadRow(
                "role_order",
                f"message {n_system + index + 1} is from {role!r} where {wanted!r} is due",
                "merge or reorder the messages so that user and assistant alternate",
            )
    if len(talk) % 2:
        raise BadRow("unanswered", "the last question has no answer", "add the answer, or remove the question")
    if IMAGE_MARKER in system:
        raise BadRow("image_count", "the system message holds an <image> marker", "move the marker to a question")
    questions = [take_markers(text) for _, text in talk[::2]]
    answers = [text.strip() for _, text in talk[1::2]]
    for number, ((question, _), answer) in enumerate(zip(questions, answers, strict=True), 1):
        _check_text(question, answer, f" of turn {number}" if len(answers) > 1 else "")
    n_markers = sum(len(offsets) for _, offsets in questions)
    if n_markers == 0:
        questions[0] = (questions[0][0], (0,) * n_images)
    elif n_markers != n_images:
        raise BadRow(
            "image_count",
            f"{n_markers} <image> markers but {n_images} images",
            "make the numbers equal, or drop the markers",
        )
    if system:
        shift = len(system) + 2
        question, offsets = questions[0]
        questions[0] = (f"{system}\n\n{question}", tuple(offset + shift for offset in offsets))
    return tuple(Turn(text, answer, marks) for (text, marks), answer in zip(questions, answers, strict=True))


def bad_row(error: BadRow, file: str, row: int, id: str = "") -> Problem:
    """The Problem of a row that raised ``error``."""
    return Problem(error.code, error.message, error.fix, file, row, id)


def make_conversation(
    value_id: Any, sources: Sequence[ImageSource], messages: Sequence[tuple[str, str]], file: str, row: int
) -> Conversation:
    """Assemble and check a row."""
    for _, text in messages:
        try:
            text.encode()
        except UnicodeEncodeError:
            message = "the text holds half of a surrogate pair"
            raise BadRow("bad_encoding", message, "save the file as UTF-8 again from its source") from None
    return Conversation(row_id(value_id, file, row), tuple(sources), make_turns(messages, len(sources)), file, row)


def _check_text(question: str, answer: str, of_turn: str) -> None:
    if not question:
        raise BadRow("empty_question", f"the question{of_turn} is empty", "add its text, or remove the row")
    if not answer:
        raise BadRow("empty_answer", f"the answer{of_turn} is empty", "add its text, or remove the row")
    if IMAGE_MARKER in answer:
        raise BadRow("image_in_answer", f"the answer{of_turn} holds an <image> marker", "keep markers in questions")


def _role(role: str) -> str:
    try:
        return _ROLES[role]
    except KeyError:
        raise BadRow(
            "bad_role", f"unknown role {_short(role)}", "use user (human), assistant (gpt) or system"
        ) from None


def _kind(value: Any) -> str:
    if value is None or value == "":
        return "empty"
    return f"a {type(value).__name__}"


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:60]}...{text[-15:]}")
