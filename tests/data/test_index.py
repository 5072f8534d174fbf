"""Parts of data files: any range of cells is what reading the whole file gives there."""

from __future__ import annotations

import csv
import json
import os
import pickle
import tarfile
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sample_files as files
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataprophet.data import open_dataset
from dataprophet.data.files import arrow
from dataprophet.data.files.json_list import mark_json, read_json
from dataprophet.data.formats import vlmeval
from dataprophet.data.index import FileIndex
from dataprophet.errors import DataError

ONE_ROW = "dataprophet.data.index.CELL_ROWS"


def whole(dataset, number):
    return [row for row in dataset.rows() if row.file == dataset.files[number]]


def cells(dataset, index, first=0, last=None):
    return list(dataset.read_cells(index, first, 10**9 if last is None else last))


def check(dataset, size):
    """Every range of cells of every file equals that part of all rows."""
    for number in range(len(dataset.files)):
        index = FileIndex.from_json(json.loads(json.dumps(dataset.index(number).to_json())))
        assert index == dataset.index(number)
        rows = whole(dataset, number)
        assert index.rows == len(rows)
        count = -(-len(rows) // size)
        for first in range(count + 1):
            for last in range(first, count + 1):
                parts = cells(dataset, index, first, last)
                assert [len(part) for part in parts[:-1]] == [size] * max(0, last - first - 1)
                assert [row for part in parts for row in part] == rows[first * size : last * size]


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("case", files.CHAT_WRITERS)
def test_chat_formats(case, size, tmp_path, monkeypatch):
    monkeypatch.setattr(ONE_ROW, size)
    _, write = files.CHAT_WRITERS[case]
    check(open_dataset(write(tmp_path), subset="mllm" if case == "llamafactory" else None), size)


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("suffix", [".json", ".jsonl", ".csv", ".tsv", ".parquet", "vlmeval"])
def test_tables(suffix, size, tmp_path, monkeypatch):
    monkeypatch.setattr(ONE_ROW, size)
    path = files.write_vlmeval(tmp_path) if suffix == "vlmeval" else files.write_vqa(tmp_path, suffix)
    check(open_dataset(path), size)


def lines_of(rows, blanks):
    """JSON lines, among them blank ones and ones that are no JSON."""
    out = []
    for number, row in enumerate(rows):
        out += ["  "] * blanks[number % len(blanks)]
        out.append(json.dumps(row, ensure_ascii=number % 2 == 0) if row is not None else "{broken")
    return "\n".join(out)


texts = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6))
drawn = st.lists(texts, min_size=1, max_size=12)


def row_of(number, text):
    return None if text is None else {"id": f"{number}", "question": f"q{text}", "answer": f"a{text}"}


def small_cells(size, monkeypatch):
    monkeypatch.setattr(ONE_ROW, size)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(drawn, st.lists(st.integers(0, 2), min_size=1, max_size=3), st.integers(1, 4), st.booleans(), st.booleans())
def test_json_lines(tmp_path, rows, blanks, size, mark, end):
    path = tmp_path / "drawn.jsonl"
    body = lines_of([row_of(number, text) for number, text in enumerate(rows)], blanks)
    path.write_bytes(b"\xef\xbb\xbf" * mark + body.encode() + b"\n" * end)
    with pytest.MonkeyPatch.context() as patch:
        small_cells(size, patch)
        check(open_dataset(path, format="vqa"), size)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(drawn, st.integers(1, 4), st.booleans(), st.sampled_from([None, 1, 2]), st.sampled_from([1, 2, 5, 64, 1 << 20]))
