"""Formats and exports of another package, which is installed beside this one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sample_files import EXPORTED, RED

from dataprophet.cli import main
from dataprophet.data import EXPORT_FORMATS, formats, open_dataset, write_rows
from dataprophet.data.formats.detect import ROW_FORMATS
from dataprophet.errors import DataError, RecipeError
from dataprophet.running.reading import read_recipe

EXAMPLE = Path(__file__).parents[1] / "support" / "example_package"


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch):
    """Put a folder of installed packages on the path."""

    def put(folder: Path) -> None:
        monkeypatch.syspath_prepend(folder)
        for table in (ROW_FORMATS, EXPORT_FORMATS):
            monkeypatch.setattr(table, "_added", None)

    return put


def packaged(folder: Path, points: str) -> Path:
    info = folder / "other-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: other\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points)
    (folder / "other_package.py").write_text("from dataprophet_no_such_module import VALUE\n")
    return folder


def test_a_format_is_found_out_and_named(install, tmp_path: Path) -> None:
    (tmp_path / "red.png").write_bytes(RED)
    rows = [{"key": "a", "ask": "What colour?", "reply": "red", "picture": "red.png"}]
    (tmp_path / "rows.jsonl").write_text(json.dumps(rows[0]) + "\n")
    with pytest.raises(DataError, match="format not recognised"):
        open_dataset(tmp_path / "rows.jsonl")
    install(EXAMPLE)
    assert formats()["pairs"] == "rows of ask and reply, picture"
    for dataset in (
        open_dataset(tmp_path / "rows.jsonl"),
        open_dataset(tmp_path / "rows.jsonl", format="pairs"),
        open_dataset(rows, image_root=tmp_path),
    ):
        [sample] = dataset
        assert (dataset.format, sample.id, sample.answer, len(sample.images)) == ("pairs", "a", "red", 1)


def test_rows_that_ours_read_stay_theirs(install) -> None:
    install(EXAMPLE)
    rows = [{"question": "Q", "answer": "A", "ask": "other", "reply": "other"}]
    assert [sample.answer for sample in open_dataset(rows)] == ["A"]
    assert [sample.answer for sample in open_dataset(rows, format="pairs")] == ["other"]


def test_an_export_is_written(install, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown export format 'lines'"):
        write_rows(EXPORTED, tmp_path / "out", "lines", name="set")
    install(EXAMPLE)
    written = write_rows(EXPORTED, tmp_path / "out", "lines", name="set")
    lines = (tmp_path / "out" / "set.txt").read_text().splitlines()
    assert (written.rows, len(lines)) == (3, 4)
    assert (tmp_path / "out" / lines[0].split("\t")[3]).read_bytes() == RED
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["format"] == "lines"


def test_commands_and_recipes_take_their_names(install, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rows.jsonl").write_text('{"key": "a", "ask": "What?", "reply": "this"}\n' * 2)
    (tmp_path / "scores.csv").write_text("source\\target,t\na,1\n")
    words = ["mix", str(tmp_path / "scores.csv"), "--target", "t", "--budget", "1", "--out", str(tmp_path / "out")]
    words += ["--dataset", f"a={tmp_path / 'rows.jsonl'}", "--input-format", "pairs", "--format", "lines"]
    recipe = {"sources": ["a"], "targets": ["b"], "model": "demo", "out": "o", "format": "lines"}
    with pytest.raises(SystemExit):
        main(words)
    assert "--format: cannot be 'lines'; choose among llava" in capsys.readouterr().err
    with pytest.raises(RecipeError, match=r"'format': cannot be 'lines'; use llava, .*, ids"):
        read_recipe(recipe)
    install(EXAMPLE)
    assert main(words) == 0
    assert (tmp_path / "out" / "mixture-t.txt").read_text() == "a/a\tWhat?\tthis\n"
    assert read_recipe(recipe).format == "lines"
    with pytest.raises(SystemExit):
        main([*words[:-1], "liness"])
    assert "--format: cannot be 'liness'; did you mean lines?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("point", "says"),
    [
        ("bad = other_package:VALUE", "'bad' in dataprophet.formats of other: cannot be loaded (No module named"),
        ("bad = json:loads", "json:loads is no Format; repair or uninstall that package"),
        ("vqa = dataprophet.data.formats.llava:LLAVA", "the name is taken"),
    ],
)
def test_what_a_package_adds_wrongly_is_told(point: str, says: str, install, tmp_path: Path) -> None:
    install(packaged(tmp_path, f"[dataprophet.formats]\n{point}\n"))
    with pytest.raises(DataError) as caught:
        formats()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert open_dataset([{"question": "Q", "answer": "A"}], format="vqa").format == "vqa"
