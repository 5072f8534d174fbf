"""What commands replace: files and folders of their own kind, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_features import make_features

from dataprophet.cli import main

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: Any) -> Run:
    """The exit status of a command, and its standard error."""

    def run(*words: object) -> tuple[int, str]:
        capsys.readouterr()
        return main([str(word) for word in words]), capsys.readouterr().err

    return run


def write_features(path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    rows = make_features(60, 8, seed=1)
    np.savez(path, id=np.array(rows.ids), nll=rows.nll, **rows.embeddings)


def test_only_files_of_their_own_kind_are_replaced(tmp_path: Path, run: Run) -> None:
    write_features(tmp_path / "s.npz")
    (tmp_path / "mine.txt").write_text("my notes")
    words = ["profile", tmp_path / "s.npz", "--features", "--model", "m", "--clusters", "2", "--out"]
    for name in ("s.npz", "mine.txt"):
        before = (tmp_path / name).read_bytes()
        status, err = run(*words, tmp_path / name)
        assert status == 1
        assert "exists and is no profile, so it is not overwritten" in err
        assert (tmp_path / name).read_bytes() == before
    assert [run(*words, tmp_path / "s.profile")[0] for _ in range(2)] == [0, 0]
    words = ["matrix", "--source", tmp_path / "s.profile", "--target", tmp_path / "s.profile", "--out"]
    assert [run(*words, tmp_path / "scores.csv")[0] for _ in range(2)] == [0, 0]
    (tmp_path / "gains.csv").write_text("source,target,gain\n")
    (tmp_path / "x.factors.csv").write_text("my factors\n")
    for name, says in (
        ("gains.csv", "exists and is no matrix"),
        ("x.csv", "x.factors.csv: exists and is no factors file"),
        ("scores", "its factors file would be scores.factors.csv, which is that of another matrix"),
        ("s.profile", "exists and is no matrix"),
    ):
        status, err = run(*words, tmp_path / name)
        assert status == 1
        assert says in err
    assert (tmp_path / "gains.csv").read_text() == "source,target,gain\n"
    pytest.importorskip("altair")
    words = ["report", tmp_path / "scores.csv", "--out"]
    assert [run(*words, tmp_path / "page.html")[0] for _ in range(2)] == [0, 0]
    (tmp_path / "mine.html").write_text("<title>my page</title>")
    status, err = run(*words, tmp_path / "mine.html")
    assert (status, "exists and is no report, so it is not overwritten" in err) == (1, True)


def test_score_fills_no_folder_that_holds_something_else(tmp_path: Path, run: Run) -> None:
    write_features(tmp_path / "data" / "s.npz")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / ".gitignore").write_text("*")
    words = ["score", tmp_path / "data", "--features", "--model", "m", "--out"]
    status, err = run(*words, tmp_path / "data")
    assert status == 1
    assert "data: holds something else (s.npz); name a new or empty folder, or one of an earlier run" in err
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["s.npz"]
    assert [run(*words, tmp_path / "new")[0] for _ in range(2)] == [0, 0]
