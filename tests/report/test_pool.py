"""Reports of scored pools: histograms, the cut of a selection, galleries, rows that were refused, and large pools."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from report_folders import Page
from sample_features import make_features
from scored_pools import row, write_pool, write_scores

from dataprophet import Profile, TransferMatrix, score
from dataprophet.errors import DataProphetError
from dataprophet.report.build import MOST_BYTES, write_report
from dataprophet.selection import Settings, select_pool

ROWS = 30


@pytest.fixture(scope="module")
def scores(tmp_path_factory):
    """Thirty rows, the later the better, one without a score, and one that has no answer."""
    folder = tmp_path_factory.mktemp("pool")
    rows = [row(f"row{number}", image="red.png") for number in range(ROWS)]
    rows.append({"id": "<i>bad</i>", "conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": " "}]})
    pool = write_pool(folder / "data", {"rows.jsonl": rows})
    values = {("rows.jsonl", number, 1): [1.0 + number] for number in range(ROWS - 1)}
    made = write_scores(folder / "scores", pool, values, numbers={("rows.jsonl", 3, 1): (4, 2.5)})
    profile = Profile.empty("pool", "f", clusters=2, sketch_size=100, diversity_fields=["question"])
    profile.update(make_features(20, 3))
    profile.save(made / "pool.profile")
    return made


def test_histogram_and_galleries_of_a_pool(scores, tmp_path):
    made = write_report(scores, tmp_path / "page.html")
    page = Page(tmp_path / "page.html")
    assert page.sections == ["scores", "pool", "gallery", "diversity", "quality", "provenance", "missing"]
    rows = page.data["rows"]["scores/0"]
    assert sum(rows["samples"]) == ROWS - 1
    assert (rows["from"][0], rows["to"][-1]) == (1.0, 29.0)
    assert set(rows["cut"]) == {None}
    assert sum(page.data["rows"]["losses"]["samples"]) == ROWS + 1
    groups = {group["heading"]: [card.id for card in group["cards"]] for group in made.values["gallery"]["groups"]}
    assert groups["Best for t"] == [f"row{number}" for number in range(28, 20, -1)]
    assert groups["Lowest for t"] == [f"row{number}" for number in range(7, -1, -1)]
    assert "row14" in groups["Around the middle for t"]
    assert groups["Rows that could not be used"] == ["<i>bad</i>"]
    assert "<i>bad</i>" in page.text
    assert "row28 answer 0" in page.text
    assert "--selection DIR" in page.text


def test_the_cut_of_a_selection(scores, tmp_path):
    select_pool(scores, Settings(["t"], 5), tmp_path / "best", format="swift")
    made = write_report(scores, tmp_path / "page.html", selection=tmp_path / "best")
    rows = Page(tmp_path / "page.html").data["rows"]["scores/0"]
    assert sum(rows["chosen"]) == 5
    assert set(rows["cut"]) == {25.0}
    cut = next(group for group in made.values["gallery"]["groups"] if group["heading"] == "At the cut for t")
    words = {card.id: card.tag.rpartition(" · ")[2] for card in cut["cards"]}
    assert words["row23"] == "not chosen"
    assert words["row24"] == words["row25"] == "chosen"
    assert made.values["pool"]["chosen"].told == {"chosen": "5", "unit": "row"}


def test_a_selection_of_another_pool_is_refused(scores, tmp_path):
    select_pool(scores, Settings(["t"], 5), tmp_path / "best", format="ids")
    manifest = json.loads((tmp_path / "best" / "manifest.json").read_text())
    manifest["pools"][0]["name"] = "other"
    del manifest["checksum"]
    (tmp_path / "best" / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DataProphetError, match="is no selection of pool 'pool'"):
        write_report(scores, tmp_path / "page.html", selection=tmp_path / "best")


def test_a_pool_of_features_is_binned(tmp_path):
    features, count = make_features(5000, seed=1), 5000
    np.savez(tmp_path / "pool.npz", nll=features.nll, id=np.array(features.ids), **features.embeddings)
    target = Profile.empty("bench", "encoder", clusters=4)
    target.update(make_features(100, seed=2))
    target.save(tmp_path / "bench.profile")
    score(tmp_path / "pool.npz", [tmp_path / "bench.profile"], "encoder", out=tmp_path / "scores", features=True)
    made = write_report(tmp_path / "scores", tmp_path / "page.html")
    page = Page(tmp_path / "page.html")
    rows = page.data["rows"]
    assert sum(rows["losses"]["samples"]) == count
    assert len(rows["scores/0"]["samples"]) == len(rows["losses"]["samples"]) == 60
    assert "its rows are not at hand" in page.text
    assert "use the format ids" not in page.text  # the fix of `select`
    assert ["model", "-"] in made.values["provenance"]["told"]
    assert (tmp_path / "page.html").stat().st_size < 2_000_000


def test_a_pool_too_small_for_a_diversity_has_its_samples_shown(tmp_path):
    features = make_features(3, seed=1)
    np.savez(tmp_path / "pool.npz", nll=features.nll, id=np.array(features.ids), **features.embeddings)
    target = Profile.empty("bench", "encoder", clusters=4)
    target.update(make_features(100, seed=2))
    target.save(tmp_path / "bench.profile")
    score(tmp_path / "pool.npz", [tmp_path / "bench.profile"], "encoder", out=tmp_path / "scores", features=True)
    write_report(tmp_path / "scores", tmp_path / "page.html")
    page = Page(tmp_path / "page.html")
    assert page.sections == ["pool", "gallery", "diversity", "quality", "provenance", "missing"]
    assert "needs more than 4 different samples, and there are 3" in page.text


def test_a_matrix_of_two_hundred_is_scrolled_and_small(tmp_path):
    values = np.random.default_rng(0).gamma(2, 1, (200, 200))
    names = [f"dataset {number}" for number in range(200)]
    TransferMatrix(names, names, values).to_csv(tmp_path / "scores.csv")
    write_report(tmp_path / "scores.csv", tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size < MOST_BYTES
    assert sum(tag == "td" for tag, _ in Page(tmp_path / "page.html").tags) > 40_000
