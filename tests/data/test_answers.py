"""What answers beside options are is decided over all rows of a dataset, and lists are read as tables write them."""

import csv
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sample_files as files

from dataprophet.data import Conversation, open_dataset
from dataprophet.data.formats.answers import option_texts
from dataprophet.data.formats.literals import literal
from dataprophet.errors import DataError

CHOICES = [["red", "blue", "grey"], ["one", "two", "three", "four"], ["A", "an apple", "C"], ["10", "20", "30"]]
AS_WRITTEN = {  # kind -> the answer as a file has it, for the option of this number
    "index0": lambda place, choices: place,
    "index1": lambda place, choices: str(place + 1),
    "letter": lambda place, choices: f"({'abcd'[place]})",
    "text": lambda place, choices: f" {choices[place]}",
}

ARC = {"text": ["red", "blue"], "label": ["A", "B"]}
AS_PANDAS_WRITES = "{'text': array(['red', 'b[1]'], dtype=object), 'label': array(['A', 'B'],\n      dtype=object)}"
TWO = "Q\nA. red\nB. blue"
ELEVEN = "Q" + "".join(f"\n{letter}. n{number}" for number, letter in enumerate("ABCDEFGHIJK", 1))


def answers(path: Path, **options: object) -> list[str]:
    rows = list(open_dataset(path, **options).rows())  # type: ignore[arg-type]
    return [row.turns[0].answer if isinstance(row, Conversation) else row.code for row in rows]


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet", ".csv", ".tsv"])
@pytest.mark.parametrize("kind", AS_WRITTEN)
def test_the_kind_is_that_of_all_rows(kind: str, suffix: str, tmp_path: Path) -> None:
    chosen = random.Random(kind)
    rows, right = [], []
    for number in range(60):
        choices = CHOICES[number % 4]
        place = chosen.randrange(len(choices))
        right.append(choices[place])
        rows.append({"question": "Q", "choices": choices, "answer": str(AS_WRITTEN[kind](place, choices))})
    path = tmp_path / f"a{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif suffix in {".csv", ".tsv"}:
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="," if suffix == ".csv" else "\t")
            writer.writeheader()
            writer.writerows(rows)
    else:
        files.dump(path, rows)
    dataset = open_dataset(path)
    assert dataset.arguments["answer_is"] == kind
    assert answers(path) == right
    (told,) = (line for line in dataset.told().guesses if "--answer-is" in line)
    assert "60 of 60 rows" in told


def test_options_of_digits_are_text_where_only_that_explains_them(tmp_path: Path) -> None:
    rows = [{"question": "Q", "options": ["2", "3", "4", "5"], "answer": str(2 + number % 4)} for number in range(8)]
    assert answers(files.dump(tmp_path / "a.jsonl", rows)) == [row["answer"] for row in rows]


