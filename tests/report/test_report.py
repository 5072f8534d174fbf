"""The page: what it holds of what is there, what it says of what is not, texts as text, the same bytes twice."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil

import numpy as np
import pytest

pytest.importorskip("altair")
pytest.importorskip("vl_convert")

from report_folders import HOSTILE, NAMES, SCRIPT, TARGET, Page, write_run

from dataprophet import TransferMatrix
from dataprophet.cli import main
from dataprophet.errors import DataProphetError
from dataprophet.files import sha256
from dataprophet.metric import published
from dataprophet.report.agreement import resampled
from dataprophet.report.build import MOST_BYTES, build, write_report
from dataprophet.report.inputs import read_inputs
from dataprophet.report.palette import DARK, LIGHT, STEPS, contrast
from dataprophet.report.scores import aligned


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("report") / "run")


@pytest.fixture(scope="module")
def page(folder):
    write_report(folder, folder.parent / "run.html")
    return Page(folder.parent / "run.html")


def test_a_run_has_every_section_and_stays_small(page, folder):
    wanted = ["scores", "ranking", "factors", "mixtures", "diversity", "quality", "provenance", "missing"]
    assert page.sections == wanted
    assert (folder.parent / "run.html").stat().st_size < MOST_BYTES
    assert "20 rows for bench" in page.text
    assert "1 empty_answer" in page.text
    assert "dataprophet run recipe.yaml" in page.text
    assert "python 3.11, numpy 2.3.5" in page.text
    assert sha256(folder / "scores.csv") in page.text
    assert "budget: 20\nnote: <b>all</b>" in page.text


def test_texts_and_names_are_never_markup(page):
    tags = [tag for tag, _ in page.tags]
    assert tags.count("script") == 3
    own = sum(tag == "b" and "data-target-name" in attrs for tag, attrs in page.tags)
    assert tags.count("b") == own + tags.count("figcaption") + 1  # and the star of the best source
    assert not [attrs for _, attrs in page.tags if any(name.startswith("on") for name in attrs)]
    sources = [attrs["src"] for tag, attrs in page.tags if tag == "img"]
    assert sources
    assert all(source.startswith("data:image/webp;base64,") for source in sources)
    assert HOSTILE in page.text
    assert SCRIPT in page.text
    assert HOSTILE in page.data["rows"]["target/0"]["source"]


def test_the_policy_allows_the_pages_two_scripts_alone(page):
    policy = next(attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy")
    digests = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in page.scripts[1:]]
    assert policy.startswith("default-src 'none'; ")
    assert re.findall(r"'sha256-([^']+)'", policy) == digests
    assert "unsafe-eval" not in policy
    assert "script-src 'unsafe" not in policy


def test_the_same_bytes_twice(folder, page, tmp_path):
    write_report(folder, tmp_path / "again.html")
    assert (tmp_path / "again.html").read_bytes() == (folder.parent / "run.html").read_bytes()


def test_the_charts_draw_the_numbers_of_the_matrix(folder, page):
    matrix = TransferMatrix.from_csv(folder / "scores.csv")
    rows = page.data["rows"]["target/0"]
    ranking = matrix.rank(TARGET)
    assert rows["source"] == [each.source for each in ranking]
    np.testing.assert_allclose(rows["M"], [each.score for each in ranking], rtol=1e-5)
    np.testing.assert_allclose(rows["low"], [each.low for each in ranking], rtol=1e-5)
    assert rows["not resolved"] == [each.resolved is False for each in ranking]
    without = [each.source for each in matrix.without("source_perplexity").rank(TARGET)]
    assert [without.index(name) + 1 for name in rows["source"]] == rows["without PPL(s)"]
    mixture = page.data["rows"]["mixture/0"]
    assert sum(mixture["taken"]) == 20
    assert set(mixture["source"]) == set(NAMES)


def test_clusters_are_those_of_the_profile(folder):
    made = build(read_inputs(folder))
    for number, profile in enumerate(made.inputs.profiles()):
        sizes = made.figures.rows[f"clusters/{number}"]["samples"]
        drawn = made.figures.rows[f"silhouettes/{number}"]["cluster"]
        assert sizes == np.bincount(drawn, minlength=4).tolist()
        values = made.figures.rows[f"silhouettes/{number}"]["silhouette"]
        assert np.mean(values) == pytest.approx(profile.silhouette, abs=1e-6)


def test_what_is_missing_is_left_out_and_told(folder, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(folder, run)
    shutil.rmtree(run / "mixtures")
    (run / "scores.factors.csv").unlink()
    write_report(run, tmp_path / "page.html")
    page = Page(tmp_path / "page.html")
    assert page.sections == ["scores", "ranking", "diversity", "quality", "provenance", "missing"]
    assert "Mixtures: mixtures/TARGET/" in page.text
    assert "Factors and intervals" in page.text
    shutil.rmtree(run / "profiles")
    write_report(run, tmp_path / "page.html")
    page = Page(tmp_path / "page.html")
    assert page.sections == ["scores", "ranking", "provenance", "missing"]
    assert "profiles/NAME.profile" in page.text


def test_data_that_went_or_changed_is_told_and_not_shown(folder, tmp_path):
    run = tmp_path / "run"
    write_run(run)
    shutil.rmtree(run / "data" / "0")
    rows = run / "data" / "1" / "rows.json"
    rows.write_text(rows.read_text().replace("answer 7", "answer seven"))
    write_report(run, tmp_path / "page.html")
    text = Page(tmp_path / "page.html").text
    assert "is not at" in text
    assert "has changed since it was profiled" in text
    assert "answer 1" in text  # of the others
    assert SCRIPT not in text.replace("dataprophet run", "").split("Provenance")[0]


def test_gains_are_compared(tmp_path):
    scores, gains = (published.path(name) for name in ("metric_scores", "relative_improvement_percent"))
    made = write_report(scores, tmp_path / "page.html", gains=gains)
    page = Page(tmp_path / "page.html")
    assert "agreement" in page.sections
    told = made.values["agreement"]
    assert told["tau"] == "0.8641"
    assert dict(map(tuple, told["others"]))["tau over targets, without a dataset for itself"] == "0.8406"
    taus = page.data["rows"]["taus"]
    assert len(taus["tau"]) == 15
    assert all(low <= tau <= high for low, tau, high in zip(taus["low"], taus["tau"], taus["high"], strict=True))
    agreement = page.data["rows"]["target/3"]
    gain = TransferMatrix.from_csv(gains)
    target = page.data["targets"][3]
    expected = [gain.values[gain.sources.index(name), gain.targets.index(target)] for name in agreement["source"]]
    np.testing.assert_allclose(agreement["gain"], expected, rtol=1e-5)


def test_gains_with_blanks_are_compared_where_they_are(tmp_path):
    scores, gains = published.matrix("metric_scores"), published.matrix("relative_improvement_percent")
    names, some = scores.targets, gains.values.copy()
    some[:, 1] = np.nan  # nothing was measured for it
    some[3:, 2] = np.nan
    TransferMatrix(gains.sources, gains.targets, some).to_csv(tmp_path / "gains.csv")
    made = write_report(published.path("metric_scores"), tmp_path / "page.html", gains=tmp_path / "gains.csv")
    taus = Page(tmp_path / "page.html").data["rows"]["taus"]
    assert taus["target"] == [*(name for name in names if name != names[1]), "mean over targets"]
    assert all(low <= tau <= high for low, tau, high in zip(taus["low"], taus["tau"], taus["high"], strict=True))
    per_target, mean = resampled(scores.values, aligned(gains, scores))
    again = made.figures.rows["taus"]
    assert again["low"][0] == per_target[0, 0]
    assert again["low"][-1] != mean[0]


def test_bootstrap_of_what_agrees_throughout_has_no_width():
    values = np.random.default_rng(0).random((8, 3))
    for sign in (1, -1):
        per_target, mean = resampled(values, sign * values)
        np.testing.assert_array_equal(per_target, np.full((2, 3), sign))
        np.testing.assert_array_equal(mean, [sign, sign])
    assert np.isnan(resampled(values, np.full((8, 3), np.nan))[1]).all()


def test_scores_that_are_not_defined_have_no_rank_of_their_own(tmp_path):
    values = np.array([[1.0, np.nan], [np.nan, np.nan], [2.0, np.nan]])
    TransferMatrix(["a", "b", "c"], ["t", "u"], values).to_csv(tmp_path / "scores.csv")
    write_report(tmp_path / "scores.csv", tmp_path / "page.html")
    rows = Page(tmp_path / "page.html").data["rows"]
    assert rows["target/0"]["source"] == ["c", "a", "b"]
    assert rows["target/0"]["M"] == [2.0, 1.0, None]
    assert rows["target/1"]["M"] == [None, None, None]


def test_one_factor_reading_of_perplexity_is_warned_of(tmp_path):
    shape, factors = (4, 1), {}
    factors["question_similarity"] = np.linspace(0.5, 0.52, 4)[:, None]
    factors["source_perplexity"] = np.array([[1.0], [2.0], [4.0], [8.0]])
    values = factors["question_similarity"] * factors["source_perplexity"]
    TransferMatrix(list("abcd"), ["t"], values.reshape(shape), factors).to_csv(tmp_path / "scores.csv")
    made = write_report(tmp_path / "scores.csv", tmp_path / "page.html")
    assert any("PPL(s) alone decides the ranking" in line for line in made.warnings)
    assert "PPL(s) alone decides the ranking" in Page(tmp_path / "page.html").text


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_nothing_to_report_is_one_line(tmp_path, make, capsys):
    make(tmp_path / "none")
    assert main(["report", str(tmp_path / "none"), "-o", str(tmp_path / "page.html")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("dataprophet: error: ")
    assert error.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} <= {"none"}


def test_a_mixture_without_a_factor_is_told(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "run")
    manifest = tmp_path / "run" / "mixtures" / "bench" / "manifest.json"
    changed = json.loads(manifest.read_text()) | {"without": ["perplexity"]}
    del changed["checksum"]
    manifest.write_text(json.dumps(changed))
    made = build(read_inputs(tmp_path / "run"))
    assert (
        made.warnings[-1]
        == f"the mixture for {TARGET!r} was made without perplexity; scores and rankings here are with"
    )


def test_rankings_of_a_recipe_that_leaves_something_out_are_told_apart(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run" / "recipe.yaml").write_text("without: [perplexity]\nmax_nll: 3.5\nlevel: 0.95\n")
    told = build(read_inputs(tmp_path / "run")).warnings
    says = "rankings.csv was made with without: ['perplexity'], max_nll: 3.5; rankings here are of all factors, sources"
    assert any(line.startswith(says) for line in told)
    (tmp_path / "run" / "recipe.yaml").write_text("level: 0.95\nwithout: []\n")
    assert not any("rankings.csv" in line for line in build(read_inputs(tmp_path / "run")).warnings)


def test_a_damaged_mixture_is_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "run")
    (tmp_path / "run" / "mixtures" / "bench" / "manifest.json").write_text('{"target": 3}')
    with pytest.raises(DataProphetError, match="mixture manifest: damaged"):
        write_report(tmp_path / "run", tmp_path / "page.html")


def test_the_command_says_what_it_wrote(folder, tmp_path, capsys):
    words = ["report", str(folder), "-o", str(tmp_path / "page.html"), "--png", str(tmp_path / "png"), "--json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["sections"][:2] == ["Scores", "Ranking"]
    assert told["bytes"] == (tmp_path / "page.html").stat().st_size
    names = {path.name for path in (tmp_path / "png").iterdir()}
    assert {"heatmap.png", "ranking-bench_b_co_b.png", "mixture-bench_b_co_b.png", "projection-shapes.png"} <= names
    assert all((tmp_path / "png" / name).read_bytes().startswith(b"\x89PNG") for name in names)


def test_every_text_stands_out_from_its_ground():
    for theme in (LIGHT, DARK):
        grounds = [("ink", "page"), ("soft", "page"), ("soft", "panel"), ("ink", "panel"), ("link", "page")]
        grounds += [("cut", "page"), ("ink", "warn-ground"), *((f"t{step}", f"h{step}") for step in range(STEPS))]
        for text, ground in grounds:
            assert contrast(theme[text], theme[ground]) >= 4.5, (text, ground)
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
