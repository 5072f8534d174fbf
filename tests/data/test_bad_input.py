"""Bad rows and bad files: each has a code or an error, its place, and a fix."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sample_files as files

from dataprophet.data import Problem, open_dataset, validate
from dataprophet.data.files.rows import BadRow
from dataprophet.data.formats.conversation import make_turns
from dataprophet.errors import DataError

QA = {"query": "Q", "response": "A"}


def talk(*pairs: tuple[str, str]) -> dict[str, Any]:
    return {"id": "x", "messages": [{"role": role, "content": text} for role, text in pairs]}


class Bad(NamedTuple):
    """A JSONL dataset whose second line is ``row``; the problem's code and parts of its message and fix."""

    row: Any
    code: str
    says: str
    fix: str


BAD_ROWS = {
    "no answer": Bad({"query": "Q", "response": ""}, "empty_answer", "the answer is empty", "add its text"),
    "blank answer": Bad({"query": "Q", "response": " \n"}, "empty_answer", "the answer is empty", "add its text"),
    "unseen answer": Bad({"query": "Q", "response": "\u200b \ufeff"}, "empty_answer", "is empty", "add its text"),
    "null answer": Bad({"query": "Q", "response": None}, "empty_answer", "the answer is empty", "add its text"),
    "no question": Bad({"query": " ", "response": "A"}, "empty_question", "question is empty", "add its text"),
    "only a marker": Bad(
        {"query": "<image>", "response": "A", "images": ["images/red.png"]}, "empty_question", "empty", "add its text"
    ),
    "second turn empty": Bad(
        talk(("user", "Q"), ("assistant", "A"), ("user", "Q"), ("assistant", "")), "empty_answer", "turn 2", "add"
    ),
    "unanswered": Bad(
        talk(("user", "Q"), ("assistant", "A"), ("user", "Q2")), "unanswered", "no answer", "add the answer"
    ),
    "no turns": Bad(talk(), "bad_row", "no turns", "add a question"),
    "only a system message": Bad(talk(("system", "S")), "bad_row", "no turns", "add a question"),
    "two users": Bad(talk(("user", "Q"), ("user", "Q"), ("assistant", "A")), "role_order", "message 2", "alternate"),
    "assistant first": Bad(talk(("assistant", "A"), ("user", "Q")), "role_order", "message 1", "alternate"),
    "late system": Bad(talk(("user", "Q"), ("system", "S")), "role_order", "'system'", "alternate"),
    "unknown role": Bad(talk(("user", "Q"), ("critic", "A")), "bad_role", "'critic'", "user (human)"),
    "tool": Bad(talk(("user", "Q"), ("tool", "A")), "tool_turn", "message 2 calls a tool", "remove the row"),
    "role missing": Bad({"messages": [{"content": "Q"}]}, "bad_row", "no 'role'", "give each message"),
    "content is a number": Bad({"messages": [{"role": "user", "content": 3}]}, "bad_row", "a int", "make it a string"),
    "message is a string": Bad({"messages": ["hi"]}, "bad_row", "message 1 is a str", "write an object"),
    "messages are text": Bad({"messages": "hi"}, "bad_row", "not a list", "write a list"),
    "unknown part": Bad(
        {"messages": [{"role": "user", "content": [{"type": "video"}]}]},
        "unsupported_media",
        "a part of type 'video'",
        "text and image",
    ),
    "history not pairs": Bad({**QA, "history": ["Q1"]}, "bad_row", "history", "[[question, answer]"),
    "history is a number": Bad({**QA, "history": 1}, "bad_row", "history", "[[question, answer]"),
    "query is a list": Bad({"query": ["Q"], "response": "A"}, "bad_row", "query is a list", "make query a string"),
    "more markers": Bad(
        {**QA, "query": "<image><image>Q", "images": ["images/red.png"]},
        "image_count",
        "2 <image> markers but 1",
        "equal",
    ),
    "fewer markers": Bad(
        {**QA, "query": "<image>Q", "images": ["images/red.png"] * 3}, "image_count", "1 <image> markers but 3", "equal"
    ),
    "marker, no image": Bad({**QA, "query": "<image>Q"}, "image_count", "1 <image> markers but 0", "equal"),
    "marker in the answer": Bad({"query": "Q", "response": "<image>"}, "image_in_answer", "marker", "in questions"),
    "marker in the system message": Bad({**QA, "system": "<image>"}, "image_count", "system message", "move"),
    "missing image": Bad(
        {**QA, "images": ["images/no.png"]}, "missing_image", "'images/no.png' not found", "image_root"
    ),
    "image is a folder": Bad({**QA, "images": ["images"]}, "missing_image", "not found", "restore it"),
    "image name too long": Bad({**QA, "images": ["n" * 500]}, "missing_image", "not found", "restore it"),
    "image name with NUL": Bad({**QA, "images": ["a\0b"]}, "missing_image", "not found", "restore it"),
    "image is a number": Bad({**QA, "images": [3]}, "bad_row", "an image is a int", "give a path"),
    "image is null": Bad({**QA, "images": [None]}, "bad_row", "an image is null", "give a path"),
    "image elsewhere": Bad({**QA, "images": ["../secret.png"]}, "outside_root", "outside", "allow_outside"),
    "image on the web": Bad({**QA, "images": ["http://127.0.0.1/a.png"]}, "url_refused", "not fetched", "allow_urls"),
    "image over ftp": Bad({**QA, "images": ["ftp://host/a.png"]}, "url_refused", "not http(s)", "name a file"),
    "image of scheme file": Bad({**QA, "images": ["file:///etc/passwd"]}, "outside_root", "lies outside", "image_root"),
    "bad base64": Bad({**QA, "images": ["data:image/png;base64,@@@@"]}, "undecodable_image", "bad base64", "again"),
    "data URI without base64": Bad(
        {**QA, "images": ["data:image/png,xx"]}, "undecodable_image", "not base64", "encode"
    ),
    "cut image": Bad({**QA, "images": ["images/cut.png"]}, "undecodable_image", "cannot be decoded", "intact image"),
    "empty image": Bad({**QA, "images": ["images/empty.png"]}, "undecodable_image", "empty image", "JPEG"),
    "text as an image": Bad({**QA, "images": ["images/text.png"]}, "undecodable_image", "not an image", "JPEG"),
    "same row": Bad({"id": "first", **QA}, "duplicate_row", "equal to an earlier one", "leave it out"),
    "id is a list": Bad({"id": ["a"], **QA}, "bad_id", "the id is a list", "string or an integer"),
    "id with a line break": Bad({"id": "a\nb", **QA}, "bad_id", "control character", "printable"),
    "row is a list": Bad([1, 2], "bad_row", "the row is a list", "write it as"),
    "row is null": Bad(None, "bad_row", "the row is null", "write it as"),
    "surrogate": Bad(b'{"query": "\\ud800", "response": "A"}', "bad_encoding", "surrogate", "UTF-8"),
    "bad JSON": Bad(b'{"query": "Q"', "bad_json", "bad JSON", "repair or remove the line"),
    "deep JSON": Bad(b"[" * 200_000, "bad_json", "bad JSON", "repair or remove the line"),
    "huge integer": Bad(b'{"id": ' + b"9" * 5000 + b"}", "bad_json", "bad JSON", "repair or remove the line"),
    "not UTF-8": Bad(b'{"query": "\xff", "response": "A"}', "bad_encoding", "not UTF-8", "save the file as UTF-8"),
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_bad_row(case: str, tmp_path: Path) -> None:
    row, code, says, fix = BAD_ROWS[case]
    folder = tmp_path / "data"
    files.write_images(folder)
    (tmp_path / "secret.png").write_bytes(files.RED)
    (folder / "images" / "cut.png").write_bytes(files.RED[:-30])
    (folder / "images" / "empty.png").write_bytes(b"")
    (folder / "images" / "text.png").write_bytes(b"hello, this is text")
    line = row if isinstance(row, bytes) else json.dumps(row).encode()
    path = folder / "a.jsonl"
    path.write_bytes(
        json.dumps({"id": "first", **QA}).encode() + b"\n" + line + b"\n" + json.dumps(QA).encode() + b"\n"
    )
    report = validate(open_dataset(path))
    assert (report.rows, report.good) == (3, 2)
    (problem,) = report.problems
    assert (problem.code, problem.file, problem.row) == (code, str(path), 2)
    assert says in problem.message
    assert fix in problem.fix
    assert "\n" not in str(problem)
    if isinstance(row, dict) and isinstance(row.get("id"), str) and "\n" not in row["id"]:
        assert problem.id == row["id"]


VQA_ROWS = {
    "letter beyond the options": Bad(
        {"question": "Q", "options": ["x", "y"], "answer": "C"}, "bad_answer", "'C'", "letter"
    ),
    "index beyond the options": Bad(
        {"question": "Q", "options": ["x", "y"], "answer": 3}, "bad_answer", "'3'", "index"
    ),
    "negative index": Bad({"question": "Q", "options": ["x", "y"], "answer": -1}, "bad_answer", "'-1'", "index0"),
    "options are text": Bad(
        {"question": "Q", "options": "x or y", "answer": 0}, "bad_row", "options is a str", "a list"
    ),
    "too many options": Bad(
        {"question": "Q", "options": list("x" * 30), "answer": 0}, "bad_row", "30 options", "fewer"
    ),
    "no answers": Bad({"question": "Q", "answers": []}, "empty_answer", "empty", "add its text"),
    "answer is an object": Bad(
        {"question": "Q", "answer": {"a": 1}}, "bad_row", "is a dict", "make the answer a string"
    ),
    "answer is not a number": Bad({"question": "Q", "answer": float("nan")}, "bad_row", "is nan", "a string"),
    "option without an answer": Bad({"question": "Q", "options": ["x"], "answer": ""}, "empty_answer", "empty", "add"),
    "question missing": Bad({"answer": "A"}, "empty_question", "question is empty", "add its text"),
}


@pytest.mark.parametrize("case", VQA_ROWS)
def test_bad_row_of_columns(case: str, tmp_path: Path) -> None:
    row, code, says, fix = VQA_ROWS[case]
    path = files.dump(tmp_path / "a.json", [{"question": "Q", "answer": "A"}, row])
    (problem,) = validate(open_dataset(path)).problems
    assert (problem.code, problem.file, problem.row) == (code, str(path), 2)
    assert says in problem.message
    assert fix in problem.fix


def test_missing_mapped_column_of_one_row(tmp_path: Path) -> None:
    path = files.dump(tmp_path / "a.jsonl", [{"q": "Q", "a": "A"}, {"a": "A"}])
    (problem,) = validate(open_dataset(path, columns={"question": "q", "answer": "a"})).problems
    assert (problem.code, problem.row, problem.message) == ("bad_row", 2, "no column 'q'")


def test_bad_table_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,question,answer\n1,Q,A\n2,Q\n3,Q,\n,,\n")
    assert [(p.code, p.row) for p in validate(open_dataset(path)).problems] == [
        ("bad_row", 2),
        ("empty_answer", 3),
        ("empty_question", 4),
    ]


def test_bad_reference_in_a_vlmeval_table(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text("index\timage\tquestion\tanswer\n1\t99\tQ\tA\n")
    (problem,) = validate(open_dataset(path)).problems
    assert (problem.code, problem.row, problem.id) == ("missing_image", 1, "1")
    assert "'99'" in problem.message


def test_ids_of_turns_are_ids_too(tmp_path: Path) -> None:
    two = {"id": "a", "history": [["Q", "A"]], **QA}
    path = files.dump(
        tmp_path / "a.jsonl", [two, {"id": "a#2", **QA}, {"id": "a#3", **QA}, {"id": "b#1", **QA}, {**two, "id": "b"}]
    )
    dataset = open_dataset(path)
    assert [sample.id for sample in dataset] == ["a#1", "a#2", "a#2@a:2", "a#3", "b#1", "b@a:5#1", "b@a:5#2"]
    assert not dataset.problems.counts


def test_parquet_text_that_is_not_utf8(tmp_path: Path) -> None:
    answers = pa.array([b"A", b"\xe9", b"B"]).view(pa.string())
    pq.write_table(pa.table({"question": ["Q"] * 3, "answer": answers}), tmp_path / "a.parquet")
    report = validate(open_dataset(tmp_path / "a.parquet"))
    assert [(problem.code, problem.row) for problem in report.problems] == [("bad_encoding", 2)]
    assert report.good == 2


def test_null_image_cells(tmp_path: Path) -> None:
    kind = pa.list_(pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    rows = [[{"bytes": None, "path": None}], [None], [{"bytes": None, "path": "no.png"}], None, [{"bytes": b"x"}]]
    texts = [[{"user": "Q", "assistant": "A"}]] * len(rows)
    pq.write_table(pa.table({"images": pa.array(rows, kind), "texts": texts}), tmp_path / "a.parquet")
    report = validate(open_dataset(tmp_path / "a.parquet"))
    assert [(problem.code, problem.row) for problem in report.problems] == [
        ("bad_row", 1),
        ("bad_row", 2),
        ("missing_image", 3),
        ("undecodable_image", 5),
    ]


def cut(write: Callable[[Path], Path], keep: Callable[[bytes], bytes]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        path = write(folder)
        path.write_bytes(keep(path.read_bytes()))
        return path

    return make


def put(name: str, data: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
        return folder / name

    return make


def folder_of(*made: Callable[[Path], Path]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        for one in made:
            one(folder)
        return folder

    return make


def damage(data: bytes) -> bytes:
    """A Parquet file with its footer intact and its first pages overwritten."""
    return data[:4] + b"\xff" * 200 + data[204:]


LINE = json.dumps(QA).encode()
BAD_FILES: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "missing file": (lambda folder: folder / "no.json", "no.json: no such file", "check the path"),
    "empty folder": (lambda folder: folder, r"no data files in the folder \(it holds nothing\)", "name a file"),
    "empty file": (put("a.json", b""), r"a\.json: bad JSON at line 1", "repair the file"),
    "no rows": (put("a.jsonl", b"\n\n"), "it holds no rows", "name its --format"),
    "only bad lines": (put("a.jsonl", b"{\n{\n"), r"first 2 rows cannot be read \(row 1: bad JSON", "repair the file"),
    "JSON cut short": (cut(files.write_llava, lambda data: data[:-20]), "bad JSON at line", "repair the file"),
    "JSON lines in .json": (put("a.json", LINE + b"\n" + LINE), "line 2 column 1 .Extra data", "name it .jsonl"),
    "JSON is an object": (put("a.json", b'{"rows": []}'), "top level is a dict", "list of objects"),
    "JSON is too deep": (put("a.json", b"[" * 200_000), "bad JSON", "repair the file"),
    "JSON is not UTF-8": (put("a.json", b'[{"query": "\xe9"}]'), "byte 12 is not UTF-8", "save the file as UTF-8"),
    "CSV is not UTF-8": (put("a.csv", b"question,answer\nQ,\xe9\n"), "line 2: not UTF-8", "save the file as UTF-8"),
    "CSV without a header": (put("a.csv", b""), "no header line", "name the columns"),
    "CSV with twin columns": (put("a.csv", b"question,answer,answer\nQ,A,A\n"), "two columns", "rename one"),
    "CSV with an open quote": (put("a.csv", b'question,answer\nQ,"A\n'), "row 1: bad quoting", "quote cells"),
    "Parquet cut short": (
        cut(files.write_finevision, lambda data: data[:-40]),
        "cannot be opened",
        "copy the file again",
    ),
    "Parquet damaged": (cut(files.write_finevision, damage), "unreadable from row 1 on", "copy the file again"),
    "empty Parquet": (put("a.parquet", b""), "cannot be opened", "copy the file again"),
    "tar cut within a member": (
        cut(files.write_webdataset, lambda data: data[:700]),
        "unexpected end",
        "copy the shard",
    ),
    "tar cut at a member": (cut(files.write_webdataset, lambda data: data[:2048]), "no end mark", "copy the shard"),
    "tar cut within a header": (cut(files.write_webdataset, lambda data: data[:2200]), "cut short", "copy the shard"),
    "tar with a bad header": (
        cut(files.write_webdataset, lambda data: data[:2048] + b"\xff" * 512 + data[2560:]),
        "byte 2048: the tar has no end mark",
        "copy the shard",
    ),
    "empty tar file": (put("a.tar", b""), "not a readable tar .empty file", "copy the shard again"),
    "compressed tar": (cut(files.write_webdataset, gzip.compress), "not a readable tar", "must be uncompressed"),
    "unknown suffix": (put("a.xml", b"<a/>"), "unknown suffix '.xml'", "use .json"),
    "two kinds of file": (
        folder_of(put("a.jsonl", LINE), put("b.json", b"[]")),
        "mixes .json and .jsonl",
        "name one file",
    ),
    "info is not JSON": (folder_of(put("dataset_info.json", b"{")), "bad JSON", "repair the file"),
    "info is empty": (folder_of(put("dataset_info.json", b"{}")), "lists no dataset", "file_name"),
    "info names the hub": (
        folder_of(put("dataset_info.json", b'{"a": {"hf_hub_url": "x/y"}}')),
        "'a' names no local file",
        "set its file_name",
    ),
    "info names a missing file": (
        folder_of(put("dataset_info.json", b'{"a": {"file_name": "no.json"}}')),
        "no.json: no such file",
        "check the path",
    ),
    "info has an odd formatting": (
        folder_of(put("dataset_info.json", b'{"a": {"file_name": "a.json", "formatting": "x"}}')),
        "formatting 'x' of 'a' is unknown",
        "use sharegpt or alpaca",
    ),
    "state without files": (folder_of(put("state.json", b"{}")), "names no data files", "save the dataset again"),
    "state names a missing file": (
        folder_of(put("state.json", b'{"_data_files": [{"filename": "d.arrow"}]}')),
        "d.arrow: data file not found",
        "copy the whole folder",
    ),
    "Arrow file cut short": (
        lambda folder: (
            cut(lambda f: files.write_saved(f) / "data-00000-of-00002.arrow", lambda d: d[:100])(folder).parent
        ),
        "cannot be opened",
        "copy the file again",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_file(case: str, tmp_path: Path) -> None:
    make, says, fix = BAD_FILES[case]
    path = make(tmp_path)
    with pytest.raises(DataError, match=says) as caught:
        validate(open_dataset(path))
    assert fix in caught.value.fix
    assert str(tmp_path) in caught.value.where
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "says", "fix"),
    [
        ({"format": "coco"}, "unknown format 'coco'", "choose among auto, llava"),
        ({"format": "webdataset"}, "does not fit format 'webdataset'", "leave --format out"),
        ({"format": "llamafactory"}, "no dataset_info.json", "pass the folder"),
        ({"columns": {"prompt": "q"}}, "unknown column name 'prompt'", "question"),
        ({"limit": -1}, "limit is -1", "not negative"),
        ({"max_pixels": 0}, "max_pixels is 0", "positive"),
        ({"split": "train"}, "splits", "name the split's file"),
        ({"subset": "a"}, "no dataset 'a'", "leave it out"),
        ({"image_root": "no/such/folder"}, "no/such/folder: --image-root is not a folder", "holds the images"),
    ],
)
def test_bad_argument(arguments: dict[str, Any], says: str, fix: str, tmp_path: Path) -> None:
    path = files.write_llava(tmp_path)
    with pytest.raises(DataError, match=says) as caught:
        open_dataset(path, **arguments)
    assert fix in caught.value.fix
    assert caught.value.where


def test_mapped_column_that_a_table_lacks(tmp_path: Path) -> None:
    path = files.write_vqa(tmp_path, ".parquet")
    with pytest.raises(DataError, match=r"no column 'q' \(for 'question'\); choose among answer, choices, image"):
        open_dataset(path, columns={"question": "q"})


def test_a_wrong_format_makes_every_row_a_problem(tmp_path: Path) -> None:
    path = files.write_swift(tmp_path)
    report = validate(open_dataset(path, format="llava"))
    assert report.counts == {"bad_row": 4}
    assert not report.ok


def test_base64_problem_names_the_row(tmp_path: Path) -> None:
    text = base64.b64encode(files.RED * 3).decode()
    row = {**QA, "images": [text[:68]]}
    (problem,) = validate(open_dataset(files.dump(tmp_path / "a.jsonl", [row]))).problems
    assert isinstance(problem, Problem)
    assert (problem.code, problem.row) == ("undecodable_image", 1)


def test_marker_only_in_context_counts() -> None:
    messages = [("user", "<image>a"), ("assistant", "b"), ("user", "<image>c"), ("assistant", "d")]
    assert [turn.image_offsets for turn in make_turns(messages, 2)] == [(0,), (0,)]
    with pytest.raises(BadRow, match="2 <image> markers but 1 images"):
        make_turns(messages, 1)
