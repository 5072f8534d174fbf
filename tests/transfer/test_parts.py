"""The parts of the transfer lab (benchmarks/transfer), each against its definition or another library."""

from __future__ import annotations

import itertools
import json
import random
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import linprog, minimize
from scipy.stats import kendalltau, multivariate_normal
from transfer import evidence as evidence_page
from transfer import published
from transfer.agreement import agreement, ceilings, cells, regret, tau, taus
from transfer.cache import Cache
from transfer.distances import evidence, fold, mmd, sinkhorn
from transfer.learner import Measured
from transfer.predictors import PREDICTORS, Context, predict
from transfer.pretrained.datasets import DATASETS, NUMBERS, make_rows, mixture_rows
from transfer.pretrained.drawing import SIZE, draw
from transfer.pretrained.learner import PretrainedLearner

from dataprophet.metric.matrix import TransferMatrix
from dataprophet.metric.published import matrix


def test_tau_is_that_of_scipy_and_0_where_nothing_is_said() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        x, y = rng.integers(4, size=(2, 9))
        expected = kendalltau(x, y).statistic
        assert tau(x, y) == pytest.approx(0.0 if np.isnan(expected) else expected)
    assert tau(np.ones(4), np.arange(4)) == 0


def test_regret_by_hand() -> None:
    gains = np.array([[0.3], [0.2], [0.1], [0.5]])
    used = np.array([[True], [True], [True], [False]])  # the best of all takes no part
    assert regret(np.array([[1.0], [3.0], [2.0], [9.0]]), gains, used, 1) == pytest.approx(0.1)
    assert regret(np.array([[1.0], [3.0], [2.0], [9.0]]), gains, used, 3) == pytest.approx(0.0)
    assert regret(np.zeros((4, 1)), gains, used, 1) == pytest.approx(0.1)  # the mean of 0, .1 and .2


def test_agreement_of_the_gains_with_themselves_is_whole() -> None:
    gains = np.random.default_rng(0).normal(size=(2, 5, 4))
    used = cells(list("abcde"), list("abcd"), diagonal=False)
    found = agreement(gains.mean(0), gains, used, [1, 2], draws=50)
    assert (found["tau"], found["regret_1"], len(found["per_target"])) == (1.0, 0.0, 2)
    assert found["low"] < found["high"] <= 1  # a draw of one seed alone ranks otherwise
    limits = ceilings(gains, [gains, gains], used, [1, 2])
    assert limits["item_halves"] == 1.0
    assert limits["seed_against_seed"] == pytest.approx(taus(gains[0], gains[1], used)[[1, 2]].mean(), abs=1e-4)


def test_mmd_is_its_three_sums() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 3)), rng.normal(size=(5, 3)) + 1
    both = [*x, *y]
    width = np.median([((a - b) ** 2).sum() for a, b in itertools.permutations(both, 2)])

    def mean(pairs) -> float:
        return float(np.mean([np.exp(-((a - b) ** 2).sum() / width) for a, b in pairs]))

    expected = mean(itertools.permutations(x, 2)) + mean(itertools.permutations(y, 2))
    assert mmd(x, y) == pytest.approx(expected - 2 * mean(itertools.product(x, y)))


def test_sinkhorn_comes_near_the_linear_programme() -> None:
    cost = np.random.default_rng(0).random((6, 8))
    rows, columns = np.kron(np.eye(6), np.ones(8)), np.kron(np.ones(6), np.eye(8))
    sums = np.r_[np.full(6, 1 / 6), np.full(8, 1 / 8)]
    exact = linprog(cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=sums).fun
    assert exact <= sinkhorn(cost, blur=0.01, rounds=3000) * (1 + 1e-6)
    assert sinkhorn(cost, blur=0.01, rounds=3000) == pytest.approx(exact, rel=0.05)


def test_evidence_is_the_largest_that_a_bayesian_regression_has() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 4))
    y = x @ [1.0, -2, 0.5, 0] + 0.7 * rng.normal(size=30)

    def negative(logs) -> float:
        alpha, beta = np.exp(logs)
        return -multivariate_normal(np.zeros(30), x @ x.T / alpha + np.eye(30) / beta).logpdf(y)

    best = minimize(negative, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10}).fun
    assert evidence(x, y[:, None]) == pytest.approx(-best / 30, rel=1e-5)


def test_folding_keeps_inner_products() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 200_000))
    y += x
    folded = [fold([part[:1000], part[1000:].reshape(2, -1)]) for part in (x, y)]
    cosine = folded[0] @ folded[1] / np.linalg.norm(folded[0]) / np.linalg.norm(folded[1])
    assert cosine == pytest.approx(x @ y / np.linalg.norm(x) / np.linalg.norm(y), abs=0.02)


def test_what_failed_leaves_nothing_in_the_cache(tmp_path: Path) -> None:
    cache, made = Cache(tmp_path), []

    def fails() -> None:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        cache.json("stage", {"a": 1}, fails)
    assert cache.json("stage", {"a": 1}, lambda: made.append(1) or [1]) == [1]
    assert cache.json("stage", {"a": 1}, fails) == [1]
    assert cache.json("stage", {"a": 2}, lambda: [2]) == [2]
    assert len(list(tmp_path.rglob("*.json"))) == 2


