"""Charts as files, without a browser: the heatmap above all, whose cells are checked by their pixels."""

from __future__ import annotations

import builtins
import re

import numpy as np
import pytest
from PIL import Image, ImageColor

from dataprophet.errors import DataProphetError, MetricError, MissingDependencyError

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from dataprophet.metric.matrix import TransferMatrix
from dataprophet.report import charts
from dataprophet.report.palette import LIGHT, STEPS
from dataprophet.report.pictures import picture, save_heatmap
from dataprophet.report.scores import shades


def scores(rows, columns, seed=0):
    values = np.random.default_rng(seed).gamma(2.0, 0.4, (rows, columns))
    return TransferMatrix([f"source-{i}" for i in range(rows)], [f"target-{i}" for i in range(columns)], values)


def pixels(path, colour):
    """How many pixels of a picture have a colour."""
    with Image.open(path) as image:
        return int((np.asarray(image.convert("RGB")) == ImageColor.getrgb(colour)).all(-1).sum())


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (8, 4), (2, 30)])
def test_writes_a_png_that_grows_with_the_matrix(tmp_path, rows, columns):
    path = tmp_path / "scores.png"
    save_heatmap(scores(rows, columns), path, title="Scores")
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width >= 120 * columns
        assert image.height >= 60 * rows
    assert [entry.name for entry in tmp_path.iterdir()] == ["scores.png"]


def test_same_bytes_twice(tmp_path):
    for suffix in (".png", ".svg"):
        for name in "ab":
            save_heatmap(scores(8, 4), tmp_path / f"{name}{suffix}")
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_each_target_is_coloured_on_its_own():
    """PPL(t) scales all scores of a target alike, and must not move a colour."""
    values = np.array([[1.0, 100.0], [2.0, 200.0], [4.0, 400.0], [np.nan, 800.0]])
    steps = shades(values)
    assert steps[:3, 0].tolist() == [0, STEPS // 2, STEPS - 1]
    assert steps[3].tolist() == [-1, STEPS - 1]
    np.testing.assert_array_equal(shades(values * [[1.0, 1e-6]]), steps)
    assert shades(np.array([[-1.0], [0.0], [1.0]]))[:, 0].tolist() == [0, STEPS // 2, STEPS - 1]


def test_missing_cells_are_grey_and_do_not_move_the_scale(tmp_path):
    matrix = scores(3, 3)
    save_heatmap(matrix, tmp_path / "full.png")
    for value in (np.nan, np.inf):
        matrix.values[1, 1] = value
        save_heatmap(matrix, tmp_path / "gap.png")
        assert pixels(tmp_path / "gap.png", "#dddddd") > pixels(tmp_path / "full.png", "#dddddd") + 3000
    high = [pixels(tmp_path / f"{name}.png", LIGHT[f"h{STEPS - 1}"]) for name in ("full", "gap")]
    assert min(high) > 2 * 3000  # the best of each of the other targets


@pytest.mark.parametrize("value", [np.nan, 0.0, 2.5, 1e-9, 1e9, -3.0])
def test_constant_matrices_are_drawn(tmp_path, value):
    matrix = scores(2, 2)
    matrix.values[:] = value
    save_heatmap(matrix, tmp_path / "flat.png")
    colour = "#dddddd" if np.isnan(value) else LIGHT[f"h{STEPS // 2}"]
    assert pixels(tmp_path / "flat.png", colour) > 4 * 3000


def test_names_of_any_length_and_with_markup_are_drawn(tmp_path):
    matrix = scores(2, 2)
    matrix.sources = ["<b>$x^$</b> & 'co'", "a" * 300]
    save_heatmap(matrix, tmp_path / "names.png", title="costs $5 and $")
    with Image.open(tmp_path / "names.png") as image:
        assert image.width < 1500
    save_heatmap(matrix, tmp_path / "names.svg")
    text = (tmp_path / "names.svg").read_text()
    assert "&lt;b&gt;$x^$&lt;/b&gt; &amp; 'co'" in text
    assert "<b>" not in text


def test_an_empty_matrix_is_refused(tmp_path):
    with pytest.raises(MetricError, match="0 sources and 2 targets"):
        save_heatmap(scores(0, 2), tmp_path / "bad.png")
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "a.png").mkdir()
    with pytest.raises(DataProphetError, match="is a folder"):
        save_heatmap(scores(2, 2), tmp_path / "a.png")
    with pytest.raises(DataProphetError, match=r"neither \.png nor \.svg"):
        save_heatmap(scores(2, 2), tmp_path / "a.pdf")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_without_altair_the_extra_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest, **more):
        if name == "altair":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingDependencyError, match="pip install 'altair>="):
        save_heatmap(scores(2, 2), tmp_path / "none.png")


@pytest.mark.parametrize("kind", charts.CHARTS)
def test_every_chart_is_drawn_with_its_own_colours(tmp_path, kind):
    """Colours of the page are none outside of it: a picture has those of the light page."""
    numbers = [1.0, 2.0, 4.0]
    rows = {name: list("abc") for name in ("source", "target")} | {"cluster": [0, 0, 1], "place": [0, 1, 2]}
    rows |= dict.fromkeys(("M", "low", "high", "similarity", "PPL(s)", "gain", "tau", "samples"), numbers)
    rows |= dict.fromkeys(("silhouette", "first", "second", "from", "chosen", "taken", "share", "rank"), numbers)
    rows |= {"to": [2.0, 4.0, 8.0], "cut": [2.0] * 3, "not resolved": [True, False, False], "available": numbers}
    picture(charts.CHARTS[kind](), rows, tmp_path / "chart.svg")
    text = (tmp_path / "chart.svg").read_text()
    assert "var(" not in text
    assert len(re.findall(r'aria-roledescription="(?:bar|rect|point|area|circle) mark|class="mark-', text)) >= 1
    assert re.search(r"#[0-9a-f]{6}", text)
