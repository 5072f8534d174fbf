"""Rows without a score are counted where the user looks, and are tried again when that is asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sample_features import make_features

from dataprophet.cli import main
from dataprophet.data.index import CELL_ROWS
from dataprophet.errors import DataProphetError
from dataprophet.scoring.folder.pool import open_scores
from dataprophet.scoring.score import score


def write(path: Path, bad: int) -> None:
    """Features of three cells; some rows of the second one have no usable number."""
    rows = make_features(3 * CELL_ROWS, 8)
    rows.nll[CELL_ROWS : CELL_ROWS + bad] = 1e300
    np.savez(path, id=np.array(rows.ids), nll=rows.nll, **rows.embeddings)


def attempts(out: Path) -> dict[int, str]:
    """First cell of each shard -> the attempt that committed it."""
    return {marker["first"]: marker["attempt"] for marker in open_scores(out).store.markers().values()}


def test_shards_with_rows_of_a_status_are_computed_anew(tmp_path: Path) -> None:
    write(tmp_path / "a.npz", bad=2)
    options: dict[str, Any] = {"features": True, "out": tmp_path / "out", "shard_rows": 1024}
    first = score(tmp_path / "a.npz", [], "m", **options)
    digest, profile, before = first.digest(), first.profile, attempts(tmp_path / "out")
    assert score(tmp_path / "a.npz", [], "m", retry=["crashed"], **options).digest() == digest
    assert attempts(tmp_path / "out") == before
    told: list[str] = []
    again = score(tmp_path / "a.npz", [], "m", retry=["crashed", "bad_features"], tell=told.append, **options)
    assert told == ["no row is crashed: there is nothing of it to try again"]
    after = attempts(tmp_path / "out")
    assert {cell for cell, attempt in after.items() if attempt != before[cell]} == {1}
    assert again.digest() == digest
    assert again.profile == profile
    assert len(list((tmp_path / "out" / "data").iterdir())) == 2 * len(after)  # nothing of the earlier ones is left
    with pytest.raises(DataProphetError, match="'ok' is no status to try again"):
        score(tmp_path / "a.npz", [], "m", retry=["ok"], **options)


def test_rows_without_a_score_are_in_the_last_line_and_the_status(tmp_path: Path, capsys: Any) -> None:
    write(tmp_path / "a.npz", bad=200)
    command = ["score", str(tmp_path / "a.npz"), "--features", "--model", "m", "--out", str(tmp_path / "out")]
    assert main(command) == 1  # 200 of 3,072 are more than 5%
    assert "200 of 3,072 rows cannot be used" in capsys.readouterr().err
    assert main([*command, "--max-bad", "0.1", "--retry", "bad_features"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "without a score: 200 of 3,072 rows: 200 bad_features"
