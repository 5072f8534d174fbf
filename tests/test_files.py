"""Files and folders that appear whole: what a killed process left beside them goes at the next time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dataprophet.files import atomic_file, atomic_folder, write_text

_KILLED = """
import os, signal, sys
from dataprophet.files import atomic_file, atomic_folder
with atomic_file(sys.argv[1] + "/a.txt") as path, atomic_folder(sys.argv[1] + "/b") as folder:
    path.write_text("half")
    (folder / "c").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_wrote_is_removed_by_the_next(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-P", "-c", _KILLED, str(tmp_path)], check=False)
    assert len(os.listdir(tmp_path)) == 2
    (tmp_path / ".b.txt.x.part").write_text("of another file")
    with atomic_file(tmp_path / "a.txt") as running, atomic_folder(tmp_path / "b") as folder:
        assert sorted(os.listdir(tmp_path)) == sorted([running.name, folder.name, ".b.txt.x.part"])
        write_text(tmp_path / "a.txt", "whole")
        with atomic_folder(tmp_path / "b"):
            pass
        running.write_text("later")  # what a process that runs is writing stays
    assert sorted(os.listdir(tmp_path)) == [".b.txt.x.part", "a.txt", "b"]
    assert (tmp_path / "a.txt").read_text() == "later"


def test_names_as_long_as_they_may_be(tmp_path: Path) -> None:
    write_text(tmp_path / ("x" * 250), "whole")
    with atomic_file(tmp_path / ("x" * 250)) as temporary, atomic_file(tmp_path / ("x" * 251)) as other:
        assert temporary != other
        temporary.write_text("again")
        other.write_text("too")
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == ["again", "too"]


def test_a_folder_has_the_rights_that_the_umask_gives(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_folder(tmp_path / "b"):
            pass
    finally:
        os.umask(before)
    assert (tmp_path / "b").stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1", "@SUM(A1)", "-2", "'=x", "'plain", "''-y", "\tz"])
def test_names_that_spreadsheets_take_for_formulas_are_text(tmp_path: Path, name: str) -> None:
    import numpy as np

    from dataprophet import TransferMatrix

    path = tmp_path / "m.csv"
    TransferMatrix([name, "b"], ["t", f"{name}2"], np.array([[-1.5, 2.0], [3.0, 4.0]])).to_csv(path)
    cells = [cell for line in path.read_text().splitlines() for cell in line.split(",")]
    assert not any(cell.strip('"').startswith(("=", "+", "@", "\t")) for cell in cells)
    assert [cell for cell in cells if cell.startswith("-")] == ["-1.5"]
    back = TransferMatrix.from_csv(path)
    assert back.sources == [name.strip(), "b"]
    assert back.targets == ["t", f"{name}2".strip()]
