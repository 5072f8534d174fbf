"""Exponents fitted to gains, against an augmented least-squares problem solved by NumPy, and the score they make."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import sample_features

import dataprophet as dp
from dataprophet.cli import main
from dataprophet.errors import MetricError
from dataprophet.metric.calibration import SHRINKAGES, calibrate, read_weights, weighted
from dataprophet.metric.factors import FACTORS
from dataprophet.metric.matrix import TransferMatrix
from dataprophet.profiling.profile import Profile

NAMES = [f"d{number}" for number in range(7)]


def scores_of(seed: int = 0, spread: float = 0.3) -> TransferMatrix:
    """Seven sources by five targets; PPL(s) and Sil+H belong to the source, 1/PPL(t) to the target."""
    rng = np.random.default_rng(seed)
    factors = {name: np.exp(spread * rng.normal(size=(7, 5))) for name in list(FACTORS)[:3]}
    factors |= {name: np.exp(spread * rng.normal(size=(7, 1))) * np.ones((1, 5)) for name in list(FACTORS)[3:5]}
    factors["inverse_target_perplexity"] = np.exp(spread * rng.normal(size=(1, 5))) * np.ones((7, 1))
    return TransferMatrix(NAMES, NAMES[:5], np.prod(list(factors.values()), axis=0), factors)


def gains_of(scores: TransferMatrix, exponents: list[float], noise: float = 0.0) -> TransferMatrix:
    rng, targets = np.random.default_rng(1), len(scores.targets)
    logs = sum(e * np.log(part) for e, part in zip(exponents, scores.factors.values(), strict=True))
    values = 4 * logs + rng.normal(size=(1, targets)) + noise * rng.normal(size=logs.shape)
    return TransferMatrix(scores.sources, scores.targets, values)


def reference(scores: TransferMatrix, gains: TransferMatrix, shrinkage: float, scale: float, left_out: int = -1):
    """|y - X w|^2 + shrinkage sum n_f (w_f - 1)^2 as a taller least-squares problem; and its X and y."""
    logs, kept = np.array([np.log(part) for part in scores.factors.values()]), [j for j in range(5) if j != left_out]
    x = np.concatenate([(logs[:, :, j] - logs[:, :, j].mean(1, keepdims=True)).T for j in kept])
    y = np.concatenate([gains.values[:, j] - gains.values[:, j].mean() for j in kept]) * scale
    penalty = np.sqrt(shrinkage * (x**2).sum(0))
    penalty[-1] = 1.0  # 1/PPL(t): a column of zeros, held at 1
    tall = np.linalg.lstsq(np.vstack([x, np.diag(penalty)]), np.concatenate([y, penalty]), rcond=None)[0]
    return tall, x, y


def test_weights_are_those_of_an_augmented_least_squares_problem() -> None:
    scores = scores_of()
    gains = gains_of(scores, [2, 0.5, 1, -0.5, 1, 1], noise=0.5)
    found = calibrate(scores, gains)
    _, x, y = reference(scores, gains, 1.0, 1.0)
    scale = x.sum(1).std() / y.std()
    expected = reference(scores, gains, found.shrinkage, scale)[0]
    np.testing.assert_allclose(list(found.weights.values()), expected, rtol=1e-9)
    errors = []
    for shrinkage in SHRINKAGES[:-1]:
        parts = []
        for j in range(5):
            own = reference(scores, gains, shrinkage, scale, left_out=j)[0]
            centred = np.log(np.array([part[:, j] for part in scores.factors.values()])).T
            gain = (gains.values[:, j] - gains.values[:, j].mean()) * scale
            parts.append(gain - (centred - centred.mean(0)) @ own)
        errors.append(float((np.array(parts) ** 2).mean()))
    assert found.shrinkage == SHRINKAGES[int(np.argmin(errors))]
    assert found.weights["inverse_target_perplexity"] == 1


def test_what_orders_the_gains_is_found_and_holds_on_targets_left_out() -> None:
    scores = scores_of()
    found = calibrate(scores, gains_of(scores, [1, 1, 1, -2, 1, 1]))
    assert found.weights["source_perplexity"] < -0.5
    assert found.tau_left_out > 0.95  # the least shrinkage leaves a trace
    assert found.tau < 0.6
    assert found.error_left_out < 0.2 < found.error


def test_gains_that_follow_the_published_score_leave_it_as_it_is() -> None:
    scores = scores_of()
    found = calibrate(scores, gains_of(scores, [1] * 6))
    assert found.shrinkage == math.inf
    assert set(found.weights.values()) == {1.0}
    assert (found.tau, found.tau_left_out) == (1.0, 1.0)
    assert found.to_json()["shrinkage"] is None


def test_a_target_has_no_part_in_its_own_score() -> None:
    scores = scores_of()
    gains = gains_of(scores, [2, 0.5, 1, -0.5, 1, 1], noise=0.5)
    turned = TransferMatrix(gains.sources, gains.targets, gains.values.copy())
    turned.values[:, 0] *= -1  # the same spread; the taus of target d0 turn round, whatever the weights are
    before, after = (calibrate(scores, each).per_target["d0"]["tau_left_out"] for each in (gains, turned))
    assert before == pytest.approx(-after)
    for noise in range(1, 12):  # nor has the size of its gains, however large
        noisy = gains_of(scores, [2, 0.5, 1, -0.5, 1, 1], noise=noise)
        larger = TransferMatrix(noisy.sources, noisy.targets, noisy.values * np.array([1e4, 1, 1, 1, 1]))
        first, second = (calibrate(scores, each).per_target["d0"]["tau_left_out"] for each in (noisy, larger))
        assert first == pytest.approx(second)


def test_gains_that_are_missing_or_on_the_diagonal_are_left_out() -> None:
    scores = scores_of()
    gains = gains_of(scores, [2, 0.5, 1, -0.5, 1, 1], noise=0.5)
    for j in range(5):
        gains.values[j, j] = 1e6
    gains.values[6] = np.nan
    found = calibrate(scores, gains, diagonal=False)
    kept = TransferMatrix(NAMES[:6], gains.targets, np.where(np.eye(6, 5) > 0, np.nan, gains.values[:6]))
    assert found.weights == calibrate(scores, kept).weights
    assert (found.gains, found.diagonal) == (25, False)


def test_a_weighted_matrix_is_the_product_of_powers() -> None:
    profiles = []
    for seed, name in enumerate("abc"):
        profile = Profile.empty(name, "m", {}, clusters=2)
        profile.update(sample_features.make_features(90, seed=seed))
        profiles.append(profile)
    plain = dp.transfer_matrix(profiles, profiles[:2])
    weights = {"source_perplexity": 0.5, "question_similarity": 2}
    made = dp.transfer_matrix(profiles, profiles[:2], weights=weights)
    exponents = [weights.get(name, 1) for name in plain.factors]
    powers = [part**e for part, e in zip(plain.factors.values(), exponents, strict=True)]
    np.testing.assert_allclose(made.values, np.prod(powers, axis=0), rtol=1e-12)
    assert next(iter(made.factors)) == "question_similarity^2"
    assert "source_perplexity^0.5" in made.factors
    np.testing.assert_allclose(
        made.errors["source_perplexity^0.5"] / made.factors["source_perplexity^0.5"],
        0.5 * plain.errors["source_perplexity"] / plain.factors["source_perplexity"],
    )
    assert dp.transfer_matrix(profiles, profiles[:2], weights={}) == plain


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda s, g: (TransferMatrix(s.sources, s.targets, s.values), g), "holds no factors"),
        (lambda s, g: (s, TransferMatrix(g.sources, g.targets[:2], g.values[:, :2])), "2 targets have gains"),
        (lambda s, g: (s, TransferMatrix(g.sources, g.targets, np.ones_like(g.values))), "0 targets have gains"),
    ],
)
def test_what_cannot_be_calibrated_is_refused(change, what: str) -> None:
    scores = scores_of()
    with pytest.raises(MetricError, match=what):
        calibrate(*change(scores, gains_of(scores, [1] * 6)))


def test_weights_of_no_factor_and_files_without_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MetricError, match="no factor 'perplexity'"):
        weighted(scores_of(), {"perplexity": 2})
    with pytest.raises(MetricError, match="one is not finite"):
        weighted(scores_of(), {"diversity": math.nan})
    for text in ("[]", "{}", "{", '{"weights": {"diversity": "2"}}'):
        (tmp_path / "w.json").write_text(text)
        with pytest.raises(MetricError, match=r"w\.json"):
            read_weights(tmp_path / "w.json")


def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    scores = scores_of()
    scores.to_csv("scores.csv")
    gains_of(scores, [1, 1, 1, -2, 1, 1]).to_csv("gains.csv")
    assert main(["calibrate", "scores.csv", "gains.csv", "--out", "weights.json"]) == 0
    printed = capsys.readouterr().out
    assert "targets left out are ranked better than by the published metric" in printed
    held = json.loads(Path("weights.json").read_text())
    assert read_weights("weights.json") == held["weights"]
    assert f"{held['weights']['source_perplexity']:.3f}" in printed
    assert main(["calibrate", "scores.csv", "gains.csv", "--out", "scores.csv"]) == 1
    assert "is not overwritten" in capsys.readouterr().err
