"""Every format, from real files: what is read, lazily, and what detection says."""

from __future__ import annotations

import base64
import json
import pickle
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sample_files as files
from sample_files import good

import dataprophet
from dataprophet.data import Conversation, Dataset, Sample, open_dataset, validate
from dataprophet.data.images.decode import decode
from dataprophet.data.images.sources import LazyImages
from dataprophet.errors import DataError

chat_formats = pytest.mark.parametrize("case", files.CHAT_WRITERS)


def opened(case: str, folder: Path) -> Dataset:
    _, write = files.CHAT_WRITERS[case]
    return open_dataset(write(folder), subset="mllm" if case == "llamafactory" else None)


@chat_formats
def test_chat_formats_read_alike(case: str, tmp_path: Path) -> None:
    dataset = opened(case, tmp_path)
    assert dataset.format == files.CHAT_WRITERS[case][0]
    assert good(dataset) == good(dataset)
    for row, expected in zip(good(dataset), files.ROWS, strict=True):
        assert row.id == str(expected.id)
        assert [(turn.question, turn.image_offsets, turn.answer) for turn in row.turns] == list(expected.turns)
        assert [source.read_bytes() for source in row.sources] == [files.NAMES[name] for name in expected.images]
    assert [row.row for row in good(dataset)] == ([1, 2, 1, 2] if case == "huggingface" else [1, 2, 3, 4])


@chat_formats
def test_samples_carry_context_and_images(case: str, tmp_path: Path) -> None:
    samples = list(opened(case, tmp_path))
    assert [sample.id for sample in samples] == ["7", "multi#1", "multi#2", "pair", "text"]
    second = samples[2]
    assert second.context == samples[1].turns()
    assert len(second.images) == 1
    assert second.image_offsets == ()
    assert second.images == samples[1].images
    assert [image.size for image in samples[3].images] == [(6, 4), (5, 9)]
    assert len(samples[4].images) == 0
    assert samples[0].images[0].getpixel((0, 0)) == (200, 30, 30)


@chat_formats
def test_sources_pickle(case: str, tmp_path: Path) -> None:
    rows = good(opened(case, tmp_path))
    assert pickle.loads(pickle.dumps(rows)) == rows
    copied = pickle.loads(pickle.dumps(LazyImages(rows[2].sources)))
    assert [source.digest() for source in copied.sources] == [source.digest() for source in rows[2].sources]


@pytest.mark.parametrize("suffix", [".parquet", ".json", ".jsonl", ".csv", ".tsv"])
def test_plain_columns(suffix: str, tmp_path: Path) -> None:
    rows = good(open_dataset(files.write_vqa(tmp_path, suffix)))
    assert [row.id for row in rows] == ["0", "1", "2"]
    for row, (image, _, _, _, answer), question in zip(rows, files.QUESTIONS, files.LETTERED, strict=True):
        assert (row.turns[0].question, row.turns[0].answer) == (question, answer)
        assert [source.read_bytes() for source in row.sources] == ([files.NAMES[image]] if image else [])


def test_vlmeval(tmp_path: Path) -> None:
    first, second, third = good(open_dataset(files.write_vlmeval(tmp_path)))
    assert (first.turns[0].question, first.turns[0].answer) == ('Which?\nA. x\nB. a "q"', 'a "q"')
    assert second.sources[0].read_bytes() == first.sources[0].read_bytes() == files.RED
    assert second.turns[0].answer == "yes"
    assert [source.read_bytes() for source in third.sources] == [files.RED, files.BLUE]
    assert (third.turns[0].question, third.turns[0].answer) == ("Look.\nTwo\nlines", "[3, 5]")


@pytest.mark.parametrize(
    ("row", "answer"),
    [
        ({"answers": ["no", "yes", "yes", "no"]}, "no"),
        ({"answers": [{"answer": "a"}, {"answer": "b"}, {"answer": "b"}]}, "b"),
        ({"answers": "['one', 'two', 'two']"}, "two"),
        ({"answer": "[1, 2]"}, "[1, 2]"),
        ({"answer": 3}, "3"),
        ({"answer": 2.5}, "2.5"),
        ({"answer": True}, "yes"),
        ({"answer": 0, "options": ["x", "y"]}, "x"),
        ({"answer": "B", "options": "['x', 'y']"}, "y"),
        ({"answer": "y", "options": {"A": "x", "B": "y"}}, "y"),
        ({"answer": "0", "choices": ["x", "y"]}, "x"),
        ({"answer": "7", "choices": ["7", "0"]}, "7"),
    ],
)
def test_answers_and_options(row: dict[str, object], answer: str, tmp_path: Path) -> None:
    path = files.dump(tmp_path / "a.jsonl", [{"question": "Q", **row}])
    (read,) = good(open_dataset(path))
    assert read.turns[0].answer == answer
    assert read.id == "a:1"


