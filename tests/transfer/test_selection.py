"""The selection experiment: what strategies choose on pools made by hand, wrong answers, and runs from end to end."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from transfer import presets, run, selection
from transfer.agreement import interval
from transfer.cache import Cache
from transfer.exchange import exchanged
from transfer.learner import Measured
from transfer.strategies import STRATEGIES, Choice, choose

import dataprophet as dp
from dataprophet.data.sample import Sample

FIELDS = ("question", "answer", "image")


def test_answers_are_exchanged_between_a_tenth_of_the_rows() -> None:
    samples = [Sample(str(place), [], f"question {place}", f"answer {place % 7}") for place in range(200)]
    made = exchanged(samples, "name")
    assert len(made) == 20
    assert list(made) == sorted(made)
    assert Counter(made[place].answer for place in made) == Counter(samples[place].answer for place in made)
    for place, sample in made.items():
        assert sample.answer != samples[place].answer
        assert sample.question == samples[place].question
    assert made == exchanged(samples, "name")
    assert made.keys() != exchanged(samples, "another").keys()
    with pytest.raises(ValueError, match="too many rows have the same answer"):
        exchanged([Sample(str(place), [], "", "yes") for place in range(20)], "name")


def measured(name: str, count: int, seed: int) -> Measured:
    """Embeddings with a mean of their own, so that all similarities are positive."""
    rng = np.random.default_rng(seed)
    rows = {each: 3 + rng.normal(size=16) + rng.normal(size=(count, 16)) for each in FIELDS}
    numbers = {"nll": rng.uniform(0.1, 3, count), "blind_nll": np.ones(count), "n_tokens": np.full(count, 2)}
    return Measured([f"{name}/{place}" for place in range(count)], **numbers, **rows, gradient=np.empty(0))


@pytest.fixture
def at(tmp_path: Path) -> Choice:
    """A pool of three sources of 60, 40 and 50 rows."""
    parts = [measured(name, count, place) for place, (name, count) in enumerate(zip("abc", (60, 40, 50), strict=True))]
    return Choice(
        sources=list("abc"),
        owner=np.repeat([0, 1, 2], [60, 40, 50]),
        pool=Measured.joined(parts),
        target="t",
        test=measured("t", 30, 9),
        budget=45,
        seed=1,
        gains=np.array([-0.1, 0.3, 0.1]),
        cosines=np.random.default_rng(0).normal(size=(150, 4)),
        weights={"source_perplexity": 0.0},
        folder=tmp_path,
    )


def test_every_strategy_meets_the_budget_and_repeats(at: Choice, tmp_path: Path) -> None:
    found = choose(at)
    again = choose(Choice(**{**vars_of(at), "folder": tmp_path / "again"}))
    assert list(found) == list(STRATEGIES)
    for name, rows in found.items():
        assert len(set(rows.tolist())) == at.budget
        np.testing.assert_array_equal(rows, again[name], err_msg=name)
    other = choose(Choice(**{**vars_of(at), "folder": tmp_path / "other", "seed": 2}))
    differ = {name for name in found if not np.array_equal(found[name], other[name])}
    assert {"uniform", "mixture by M", "oracle (cheats)"} <= differ
    assert not {name for name in differ if name.startswith(("best rows", "consensus"))}


def vars_of(at: Choice) -> dict[str, object]:
    return {name: getattr(at, name) for name in Choice.__dataclass_fields__}


def test_the_oracle_takes_the_best_source_then_the_next(at: Choice) -> None:
    counts = np.bincount(at.owner[STRATEGIES["oracle (cheats)"](at)], minlength=3)
    assert counts.tolist() == [0, 40, 5]


def test_mixtures_are_in_proportion_to_the_scores(at: Choice) -> None:
    def counts(name: str) -> list[int]:
        return np.bincount(at.owner[STRATEGIES[name](at)], minlength=3).tolist()

    whole, plain = at.matrix.values[:, 0], at.matrix.without("source_perplexity").values[:, 0]
    assert counts("mixture by M") == dp.allocate(whole, 45, capacity=[60, 40, 50]).tolist()
    assert counts("mixture by M without PPL(s)") == dp.allocate(plain, 45, capacity=[60, 40, 50]).tolist()
    assert counts("mixture by calibrated M (gains)") == counts("mixture by M without PPL(s)") != counts("mixture by M")
    at.weights = None
    assert "mixture by calibrated M (gains)" not in choose(at)


def test_the_best_rows_are_those_of_the_definition(at: Choice) -> None:
    def unit(rows: np.ndarray) -> np.ndarray:
        return rows / np.linalg.norm(rows, axis=-1, keepdims=True)

    score = np.ones(150)
    for name in FIELDS:
        score *= unit(getattr(at.pool, name)) @ unit(getattr(at.test, name)).mean(0)
    by_m = score * np.exp(at.pool.nll)
    low, high = np.sort(at.pool.nll)[[7, 134]]  # of 150, the 7 of the least and the 15 of the largest are left out
    within = (at.pool.nll >= low) & (at.pool.nll <= high)
    at.pool.blind_nll = at.pool.nll + np.where(np.arange(150) % 4 == 0, 0.2, -0.1)  # 38 are helped, less than asked for
    expected = {
        "best rows by M": by_m,
        "best rows by M without PPL(s)": score,
        "best rows by M, quantiles": np.where(within, by_m, -1),
        "best rows by M, multimodal gain": by_m + 1e3 * (np.arange(150) % 4 == 0),
        "best rows by M without PPL(s), multimodal gain": score + 1e3 * (np.arange(150) % 4 == 0),
    }
    for name, each in expected.items():
        assert set(STRATEGIES[name](at)) == set(np.argsort(-each)[:45]), name


def test_rows_whose_neighbours_answer_otherwise_are_left_out(at: Choice) -> None:
    """Five kinds of question, each with its answer, but for a few rows."""
    rng, wrong = np.random.default_rng(0), np.arange(0, 150, 16)
    kinds = np.arange(150) % 5
    answers = np.where(np.isin(np.arange(150), wrong), (kinds + 1) % 5, kinds)
    for name, each in (("question", kinds), ("image", kinds), ("answer", answers)):
        setattr(at.pool, name, 1 + 4 * np.eye(16)[each] + 0.01 * rng.normal(size=(150, 16)))
    at.pool.nll[wrong] = 3.5  # wrong answers are the hardest
    assert set(wrong) <= set(STRATEGIES["best rows by M"](at))
    for name in ("best rows by M, consistent", "best rows by M without PPL(s), consistent"):
        assert not set(wrong) & set(STRATEGIES[name](at)), name


def test_the_consensus_is_of_most_votes(at: Choice) -> None:
    at.budget = 2
    at.cosines = np.full((150, 3), -1.0) + np.arange(150)[:, None] * 1e-4
    at.cosines[10] = 0.5, 0.5, 0.5
    at.cosines[20] = 0.9, 0.9, -1.0  # two votes
    at.cosines[30] = -1.0, -1.0, 0.99  # one
    assert sorted(STRATEGIES["consensus of gradients (backward)"](at)) == [10, 20]
    at.cosines = np.empty(0)
    assert STRATEGIES["consensus of gradients (backward)"](at) is None


def test_intervals_are_over_targets_and_seeds() -> None:
    assert interval(np.full((4, 3), 0.25)) == [0.25, 0.25, 0.25]
    mean, low, high = interval(np.repeat([[0.0], [1.0]], 3, axis=1))  # only targets differ
    assert (mean, low, high) == (0.5, 0.0, 1.0)


@pytest.mark.slow
def test_the_smoke_form_runs_resumes_and_repeats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, told = tmp_path / "results.json", []
    words = ["run.py", "--preset", "selection", "--smoke", "--seeds", "1", "--processes", "1", "--out", str(out)]
    for cache in ("one", "one", "two") if os.environ.get("SOAK") else ("one", "one"):
        monkeypatch.setattr(sys, "argv", [*words, "--cache", str(tmp_path / cache)])
        assert run.main() == 0
        told.append(json.loads(out.read_text(encoding="utf-8")))
    first, resumed, *again = told
    assert first == resumed
    assert all({**first, "fine_tuning_cpu_s": 0} == {**each, "fine_tuning_cpu_s": 0} for each in again)
    assert {"uniform", "best rows by M, consistent"} <= first["pools"]["clean"].keys()
    assert np.array(first["pools"]["exchanged"]["uniform"]["logprob"]["gains"]).shape == (4, 1)
    assert np.abs(first["pools"]["clean"]["uniform"]["logprob"]["gains"]).min() > 0
    assert all(each["wrong"] == 0 for each in first["pools"]["clean"].values())

    lab, cache = presets.miniature(presets.SMOKE), Cache(tmp_path / "one")
    learner = lab.learner(cache, "first")
    others, target = list(lab.sources[1:]), lab.sources[0]
    clean, wrong = (selection._drawn(lab, cache, learner, others, target, 0, pool) for pool in selection.POOLS)
    assert len(clean.rows) == 3 * 19  # four fifths of 24
    assert first["budget"] == 3 * 19 // selection.SHARE
    spoilt = np.array([split == "exchanged" for _, split, _ in wrong.rows])
    assert 0 < spoilt.sum() <= 3 * 2  # a tenth of 24 is 2, and some are not drawn
    for a, b, bad in zip(clean.rows, wrong.rows, spoilt, strict=True):
        asked = [learner.samples(name, split)[place] for name, split, place in (a, b)]
        assert asked[0].question == asked[1].question
        assert (asked[0].answer != asked[1].answer) == bad
    np.testing.assert_allclose(clean.pool.question, wrong.pool.question, atol=1e-4)  # other batches
    for a, b in ((clean.pool.answer, wrong.pool.answer), (clean.cosines, wrong.cosines)):
        np.testing.assert_array_equal(np.abs(a - b).max(1) > 1e-3, spoilt)
