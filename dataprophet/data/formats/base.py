"""What a format is, and how its rows become conversations.

For the formats beside it, each a value of ``Format``, and for ``dataset``, which runs rows through one of them. It
knows no format by name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from dataprophet.data.files.arrow import arrow_columns, arrow_labels
from dataprophet.data.files.columns import ANSWERS, READ, Wanted, beside, by_number, image_ids, other_images
from dataprophet.data.files.containers import ARROW, suffix_of
from dataprophet.data.files.rows import BadRow, Row, Rows
from dataprophet.data.formats.answers import ANSWER_IS
from dataprophet.data.formats.conversation import clean_text, make_conversation
from dataprophet.data.formats.literals import unpacked
from dataprophet.data.formats.placeholders import CARRIED, COMPANIONS, place_images, refuse_companions
from dataprophet.data.images.policy import ImagePolicy
from dataprophet.data.images.unused import clip_in, unread_image
from dataprophet.data.sample import Conversation, Problem
from dataprophet.errors import choose, require

_READ = READ.union(COMPANIONS)
KNOWN = Wanted(_READ | CARRIED)
"""Columns that some format reads."""

_IMAGES = ("image", "images", "image_path")
_RIVALS = {name: names for names in (ANSWERS, _IMAGES) for name in names}


@dataclass(frozen=True)
class Options:
    """How rows are read: the image policy, the user's column names, and what holds for all rows of the dataset.

    Attributes:
        policy: of images.
        columns: our column name -> the file's.
        labels: column of numbers -> the name of each number.
        answer_is: what answers beside options are, one of ``ANSWER_KINDS``; None where no row had options.
    """

    policy: ImagePolicy
    columns: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    answer_is: str | None = None

    def wanted(self) -> Wanted:
        """Columns worth reading."""
        return Wanted(KNOWN.union(*(_parts(name, column) for name, column in self.columns.items())))

    def check_columns(self, path: str) -> None:
        """Raise DataError for a mapped column that a Parquet or Arrow file lacks. Other files tell in each row."""
        present = arrow_columns(path) if self.columns and suffix_of(path) in ARROW else None
        for name, given in self.columns.items():
            for column in () if present is None or given.startswith("=") or given in present else _parts(name, given):
                fix = choose(column, sorted(present or ()))
                require(column in (present or ()), f"no column {column!r} (for {name!r})", path, fix)
        if suffix_of(path) in ARROW:
            for column, names in arrow_labels(path).items():
                same = list(self.labels.get(column, ())) == names
                require(same, f"the classes of {column!r} are not those of the first file", path, "read it by itself")

    def renamed(self, row: Row) -> Row:
        """The row under our names. Raises BadRow for a mapped column that it lacks."""
        for column in self.labels.keys() & row.keys() if self.labels else ():
            row[column] = label_name(row[column], self.labels[column])
        if self.answer_is is not None:
            row[ANSWER_IS] = self.answer_is
        out = dict(row) if self.columns else row
        for name, column in self.columns.items():
            for rival in _RIVALS.get(name, ()):
                if rival not in self.columns:
                    out.pop(rival, None)
            if column.startswith("="):
                out[name] = column[1:]
            elif column in row:
                out[name] = row[column]
            else:
                parts = _parts(name, column)
                lacking = next((part for part in parts if part not in row), "")
                if lacking or len(parts) == 1:
                    fix = f"add it, or map {name!r} to another column (--columns)"
                    raise BadRow("bad_row", f"no column {lacking or column!r}", fix)
                out[name] = by_number(row, parts)
        return out


def _parts(name: str, column: str) -> list[str]:
    """The columns that a mapping of images names, with commas between them, such as ``image_1,image_2``."""
    return [part.strip() for part in column.split(",")] if name in {"image", "images"} else [column]


class Parsed(NamedTuple):
    """What a format finds in a row.

    Attributes:
        messages: (role, text), with a placeholder for each image that has a place in the text, or none at all.
        images: the image values as they stand in the row: one, a list, an object that numbers them, or nothing.
        inline: those that stand between the texts.
    """

    messages: list[tuple[str, str]]
    images: Any = None
    inline: Sequence[Any] = ()


@dataclass(frozen=True)
class Format:
    """One format of rows.

    Attributes:
        description: what it looks like, for the list of formats.
        parse: what it finds in a row; raises BadRow.
        mismatch: why a row (and its file's suffix) cannot be of this format, or an empty text.
        ids: columns of the id, the first of which counts.
        prepare: what is done to the rows of a file first.
        columns: key -> column of a row, where the dataset itself says what is read of it.
        options: options and answer of a row, where the format has them; raises BadRow.
        answer_is: what the format says of answers beside options, one of ``ANSWER_KINDS``.
    """

    description: str
    parse: Callable[[Row], Parsed]
    mismatch: Callable[[Row, str], str]
    ids: tuple[str, ...] = ("id", "question_id")
    prepare: Callable[[Rows, str], Rows] = lambda rows, path: rows
    columns: Mapping[str, str] | None = None
    options: Callable[[Row], tuple[list[str], str]] | None = None
    answer_is: str = ""


def parse_row(row: Row | BadRow, path: str, number: int, format: Format, options: Options) -> Conversation | Problem:
    """One row as a conversation; what cannot be used becomes a Problem with its place and id."""
    name, place = "", f"{path} row {number}"
    try:
        if isinstance(row, BadRow):
            raise row
        name = _known_id(row, options)
        row = options.renamed(row)
        refuse_companions(row, format.columns)
        messages, images, inline = format.parse(row)
        if not images and format.columns is None and options.columns.keys().isdisjoint(_IMAGES):
            images = other_images(row) or images
        messages, images = place_images(messages, unpacked(images), inline)
        sources = [options.policy.source(unpacked(image), place) for image in images]
        if not sources and options.columns.keys().isdisjoint(_IMAGES):
            _refuse_unread(row, path, format, options.columns.values())
        made = make_conversation(first_of(row, *format.ids), sources, messages, path, number)
        if kept := CARRIED & row.keys():
            made = replace(made, extra={key: row[key] for key in sorted(kept)})
        return made
    except BadRow as error:
        return Problem(error.code, error.message, error.fix, path, number, name)


def _refuse_unread(row: Row, path: str, format: Format, mapped: Collection[str]) -> None:
    """Raise BadRow for a row without images of which a column seems to hold one."""
    read = _READ if format.columns is None else frozenset((*format.columns.values(), *format.ids))
    names = tuple(row)
    others = beside(names, read.union(mapped) if mapped else read)  # most rows have none
    if name := unread_image(row, path, others):
        fix = f"pass --columns image={name}, or image== where the text alone is wanted"
        if format.columns is not None:
            fix = f'add "images": "{name}" to columns of the dataset'
        raise BadRow("unread_image", f"column {name!r} looks like an image and is not read", fix)
    if others and (clip := clip_in(row, others)):
        what = f"the row has no image, and {clip!r} names a clip; only text and images are scored"
        raise BadRow("unsupported_media", what, "remove the row")
    if not ("image" in row or "images" in row) and (ids := image_ids(names)):
        fix = "add a column of images, or pass --columns image== where the text alone is wanted"
        raise BadRow("unread_image", f"column {ids[0]!r} names an image, and the row has none", fix)


def first_of(row: Row, *names: str) -> Any:
    """The first of the named values that is there and not null."""
    for name in names:  # for every row: a generator takes twice as long
        if (value := row.get(name)) is not None:
            return value
    return None


def label_name(value: Any, names: Sequence[str]) -> Any:
    """The name of a class, or of each of a list; what is no number stays. Raises BadRow for a number without a name."""
    if isinstance(value, list | tuple):
        return [label_name(item, names) for item in value]
    if isinstance(value, str) and value.isascii() and value.isdigit() and value not in names:
        value = int(value)  # of a text table
    if not isinstance(value, int) or isinstance(value, bool) or value == -1:
        return None if value == -1 else value  # -1 stands for no label
    if not 0 <= value < len(names):
        raise BadRow("bad_answer", f"class {value} is none of the {len(names)} names", "correct it, or its features")
    return names[value]


def lacks(row: Row, *names: str) -> str:
    """Why the row does not fit: the first of these columns that it has not, or an empty text."""
    return next((f"no column {name!r}" for name in names if name not in row), "")


def lacks_list(name: str) -> Callable[[Row, str], str]:
    """Why a row does not fit a format that needs a list of this name: a ``mismatch`` of ``Format``."""

    def mismatch(row: Row, suffix: str) -> str:
        if row.get(name) is None:
            return f"no column {name!r}"
        return "" if isinstance(unpacked(row[name]), list | tuple | dict) else f"{name!r} is not a list"

    return mismatch


def _known_id(row: Row, options: Options) -> str:
    column = options.columns.get("id", "id")
    value = row[column] if column in row else first_of(row, "question_id", "index")
    if isinstance(value, str | int) and not isinstance(value, bool):
        text = clean_text(value, "the id")
        return text if text.isprintable() else ""
    return ""
