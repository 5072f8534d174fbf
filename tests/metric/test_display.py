"""Matrices, rankings and profiles as people look at them and hand them on: text, notebooks, pandas, Arrow."""

from __future__ import annotations

import math
import pickle
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pyarrow as pa
import pytest
from sample_features import make_features

from dataprophet.cli.rank import rank_table
from dataprophet.errors import MetricError
from dataprophet.metric.matrix import TransferMatrix
from dataprophet.metric.ranking import Ranked, as_text
from dataprophet.metric.transfer import transfer_matrix
from dataprophet.profiling.build import profile
from dataprophet.profiling.profile import Profile

NAMES = ["<b>bold</b>", "b", "c"]


class Cells(HTMLParser):
    """Texts of the cells of a table, the caption first, and the opacity of each coloured one."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags, self.texts, self.shades = set[str](), [""], list[float]()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag in {"td", "th"}:
            self.texts.append("")
        for _, value in attrs:
            self.shades.append(float(str(value).rstrip(")").rpartition(",")[2]))

    def handle_data(self, data: str) -> None:
        self.texts[-1] += data


@pytest.fixture(scope="module")
def profiles() -> list[Profile]:
    return [profile(make_features(120, seed=seed), "m", name=name) for seed, name in enumerate(NAMES)]


@pytest.fixture(scope="module")
def matrix(profiles: list[Profile]) -> TransferMatrix:
    return transfer_matrix(profiles, profiles[1:])


def test_short_texts(matrix: TransferMatrix, profiles: list[Profile]) -> None:
    assert repr(matrix) == "<TransferMatrix: 3 sources x 2 targets, with factors and errors>"
    assert repr(profiles[1]).startswith("<Profile 'b': samples 120, answer tokens ")
    assert f"Sil + H {profiles[1].silhouette:.3f}" in repr(profiles[1])
    assert repr(Profile.empty("x", "m")) == "<Profile 'x': samples 0, model m>"
    fresh = profile(make_features(50), "m")
    assert "Sil" not in repr(fresh)
    assert fresh._diversity is None  # looking at it computed nothing
    first = matrix.rank("b")[0]
    assert repr(first).startswith(f"Ranked({first.source!r}, ")
    assert repr(Ranked("s", 2.0)) == "Ranked('s', 2.000)"


def test_rankings_are_lists_that_print_as_tables(matrix: TransferMatrix) -> None:
    ranking = matrix.rank("b", level=0.9)
    assert ranking == sorted(ranking, key=lambda entry: -entry.score)
    assert pickle.loads(pickle.dumps(ranking)).target == "b"
    head, *lines = str(ranking).splitlines()
    assert head.split() == ["sources", "for", "b", "M", "90%", "interval"]
    for place, (line, entry) in enumerate(zip(lines, ranking, strict=True), 1):
        assert line.split()[:3] == [str(place), entry.source, f"{entry.score:#.4g}".rstrip(".")]
        assert line.endswith("~") == (entry.resolved is False)
    assert Cells(ranking._repr_html_()).texts[-4] == ranking[-1].source


def test_levels_are_shown_as_they_were_asked_for(matrix: TransferMatrix) -> None:
    assert "99.9% interval" in rank_table(matrix, "b", 0.999)
    assert "95% interval" in rank_table(matrix, "b")


def test_numbers_are_read_at_a_glance() -> None:
    told = {
        9999.4: "9999",
        44_303.9: "44,304",
        -734_912.6: "-734,913",
        2e9: "2.000e+09",
        0.5: "0.5000",
        6e-5: "6.000e-05",
    }
    assert {value: as_text(value) for value in told} == told
    assert as_text(float("nan")) == "-"


def test_notebooks_show_names_as_text_and_scores_in_colour(matrix: TransferMatrix, profiles: list[Profile]) -> None:
    for shown in (matrix, matrix.rank("b"), profiles[0]):
        table = Cells(shown._repr_html_())
        assert "b" not in table.tags
        assert any(NAMES[0] in text for text in table.texts)
    shades = np.array(Cells(matrix._repr_html_()).shades).reshape(matrix.shape)
    assert [*shades.argmax(0)] == [*matrix.values.argmax(0)]
    assert [*shades.argmin(0)] == [*matrix.values.argmin(0)]


def test_large_and_undefined_matrices_are_shown_in_part() -> None:
    values = np.arange(30 * 25, dtype=float).reshape(30, 25)
    values[:, 1] = np.nan
    big = TransferMatrix([f"s{i}" for i in range(30)], [f"t{i}" for i in range(25)], values)
    table = Cells(big._repr_html_())
    assert "20 of 30 sources x 20 of 25 targets" in table.texts[0]
    assert len(table.texts) == 1 + 21 * 21
    assert table.texts.count("-") == 20
    assert len(table.shades) == 20 * 19 - 1  # neither those that are not defined, nor 0
    ranking = big.rank("t3")
    assert "the first 20 of 30" in Cells(ranking._repr_html_()).texts[0]
    assert Cells(TransferMatrix([], [], np.empty((0, 0)))._repr_html_()).texts[0].startswith("M, 0 sources")


def test_pandas(matrix: TransferMatrix) -> None:
    pytest.importorskip("pandas")
    frame = matrix.to_pandas()
    assert (frame.index.name, frame.columns.name) == ("source", "target")
    assert frame.loc["c", "b"] == matrix.values[2, 0]
    frame.loc["c", "b"] = 0.0
    assert matrix.values[2, 0] != 0


def test_every_pair_is_a_row_of_an_arrow_stream(matrix: TransferMatrix) -> None:
    rows = pa.table(matrix).to_pylist()
    assert len(rows) == 6
    ranks = {target: matrix.rank(target) for target in matrix.targets}
    for row in rows:
        entry = ranks[row["target"]][row["rank"] - 1]
        i, j = matrix.sources.index(row["source"]), matrix.column(row["target"])
        assert (row["source"], row["score"], row["low"], row["high"], row["resolved"]) == entry.__getnewargs__()
        assert math.prod(row[name] for name in matrix.factors) == pytest.approx(row["score"])
        assert row["diversity_error"] == matrix.errors["diversity"][i, j]
    assert matrix.to_arrow(level=0.5)["low"][0].as_py() > rows[0]["low"]
    with pytest.raises(MetricError, match="level is 2"):
        matrix.to_arrow(level=2)


def test_what_is_not_known_is_null() -> None:
    plain = TransferMatrix(["a", "b"], ["t"], np.array([[2.0], [np.nan]]))
    assert pa.table(plain).to_pylist() == [
        {**dict.fromkeys(("low", "high", "resolved", "log_error", "next_error")), "target": "t", **row}
        for row in ({"rank": 1, "source": "a", "score": 2.0}, {"rank": 2, "source": "b", "score": None})
    ]
    assert pa.table(TransferMatrix([], ["t"], np.empty((0, 1)))).num_rows == 0


def test_nothing_of_it_loads_pandas() -> None:
    look = """
import sys, numpy as np
from dataprophet import TransferMatrix
matrix = TransferMatrix(["a"], ["t"], np.ones((1, 1)))
matrix._repr_html_(), str(matrix.rank("t"))
assert "pandas" not in sys.modules
sys.modules["pandas"] = None
try:
    matrix.to_pandas()
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-P", "-c", look], capture_output=True, text=True, check=False)
    line = "to_pandas: pandas is not there (import of pandas halted; None in sys.modules); pip install pandas\n"
    assert done.stdout == line, done.stderr
