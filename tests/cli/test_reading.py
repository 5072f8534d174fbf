"""What ``validate`` tells of a dataset, and the options that say how to read it."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sample_files as files

from dataprophet.cli import main
from dataprophet.cli.arguments import share


def said(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, list[str]]:
    status = main(["validate", *map(str, words)])
    return status, capsys.readouterr().out.splitlines()


def test_problems_by_kind_and_what_lies_beside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files.write_images(tmp_path / "pictures")
    rows = [{"question": "Q", "image": "red.png", "options": ["x", "y"], "answer": "AB"[i % 2]} for i in range(8)]
    rows[2:2] = [{"question": "", "answer": "a"}] * 3
    path = files.dump(tmp_path / "a.jsonl", rows)
    status, lines = said(capsys, path, "--show", 2)
    assert status == 1
    assert "format: vqa (--format)" in lines
    assert "columns: question, image, options, answer (--columns FIELD=COLUMN)" in lines
    assert "answers beside options: a letter, by 8 of 8 rows (--answer-is)" in lines
    assert sum("not found" in line for line in lines) == sum("question is empty" in line for line in lines) == 2
    assert "... 6 more missing_image (--show 8)" in lines
    assert "... 1 more empty_question (--show 3)" in lines
    assert f"hint: {tmp_path}/pictures holds images: --image-root {tmp_path}/pictures" in lines
    assert lines[-2:] == [
        "a: 11 rows, 0 with images, 0 images, 0 turns",
        "0 of 11 rows good, 11 problems: 3 empty_question, 8 missing_image",
    ]
    status, lines = said(capsys, path, "--image-root", tmp_path / "pictures" / "images", "--answer-is", "text")
    assert lines[-2] == "a: 11 rows, 0 with images, 0 images, 0 turns"
    assert "8 bad_answer" in lines[-1]
    status, lines = said(capsys, path, "--image-root", tmp_path / "pictures" / "images", "--json")
    document = json.loads("\n".join(lines))
    assert (document["rows"], document["with_images"], document["counts"]) == (11, 8, {"empty_question": 3})
    assert len(document["problems"]) == 3
    assert document["read_as"][0] == "format: vqa (--format)"


def test_columns_that_look_like_images_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = {"question": ["Q"] * 3, "answer": ["A"] * 3, "thumbnail": [files.RED] * 3, "image": ["a.png", None, None]}
    files.write_images(tmp_path)
    (tmp_path / "a.png").write_bytes(files.RED)
    pq.write_table(pa.table(table), tmp_path / "a.parquet")
    _, lines = said(capsys, tmp_path / "a.parquet")
    assert any("warning: 'thumbnail' looks like an image and is not read" in line for line in lines)


def test_splits_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, rows in (("train", 3), ("test", 2)):
        files.dump(tmp_path / f"{name}.jsonl", [{"question": "Q", "answer": f"{i}"} for i in range(rows)])
    assert main(["validate", str(tmp_path)]) == 1
    assert "choose one (--split): test, train" in capsys.readouterr().err
    status, lines = said(capsys, tmp_path, "--split", "test")
    assert (status, lines[-1]) == (0, "2 of 2 rows good, no problems")


@pytest.mark.parametrize(("text", "value"), [("0.2", 0.2), ("20%", 0.2), ("1", 1.0), ("0", 0.0), ("100%", 1.0)])
def test_shares(text: str, value: float) -> None:
    assert share(text) == pytest.approx(value)


@pytest.mark.parametrize("text", ["20", "-0.1", "x", "120%", "nan"])
def test_what_is_no_share(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["profile", "x", "--model", "demo", "--out", "y", "--max-bad", text])
    assert "--max-bad" in capsys.readouterr().err
