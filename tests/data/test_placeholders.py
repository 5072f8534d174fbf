"""Placeholders, companion keys and spellings of images: each is read as its writer meant it, or its row is refused."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sample_files as files
from sample_files import good

from dataprophet.data import Conversation, Problem, open_dataset, write_rows
from dataprophet.data.files.columns import named_like_image
from dataprophet.data.images.unused import image_like
from dataprophet.data.sample import Turn
from dataprophet.errors import DataError
from dataprophet.scoring.folder.rows import Lines

RED, GREEN, BLUE = "images/red.png", "images/green.png", "images/blue.png"
COLOURS = {data: name.removesuffix(".png") for name, data in files.NAMES.items()}
QA = {"question": "Q", "answer": "A"}
BASE64 = base64.b64encode(files.RED).decode()


def chat(question: Any, answer: Any = "A", **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}], **more}


def read(folder: Path, *rows: Mapping[str, Any], **options: Any) -> list[Conversation | Problem]:
    files.write_images(folder)
    return list(open_dataset(files.dump(folder / "a.jsonl", list(rows)), **options).rows())


def seen(row: Conversation | Problem) -> tuple[str, list[str]]:
    """The first question with marks where its images stand, and their colours; or the code of the problem."""
    if isinstance(row, Problem):
        assert row.fix
        assert "\n" not in str(row)
        return row.code, []
    turn = row.turns[0]
    marked = turn.question
    for offset in reversed(turn.image_offsets):
        marked = f"{marked[:offset]}[]{marked[offset:]}"
    return marked, [COLOURS[source.read_bytes()] for source in row.sources]


@pytest.mark.parametrize(
    ("row", "question", "images"),
    [
        (chat("<ImageHere>First, <ImageHere>second", images=[RED, BLUE]), "[]First, []second", "red blue"),
        (chat("<image_placeholder>Q", images=RED), "[]Q", "red"),
        (chat("<|image|>Q", images=[RED]), "[]Q", "red"),
        (chat("see <|vision_start|><|image_pad|><|vision_end|> here", images=[RED]), "see []here", "red"),
        (chat("<|image_1|> to <|image_2|>", images=[RED, BLUE]), "[]to[]", "red blue"),
        (chat("<image 2>, then <image 1>", images=[RED, BLUE]), "[], then[]", "blue red"),
        (chat("<image 1> is <image 1>", images=[RED]), "[]is[]", "red red"),
        (chat("<image_00> <image_01>Q", images=[RED, BLUE]), "[][]Q", "red blue"),
        (chat("<image_01>Q<image_00>", image={"<image_00>": RED, "<image_01>": BLUE}), "[]Q[]", "blue red"),
        (chat(f"Picture 1: <img>{RED}</img>\nQ"), "Picture 1: []Q", "red"),
        (chat(f"<img>{RED}</img>Q", images=[RED]), "[]Q", "red"),
        (chat(f"<img>{RED}</img> <image>Q", images=[BLUE]), "[][]Q", "red blue"),
        (chat(f"See <image>{RED}</image>.", images=[RED]), "See [].", "red"),
        (chat("<Img><ImageHere></Img>a<image></image>b", images=[RED, BLUE]), "[]a[]b", "red blue"),
        (chat("<IMG_CONTEXT>a<image_soft_token>b", images=[RED, BLUE]), "[]a[]b", "red blue"),
        (chat("<image:2> or <image #1>", images=[RED, BLUE]), "[]or[]", "blue red"),
        (chat("Use <Image> and <IMAGE>", images=[RED, BLUE]), "Use []and[]", "red blue"),
        (chat("Use <Image> of React"), "Use <Image> of React", ""),
        (chat("<image>Use <Image>", images=[RED]), "[]Use <Image>", "red"),
        (
            chat("<img src='x'> is HTML, a < b, <bbox>1, 2</bbox>"),
            "<img src='x'> is HTML, a < b, <bbox>1, 2</bbox>",
            "",
        ),
        (chat("Where?", objects={"bbox": [[1, 2, 3, 4]]}), "Where?", ""),
        (chat("Q", videos=[], audios=None, tools="[]"), "Q", ""),
        (chat("<image 3>", images=[RED]), "image_count", ""),
        (chat("<image 1>", images=[RED, BLUE]), "image_count", ""),
        (chat("<image 1> <image>", images=[RED, BLUE]), "image_count", ""),
        (chat("<ImageHere>Q"), "image_count", ""),
        (chat(f"<img>{RED}</img>Q", images=[BLUE]), "image_count", ""),
        (chat("Q", "<image 1>", images=[RED]), "image_in_answer", ""),
        (chat("Q", f"<img>{RED}</img>"), "image_in_answer", ""),
        (chat("<image>Where is the <ref-object>?", "<bbox>", images=[RED]), "unfilled_placeholder", ""),
        (chat("<image>Where?", "It is at <bbox>.", images=[RED], objects={}), "unfilled_placeholder", ""),
        (chat("<video>Q", videos=["a.mp4"]), "unsupported_media", ""),
        (chat("<|audio_1|>Q"), "unsupported_media", ""),
        (chat("Q", videos=["a.mp4"]), "unsupported_media", ""),
        (chat("<image>Q", images=[RED], audio="a.wav"), "unsupported_media", ""),
        (chat("Q", tools='[{"name": "look"}]'), "tool_turn", ""),
        (chat("Q", functions=[{"name": "look"}]), "tool_turn", ""),
        (chat("Q", image="", images=[RED]), "[]Q", "red"),
        (chat("Q", image=RED, images=[]), "[]Q", "red"),
        (chat("Q", image=RED, images=[RED]), "[]Q", "red"),
        (chat("Q", image=RED, images=[RED, BLUE]), "image_count", ""),
        ({**QA, "image": 0}, "bad_row", ""),
    ],
)
def test_placeholders_and_companions(row: dict[str, Any], question: str, images: str, tmp_path: Path) -> None:
    (found,) = read(tmp_path, row)
    assert seen(found) == (question, images.split())


PART = {"type": "text", "text": "Q"}


@pytest.mark.parametrize(
    ("parts", "images", "question", "expected"),
    [
        ([{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{BASE64}"}}, PART], None, "[]Q", "red"),
        ([{"type": "image_url", "image_url": RED, "text": None}, {**PART, "image_url": None}], None, "[]Q", "red"),
        ([{"type": "input_image", "image_url": RED}, {"type": "input_text", "text": "Q"}], None, "[]Q", "red"),
        ([{"image": RED}, {"text": "Q"}], None, "[]Q", "red"),
        ([{"type": "image", "path": RED}, "Q"], None, "[]Q", "red"),
        ([{"type": "image", "base64": BASE64}, PART], None, "[]Q", "red"),
        ([{"type": "image", "source": {"type": "base64", "data": BASE64}}, PART], None, "[]Q", "red"),
        ([{"type": "image", "index": 1}, {"type": "image", "index": 0}, PART], [RED, BLUE], "[][]Q", "blue red"),
        ([{"type": "image", "image": RED}, {"type": "image"}, PART], [BLUE], "[][]Q", "red blue"),
        ([{"type": "image"}, {"type": "image", "image": RED}, PART], [BLUE], "[][]Q", "blue red"),
        ([{"type": "image", "image": RED}, PART], [RED], "[]Q", "red"),
        ([{"type": "image", "image": RED}, PART], [BLUE], "image_count", ""),
        ([{"type": "video", "video": "a.mp4"}, PART], None, "unsupported_media", ""),
        ([{"type": "input_audio", "input_audio": {"data": "x"}}, PART], None, "unsupported_media", ""),
        ([7, PART], None, "unsupported_media", ""),
        ([{"type": "input_image", "file_id": "file-1"}, PART], None, "missing_image", ""),
    ],
)
def test_parts_of_messages(parts: list[Any], images: Any, question: str, expected: str, tmp_path: Path) -> None:
    (found,) = read(tmp_path, chat(parts, [{"type": "output_text", "text": "A"}], images=images))
    assert seen(found) == (question, expected.split())


@pytest.mark.parametrize(
    ("asked", "beside", "question", "images"),
    [
        ({"content": "Q", "images": [RED, BLUE]}, {}, "[][]Q", "red blue"),
        ({"content": "a <image>, b <image_placeholder>", "image": [BLUE, RED]}, {}, "a [], b[]", "blue red"),
        ({"content": "Q", "images": [RED]}, {"images": [RED]}, "[]Q", "red"),
        ({"content": "<image>Q", "images": None}, {"images": [RED]}, "[]Q", "red"),
        ({"content": "<image>Q", "images": [RED, BLUE]}, {}, "image_count", ""),
        ({"content": "<image 2><image 1>Q", "images": [RED, BLUE]}, {}, "image_count", ""),
        ({"content": "Q", "videos": ["a.mp4"]}, {}, "unsupported_media", ""),
    ],
)
def test_messages_with_images_of_their_own(
    asked: dict[str, Any], beside: dict[str, Any], question: str, images: str, tmp_path: Path
) -> None:
    row = {"messages": [{"role": "user", **asked}, {"role": "assistant", "content": "A"}], **beside}
    (found,) = read(tmp_path, row)
    assert seen(found) == (question, images.split())


def test_reasoning_beside_the_answer_is_not_dropped(tmp_path: Path) -> None:
    for text, wanted in (("since", "bad_row"), (None, "Q")):
        row = chat("Q")
        row["messages"][1]["reasoning_content"] = text
        assert [seen(found) for found in read(tmp_path, row)] == [(wanted, [])]


def test_a_file_address_is_a_path_and_stays_inside(tmp_path: Path) -> None:
    inside, outside = chat("Q", images=[f"file://{tmp_path}/{RED}"]), chat("Q", images=["file:///etc/hostname.png"])
    assert [seen(row) for row in read(tmp_path, inside, outside)] == [("[]Q", ["red"]), ("outside_root", [])]


def test_tools_and_roles(tmp_path: Path) -> None:
    call = {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "look"}}]}
    user, answer = chat("Q")["messages"]
    rows = [
        {"messages": [user, call, {"role": "tool", "content": "red"}, answer]},
        {"messages": [user, {"role": "function_call", "content": "{}"}, answer]},
        {"messages": [{"role": "developer", "content": "Be brief."}, user, {"role": "model", "content": "A"}]},
    ]
    assert [seen(row)[0] for row in read(tmp_path, *rows)] == ["tool_turn", "tool_turn", "Be brief.\n\nQ"]


def test_answers_that_are_not_trained_on_are_context_only(tmp_path: Path) -> None:
    draft = {"role": "assistant", "content": "draft", "loss": False}
    user, answer = chat("Q")["messages"]
    rows = [
        {"id": "a", "messages": [user, draft, user, {**answer, "loss": True}]},
        {"id": "b", "messages": [user, {**answer, "weight": 0}]},
        {"id": "c", "messages": [{**user, "train": False}, answer]},
    ]
    first, second, third = read(tmp_path, *rows)
    assert isinstance(first, Conversation)
    assert isinstance(third, Conversation)
    assert (isinstance(second, Problem) and second.code) == "untrained"
    assert [(sample.id, sample.answer, len(sample.context)) for sample in first.samples()] == [("a#2", "A", 1)]
    assert first.turns[0] == Turn("Q", "draft", scored=False)
    assert [(line.id, line.turn) for line in Lines.of([first], 0).lines] == [("a#2", 2)]
    assert third.turns == (Turn("Q", "A"),)
    for format in ("swift", "webdataset"):
        write_rows([first], tmp_path / format, format, name="x")
        assert [row.turns for row in good(open_dataset(tmp_path / format))] == [first.turns]
    for format in ("llava", "llamafactory", "huggingface"):
        with pytest.raises(DataError, match="is not trained on, which this format cannot say; write swift"):
            write_rows([first], tmp_path / format, format, name="x")


def test_keys_that_the_trainer_reads_are_written_again(tmp_path: Path) -> None:
    boxes = {"ref": ["cup"], "bbox": [[1, 2, 3, 4]]}
    row, plain = read(tmp_path, chat("<image>Q", images=[RED], objects=boxes, source="x"), chat("Q"))
    assert isinstance(row, Conversation)
    assert isinstance(plain, Conversation)
    for format in ("swift", "webdataset"):
        write_rows([row, plain], tmp_path / format, format, name="x")
        assert [each.extra for each in good(open_dataset(tmp_path / format))] == [{"objects": boxes}, {}]


def test_lists_of_objects_stored_as_objects_of_lists(tmp_path: Path) -> None:
    image = {"bytes": files.RED, "path": None}
    talk = {"from": ["human", "gpt"], "value": ["<image>\nQ", "A"]}
    tables = {
        "conversations": {"id": "1", "image": image, "conversations": talk},
        "texts": {"images": [image], "texts": {"user": ["Q", "Q2"], "assistant": ["A", "A2"]}},
        "answers": {"image": image, "question": "Q", "answers": {"answer": ["A", "A", "B"], "confidence": ["yes"] * 3}},
    }
    for name, row in tables.items():
        pq.write_table(pa.Table.from_pylist([row]), tmp_path / f"{name}.parquet")
        (found,) = good(open_dataset(tmp_path / f"{name}.parquet"))
        assert seen(found) == ("[]Q", ["red"])
        assert found.turns[0].answer == "A"
    torn = {"conversations": {"from": ["human", "gpt"], "value": ["Q"]}}
    assert [seen(row)[0] for row in read(tmp_path, torn)] == ["bad_row"]


def test_numbered_image_columns(tmp_path: Path) -> None:
    cells = {
        f"image_{k}": {"bytes": data, "path": None} for k, data in ((1, files.RED), (2, files.GREEN), (10, files.BLUE))
    }
    rows = [
        {"question": "<image 10>, <image 1>, <image 2>?", "answer": "A", "options": "[]", **cells},
        {"question": "<image 1>?", "answer": "B", "options": "['x', '<image 2>']", **cells, "image_10": None},
        {"question": "Q", "answer": "A", "options": "['<image 1>', 'y']", **cells, "image_2": None, "image_10": None},
        {"question": "No mark", "answer": "A", "options": "[]", **cells},
        {"question": "None", "answer": "A", "options": "[]", **dict.fromkeys(cells)},
    ]
    rows[1]["answer"] = "A"
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    found = [seen(row) for row in open_dataset(tmp_path / "a.parquet").rows()]
    assert found == [
        ("[], [], []?", ["blue", "red", "green"]),
        ("[]?\nA. x\nB.[]", ["red", "green"]),
        ("image_in_answer", []),
        ("[][][]No mark", ["red", "green", "blue"]),
        ("None", []),
    ]
    assert [seen(row) for row in open_dataset(tmp_path / "a.parquet", columns={"images": "image_2,image_10"}).rows()][
        3
    ] == (
        "[][]No mark",
        ["green", "blue"],
    )
    with pytest.raises(DataError, match="no column 'image_3'"):
        open_dataset(tmp_path / "a.parquet", columns={"images": "image_1,image_3"})
    sides = {"question": "Q", "answer": "A", "left": RED, "right": BLUE}
    assert [seen(row) for row in read(tmp_path, sides, columns={"images": "right, left"})] == [
        ("[][]Q", ["blue", "red"])
    ]


def test_images_in_other_columns(tmp_path: Path) -> None:
    rows = [
        {"question": "Q", "answer": "A", "file_name": RED},
        {"question": "Q", "answer": "A", "image_path": RED},
        {"question": "Q", "answer": "A", "image": BLUE, "file_name": RED},
        {"question": "Q", "answer": "A", "image.path": RED},
        {"question": "Q", "answer": "A", "file_name": "gone.png"},
    ]
    assert [seen(row)[1] for row in read(tmp_path, *rows)] == [["red"], ["red"], ["blue"], ["red"], []]
    (tmp_path / "images" / "metadata.jsonl").write_text(json.dumps({"file_name": "blue.png", **QA}))
    found = open_dataset(tmp_path / "images" / "metadata.jsonl", image_root=tmp_path).rows()
    assert [seen(row) for row in found] == [("[]Q", ["blue"])]
    with open(tmp_path / "metadata.csv", "w", newline="") as file:
        csv.writer(file).writerows([["file_name", "question", "answer"], [RED, "Q", "A"]])
    assert [seen(row) for row in open_dataset(tmp_path / "metadata.csv").rows()] == [("[]Q", ["red"])]
    table = {
        "question": ["Q"],
        "answer": ["A"],
        "image.bytes": [files.RED],
        "image.path": pa.array([None], pa.string()),
    }
    pq.write_table(pa.table(table), tmp_path / "flat.parquet")
    assert [seen(row) for row in open_dataset(tmp_path / "flat.parquet").rows()] == [("[]Q", ["red"])]


def test_names_of_images(tmp_path: Path) -> None:
    names = {"img": True, "Left_Image": True, "picture.url": True, "photos": True, "image_data": True}
    names |= {
        "images/0": False,
        "image_id": False,
        "has_image": False,
        "num_images": False,
        "caption": False,
        "image_size": False,
    }
    assert {name: named_like_image(name) for name in names} == names


@pytest.mark.parametrize(
    "value", [RED, [RED], "http://x.org/a.JPG?size=3", BASE64, {"path": RED}, f"data:image/png;base64,{BASE64}"]
)
def test_a_row_that_would_lose_its_only_image_is_refused(value: Any, tmp_path: Path) -> None:
    row = {"question": "Q", "answer": "A", "shot": value}
    (found,) = read(tmp_path, row)
    assert isinstance(found, Problem)
    assert (found.code, "--columns image=shot" in found.fix) == ("unread_image", True)
    (found,) = read(tmp_path, row, columns={"image": "="})
    assert seen(found) == ("Q", [])
    assert image_like(row, "a.jsonl") == ["shot"]


@pytest.mark.parametrize("name", ["image_id", "imageId", "img_ids", "coco_image_id", "image_index"])
@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_a_row_whose_image_is_elsewhere_is_refused(name: str, suffix: str, tmp_path: Path) -> None:
    def found(row: dict[str, Any], **options: Any) -> list[tuple[str, list[str]]]:
        path = files.dump(tmp_path / "a.jsonl", [row])
        if suffix == "parquet":
            pq.write_table(pa.Table.from_pylist([row]), path := tmp_path / "a.parquet")
        return [seen(each) for each in open_dataset(path, **options).rows()]

    files.write_images(tmp_path)
    row = {**QA, name: 9}
    assert found(row) == [("unread_image", [])]
    assert found(row, columns={"image": "="}) == found({**row, "image": None}) == [("Q", [])]
    assert found({**row, "image": RED}) == [("[]Q", ["red"])]
    assert found({**QA, "image_width": 9, "num_images": 0}) == [("Q", [])]


def test_what_looks_like_an_image_is_named(tmp_path: Path) -> None:
    row = {
        "image": RED,
        "left_image": "x",
        "img": None,
        "image_id": "7",
        "image_width": 5,
        "source": "b.json",
        "answer": "a.png",
    }
    assert image_like(row, "a.jsonl") == ["left_image"]
    assert image_like({"image": RED, "image_1": RED}, "a.jsonl") == ["image_1"]
    assert image_like({"image_1": RED, "question": "Q"}, "a.jsonl") == []
    table = {
        "question": ["Q", "Q"],
        "answer": ["A", "B"],
        "shot": [{"bytes": files.RED, "path": None}, None],
        "number": [1, 2],
    }
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    assert image_like({"question": "Q", "answer": "A"}, str(tmp_path / "a.parquet")) == ["shot"]
    assert [seen(row)[0] for row in open_dataset(tmp_path / "a.parquet").rows()] == ["unread_image"] * 2
    rows = list(open_dataset(tmp_path / "a.parquet", columns={"image": "shot"}).rows())
    assert [seen(row) for row in rows] == [("[]Q", ["red"]), ("Q", [])]


def test_llamafactory_info_that_loses_images(tmp_path: Path) -> None:
    files.write_images(tmp_path)
    files.dump(tmp_path / "rows.json", [chat("Q", images=[RED]), chat("Q")])
    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant"}

    def opened(**columns: Any) -> list[Conversation | Problem]:
        entry = {
            "file_name": "rows.json",
            "formatting": "sharegpt",
            "columns": {"messages": "messages", **columns},
            "tags": tags,
        }
        (tmp_path / "dataset_info.json").write_text(json.dumps({"a": entry}))
        return list(open_dataset(tmp_path).rows())

    assert [seen(row) for row in opened(images="images")] == [("[]Q", ["red"]), ("Q", [])]
    assert [seen(row)[0] for row in opened()] == ["unread_image", "Q"]
    assert [seen(row)[0] for row in opened(images="imgs")] == ["unread_image", "Q"]
    with pytest.raises(DataError, match="columns of 'a' have the key 'image', which is not read; write images"):
        opened(image="images")
    with pytest.raises(DataError, match="columns of 'a' must be an object of names"):
        opened(images=["images"])
    table = {"talk": [chat("Q")["messages"]], "pics": [[{"bytes": files.RED, "path": None}]]}
    pq.write_table(pa.table(table), tmp_path / "rows.parquet")
    entry = {"file_name": "rows.parquet", "formatting": "sharegpt", "columns": {"messages": "talk"}, "tags": tags}
    for columns, expected in (({}, ("unread_image", [])), ({"images": "pics"}, ("[]Q", ["red"]))):
        entry["columns"] = {"messages": "talk", **columns}
        (tmp_path / "dataset_info.json").write_text(json.dumps({"a": entry}))
        assert [seen(row) for row in open_dataset(tmp_path).rows()] == [expected]


def test_the_reading_is_told_with_images_that_are_not_read(tmp_path: Path) -> None:
    files.write_images(tmp_path)
    path = files.dump(tmp_path / "a.jsonl", [{"q": "Q", "a": "A", "picture": RED, "thumb": GREEN}])
    with pytest.raises(DataError, match=r"--columns question=q answer=a image=picture"):
        open_dataset(path)
    told = open_dataset(path, columns={"question": "q", "answer": "a", "images": "picture,thumb"}).told()
    assert told.warnings == []
    told = open_dataset(path, columns={"question": "q", "answer": "a", "image": "picture"}).told()
    assert [warning.partition(" looks")[0] for warning in told.warnings] == ["'thumb'"]
