"""CSV and TSV as pandas and VLMEvalKit write them, and as files without quoting are."""

import csv
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dataprophet.data import open_dataset
from dataprophet.data.files.containers import MARKS, read_rows
from dataprophet.data.files.rows import BadRow
from dataprophet.errors import DataError

WORDS = ["", "a", '"', '""', '"quoted" word', '5" pipe', "two\nlines", "a\tb", "a,b", "x\r\ny", " space ", '"open']


def read(path: Path) -> list[object]:
    return [row if isinstance(row, dict) else row.code for _, row in read_rows(str(path), ())]


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
@pytest.mark.parametrize("seed", range(6))
def test_what_the_csv_module_writes_is_read_back(suffix: str, seed: int, tmp_path: Path) -> None:
    chosen, path = random.Random(seed), tmp_path / f"a{suffix}"
    quoting = chosen.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
    rows = [{name: chosen.choice(WORDS) for name in ("id", "question", "answer", "x")} for _ in range(60)]
    with open(path, "w", newline="") as file:
        ends = chosen.choice(["\n", "\r\n"])
        writer = csv.DictWriter(
            file, list(rows[0]), quoting=quoting, lineterminator=ends, delimiter="\t,"[suffix == ".csv"]
        )
        writer.writeheader()
        writer.writerows(rows)
    found = read(path)
    assert len(found) == len(rows)
    for row, each in zip(rows, found, strict=True):
        assert each in ({name: cell or None for name, cell in row.items()}, "bad_row")
    assert found.count("bad_row") <= 3  # cells whose every line could be a row
    marks = list(MARKS[suffix](str(path), None))
    for number, mark in list(enumerate(marks))[::9]:
        behind = next(read_rows(str(path), (), mark))
        first = found[number]
        assert behind[0] == number + 1
        assert (behind[1] if isinstance(behind[1], dict) else behind[1].code) == first


def test_a_tsv_without_quoting_keeps_its_rows(tmp_path: Path) -> None:
    lines = [[str(number), f"Which word, number {number}?", f"word {number}"] for number in range(40)]
    lines[3][1] = '"Stop" is on which sign?'
    lines[5][1], lines[17][2] = '"Go', 'away"'  # a quote opens, and closes twelve lines below
    lines[20][2] = '"open and never closed'
    path = tmp_path / "a.tsv"
    path.write_text("\n".join("\t".join(line) for line in [["index", "question", "answer"], *lines]) + "\n")
    rows = [list(row.values()) for _, row in read_rows(str(path), ()) if isinstance(row, dict)]
    assert rows == lines


def test_lines_that_may_be_rows_are_flagged_in_a_csv(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,question,answer\n1,Q,A\n2,Q,"He said well\n3,Q,A\n4,Q,no"\n5,Q,A\n6,"Q\nR, S",A\n')
    (_, first), (_, second), (_, third), (_, fourth) = read_rows(str(path), ())
    assert isinstance(second, BadRow)
    assert "a quoted cell holds 3 lines, each of which may be a row" in second.message
    assert [first["id"], third["id"], fourth["question"]] == ["1", "5", "Q\nR, S"]  # type: ignore[index]


def test_an_open_quote_that_ends_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id,question,answer\n1,Q,A\n2,"Q,A\n')
    with pytest.raises(DataError, match="row 2: bad quoting"):
        read(path)


@pytest.mark.parametrize("suffix", [".csv", ".tsv"])
def test_missing_values_of_pandas_are_no_text(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a{suffix}"
    lines = [
        ["id", "hint", "answer", "C"],
        ["1", "nan", "NaN", "<NA>"],
        ["2", "None", "n/a", "nano"],
        ["", "", "", "0"],
    ]
    path.write_text("".join(",\t"[suffix == ".tsv"].join(line) + "\n" for line in lines))
    assert [list(row.values()) for row in read(path)] == [  # type: ignore[attr-defined]
        ["1", None, None, None],
        ["2", "None", "n/a", "nano"],
        [None, None, None, "0"],
    ]


def test_a_table_of_other_columns_tells_them(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt_text": ["Q"], "completion": ["A"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"format not recognised .*\(columns: prompt_text, completion\)"):
        open_dataset(tmp_path / "a.parquet")
