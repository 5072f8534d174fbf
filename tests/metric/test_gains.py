"""Measured gains in the shapes in which people keep them, and their agreement with scores."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from dataprophet.cli import main
from dataprophet.errors import MetricError
from dataprophet.metric.agreement import kendall_tau
from dataprophet.metric.gains import read_gains
from dataprophet.metric.matrix import TransferMatrix

VALUES = {("a", "t"): 1.5, ("a", "u"): -2.0, ("b", "t"): 0.5, ("b", "u"): 3.0}

SHAPES = {
    "corner": "source\\target,t,u\na,1.5,-2\nb,0.5,3\n",
    "any corner": "dataset,t,u\na,1.5,-2\nb,0.5,3\n",
    "no corner, percent": ",t,u\na,1.5%,-2%\nb,0.5%,3%\n",
    "baseline": "model,t,u\nBaseline,40,60\na,41.5,58\nb,40.5,63\n",
    "list": "source,target,gain\na,t,1.5\na,u,-2\nb,t,0.5\nb,u,3\n",
    "list in other order": "Target,Source,seed,Delta\nu,b,0,3\nt,a,0,1.5\nu,a,0,-2\nt,b,0,0.5\n",
    "before and after": "source,target,before,after\na,t,40,41.5\na,u,60,58\nb,t,40,40.5\nb,u,60,63\n",
}


def write(folder: Path, text: str) -> Path:
    path = folder / "gains.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_gives_the_same_gains(shape: str, tmp_path: Path) -> None:
    gains = read_gains(write(tmp_path, SHAPES[shape]))
    matrix = gains.matrix
    found = {(s, t): matrix.values[i, j] for i, s in enumerate(matrix.sources) for j, t in enumerate(matrix.targets)}
    assert found == pytest.approx(VALUES)
    assert "4 gains of 2 sources on 2 targets" in gains.read_as


@pytest.mark.parametrize("blank", ["", "-", "NA", "nan"])
def test_blank_cells_are_pairs_that_were_not_measured(blank: str, tmp_path: Path) -> None:
    gains = read_gains(write(tmp_path, f"x,t,u\na,1,{blank}\nb,2,3\n"))
    np.testing.assert_array_equal(gains.matrix.values, [[1, np.nan], [2, 3]])
    assert gains.read_as.endswith("1 not measured")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "source,target,value\na,t,1\n",
            "columns source, target, value: neither gain nor before and after; write",
        ),
        ("x,t\na,much\n", "row 2, column 't': 'much' is not a finite number; correct the cell, or leave it blank"),
        ("x,t\na,inf\n", "'inf' is not a finite number"),
        ("x,t\na,1\na,2\n", "row 3: 'a' -> 't' occurs twice"),
        ("x,t,t \na,1,2\n", "row 1: the column 't' occurs twice; keep one of them"),
        ("source,target,gain,Gain\na,t,1,2\n", "row 1: the column 'gain' occurs twice"),
        ("source,target,gain\na,,1\n", "a name is empty"),
        ("x,t\na,\n", "holds no gains; write a line for each source"),
        ("x\na\n", "has one column"),
        ("x,t\nbaseline,3\n", "holds no gains"),
        ("x,t\nbaseline,3\nbase,4\na,5\n", "row 3: a second line of the baseline; keep one of them"),
        ("x,t\na,1,2\n", "row 2: 3 cells, expected 2"),
    ],
)
def test_what_is_no_table_of_gains(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(MetricError) as caught:
        read_gains(write(tmp_path, text))
    assert says in str(caught.value)


def test_blank_cells_take_no_part(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    scores, gains = rng.normal(size=(6, 4)), rng.normal(size=(6, 4))
    gains[rng.random((6, 4)) < 0.3] = np.nan
    sources, targets = list("abcdef"), list("tuvw")
    result = kendall_tau(TransferMatrix(sources, targets, scores), TransferMatrix(sources, targets, gains), blanks=True)
    for j, name in enumerate(targets):
        there = ~np.isnan(gains[:, j])
        assert result.per_target[name] == pytest.approx(stats.kendalltau(scores[there, j], gains[there, j]).statistic)
    assert result.tau_target == pytest.approx(np.mean(list(result.per_target.values())))


def test_one_target_is_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    TransferMatrix(list("abc"), ["t"], np.array([[3.0], [1.0], [2.0]])).to_csv(tmp_path / "scores.csv")
    gains = write(tmp_path, "source,target,gain\nc,t,1\na,t,2\n")
    assert main(["evaluate", str(tmp_path / "scores.csv"), str(gains), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["tau"], found["tau_target"], found["tau_source"]) == (1.0, 1.0, None)
    assert main(["evaluate", str(tmp_path / "scores.csv"), str(gains)]) == 0
    said = capsys.readouterr().out
    assert "a list of gains: 2 gains of 2 sources on 1 targets" in said
    assert "no tau, with fewer than 2 cells that differ: sources all" in said
    assert said.endswith("Kendall tau-b: 1.0000 over targets (ranking sources)\n")


def test_a_name_that_the_scores_lack_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    TransferMatrix(list("abc"), ["t"], np.array([[3.0], [1.0], [2.0]])).to_csv(tmp_path / "scores.csv")
    gains = write(tmp_path, "source,target,gain\nc,t,1\nA,t,2\n")
    assert main(["evaluate", str(tmp_path / "scores.csv"), str(gains)]) == 1
    assert "missing source 'a', 'b' and extra source 'A'" in capsys.readouterr().err