def test_json(tmp_path, rows, size, mark, indent, chunk):
    path = tmp_path / "drawn.json"
    made = [row_of(number, text) or ["]", {"[": ",]"}] for number, text in enumerate(rows)]
    body = " " * size + json.dumps(made, indent=indent, ensure_ascii=size % 2 == 0) + "\n" * size
    path.write_bytes(b"\xef\xbb\xbf" * mark + body.encode())
    with pytest.MonkeyPatch.context() as patch:
        small_cells(size, patch)
        patch.setattr("dataprophet.data.files.json_list._CHUNK", max(chunk, 3 * mark))
        patch.setattr("dataprophet.data.files.json_list._AT_ONCE", chunk)  # larger parts are read row by row
        dataset = open_dataset(path, format="vqa")
        check(dataset, size)
        assert dataset.index(0).digest == xxhash.xxh3_128_hexdigest(path.read_bytes())
        assert [number for number, _ in read_json(str(path))] == list(range(1, len(made) + 1))
        assert [row for _, row in read_json(str(path)) if isinstance(row, dict)] == [r for r in made if type(r) is dict]


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": 1}, {"a": 2},]', "bad JSON at line 1 column"),
        ('[{"a": 1} {"a": 2}]', "bad JSON at line 1 column 11"),
        ('[{"a": 1}]]', "Extra data"),
        ('[{"a": 1}', "bad JSON at line 1 column 10"),
        ('[{"a": "1', "Unterminated string"),
        ("[1", "bad JSON at line 1 column 3"),
        ('{"a": 1}', "the top level is a dict"),
        ("", "bad JSON at line 1 column 1"),
        ('[{"a": "\xe9"}]', "byte 8 is not UTF-8"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_json_that_is_no_list(text, message, chunk, tmp_path, monkeypatch):
    monkeypatch.setattr("dataprophet.data.files.json_list._CHUNK", chunk)
    path = tmp_path / "bad.json"
    path.write_bytes(text.encode("latin-1"))
    for read in (read_json, mark_json):
        with pytest.raises(DataError, match=message):
            list(read(str(path)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.lists(st.text(st.sampled_from('ab,"\n\ré'), min_size=1, max_size=5), min_size=1, max_size=10),
    st.integers(1, 4),
    st.booleans(),
)
def test_csv(tmp_path, rows, size, blank):
    path = tmp_path / "drawn.csv"
    with open(path, "w", encoding="utf-8-sig" if blank else "utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        writer.writerow(["id", "question", "answer"])
        for number, text in enumerate(rows):
            if blank and number % 3 == 0:
                file.write("\n")
            writer.writerow([number, f"q{text}", "a"] if number % 4 else [number, "too few"])
    with pytest.MonkeyPatch.context() as patch:
        small_cells(size, patch)
        check(open_dataset(path, format="vqa"), size)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=8),
    st.sampled_from([4, 9, 30, 200]),
    st.sampled_from([".parquet", ".arrow"]),
)
def test_parts_in_any_order(tmp_path, asked, group, suffix):
    """A reader that is left open and taken up again is where it should be."""
    rows = 11 * 6 - 2
    table = pa.table({"question": [f"q{i}" for i in range(rows)], "answer": ["a"] * rows, "image": [files.RED] * rows})
    path = tmp_path / f"drawn{suffix}"
    if suffix == ".parquet":
        pq.write_table(table, path, row_group_size=group)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table, max_chunksize=group)
    with pytest.MonkeyPatch.context() as patch:
        small_cells(6, patch)
        patch.setattr("dataprophet.data.files.arrow._MOST_ROWS", 5)
        dataset = open_dataset(path, format="vqa")
        index, every = dataset.index(0), list(dataset.rows())
        readers = [(first, last, dataset.read_cells(index, first, last)) for first, last in asked]
        while readers:  # in turns, so that several are open at a time
            first, last, reader = readers.pop(0)
            cell = next(reader, None)
            assert (cell or []) == every[first * 6 : min(last, first + 1) * 6]
            if cell is not None:
                readers.append((first + 1, last, reader))


def test_a_row_group_is_read_once_for_parts_that_follow_one_another(tmp_path, monkeypatch):
    monkeypatch.setattr(ONE_ROW, 5)
    monkeypatch.setattr("dataprophet.data.files.arrow._MOST_ROWS", 4)
    pq.write_table(pa.table({"question": [f"q{i}" for i in range(100)], "answer": ["a"] * 100}), tmp_path / "a.parquet")
    dataset = open_dataset(tmp_path / "a.parquet")
    index, opened = dataset.index(0), []
    batches = arrow.batches
    monkeypatch.setattr(arrow, "batches", lambda *args: opened.append(args) or batches(*args))
    for first in range(0, 20, 2):
        assert [row.row for cell in cells(dataset, index, first, first + 2) for row in cell] == list(
            range(first * 5 + 1, first * 5 + 11)
        )
    assert len(opened) == 1


def test_shared_images_are_looked_for_once(tmp_path, monkeypatch):
    monkeypatch.setattr(ONE_ROW, 1)
    dataset = open_dataset(files.write_vlmeval(tmp_path))
    index = dataset.index(0)
    vlmeval._shared_images.cache_clear()
    for first in range(3):
        cells(dataset, index, first, first + 1)
    assert vlmeval._shared_images.cache_info().misses == 1


def test_what_no_file_of_a_pool_may_be(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match="unknown suffix"):
        open_dataset(tmp_path / "a.txt", format="vqa").index(0)
    for name, column in (("a", "q"), ("b", "question")):
        pq.write_table(pa.table({column: ["q"], "answer": ["a"]}), tmp_path / f"{name}.parquet")
    with pytest.raises(DataError, match=r"no column 'q' .* choose among answer, question"):
        open_dataset(tmp_path, columns={"question": "q"}).index(1)


