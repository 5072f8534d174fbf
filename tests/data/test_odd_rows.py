"""Rows that look ordinary and were read as something else: each is read as it is meant, or refused."""

from __future__ import annotations

import json
import tarfile
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sample_files as files
from PIL import Image

from dataprophet.data import Conversation, Problem, open_dataset, remote
from dataprophet.data import ids as module
from dataprophet.data.files import splits
from dataprophet.data.ids import KnownIds
from dataprophet.data.images import cells
from dataprophet.data.images.decode import to_rgb
from dataprophet.data.sample import Turn
from dataprophet.errors import DataError


def read(folder: Path, *rows: dict[str, Any], **options: Any) -> list[Conversation | Problem]:
    files.write_images(folder)
    path = folder / "x.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return list(open_dataset(path, **options).rows())


def first_turn(row: Conversation | Problem) -> Turn:
    assert isinstance(row, Conversation), row
    return row.turns[0]


def test_pools_of_several_large_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The numbers of ids move from a dictionary to arrays; those of the first file are all 0."""
    monkeypatch.setattr(module, "_LATEST", 10)
    known = KnownIds()
    rows = [Conversation(str(n), (), (Turn("Q", "A"),), f"{n // 15}.jsonl", n % 15 + 1) for n in range(60)]
    assert [known.settled(row).id for row in rows] == [row.id for row in rows]
    assert all(isinstance(known.settled(row), Problem) for row in rows)


@pytest.mark.parametrize("column", ["answers", "answerKey"])
def test_several_right_options_are_refused_in_every_column(column: str, tmp_path: Path) -> None:
    row = {"question": "Which are fruits?", "options": ["apple", "car", "pear"]}
    both, votes, same = read(
        tmp_path, {**row, column: ["A", "C"]}, {**row, column: ["C", "A", "C"]}, {**row, column: ["A", "A"]}
    )
    assert isinstance(both, Problem)
    assert (both.code, both.message) == ("bad_answer", "2 options are right or tie, where one is expected")
    assert [first_turn(each).answer for each in (votes, same)] == ["pear", "apple"]


@pytest.mark.parametrize(
    ("cell", "answer"),
    [
        ("[3, 3, 4]", "3"),
        ("['cat', None, 'cat']", "cat"),
        ("{'answer': ['yes', 'no', 'yes'], 'answer_id': [1, 2, 3]}", "yes"),
        ("{3}", "{3}"),
    ],
)
def test_answers_as_text_are_what_they_are_as_lists(cell: str, answer: str, tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(f'question,answers\nHow many?,"{cell}"\n')
    (row,) = open_dataset(tmp_path / "x.csv").rows()
    assert first_turn(row).answer == answer


@pytest.mark.parametrize("column", ["image_path", "file_name", "image_1", "image"])
def test_text_alone_has_no_image_whatever_its_column_is_called(column: str, tmp_path: Path) -> None:
    row = {"question": "Q", "answer": "A", column: "images/red.png"}
    with_image, without = (read(tmp_path, row, columns=columns) for columns in ({}, {"image": "="}))
    assert [len(each.sources) for each in [*with_image, *without] if isinstance(each, Conversation)] == [1, 0]


def test_a_named_image_column_has_no_stand_in(tmp_path: Path) -> None:
    row = {"question": "Q", "answer": "A", "main": None, "image_1": "images/red.png"}
    (found,) = read(tmp_path, row, columns={"image": "main"})
    assert isinstance(found, Conversation)
    assert found.sources == ()


@pytest.mark.parametrize("kind", [pa.float32(), pa.float16()])
def test_numbers_of_few_bits_have_the_digits_that_tell_them(kind: Any, tmp_path: Path) -> None:
    own = np.float32 if kind == pa.float32() else np.float16
    table = pa.table(
        {
            "question": ["a", "b", "c"],
            "answer": pa.array([own(0.1), own(3), None], kind),
            "options": pa.array([[own(0.1), own(2.7)], [own(3), own(4)], None], pa.list_(kind)),
        }
    )
    if kind == pa.float32():
        pq.write_table(table, tmp_path / "x.parquet")
        rows = list(open_dataset(tmp_path / "x.parquet", answer_is="text").rows())
    else:
        rows = list(open_dataset(table, answer_is="text").rows())
    assert [first_turn(row).answer for row in rows[:2]] == ["0.1", "3"]
    assert "A. 0.1\nB. 2.7" in first_turn(rows[0]).question
    (row,) = open_dataset([{"question": "q", "answer": own(0.1)}]).rows()
    assert first_turn(row).answer == "0.1"


def test_a_part_with_an_empty_text_is_its_image(tmp_path: Path) -> None:
    answer = {"role": "assistant", "content": "A cat"}
    parts = [{"image": "images/red.png", "text": ""}, {"image": "", "text": "What is it?"}]
    both = [{"image": "images/red.png", "text": "What is it?"}]
    rows = [{"messages": [{"role": "user", "content": content}, answer]} for content in (parts, both)]
    image, refused = read(tmp_path, *rows)
    assert isinstance(image, Conversation)
    assert len(image.sources) == 1
    assert first_turn(image) == Turn("What is it?", "A cat", (0,))
    assert isinstance(refused, Problem)
    assert refused.code == "unsupported_media"


def test_images_whose_columns_share_a_number_are_all_read(tmp_path: Path) -> None:
    row = {"question": "Same?", "answer": "no", "img_1": "images/red.png", "photo_1": "images/blue.png"}
    (found,) = read(tmp_path, row)
    assert isinstance(found, Conversation)
    assert len(found.sources) == 2


def test_abbreviations_are_no_letters_of_options(tmp_path: Path) -> None:
    rows = [
        {"question": "Era?", "options": options, "answer": options[0]} for options in (["A.D.", "B.C."], ["A.x", "B.y"])
    ]
    era, lettered = read(tmp_path, *rows, answer_is="text")
    assert first_turn(era).answer == "A.D."
    assert "A. A.D.\nB. B.C." in first_turn(era).question
    assert "A. x\nB. y" in first_turn(lettered).question


def test_members_of_one_name_are_no_row(tmp_path: Path) -> None:
    """Several questions about a picture, each under the picture's key."""
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for question in ("a", "b"):
            files.add_member(tar, "coco1.json", json.dumps({"question": question, "answer": question}).encode())
            files.add_member(tar, "coco1.png", files.RED)
        files.add_member(tar, "coco2.json", json.dumps({"question": "c", "answer": "c"}).encode())
    first, second = open_dataset(tmp_path / "x.tar").rows()
    assert isinstance(first, Problem)
    assert first.message.startswith("several members of key 'coco1' are called ")
    assert first_turn(second).answer == "c"


