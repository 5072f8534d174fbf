"""Marks of images as families of models write them into their texts, with the tokens that they write around them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sample_files as files

from dataprophet.data import Conversation, open_dataset

RED, BLUE = "images/red.png", "images/blue.png"
MARKS = {  # text -> the text without marks, and where they stood
    "<|begin_of_image|><|image|><|end_of_image|>Q": ("Q", (0,)),
    "<img><IMG_CONTEXT></img>\nQ": ("Q", (0,)),
    "<img><IMG_CONTEXT><IMG_CONTEXT><IMG_CONTEXT></img>Q": ("Q", (0,)),
    "<|vision_start|><|image_pad|><|image_pad|><|vision_end|>Q": ("Q", (0,)),
    "see <|vision_start|><image><|vision_end|> here": ("see here", (4,)),
    "Picture 1:<|IMAGE_START|><|image@placeholder|><|IMAGE_END|>Q": ("Picture 1:Q", (10,)),
    "<|media_start|>image<|media_content|><|media_pad|><|media_end|>Q": ("Q", (0,)),
    "<|START_OF_IMG|><|IMG_PATCH|><|END_OF_IMG|>Q": ("Q", (0,)),
    "<start_of_image><image_soft_token><image_soft_token><end_of_image>Q": ("Q", (0,)),
    "<im_start><im_patch><im_patch><im_end>Q": ("Q", (0,)),
    "<|image_start|><|image|><|image_end|>Q": ("Q", (0,)),
    "(<image>./</image>)\nQ": ("()\nQ", (1,)),
    "[IMG]Q": ("Q", (0,)),
    "<img>\nQ": ("Q", (0,)),
    "< image >Q": ("Q", (0,)),
    "<|img|>Q": ("Q", (0,)),
    "<image/>Q": ("Q", (0,)),
    "<start_of_image>a <start_of_image>": ("a", (0, 1)),
    "<fake_token_around_image><image><fake_token_around_image><image><fake_token_around_image>Q": ("Q", (0, 0)),
    "<img_2>a<img_1>": ("a", (0, 1)),
}


@pytest.mark.parametrize("text", MARKS)
def test_marks_of_families(text: str, tmp_path: Path) -> None:
    files.write_images(tmp_path)
    question, offsets = MARKS[text]
    talk = [{"role": "user", "content": text}, {"role": "assistant", "content": "A"}]
    rows = [{"messages": talk, "images": [RED, BLUE][: len(offsets)]}, {"messages": talk}]
    row, without = open_dataset(files.dump(tmp_path / "a.jsonl", rows)).rows()
    assert isinstance(row, Conversation)
    assert (row.turns[0].question, row.turns[0].image_offsets) == (question, offsets)
    if text in {"[IMG]Q", "<img>\nQ", "< image >Q"}:  # a word where no image is meant
        assert isinstance(without, Conversation)
        assert without.turns[0].question == text
    else:
        assert (type(without).__name__, getattr(without, "code", "")) == ("Problem", "image_count")


def test_rows_that_name_a_clip_are_no_text_rows(tmp_path: Path) -> None:
    files.write_images(tmp_path)
    row = {"question": "Q", "answer": "A"}
    table = pa.Table.from_pylist([{**row, "clip_name": "a.MP4", "speech_text": "x"}])
    pq.write_table(table, tmp_path / "a.parquet")
    for data in (tmp_path / "a.parquet", [{**row, "recording": "a.wav"}], [{**row, "audio_file": "a"}]):
        (read,) = open_dataset(data).rows()
        assert getattr(read, "code", "") == "unsupported_media"
    kept = [{**row, "clip_name": "a.mp4", "image": RED}, {**row, "answer": "a.mp4"}, {**row, "video_name": "a"}]
    assert len(list(open_dataset(files.dump(tmp_path / "a.jsonl", kept)))) == 3


@pytest.mark.parametrize("text", ["<video_soft_token>Q", "<|vision_start|><|video_pad|><|vision_end|>Q", "<audio>Q"])
def test_clips_of_families(text: str) -> None:
    (row,) = open_dataset([{"question": text, "answer": "A"}]).rows()
    assert getattr(row, "code", "") == "unsupported_media"
