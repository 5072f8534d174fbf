"""Whatever stands in a row or an image, the outcome is a row, a problem or a DataError."""

from __future__ import annotations

import io
import json
import string
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sample_files as files
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dataprophet.data import Conversation, Problem, open_dataset
from dataprophet.data.images.decode import decode
from dataprophet.errors import DataError

words = st.sampled_from(
    [
        "Q",
        "<image>",
        "<image 1>",
        "<img>images/red.png</img>",
        "<Image>",
        "<bbox>",
        "<video>",
        " ",
        "",
        "user",
        "assistant",
        "human",
        "gpt",
        "images/red.png",
        "A",
        "[1]",
        "['a']",
    ]
)
leaves = words | st.none() | st.booleans() | st.integers(-3, 40) | st.floats() | st.text(max_size=4)
keys = st.sampled_from(
    [
        *("role", "content", "from", "value", "user", "assistant", "bytes", "path", "type", "text", "answer", "image"),
        *("index", "loss", "data", "<image_00>", "image_1"),
    ]
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=12
)
columns = ["id", "image", "images", "conversations", "messages", "query", "response", "history", "system", "texts"]
columns += ["image_1", "image_2", "image.bytes", "file_name", "objects", "videos", "img", "note"]
columns += ["question", "answer", "answers", "options", "choices", "hint", "index", *string.ascii_uppercase[:3]]
rows = st.dictionaries(st.sampled_from(columns), values, max_size=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images, whose data files are written over and over."""
    made = tmp_path_factory.mktemp("fuzz")
    files.write_images(made)
    return made


@pytest.mark.parametrize("format", ["llava", "swift", "finevision", "vqa", "vlmeval"])
@settings(max_examples=60)
@given(made=st.lists(rows, min_size=1, max_size=8))
def test_any_row_is_good_or_a_problem(folder: Path, format: str, made: list[dict[str, Any]]) -> None:
    dataset = open_dataset(files.dump(folder / "a.jsonl", made), format=format)
    out = list(dataset.rows())
    assert len(out) == len(made)
    for row in out:
        if isinstance(row, Problem):
            assert row.code
            assert row.fix
            assert "\n" not in str(row)
        else:
            assert sum(len(turn.image_offsets) for turn in row.turns) == len(row.sources)
            assert all(turn.question and turn.answer for turn in row.turns)
    good = [row for row in out if isinstance(row, Conversation)]
    assert len({row.id for row in good}) == len(good)


@given(lines=st.lists(st.binary(max_size=40), max_size=5))
def test_any_line_is_good_or_a_problem(folder: Path, lines: list[bytes]) -> None:
    path = folder / "lines.jsonl"
    path.write_bytes(json.dumps({"query": "Q", "response": "A"}).encode() + b"\n" + b"\n".join(lines))
    first, *rest = open_dataset(path).rows()
    assert isinstance(first, Conversation)
    assert all(isinstance(row, Problem) for row in rest)


def _encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(768, dtype=np.uint8).reshape(16, 16, 3)).save(buffer, kind)
    return buffer.getvalue()


ENCODED = [_encoded(kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "PPM")]


@settings(max_examples=300)
@given(
    st.sampled_from(ENCODED),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=6),
    st.integers(0, 900),
)
def test_any_bytes_decode_or_raise_a_data_error(data: bytes, changes: list[tuple[int, int]], cut: int) -> None:
    changed = bytearray(data)
    for at, value in changes:
        changed[at % len(changed)] = value
    try:
        image = decode(bytes(changed[: len(changed) - cut]), max_pixels=10_000, where="here")
    except DataError as error:
        assert error.where == "here"  # noqa: PT017 (both outcomes are right)
        assert error.fix  # noqa: PT017
    else:
        assert image.mode == "RGB"
        assert image.size[0] * image.size[1] <= 10_000


@settings(max_examples=60)
@given(
    changes=st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.integers(0, 4000),
)
@pytest.mark.parametrize("case", ["finevision", "webdataset"])
def test_damaged_binary_files_raise_a_data_error_at_worst(
    folder: Path, case: str, changes: list[tuple[int, int]], cut: int
) -> None:
    path = files.CHAT_WRITERS[case][1](folder)
    changed = bytearray(path.read_bytes())
    for at, value in changes:
        changed[at % len(changed)] = value
    path.write_bytes(changed[: max(len(changed) - cut, 0)] if cut % 2 else changed)
    try:
        for row in open_dataset(path, format=case).rows():
            for source in row.sources if isinstance(row, Conversation) else ():
                source.load()
    except DataError as error:
        assert error.fix  # noqa: PT017