def test_a_tar_behind_a_tar_is_told(tmp_path: Path) -> None:
    for name in "ab":
        with tarfile.open(tmp_path / f"{name}.tar", "w") as tar:
            files.add_member(tar, f"{name}.json", json.dumps({"question": name, "answer": name}).encode())
    joined = tmp_path / "all.tar"
    joined.write_bytes((tmp_path / "a.tar").read_bytes() + (tmp_path / "b.tar").read_bytes())
    with pytest.raises(DataError, match="more than zeros stands behind the tar's end mark"):
        list(open_dataset(joined).rows())


def test_a_cursor_that_failed_gives_no_earlier_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = pa.table({"image": pa.array([bytes([n]) for n in range(100)], pa.binary())})
    pq.write_table(table, tmp_path / "x.parquet")
    cursor = cells._Cursor(str(tmp_path / "x.parquet"), "image", 0, 0)
    plain = cells.batches

    def failing(*args: Any) -> Any:
        yield next(plain(*args)).slice(0, 10)
        raise OSError("stale")

    with monkeypatch.context() as patch:
        patch.setattr(cells, "batches", failing)
        assert cursor.seek(3).as_py() == b"\x03"
        with pytest.raises(OSError, match="stale"):
            cursor.seek(12)
    assert [cursor.seek(row).as_py()[0] for row in (13, 11, 99)] == [13, 11, 99]


@pytest.mark.parametrize(
    ("pattern", "taken"),
    [
        ("data/*.parquet", ["data/a.parquet"]),
        ("**/*.parquet", ["a.parquet", "data/a.parquet", "data/old/a.parquet"]),
        ("data/**", ["data/a.parquet", "data/old/a.parquet"]),
        ("?.parquet", ["a.parquet"]),
        ("data/[ab].parquet", ["data/a.parquet"]),
        ("data/[!b].parquet", ["data/a.parquet"]),
        ("data/[!a].parquet", []),
    ],
)
def test_patterns_of_a_card_are_those_of_the_hub(pattern: str, taken: list[str]) -> None:
    names = ["a.parquet", "data/a.parquet", "data/old/a.parquet"]
    assert [name for name in names if splits._as_on_the_hub(pattern).fullmatch(name)] == taken


def test_the_snapshot_that_a_cache_names_is_taken_wherever_it_stands(tmp_path: Path) -> None:
    for revision in ("aaa", "bbb"):
        (tmp_path / "snapshots" / revision).mkdir(parents=True)
    (tmp_path / "refs").mkdir()
    for revision in ("aaa", "bbb"):
        (tmp_path / "refs" / "main").write_text(f"{revision}\n")
        assert splits.snapshot_of(str(tmp_path)) == str(tmp_path / "snapshots" / revision)


def test_integers_that_may_be_of_8_bits_or_of_16_are_refused() -> None:
    pixels = np.arange(256, dtype=np.int32).reshape(16, 16)
    with pytest.raises(ValueError, match="8 bits or of 16"):
        to_rgb(Image.fromarray(pixels))
    assert to_rgb(Image.fromarray(pixels * 257)).getpixel((15, 15)) == (255, 255, 255)
    assert to_rgb(Image.fromarray(pixels * 0)).getpixel((3, 3)) == (0, 0, 0)


def test_a_url_without_any_sign_of_its_version_is_one_file_in_a_process(monkeypatch: pytest.MonkeyPatch) -> None:
    class Silent:
        def info(self, place: str) -> dict[str, Any]:
            return {"type": "file", "size": None, "name": place}

    monkeypatch.setattr(remote, "_file_system", lambda url: nullcontext((Silent(), url)))
    first = remote.version("https://host/x.jsonl")
    assert first == remote.version("https://host/x.jsonl")
    monkeypatch.setattr(remote, "_STARTED", "another process")
    assert first != remote.version("https://host/x.jsonl")