def test_columns_are_renamed_and_constants_filled(tmp_path: Path) -> None:
    files.write_images(tmp_path)
    row = {"q": "Q", "gt": ["a"], "img": "images/red.png", "answer": "not this", "key": 5}
    path = files.dump(tmp_path / "a.json", [row])
    mapping = {"question": "q", "answers": "gt", "image": "img", "id": "key"}
    (read,) = good(open_dataset(path, columns=mapping))
    assert (read.id, read.turns[0].answer, len(read.sources)) == ("5", "a", 1)
    (read,) = good(open_dataset(path, columns={**mapping, "question": "=Describe the image."}))
    assert read.turns[0].question == "Describe the image."


def test_shards_that_count_their_keys_alike_lose_nothing(tmp_path: Path) -> None:
    for shard in ("s0", "s1"):
        with tarfile.open(tmp_path / f"{shard}.tar", "w") as tar:
            files.add_member(tar, "000.txt", f"from {shard}".encode())
    rows = good(open_dataset(tmp_path, columns={"question": "=Describe."}))
    assert [(row.id, row.turns[0].answer) for row in rows] == [("s0:000", "from s0"), ("s1:000", "from s1")]


def test_captions_in_a_tar(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "c.tar", "w") as tar:
        files.add_member(tar, "a/000.jpg", files.RED)
        files.add_member(tar, "a/000.txt", b"a red square\n")
        files.add_member(tar, "a/001.txt", b"second")
        files.add_member(tar, "a/001.json", b'{"width": 3}')
    first, second = good(open_dataset(tmp_path / "c.tar", columns={"question": "=Describe."}))
    assert (first.id, first.turns[0].answer, len(first.sources)) == ("c:a/000", "a red square", 1)
    assert (second.id, second.turns[0].answer, len(second.sources)) == ("c:a/001", "second", 0)


def test_links_in_a_tar_are_no_images_lost_without_a_word(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "l.tar", "w") as tar:
        folder = tarfile.TarInfo("x")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        files.add_member(tar, "0.json", b'{"question": "q?", "answer": "a"}')
        link = tarfile.TarInfo("0.jpg")
        link.type, link.linkname = tarfile.LNKTYPE, "1.jpg"
        tar.addfile(link)
        files.add_member(tar, "1.json", b'{"question": "q?", "answer": "a"}')
        files.add_member(tar, "1.jpg", files.RED)
    report = validate(open_dataset(tmp_path / "l.tar"))
    assert (report.rows, report.good, report.counts) == (2, 1, {"bad_row": 1})
    assert "0.jpg is a link" in str(report.problems[0])


def test_columns_that_are_not_read_are_named_when_no_format_fits(tmp_path: Path) -> None:
    pq.write_table(pa.table({"query": ["q"], "label": ["a"], "human_or_machine": [0]}), tmp_path / "c.parquet")
    with pytest.raises(DataError, match="columns: query, label, human_or_machine"):
        open_dataset(tmp_path / "c.parquet")


@pytest.mark.parametrize(
    ("path", "hint"), [("shards/*.tar", "the folder of the files"), ("HuggingFaceM4/ChartQA", "hf:HuggingFaceM4")]
)
def test_a_path_that_is_not_there_says_what_was_meant(path: str, hint: str) -> None:
    with pytest.raises(DataError, match=hint):
        open_dataset(path)


def test_folder_of_files_is_one_dataset(tmp_path: Path) -> None:
    for index in (2, 1):
        files.dump(tmp_path / f"part{index}.jsonl", [{"query": "Q", "response": f"A{index}{row}"} for row in range(2)])
    dataset = open_dataset(tmp_path)
    assert [(row.id, row.turns[0].answer) for row in good(dataset)] == [
        ("part1:1", "A10"),
        ("part1:2", "A11"),
        ("part2:1", "A20"),
        ("part2:2", "A21"),
    ]
    assert dataset.name == tmp_path.name