@pytest.mark.parametrize("group", [1, 3, 7, 100])
def test_parquet_row_groups_are_no_boundaries(group, tmp_path, monkeypatch):
    monkeypatch.setattr(ONE_ROW, 5)
    columns = {"question": [f"q{i}" for i in range(23)], "answer": ["a"] * 23, "image": [files.RED] * 23}
    pq.write_table(pa.table(columns), tmp_path / "a.parquet", row_group_size=group)
    check(open_dataset(tmp_path / "a.parquet"), 5)


def test_names_are_relative_and_arguments_reopen(tmp_path):
    (tmp_path / "pool").mkdir()
    for name in ("b", "a"):
        (tmp_path / "pool" / f"{name}.jsonl").write_text(json.dumps({"q": "x", "answer": "y"}) + "\n")
    dataset = open_dataset(tmp_path / "pool", columns={"question": "q"}, name="mine", image_root=[tmp_path])
    assert [dataset.index(number).name for number in range(2)] == ["a.jsonl", "b.jsonl"]
    again = open_dataset(**pickle.loads(pickle.dumps(json.loads(json.dumps(dataset.arguments)))))
    assert (again.name, again.files, again.settings) == (dataset.name, dataset.files, dataset.settings)
    assert list(again.rows()) == list(dataset.rows())


def test_equal_ids_are_all_read(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text((json.dumps({"id": 1, "question": "q", "answer": "a"}) + "\n") * 3)
    dataset = open_dataset(path)
    (cell,) = cells(dataset, dataset.index(0))
    assert [row.id for row in cell] == ["1"] * 3


def test_a_file_that_changes_is_refused(tmp_path):
    path = tmp_path / "a.jsonl"
    line = json.dumps({"question": "q", "answer": "a"}) + "\n"
    path.write_text(line * 3)
    dataset = open_dataset(path)
    index = dataset.index(0)
    path.write_text(line * 4)
    with pytest.raises(DataError, match="has changed since it was indexed"):
        cells(dataset, index)
    path.write_text((line * 2).ljust(index.size))
    with pytest.raises(DataError, match="2 rows from row 1 on, where the index has 3"):
        cells(dataset, index)


@pytest.mark.parametrize("suffix", [".parquet", ".json", ".tar"])
@pytest.mark.parametrize("keep", [0.3, 0.6])
def test_a_file_that_is_cut_short_has_no_index(suffix, keep, tmp_path):
    write = {".parquet": files.write_finevision, ".json": files.write_llava, ".tar": files.write_webdataset}[suffix]
    path = write(tmp_path)
    dataset = open_dataset(path)
    os.truncate(path, int(path.stat().st_size * keep))
    with pytest.raises(DataError):
        dataset.index(0)


def test_a_tar_that_is_cut_between_members_has_no_index(tmp_path):
    path = files.write_webdataset(tmp_path)
    dataset = open_dataset(path)
    with tarfile.open(path) as tar:
        last = tar.getmembers()[-1].offset
    os.truncate(path, last)
    with pytest.raises(DataError, match="no end mark"):
        dataset.index(0)


def test_what_has_no_files_says_so():
    from dataprophet import Dataset

    with pytest.raises(DataError, match="no files that are read in parts"):
        Dataset.from_samples("m", []).index(0)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[: len(data) * 2 // 3], "bad JSON at line 66[67] column .* .(Unterminated|Expecting)"),
        (lambda data: data.replace(b'"500": "', b'"500": x'), r"bad JSON at line 501 column 9 \(Expecting value\)"),
        (lambda data: data.replace(b'"500": "', b'"500": "\xff'), "is not UTF-8"),
        (lambda data: b'{"all": ' + data + b"}", "the top level is a dict, not a list of rows"),
        (lambda data: data[1:-2].replace(b"},", b"}"), r"line 2 column 1 \(Extra data\)"),
        (lambda data: data.replace(b'"}', b"}", 1), "Invalid control character"),
    ],
)
def test_damage_of_a_large_json_list_takes_little_memory(tmp_path, damage, message):
    rows = [json.dumps({str(number): "é" + "x" * 12_000}, ensure_ascii=False) for number in range(1000)]
    path = tmp_path / "a.json"
    path.write_bytes(damage(("[" + ",\n".join(rows) + "]\n").encode()))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=message):
            list(map(str, map(type, (row for _, row in read_json(str(path))))))
        assert tracemalloc.get_traced_memory()[1] < path.stat().st_size
    finally:
        tracemalloc.stop()


def test_a_json_list_holds_what_json_reads(tmp_path):
    """A streaming parser may refuse NaN, integers above 64 bits or floats beyond the largest one."""
    text = (
        '[{"nan": NaN, "long": 123456789012345678901234567890, "inf": 1e400, "float": 0.1, "é": "漢 \\ud83d\\ude00"}]'
    )
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    ((_, row),) = read_json(str(tmp_path / "a.json"))
    assert repr(row) == repr(json.loads(text)[0])
