"""FineVision and the_cauldron: ``images`` is a list of image structs, ``texts`` a list of ``{user, assistant}``."""

from __future__ import annotations

from dataprophet.data.files.rows import BadRow, Row
from dataprophet.data.formats.base import Format, Parsed, lacks_list
from dataprophet.data.formats.chat import as_objects, text_cell, with_system
from dataprophet.data.formats.placeholders import row_images


def _parse(row: Row) -> Parsed:
    """One row; each element of ``texts`` is an answered turn."""
    texts = as_objects(row.get("texts"))
    if not isinstance(texts, list | tuple) or not all(isinstance(turn, dict) for turn in texts):
        raise BadRow("bad_row", "texts is not a list of objects", 'write [{"user": ..., "assistant": ...}]')
    messages = [(role, text_cell(turn.get(role), role)) for turn in texts for role in ("user", "assistant")]
    return Parsed(with_system(row.get("system"), messages), row_images(row))


_LOOKS = "FineVision or the_cauldron Parquet: images and texts of user/assistant"
FINEVISION = Format(_LOOKS, _parse, lacks_list("texts"))
