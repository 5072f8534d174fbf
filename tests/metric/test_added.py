"""Factors of other packages: their values, their standard errors, and where they have none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dataprophet.cli import main
from dataprophet.errors import MetricError, RecipeError
from dataprophet.features.features import Features
from dataprophet.metric import added
from dataprophet.metric.added import Factor
from dataprophet.metric.matrix import TransferMatrix
from dataprophet.metric.transfer import transfer_matrix
from dataprophet.profiling.build import profile
from dataprophet.profiling.profile import Profile
from dataprophet.running.inputs import open_inputs
from dataprophet.running.reading import read_recipe

EXAMPLE = Path(__file__).parents[1] / "support" / "example_package"


def make(name: str, seed: int, n: int = 150) -> Profile:
    rng = np.random.default_rng(seed)
    rows = {field: rng.normal(1.0, 0.6, (n, 4)) for field in ("question", "answer", "image")}
    tokens = rng.integers(1, 9 + seed, n)
    return profile(Features([f"{name}{i}" for i in range(n)], rng.gamma(2.0, 0.4, n), rows, {}, tokens), "m", name=name)


SOURCES = [make(name, seed) for seed, name in enumerate("abc")]
TARGETS = [make(name, seed) for seed, name in enumerate("tu", 5)]


@pytest.fixture
def add(monkeypatch: pytest.MonkeyPatch):
    def put(**factors: Factor) -> None:
        monkeypatch.setattr(added.ADDED, "_added", factors)

    return put


def question_similarity(source: Profile, target: Profile) -> float:
    return float(source.directions["question"] @ target.directions["question"])


def test_a_grouped_factor_has_the_errors_of_ours(add) -> None:
    add(
        qsim=Factor(question_similarity, grouped=True),
        harder=Factor(lambda source, target: source.perplexity, grouped=True),
        easier=Factor(lambda source, target: 1 / target.perplexity, grouped=True),
    )
    both = [*SOURCES, TARGETS[0]]  # one is source and target
    found = transfer_matrix(both, TARGETS, factors=["qsim", "harder", "easier"])
    for mine, ours in (
        ("qsim", "question_similarity"),
        ("harder", "source_perplexity"),
        ("easier", "inverse_target_perplexity"),
    ):
        np.testing.assert_allclose(found.factors[mine], found.factors[ours], rtol=1e-12)
        np.testing.assert_allclose(found.errors[mine], found.errors[ours], rtol=1e-6)
    plain = transfer_matrix(both, TARGETS)
    three = ("question_similarity", "source_perplexity", "inverse_target_perplexity")
    squared = plain.values * np.prod([plain.factors[name] for name in three], axis=0)
    np.testing.assert_allclose(found.values, squared, rtol=1e-12)
    left = found.without(*three)
    np.testing.assert_allclose(left.log_error, plain.log_error, rtol=1e-6)
    np.testing.assert_allclose(left.next_error, plain.next_error, rtol=1e-6)


def test_without_errors_nothing_has_an_interval(add, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    add(varied=Factor(lambda source, target: source.diversity / target.diversity))
    for each in (*SOURCES, *TARGETS):
        each.save(tmp_path / f"{each.name}.profile")
    paths = [[str(tmp_path / f"{each.name}.profile") for each in side] for side in (SOURCES, TARGETS)]
    out = str(tmp_path / "scores.csv")
    words = ["matrix", "--source", *paths[0], "--target", *paths[1], "--factors", "varied", "--out", out]
    assert main(words) == 0
    told = "varied has no standard error, so that scores have no interval"
    assert told in capsys.readouterr().out
    made, plain = TransferMatrix.from_csv(out), transfer_matrix(*paths)
    expected = np.array([[s.diversity / t.diversity for t in TARGETS] for s in SOURCES])
    np.testing.assert_array_equal(made.factors["varied"], expected)
    np.testing.assert_allclose(made.values, plain.values * expected, rtol=1e-12)
    assert made.log_error is None
    assert np.isnan(made.rank("t")[0].low)
    assert made.without("varied") == plain
    with_errors = transfer_matrix(*paths, factors=["varied"])
    np.testing.assert_allclose(with_errors.without("varied").log_error, plain.log_error)
    assert main(["rank", out, "--target", "t", "--json"]) == 0
    ranked = json.loads(capsys.readouterr().out)
    assert ranked["sources"][0]["factors"]["varied"] > 0
    assert told in ranked["remarks"]
    assert main(["report", out, "-o", str(tmp_path / "r.html")]) == 0
    assert "without varied" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(
    ("factor", "says"),
    [
        (Factor(lambda source, target: 0.0), "'a' -> 't': varied is 0, not positive, so the score has no meaning"),
        (Factor(lambda source, target: 1 / 0), "'a' -> 't': factor 'varied' fails (division by zero); repair"),
        (Factor(lambda source, target: np.inf), "'a' -> 't': factor 'varied' is inf; its package must give a finite"),
        (Factor(lambda source, target: None), "'a' -> 't': factor 'varied' fails (float() argument must be"),
        (Factor(lambda source, target: source.diversity, grouped=True), "'a' -> 't': factor 'varied' fails ("),
    ],
)
def test_what_a_factor_may_not_do(add, factor: Factor, says: str) -> None:
    add(varied=factor)
    with pytest.raises(MetricError) as caught:
        transfer_matrix(SOURCES, TARGETS, factors=["varied"])
    assert str(caught.value).startswith(says)
    assert "\n" not in str(caught.value)


def test_names_of_factors(add, tmp_path: Path) -> None:
    add(score=Factor(question_similarity), length=Factor(question_similarity))
    for name, says in (
        ("lenght", "factors: no package adds a factor 'lenght'; did you mean length?"),
        ("score", "factors: 'score' cannot be the name of a factor; its package must use other"),
    ):
        with pytest.raises(MetricError) as caught:
            transfer_matrix(SOURCES, TARGETS, factors=[name])
        assert str(caught.value).startswith(says)
    recipe = read_recipe({"sources": ["a"], "targets": ["b"], "model": "demo", "out": "o", "factors": ["lenght"]})
    with pytest.raises(RecipeError, match="no package adds a factor 'lenght'"):
        open_inputs(recipe, tmp_path, print)


def test_a_package_adds_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLE)
    monkeypatch.setattr(added.ADDED, "_added", None)
    found = transfer_matrix(SOURCES, TARGETS, factors=["length"])
    lengths = [[each.n_tokens / each.n_samples for each in side] for side in (SOURCES, TARGETS)]
    expected = [[min(s, t) / max(s, t) for t in lengths[1]] for s in lengths[0]]
    np.testing.assert_allclose(found.factors["length"], expected)
    assert (found.errors["length"] > 0).all()
    assert found.log_error is not None
