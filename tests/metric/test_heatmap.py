"""The heatmap is a real picture: readable cells, missing values marked, the same bytes twice, whole or not at all."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
from PIL import Image

from dataprophet.errors import DataProphetError, MetricError, MissingDependencyError

pytest.importorskip("matplotlib")

from dataprophet.metric.heatmap import save_heatmap
from dataprophet.metric.matrix import TransferMatrix


def scores(rows, columns, seed=0):
    values = np.random.default_rng(seed).gamma(2.0, 0.4, (rows, columns))
    return TransferMatrix([f"source-{i}" for i in range(rows)], [f"target-{i}" for i in range(columns)], values)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (8, 4), (14, 14), (2, 30)])
def test_writes_a_png_that_grows_with_the_matrix(tmp_path, rows, columns):
    path = tmp_path / "scores.png"
    save_heatmap(scores(rows, columns), path, title="Scores")
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.width >= 90 * columns
        assert image.height >= 50 * rows
    assert [entry.name for entry in tmp_path.iterdir()] == ["scores.png"]


def test_same_bytes_twice_whatever_the_users_style(tmp_path):
    import matplotlib

    save_heatmap(scores(8, 4), tmp_path / "a.png")
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red", "savefig.dpi": 30}):
        save_heatmap(scores(8, 4), tmp_path / "b.png")
    first, second = (tmp_path / "a.png").read_bytes(), (tmp_path / "b.png").read_bytes()
    assert first == second
    assert b"Software" not in first


def test_missing_cells_are_grey_and_do_not_move_the_scale(tmp_path):
    matrix = scores(3, 3)
    save_heatmap(matrix, tmp_path / "full.png")
    for value in (np.nan, np.inf):
        matrix.values[1, 1] = value
        save_heatmap(matrix, tmp_path / "gap.png")
        grey = (0xDD, 0xDD, 0xDD)
        counts = {}
        for name in ("full", "gap"):
            with Image.open(tmp_path / f"{name}.png") as image:
                counts[name] = int((np.asarray(image.convert("RGB")) == grey).all(-1).sum())
        assert counts["gap"] > counts["full"] + 3000


def test_all_missing_and_constant_matrices_are_drawn(tmp_path):
    for value in (np.nan, 0.0, 2.5, 1e-9, 1e9, -3.0):
        matrix = scores(2, 2)
        matrix.values[:] = value
        save_heatmap(matrix, tmp_path / "flat.png")
        assert (tmp_path / "flat.png").stat().st_size > 1000


def test_names_with_dollars_and_of_any_length_are_drawn(tmp_path):
    matrix = scores(2, 2)
    matrix.sources = ["$x^$", "a" * 300]
    save_heatmap(matrix, tmp_path / "names.png", title="costs $5 and $")
    with Image.open(tmp_path / "names.png") as image:
        assert image.width < 2000


def test_an_empty_matrix_is_refused(tmp_path):
    with pytest.raises(MetricError, match="0 sources and 2 targets"):
        save_heatmap(scores(0, 2), tmp_path / "bad.png")
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(DataProphetError, match="is a folder"):
        save_heatmap(scores(2, 2), tmp_path)
    assert not list(tmp_path.iterdir())


def test_without_matplotlib_the_extra_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def refuse(name, *rest, **more):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingDependencyError, match=r"dataprophet\[report\]"):
        save_heatmap(scores(2, 2), tmp_path / "none.png")


def test_scores_over_decades_get_a_logarithmic_scale(tmp_path):
    """On a linear scale all but the largest would share the darkest colour."""
    matrix = scores(3, 3)
    colours = {}
    for name, values in (("even", np.linspace(1, 2, 9)), ("decades", np.logspace(-4, 1, 9))):
        matrix.values = values.reshape(3, 3)
        save_heatmap(matrix, tmp_path / f"{name}.png")
        with Image.open(tmp_path / f"{name}.png") as image:
            pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
        shades, counts = np.unique(pixels, axis=0, return_counts=True)
        colours[name] = {tuple(shade) for shade, count in zip(shades, counts, strict=True) if count > 2000}
    assert len(colours["decades"]) >= 9
    assert len(colours["decades"] & colours["even"]) >= 9  # evenly spaced logarithms, evenly spaced colours
