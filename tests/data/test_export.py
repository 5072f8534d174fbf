"""Exports: read back they are the same rows, equal input gives equal bytes, and nothing half-written is left."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sample_files as files
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dataprophet.data import EXPORT_FORMATS, Conversation, Dataset, Sample, ids, open_dataset, write_rows
from dataprophet.data.export import write
from dataprophet.data.formats.conversation import _UNSEEN, IMAGE_MARKER, put_markers, take_markers
from dataprophet.data.images.sources import BytesImage
from dataprophet.data.sample import Turn
from dataprophet.errors import DataError, DataProphetError

READABLE = {name: {"huggingface": "swift", "trl": "swift"}.get(name, name) for name in EXPORT_FORMATS if name != "ids"}
"""Export -> the format that it is read as: Parquet of messages and images is what ms-swift reads."""
IMAGES = (files.RED, files.GREEN, files.BLUE)

text = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=30).map(str.strip)
text = (text | st.sampled_from(["a  b", "x\n\n y", "<image", "image>", "<imag<e>", "x\u00a0.\u2028."])).filter(
    lambda value: value.strip(_UNSEEN) and IMAGE_MARKER not in value
)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    turns, images = [], []
    for _ in range(draw(st.integers(1, 3))):
        question = draw(text)
        most = draw(st.sampled_from([1, 3, 12]))  # from 10 on, names have two digits
        offsets = draw(st.lists(st.integers(0, len(question)), max_size=most).map(sorted))
        turns.append(Turn(question, draw(text), tuple(offsets)))
        images += [BytesImage(draw(st.sampled_from(IMAGES))) for _ in offsets]
    name = st.text(
        st.characters(exclude_categories=("Cs", "Cc", "Cf", "Co", "Cn", "Zl", "Zp", "Zs")), min_size=1, max_size=8
    )
    return Conversation(draw(name), tuple(images), tuple(turns))


def seen(row: Conversation) -> list[tuple[object, ...]]:
    """What its samples show: ids, texts, turns, and the pixels of the images in their order."""
    pixels = [(image.size, image.tobytes()) for image in (source.load() for source in row.sources)]
    return [(sample.id, sample.answer, sample.turns(), pixels[: len(sample.images)]) for sample in row.samples()]


def content(row: Conversation) -> tuple[object, ...]:
    return row.id, row.turns, [source.digest() for source in row.sources]


def as_written(row: Conversation, format: str) -> Conversation:
    """What a format keeps of a row: verl has one ground truth, and the answers before it are context."""
    if format != "verl":
        return row
    *context, last = row.turns
    return replace(row, turns=(*(replace(turn, scored=False) for turn in context), last))


def sample_rows() -> list[Conversation]:
    return list(files.EXPORTED)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@given(text, st.data())
def test_markers_round_trip(question: str, data: st.DataObject) -> None:
    offsets = tuple(sorted(data.draw(st.lists(st.integers(0, len(question)), max_size=4))))
    assert take_markers(put_markers(question, offsets)) == (question, offsets)


@pytest.mark.parametrize(
    ("written", "question", "offsets"),
    [
        ("<image>\nQ", "Q", (0,)),
        ("Q\n<image>", "Q", (1,)),
        (" <image> <image>\r\nQ ", "Q", (0, 0)),
        ("a <image> b", "a b", (2,)),
        ("(<image>)", "()", (1,)),
        ("1: <image>\n2: <image>\nQ", "1: 2: Q", (3, 6)),
        ("1:<image>\n2:<image>\nQ", "1:\n2:\nQ", (2, 5)),
        ("<image>", "", (0,)),
        ("no marker", "no marker", ()),
    ],
)
def test_markers_as_found_in_files(written: str, question: str, offsets: tuple[int, ...]) -> None:
    assert take_markers(written) == (question, offsets)


@pytest.mark.parametrize("format", READABLE)
@settings(max_examples=25)
@given(rows=st.lists(conversations(), max_size=5, unique_by=lambda row: row.id))
def test_an_export_reads_back_as_the_same_rows(format: str, rows: list[Conversation]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out")
        done = write_rows(rows, out, format, name="mix")
        assert done.rows == len(rows)
        back = list(open_dataset(out, format=READABLE[format]).rows())
        rows = [as_written(row, format) for row in rows]
        assert [content(row) for row in back if isinstance(row, Conversation)] == [content(row) for row in rows]
        assert [seen(row) for row in back if isinstance(row, Conversation)] == [seen(row) for row in rows]
        assert len(back) == len(rows)


@pytest.mark.parametrize("format", ["swift", "webdataset"])
@settings(max_examples=15)
@given(row=conversations(), data=st.data())
def test_turns_that_are_not_trained_on_stay_so(format: str, row: Conversation, data: st.DataObject) -> None:
    scored = data.draw(st.lists(st.booleans(), min_size=len(row.turns), max_size=len(row.turns)).filter(any))
    row = replace(row, turns=tuple(replace(turn, scored=each) for turn, each in zip(row.turns, scored, strict=True)))
    with tempfile.TemporaryDirectory() as folder:
        write_rows([row], os.path.join(folder, "out"), format, name="mix")
        (back,) = open_dataset(os.path.join(folder, "out"), format=format).rows()
        assert isinstance(back, Conversation)
        assert content(back) == content(row)
        assert [sample.id for sample in back.samples()] == [sample.id for sample in row.samples()]


@pytest.mark.parametrize("case", files.CHAT_WRITERS)
@pytest.mark.parametrize("format", READABLE)
def test_every_format_exports_to_every_format(case: str, format: str, tmp_path: Path) -> None:
    dataset = open_dataset(files.CHAT_WRITERS[case][1](tmp_path), subset="mllm" if case == "llamafactory" else None)
    rows = [row for row in dataset.rows() if isinstance(row, Conversation)]
    write_rows(rows, tmp_path / "out", format, name="mix")
    back = open_dataset(tmp_path / "out")
    assert back.format == READABLE[format]
    written = [content(as_written(row, format)) for row in rows]
    assert [content(row) for row in back.rows() if isinstance(row, Conversation)] == written


@pytest.mark.parametrize("format", EXPORT_FORMATS)
def test_equal_rows_give_equal_bytes(format: str, tmp_path: Path) -> None:
    for name in ("one", "two"):
        done = write_rows(sample_rows(), tmp_path / name, format, name="mix", manifest={"seed": 0})
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    manifest = json.loads((tmp_path / "two" / "manifest.json").read_text())
    assert manifest["files"] == dict(done.files)
    assert (manifest["seed"], manifest["format"], manifest["rows"]) == (0, format, 3)
    for name, digest in done.files.items():
        assert hashlib.sha256((tmp_path / "two" / name).read_bytes()).hexdigest() == digest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "two"]


@pytest.mark.parametrize("format", ["llava", "llamafactory", "swift"])
def test_equal_images_are_stored_once_byte_for_byte(format: str, tmp_path: Path) -> None:
    done = write_rows(sample_rows(), tmp_path / "out", format, name="mix")
    stored = {path.stem: path.read_bytes() for path in (tmp_path / "out" / "images").rglob("*.png")}
    assert stored == {hashlib.sha256(data).hexdigest(): data for data in (files.RED, files.BLUE)}
    assert done.images == 2


def test_images_in_memory_become_png(tmp_path: Path) -> None:
    image = Image.effect_noise((9, 7), 50).convert("RGB")
    dataset = Dataset.from_samples("mine", [Sample("a", [image], "Q", "A")])
    write_rows((row for row in dataset.rows() if isinstance(row, Conversation)), tmp_path / "out", "swift", name="mix")
    (sample,) = open_dataset(tmp_path / "out")
    assert sample.images[0].tobytes() == image.tobytes()


def test_ids(tmp_path: Path) -> None:
    write_rows(sample_rows(), tmp_path / "out", "ids", name="mix")
    assert (tmp_path / "out" / "mix.txt").read_text() == "a\nb\nc\n"


def test_ids_that_occur_twice_are_found_among_millions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "_LATEST", 10)
    rows = [Conversation(f"row {number}", (), (Turn("Q", "A"),)) for number in range(1000)]
    assert write_rows(rows, tmp_path / "out", "ids", name="mix").rows == 1000
    for again in (0, 500, 999):
        with pytest.raises(DataError, match=f"id 'row {again}' occurs twice"):
            write_rows([*rows, rows[again]], tmp_path / "more", "ids", name="mix")


def test_shards_are_cut_by_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(write, "SHARD_ROWS", 2)
    write_rows(sample_rows(), tmp_path / "out", "webdataset", name="mix")
    assert sorted(tree(tmp_path / "out")) == ["manifest.json", "mix-000000.tar", "mix-000001.tar"]
    assert [row.id for row in open_dataset(tmp_path / "out").rows()] == ["a", "b", "c"]
    with tarfile.open(tmp_path / "out" / "mix-000000.tar") as tar:
        assert [member.name for member in tar] == [
            "000000000.json",
            "000000000.png",
            "000000001.json",
            "000000001.0.png",
            "000000001.1.png",
        ]
        assert {(member.mtime, member.uid, member.uname) for member in tar} == {(0, 0, "")}


def broken(at: int) -> Iterator[Conversation]:
    for index, row in enumerate(sample_rows()):
        if index == at:
            raise RuntimeError("the source failed")
        yield row


BAD = Conversation("bad", (BytesImage(b"not an image", "cell"),), (Turn("Q", "A", (0,)),))


@pytest.mark.parametrize("format", EXPORT_FORMATS)
def test_a_failure_leaves_nothing_and_keeps_what_was_there(format: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(RuntimeError, match="the source failed"):
        write_rows(broken(2), out, format, name="mix")
    assert list(tmp_path.iterdir()) == []
    write_rows(sample_rows()[:1], out, format, name="mix")
    before = tree(out)
    with pytest.raises(RuntimeError):
        write_rows(broken(1), out, format, name="mix", overwrite=True)
    assert tree(out) == before
    with pytest.raises(DataProphetError, match="already exists; choose another name, or allow overwriting"):
        write_rows(sample_rows(), out, format, name="mix")
    assert tree(out) == before
    write_rows(sample_rows()[1:], out, format, name="mix", overwrite=True)
    assert tree(out) != before
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize(
    ("rows", "format", "name", "says"),
    [
        (sample_rows(), "coco", "mix", "unknown export format 'coco'; use llava, llamafactory"),
        (sample_rows(), "llava", "../mix", "'../mix' is not a usable name"),
        (sample_rows(), "llava", "", "'' is not a usable name"),
        (sample_rows() * 2, "llava", "mix", "id 'a' occurs twice; put the dataset's name before the id"),
        ([BAD], "llava", "mix", "cell: not an image in a known format"),
        ([BAD], "webdataset", "mix", "cell: not an image in a known format"),
        ([Conversation("a\nb", (), (Turn("Q", "A"),))], "ids", "mix", r"id 'a\\nb' cannot be written"),
        ([Conversation("\ud800", (), (Turn("Q", "A"),))], "ids", "mix", r"id .* cannot be written; .* plain text"),
        ([Conversation("a", (), (Turn("\ud800", "A"),))], "swift", "mix", "text that is not Unicode"),
        ([Conversation("a", (), (Turn("see <image>", "A"),))], "swift", "mix", "holds '<image>'"),
        ([Conversation("a", (), (Turn("Q", "A", (0,)),))], "swift", "mix", "has 0 images and 1 places"),
        ([Conversation("a", (), (Turn("Q", "A"), Turn("Q", "A", (), False)))], "verl", "mix", "it is no ground truth"),
    ],
)
def test_bad_exports(rows: list[Conversation], format: str, name: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says) as caught:
        write_rows(rows, tmp_path / "out", format, name=name)
    assert caught.value.fix
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_output_that_is_a_file_or_a_link(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    for name in ("file", "link"):
        with pytest.raises(DataProphetError, match="exists and is not a folder"):
            write_rows(sample_rows(), tmp_path / name, "llava", name="mix", overwrite=True)
    write_rows(sample_rows(), tmp_path / "folder", "llava", name="mix")  # an empty folder is taken over
    assert len(list(open_dataset(tmp_path / "folder"))) == 4


@pytest.mark.parametrize(("format", "file"), [("llamafactory", "mix.json"), ("swift", "mix.jsonl")])
def test_the_datasets_package_reads_the_export(format: str, file: str, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the datasets package is not installed")
    write_rows(sample_rows(), tmp_path / "out", format, name="mix")
    path = str(tmp_path / "out" / file)
    data = datasets.load_dataset("json", data_files=path, split="train", cache_dir=str(tmp_path / "cache"))
    assert data["id"][:] == ["a", "b", "c"]
    for row, expected in zip(data, sample_rows(), strict=True):
        markers = sum(message["content"].count(IMAGE_MARKER) for message in row["messages"])
        assert markers == len(row["images"]) == len(expected.sources)
        assert [message["role"] for message in row["messages"]] == ["user", "assistant"] * len(expected.turns)
        assert all(Image.open(io.BytesIO((tmp_path / "out" / name).read_bytes())).size for name in row["images"])


def test_the_info_file_says_what_llamafactory_needs(tmp_path: Path) -> None:
    write_rows(sample_rows(), tmp_path / "out", "llamafactory", name="mix")
    entry = json.loads((tmp_path / "out" / "dataset_info.json").read_text())["mix"]
    assert entry["file_name"] == "mix.json"
    assert entry["formatting"] == "sharegpt"
    row = json.loads((tmp_path / "out" / "mix.json").read_text())[0]
    assert {entry["columns"]["messages"], entry["columns"]["images"]} <= set(row)
    assert {entry["tags"]["role_tag"], entry["tags"]["content_tag"]} == set(row["messages"][0])
    assert [message["role"] for message in row["messages"]] == [
        entry["tags"]["user_tag"],
        entry["tags"]["assistant_tag"],
    ]