AMBIGUOUS = {
    "digits": ({"options": ["3", "1", "0", "2"], "answer": "1"}, ["text", "index0"], {"text": "1", "index0": "1"}),
    "no first and no last index": ({"options": list("xyz"), "answer": 1}, ["index0", "index1"], {"index1": "x"}),
    "letters": ({"options": ["D", "C", "B", "A"], "answer": "B"}, ["text", "letter"], {"letter": "C", "text": "B"}),
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_what_is_open_is_refused_and_can_be_said(case: str, tmp_path: Path) -> None:
    row, _kinds, right = AMBIGUOUS[case]
    rows = [{"question": "Q", **row}, {"question": "Q", **row}]
    if case == "digits":
        rows[1]["answer"] = "2"
    path = files.dump(tmp_path / "a.jsonl", rows)
    with pytest.raises(
        DataError, match=r"which are different answers.*answer_is=text\|letter\|index0\|index1"
    ) as error:
        open_dataset(path)
    assert "\n" not in str(error.value)
    for kind, answer in right.items():
        assert answers(path, answer_is=kind)[0] == answer
    with pytest.raises(DataError, match="unknown kind of answers 'number'"):
        open_dataset(path, answer_is="number")


def test_one_wrong_row_does_not_change_the_others(tmp_path: Path) -> None:
    rows = [{"question": "Q", "options": list("xyz"), "answer": number % 3} for number in range(30)]
    rows.append({"question": "Q", "options": list("xyz"), "answer": 3})
    assert answers(files.dump(tmp_path / "a.jsonl", rows)) == [*(["x", "y", "z"] * 10), "bad_answer"]


def test_rows_without_options_say_nothing_and_later_ones_are_not_guessed(tmp_path: Path) -> None:
    rows = [{"question": "Q", "answer": "5"}] * 1500 + [{"question": "Q", "options": ["x", "y"], "answer": "B"}]
    path = files.dump(tmp_path / "a.jsonl", rows)
    assert answers(path)[-1] == "bad_answer"
    assert answers(path, answer_is="letter")[-1] == "y"


@pytest.mark.parametrize(
    ("row", "answer", "question"),
    [
        ({"options": ["A. red", "B. blue"], "answer": "B"}, "blue", "Q\nA. red\nB. blue"),
        ({"options": "A. red\nB. blue", "answer": "B. blue"}, "blue", "Q\nA. red\nB. blue"),
        ({"options": "['red' 'dark blue'\n 'grey']", "answer": "B"}, "dark blue", "Q\nA. red\nB. dark blue\nC. grey"),
        ({"options": {"A": "red", "B": "blue", "C": None}, "answer": "A"}, "red", "Q\nA. red\nB. blue"),
        ({"options": ["red", "blue", None, None], "answer": "A"}, "red", "Q\nA. red\nB. blue"),
        ({"options": ["B. blue", "A. red"], "answer": "B"}, "bad_row", ""),
        ({"options": ["J. Doe", "A. Poe"], "answer": "B"}, "A. Poe", "Q\nA. J. Doe\nB. A. Poe"),
        ({"options": {"B": "blue", "A": "red"}, "answer": "B"}, "blue", "Q\nA. red\nB. blue"),
        ({"options": {"A": "red", "C": "blue"}, "answer": "A"}, "bad_row", ""),
        ({"options": {"first": "red", "second": "blue"}, "answer": "A"}, "bad_row", ""),
        ({"options": {str(n): f"n{n}" for n in range(11, 0, -1)}, "answer": "J. n10"}, "n10", ELEVEN),
        ({"options": ["red", "blue"], "answer": ["B"]}, "blue", "Q\nA. red\nB. blue"),
        ({"options": "[]", "answer": "['0.5 in', '1/2 in']"}, "0.5 in", "Q"),
        ({"answers": "['red' 'red' 'dark red']"}, "red", "Q"),
        ({"answers": "array(['a', 'b', 'b'], dtype=object)"}, "b", "Q"),
        ({"answers": {"answer": ["red", "blue", "blue"], "confidence": [1, 1, 1]}}, "blue", "Q"),
        ({"hint": "Passage.", "options": ["l", "r"], "answer": "r"}, "r", "Passage.\nQ\nA. l\nB. r"),
        ({"options": ["red", "blue", "grey"], "answer": ["A", "C"]}, "bad_answer", ""),
        ({"options": ["red", "blue", "grey"], "answer": "['A' 'C']"}, "bad_answer", ""),
        ({"options": ["red", None, "grey"], "answer": "A"}, "bad_row", ""),
        ({"A": "red", "B": "blue", "C": None, "answer": "B"}, "blue", "Q\nA. red\nB. blue"),
        ({"choice_b": "blue", "choice_a": "red", "answer": "B"}, "blue", "Q\nA. red\nB. blue"),
        ({"opa": "red", "opb": "blue", "answer": "B"}, "blue", "Q\nA. red\nB. blue"),
        ({"option1": "red", "option2": "blue", "answer": "blue"}, "blue", "Q\nA. red\nB. blue"),
        ({"A": "red", "B": "blue", "options": ["x", "y"], "answer": "B"}, "y", "Q\nA. x\nB. y"),
        ({"B": "red", "C": "blue", "answer": "B"}, "bad_row", ""),
        ({"A": "red", "answer": "B"}, "B", "Q"),
        ({"answer": [0.1, 0.2, 0.3, 0.4]}, "bad_answer", ""),
        ({"answer": [3]}, "3", "Q"),
        ({"answers": [3, 4, 4]}, "4", "Q"),
        ({"choices": ARC, "answerKey": "B"}, "blue", "Q\nA. red\nB. blue"),
        ({"choices": ARC, "answerKey": "(b)"}, "blue", "Q\nA. red\nB. blue"),
        ({"choices": ARC, "answerKey": "blue"}, "blue", "Q\nA. red\nB. blue"),
        ({"choices": json.dumps(ARC), "answerKey": "A"}, "red", "Q\nA. red\nB. blue"),
        ({"choices": AS_PANDAS_WRITES, "answerKey": "B"}, "b[1]", "Q\nA. red\nB. b[1]"),
        ({"choices": [{"text": "red", "label": "A"}, {"text": "blue", "label": "B"}], "answer": "B"}, "blue", TWO),
        ({"choices": {"text": ["red", "blue"], "label": ["1", "2"]}, "answerKey": "1"}, "red", TWO),
        ({"choices": {"text": ["red", "blue"], "label": ["B", "A"]}, "answerKey": "A"}, "blue", TWO),
        ({"choices": {"text": ["red", "blue"], "label": ["A", "C"]}, "answerKey": "B"}, "bad_answer", ""),
        ({"choices": {"text": ["red", "blue"], "label": ["A", "A"]}, "answerKey": "A"}, "bad_row", ""),
        ({"choices": {"text": ["red", "blue"], "label": ["A"]}, "answerKey": "A"}, "bad_row", ""),
        ({"options": {"text": "red", "label": "blue"}, "answer": "A"}, "bad_row", ""),
    ],
)
def test_shapes_of_options_and_answers(row: dict[str, object], answer: str, question: str, tmp_path: Path) -> None:
    path = files.dump(tmp_path / "a.jsonl", [{"question": "Q", **row}])
    (read,) = open_dataset(path).rows()
    assert answers(path) == [answer]
    if isinstance(read, Conversation):
        assert read.turns[0].question == question


def test_options_with_labels_of_letters_and_of_numbers(tmp_path: Path) -> None:
    """As in ARC, where some rows number their options: a label is one also where another option's text is the same."""
    rows = [
        {"id": str(number), "question": "Q", "choices": {"text": texts, "label": list(labels)}, "answerKey": key}
        for number, (texts, labels, key) in enumerate(
            [(["4", "3", "2"], "ABC", "B"), (["red", "blue", "grey"], "123", "3"), (["4", "3", "2"], "123", "1")] * 4
        )
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "arc.parquet")
    dataset = open_dataset(tmp_path / "arc.parquet")
    assert [sample.answer for sample in dataset] == ["3", "grey", "4"] * 4
    assert any("answers beside options: a letter, by 12 of 12 rows" in line for line in dataset.told().guesses)
    rows = [{**row, "choices": {"text": ["4", "3", "2"], "label": list("123")}, "answerKey": "2"} for row in rows]
    with pytest.raises(DataError, match="may be the text of an option or an index from 1, which are different answers"):
        open_dataset(files.dump(tmp_path / "a.jsonl", rows))


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_options_in_columns_of_their_own(suffix: str, tmp_path: Path) -> None:
    names, path = ("index", "question", "choice_a", "choice_b", "choice_c", "answer"), tmp_path / f"a{suffix}"
    rows = [dict(zip(names, (n, "Q", "cat", "dog", "cow" if n else None, "AB"[n % 2]), strict=True)) for n in range(4)]
    if suffix == ".csv":
        with open(path, "w", newline="") as file:
            csv.writer(file).writerows([names, *(row.values() for row in rows)])
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    dataset = open_dataset(path)
    assert answers(path) == ["cat", "dog"] * 2
    assert [row.turns[0].question.count("\n") for row in dataset.rows()] == [2, 3, 3, 3]  # type: ignore[union-attr]
    assert any("choice_b" in line and "not read" not in line for line in dataset.told().guesses)
    assert answers(path, columns={"options": "="}) == ["A", "B"] * 2


@pytest.mark.parametrize("suffix", [".tsv", ".parquet"])
def test_more_options_than_ten_letters(suffix: str, tmp_path: Path) -> None:
    letters = "ABCDEFGHIJKL"
    rows = [
        {"index": number, "question": "Q", **{letter: f"of {letter}" for letter in letters}, "answer": right}
        for number, right in enumerate("LKA")
    ]
    path = tmp_path / f"a{suffix}"
    if suffix == ".tsv":
        path.write_text("\n".join("\t".join(map(str, row)) for row in [list(rows[0]), *map(dict.values, rows)]) + "\n")
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    assert answers(path) == ["of L", "of K", "of A"]
    assert [row.turns[0].question.count("\n") for row in open_dataset(path).rows()] == [12] * 3  # type: ignore[union-attr]
    files.dump(tmp_path / "b.jsonl", [{"Q": "Q", "A": "A", "M": "x"}])
    assert answers(tmp_path / "b.jsonl", columns={"question": "Q", "answer": "A"}) == ["A"]


def test_literals() -> None:
    assert literal("['a' \"b's\" 'c, d']") == ["a", "b's", "c, d"]
    assert literal("['a\\'b']") == ["a'b"]
    assert literal("[1 2 3]") == [1, 2, 3]
    assert literal('["a", "b"]') == ["a", "b"]
    assert literal("['a' + 'b']") == "['a' + 'b']"
    assert option_texts("[1 2 3]") == ["1", "2", "3"]


def test_every_part_of_a_dataset_reads_its_answers_alike(tmp_path: Path) -> None:
    for name, first in (("a", 1), ("b", 0)):  # only the second file shows that indices count from 0
        rows = [{"question": "Q", "options": list("wxyz"), "answer": first + number % 3} for number in range(40)]
        files.dump(tmp_path / f"{name}.jsonl", rows)
    dataset = open_dataset(tmp_path)
    again = open_dataset(**dataset.arguments)
    for number, right in ((0, "x"), (1, "w")):
        for opened in (dataset, again):
            (cell,) = opened.read_cells(opened.index(number), 0, 1)
            assert isinstance(cell[0], Conversation)
            assert cell[0].turns[0].answer == right
    with pytest.raises(DataError, match="index from 0 or an index from 1"):
        open_dataset(tmp_path / "a.jsonl")


def features(names: list[str]) -> dict[bytes, bytes]:
    told = {"label": {"names": names, "_type": "ClassLabel"}, "question": {"dtype": "string", "_type": "Value"}}
    return {b"huggingface": json.dumps({"info": {"features": told}}).encode()}


def test_classes_have_the_names_of_the_schema(tmp_path: Path) -> None:
    table = pa.table({"question": ["Q"] * 5, "label": pa.array([0, 2, 1, -1, 7], pa.int64())})
    for name, kind in (("a.parquet", pq.write_table), ("b.arrow", write_stream)):
        kind(table.replace_schema_metadata(features(["cat", "dog", "horse"])), tmp_path / name)
        read = answers(tmp_path / name, columns={"answer": "label"})
        assert read == ["cat", "horse", "dog", "empty_answer", "bad_answer"]
    folder = tmp_path / "several"
    folder.mkdir()
    for name, names in (("a", ["cat", "dog"]), ("b", ["dog", "cat"])):
        pq.write_table(table.slice(0, 1).replace_schema_metadata(features(names)), folder / f"{name}.parquet")
    with pytest.raises(DataError, match="classes of 'label' are not those of the first file"):
        list(open_dataset(folder, columns={"answer": "label"}).rows())


def write_stream(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def test_arrow_files_of_both_kinds(tmp_path: Path) -> None:
    table = pa.table({"question": [f"Q{number}" for number in range(50)], "answer": ["a"] * 50})
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    write_stream(table, tmp_path / "b.arrow")
    dataset = open_dataset(tmp_path)
    questions = [sample.question for sample in dataset]
    assert questions == [f"Q{number}" for number in range(50)] * 2
    assert [dataset.index(number).rows for number in (0, 1)] == [50, 50]