def test_jsonl_with_mark_blank_lines_and_carriage_returns(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [json.dumps({"query": f" Q{index}\r\n", "response": "Å 漢\n"}, ensure_ascii=False) for index in range(3)]
    path.write_bytes("\ufeff".encode() + "\r\n\r\n".join(lines).encode())
    rows = good(open_dataset(path))
    assert [(row.row, row.turns[0].question, row.turns[0].answer) for row in rows] == [
        (1, "Q0", "Å 漢"),
        (3, "Q1", "Å 漢"),
        (5, "Q2", "Å 漢"),
    ]


def test_history_system_and_inline_images(tmp_path: Path) -> None:
    url = "data:image/png;base64," + base64.b64encode(files.RED).decode()
    rows = [
        {"system": "Be brief.", "history": [["Q1", "A1"]], "query": "Q2", "response": "A2", "images": [url]},
        {
            "messages": [
                {"role": "system", "content": "S"},
                {"role": "user", "content": [{"type": "image", "image": url}, {"type": "text", "text": "Q"}]},
                {"role": "assistant", "content": "A"},
            ]
        },
    ]
    first, second = good(open_dataset(files.dump(tmp_path / "a.jsonl", rows)))
    assert [turn.question for turn in first.turns] == ["Be brief.\n\nQ1", "Q2"]
    assert first.turns[0].image_offsets == (11,)
    assert (second.turns[0].question, second.turns[0].image_offsets) == ("S\n\nQ", (3,))
    assert second.sources[0].read_bytes() == files.RED
    llava = {"system": "S", "conversations": [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]}
    (row,) = good(open_dataset(files.dump(tmp_path / "b.jsonl", [llava])))
    assert row.turns[0].question == "S\n\nQ"


def test_llamafactory_by_name(tmp_path: Path) -> None:
    folder = files.write_llamafactory(tmp_path)
    by_path = open_dataset(f"{folder}::plain")
    assert (by_path.name, by_path.format) == ("plain", "llamafactory")
    assert good(by_path) == good(open_dataset(folder / "dataset_info.json", subset="plain"))
    assert [row.turns for row in good(by_path)] == [row.turns for row in good(open_dataset(folder, subset="mllm"))]
    with pytest.raises(DataError, match=r"2 datasets are listed.*::NAME.*mllm, plain"):
        open_dataset(folder)
    with pytest.raises(DataError, match=r"no dataset 'other'.*mllm, plain"):
        open_dataset(folder, subset="other")


def test_llamafactory_alpaca(tmp_path: Path) -> None:
    files.write_images(tmp_path)
    row = {"instruction": "<image>Look.", "input": "Colour?", "output": "red", "images": ["images/red.png"]}
    files.dump(tmp_path / "a.json", [row])
    (tmp_path / "dataset_info.json").write_text('{"a": {"file_name": "a.json", "columns": {"images": "images"}}}')
    (read,) = good(open_dataset(tmp_path))
    assert read.turns[0].question == "Look.\nColour?"
    assert read.turns[0].image_offsets == (0,)


def test_limit_counts_good_rows_and_problems_are_logged_anew(tmp_path: Path) -> None:
    rows = [{"query": "Q", "response": answer} for answer in ("a", "", "b", "c")]
    path = files.dump(tmp_path / "a.jsonl", rows)
    dataset = open_dataset(path, limit=2)
    for _ in range(2):
        assert [sample.answer for sample in dataset] == ["a", "b"]
        assert dataset.problems.counts == {"empty_answer": 1}
    assert list(open_dataset(path, limit=0)) == []
    with pytest.raises(DataError, match=r"a.jsonl row 2: the answer is empty; add"):
        list(open_dataset(path, strict=True))


def test_samples_in_memory() -> None:
    from PIL import Image

    image = Image.new("RGBA", (2, 2), (0, 0, 0, 0))
    given = [
        Sample("a", [image], "Q", "A"),
        Sample("b", [], "Q", "B"),
        Sample("a", [], "Q", "C"),
        Sample("b", [], "Q", "B"),
    ]
    dataset = Dataset.from_samples("mine", given)
    assert list(dataset) == [*given[:2], replace(given[2], id="a@3")]
    assert dataset.problems.counts == {"duplicate_row": 1}
    row = next(dataset.rows())
    assert isinstance(row, Conversation)
    assert row.turns[0].image_offsets == (0,)
    assert row.sources[0].load().getpixel((0, 0)) == (255, 255, 255)
    assert decode(row.sources[0].read_bytes()).getpixel((0, 0)) == (255, 255, 255)
    assert dataset.fingerprint() != Dataset.from_samples("mine", given[:2]).fingerprint()


def test_fingerprint_follows_bytes_and_options(tmp_path: Path) -> None:
    first, second = tmp_path / "one", tmp_path / "two"
    for folder in (first, second):
        folder.mkdir()
        files.write_llava(folder)
    prints = {open_dataset(folder / "data.json").fingerprint() for folder in (first, second)}
    assert len(prints) == 1
    prints.add(open_dataset(first / "data.json", limit=1).fingerprint())
    (second / "data.json").write_text((second / "data.json").read_text() + "\n")
    prints.add(open_dataset(second / "data.json").fingerprint())
    assert len(prints) == 3


def test_opening_and_reading_rows_does_not_read_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import dataprophet.data.images.sources as images_module

    def refuse(*_: object) -> bytes:
        raise AssertionError("an image was read")

    monkeypatch.setattr(images_module, "read_cell", refuse)
    for kind in (images_module.FileImage, images_module.TarImage, images_module.Base64Image):
        monkeypatch.setattr(kind, "read_bytes", refuse)
    for case in files.CHAT_WRITERS:
        folder = tmp_path / case
        folder.mkdir()
        assert [len(sample.images) for sample in opened(case, folder)] == [1, 1, 1, 2, 0]


def test_large_parquet_is_read_in_small_pieces(tmp_path: Path) -> None:
    pixels = bytes(250_000)
    schema = pa.schema({"image": pa.binary(), "question": pa.string(), "answer": pa.string()})
    options = {"compression": "none", "use_dictionary": False, "write_batch_size": 4}  # pages of a megabyte
    with pq.ParquetWriter(tmp_path / "big.parquet", schema, **options) as writer:
        for _ in range(4):
            batch = {"image": [pixels] * 50, "question": ["Q"] * 50, "answer": ["A"] * 50}
            writer.write_table(pa.table(batch, schema))
    before = pa.total_allocated_bytes()
    dataset = open_dataset(tmp_path / "big.parquet")
    assert pa.total_allocated_bytes() - before < 15_000_000
    rows, peak = [], 0
    for row in dataset.rows():
        rows.append(row)
        peak = max(peak, pa.total_allocated_bytes() - before)
    assert len(rows) == 200
    assert peak < 30_000_000


def test_cells_are_read_in_any_order(tmp_path: Path) -> None:
    values = [b"%06d" % index for index in range(1000)]
    table = pa.table({"image": values, "question": ["Q"] * 1000, "answer": ["A"] * 1000})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=300)
    rows = good(open_dataset(tmp_path / "a.parquet"))
    for index in (0, 1, 999, 5, 600, 599, 300, 299, 31, 32, 310, 700):
        assert rows[index].sources[0].read_bytes() == values[index]