@pytest.mark.parametrize("name", DATASETS)
def test_questions_are_answered_by_what_is_drawn(name: str) -> None:
    spec = DATASETS[name]
    rows = make_rows(name, spec, "train", 12)
    for picture, questions in rows:
        assert 1 <= len(questions) <= 4
        for question, answer in questions:
            told = answer.rstrip(".").split()[-1] if spec.form == "sentence" else answer
            if spec.task == "colour":
                assert told in {part.colour for part in picture.parts}
            elif spec.task == "shape":
                assert told in {part.shape for part in picture.parts}
            elif spec.task == "read":
                values = [part.digit or str(part.height) for part in picture.parts]
                assert told in (values if spec.form == "digit" else [NUMBERS[int(value)] for value in values])
            else:
                named = [part for part in picture.parts if part.colour in question or (part.digit or "-") in question]
                ordinals = ("first", "second", "third", "fourth")
                places = [part.where or ordinals[picture.parts.index(part)] for part in named]
                assert any(place.endswith(told) for place in places)
    again = make_rows(name, spec, "train", 12)
    assert [questions for _, questions in rows] == [questions for _, questions in again]
    assert (
        rows[3][0].image.tobytes()
        == again[3][0].image.tobytes()
        != make_rows(name, spec, "test0", 4)[3][0].image.tobytes()
    )


def test_parts_lie_in_the_picture_and_mixtures_hold_every_task() -> None:
    for scene in ("shapes", "sign", "bars"):
        for part in draw(random.Random(0), scene, "dark").parts:
            assert min(part.box) >= 0
            assert max(part.box) <= SIZE
    asked = {
        question
        for _, questions in mixture_rows("m", 60, {"shapes": 1, "sign": 1, "bars": 1})
        for question, _ in questions
    }
    for beginning in ("What color", "Where is the", "How tall", "What shape", "What is the"):
        assert any(question.startswith(beginning) for question in asked)


def test_every_split_of_every_dataset_has_files_of_its_own(tmp_path: Path) -> None:
    learner = PretrainedLearner(Cache(tmp_path), "A")
    wanted = [(name, split) for name in DATASETS for split in ("train", "test0", "test1")] + [
        ("A", "train"),
        ("B", "train"),
    ]
    files = {learner.cache.path("lower", learner._inputs(*each), ".pt") for each in wanted}
    assert len(files) == len(wanted)


def test_the_page_of_evidence_holds_what_the_results_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["evidence.py", "--check"])
    assert evidence_page.main() == 0


def test_published_results_are_those_that_are_committed() -> None:
    held = json.loads((evidence_page.RESULTS / "published.json").read_text(encoding="utf-8"))
    made = json.loads(json.dumps(published.told()))
    assert held["bases"] == made["bases"]
    taus = held["bases"]["InternVL3-2B"]["agreement"]["all"]["all cells"]["relative"]["predictors"]["M as published"]
    assert taus["tau"] == pytest.approx(0.8641, abs=1e-4)  # as dataprophet evaluate --published recomputes it


def test_predictors_that_read_gains_do_not_read_those_of_their_target() -> None:
    scores, gains = matrix("metric_scores"), matrix("relative_improvement_percent")
    changed = gains.values.copy()
    changed[:, 0] = changed[::-1, 0]
    tasks = dict.fromkeys(scores.sources, "one")
    factors = {"question_similarity": scores.values**2, "source_perplexity": 1 / scores.values}
    held = TransferMatrix(scores.sources, scores.targets, scores.values, factors)
    before, after = (
        predict(Context(scores.sources, scores.targets, held, each, tasks)) for each in (gains.values, changed)
    )
    assert {"M as published", "same task", "random", "source term of M", "calibrated off the diagonal"} <= before.keys()
    assert "multimodal gain" not in before  # it takes measurements of samples
    for name, found in before.items():
        np.testing.assert_array_equal(found[:, 0], after[name][:, 0], err_msg=name)


def _measured(direction: list[float], gradient: list[float], nll: float) -> Measured:
    """Two samples of one direction."""
    rows = np.tile(np.array(direction), (2, 1))
    numbers = {"nll": np.full(2, nll), "blind_nll": np.full(2, 1.0), "n_tokens": np.full(2, 3)}
    return Measured(["a", "b"], **numbers, question=rows, answer=rows, image=rows, gradient=np.array(gradient))


_BY_HAND = ("consensus of gradients (backward)", "alignment of all sources", "M with PPL(s) near the target's")


def test_consensus_alignment_and_difficulty_by_hand() -> None:
    near = [[1.0, 0.1, 0.0], [1.0, -0.1, 0.0], [0.0, 0.2, 1.0]]
    gradients = [[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]
    trains = [_measured(*pair, nll) for *pair, nll in zip(near, gradients, (0.5, 1.0, 2.0), strict=True)]
    tests = [_measured([1.0, 0.0, 0.1], gradient, 1.0) for gradient in ([1.0, 0.2], [0.2, 1.0], [0.1, 1.0])]
    names = ["a", "b", "c"]
    ppl = np.exp([[0.5], [1.0], [2.0]])
    factors = {
        "source_perplexity": np.repeat(ppl, 3, axis=1),
        "inverse_target_perplexity": np.exp(-1) * np.ones((3, 3)),
        **{f"{name}_similarity": 1.0 + np.eye(3) for name in ("question", "answer", "image")},
    }
    held = TransferMatrix(names, names, 1.0 + np.arange(9.0).reshape(3, 3), factors)
    context = Context(names, names, held, np.zeros((3, 3)), dict.fromkeys(names, "one"), trains, tests)
    found = {name: function(context) for name, function in PREDICTORS.items() if name in _BY_HAND}
    votes = found["consensus of gradients (backward)"][:, 0]
    assert np.floor(votes + 0.1).tolist() == [1, 2, 0]  # the first target votes for a, the others for b
    assert found["alignment of all sources"][:, 0].argmin() == 2  # it has nobody beside it
    expected = held.values / ppl * np.exp(-np.abs([[0.5 - 1], [0], [2 - 1]]))
    np.testing.assert_allclose(found["M with PPL(s) near the target's"], expected, rtol=1e-9)