def test_detection_explains_itself(tmp_path: Path) -> None:
    path = files.dump(tmp_path / "odd.jsonl", [{"prompt": "Q", "completion": "A"}])
    with pytest.raises(DataError) as caught:
        open_dataset(path)
    text = str(caught.value)
    assert "\n" not in text
    for part in (
        str(path),
        "columns: prompt, completion",
        "llava: no column 'conversations'",
        "swift: no column 'messages', and no query with response",
        "finevision: no column 'texts'",
        "vlmeval: not a .tsv",
        "vqa: no column 'question'",
        "--format",
        "--columns question=q",
    ):
        assert part in text
    (row,) = good(open_dataset(path, columns={"question": "prompt", "answer": "completion"}))
    assert row.turns[0].answer == "A"


def test_rows_are_read_without_pillow(tmp_path: Path) -> None:
    path = files.write_llava(tmp_path)
    code = (
        "import sys; sys.modules['PIL'] = None\n"
        "from dataprophet.data import open_dataset\n"
        "from dataprophet.errors import MissingDependencyError\n"
        f"samples = list(open_dataset({str(path)!r}))\n"
        "assert len(samples) == 5 and len(samples[0].images) == 1\n"
        "try: samples[0].images[0]\n"
        "except MissingDependencyError as error: print(error)\n"
    )
    root = Path(dataprophet.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    assert "pip install 'pillow>=" in done.stdout


def test_validate_lists_every_bad_row(tmp_path: Path) -> None:
    files.write_images(tmp_path)
    (tmp_path / "images" / "cut.png").write_bytes(files.RED[:-30])
    rows = [files.swift_row(row) for row in files.ROWS]
    rows += [
        {"id": "cut", "query": "Q", "response": "A", "images": ["images/cut.png", "images/cut.png"]},
        files.swift_row(files.ROWS[0]),
        {"id": "gone", "query": "Q", "response": "A", "images": ["images/gone.png"]},
    ]
    path = files.dump(tmp_path / "a.jsonl", rows)
    report = validate(open_dataset(path))
    assert (report.rows, report.good, report.samples, report.images, report.ok) == (7, 4, 5, 4, False)
    assert [(problem.code, problem.row, problem.id) for problem in report.problems] == [
        ("undecodable_image", 5, "cut"),
        ("undecodable_image", 5, "cut"),
        ("duplicate_row", 6, str(files.ROWS[0].id)),
        ("missing_image", 7, "gone"),
    ]
    assert all(problem.fix and problem.file == str(path) for problem in report.problems)
    assert json.loads(json.dumps(report.to_json()))["counts"] == {
        "duplicate_row": 1,
        "missing_image": 1,
        "undecodable_image": 2,
    }
    assert validate(open_dataset(path), decode=False).good == 5


@chat_formats
def test_validate_good_files(case: str, tmp_path: Path) -> None:
    report = validate(opened(case, tmp_path))
    assert report.ok
    assert (report.rows, report.samples, report.images) == (4, 5, 4)
