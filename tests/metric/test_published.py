"""The published figures: what recomputing them gives, and that the README beside them says the same."""

from __future__ import annotations

import re

import numpy as np
import pytest

from dataprophet.errors import DataError
from dataprophet.metric import published


@pytest.fixture(scope="module")
def findings():
    return published.findings()


@pytest.mark.parametrize(
    ("name", "tau_target", "tau_source"),
    [("tau_b", 0.8641, 0.1301), ("tau_a", 0.8312, 0.1264), ("tau_b_off_diagonal", 0.8406, -0.0169)],
)
def test_taus(findings, name, tau_target, tau_source):
    assert round(findings[name]["tau_target"], 4) == tau_target
    assert round(findings[name]["tau_source"], 4) == tau_source


def test_only_the_target_tau_reproduces_what_is_printed(findings):
    printed = findings["tau_printed"]
    assert abs(findings["tau_b"]["tau_target"] - printed["tau_target"]) < 0.002
    assert printed["tau_source"] - findings["tau_b"]["tau_source"] > 0.7


def test_scores_obey_the_formula_to_within_rounding(findings):
    assert round(findings["additive_residual"], 4) == 0.0080
    rounding = findings["rounding_residual"]
    assert round(rounding["mean"], 4) == 0.0077
    assert rounding["low"] < findings["additive_residual"] < 0.0082 < rounding["high"]


def test_additive_residual_sees_a_score_that_breaks_the_formula():
    similarity = np.array([[1.0, 0.5, 0.4], [0.5, 1.0, 0.3], [0.4, 0.3, 1.0]])
    scores = similarity * np.array([[2.0], [3.0], [5.0]]) / np.array([2.0, 3.0, 5.0])
    assert published.additive_residual(scores) < 1e-14  # rounding alone
    scores[0, 1] *= 1.1
    assert published.additive_residual(scores) > 0.01


def test_selection_averages(findings):
    columns = ["real_uniform", "real_icons", "real_oracle", "real_dataprophet"]
    assert [round(findings["selection_averages"][name], 1) for name in columns] == [68.6, 69.7, 70.9, 71.3]
    assert [findings["selection_averages_printed"][name] for name in columns] == [67.6, 69.6, 70.8, 71.0]


@pytest.mark.parametrize("name", published.NAMES)
def test_every_table_is_there(name):
    assert published.path(name).read_text(encoding="utf-8").count("\n") > 5
    assert published.path(f"{name}.csv") == published.path(name)


def test_unknown_table():
    with pytest.raises(DataError, match=r"no published table 'scores'.*metric_scores"):
        published.path("scores")


def test_readme_states_the_recomputed_numbers(findings):
    readme = published.path("ablation").with_name("README.md").read_text(encoding="utf-8")
    numbers = set(re.findall(r"-?\d+\.\d+", readme))
    expected = [
        f"{value:.4f}" for name in ("tau_b", "tau_a", "tau_b_off_diagonal") for value in findings[name].values()
    ]
    expected += [f"{findings['additive_residual']:.4f}"]
    expected += [f"{value:.4f}" for value in findings["rounding_residual"].values()]
    expected += [f"{value:.1f}" for value in findings["selection_averages"].values()]
    expected += [f"{value:.1f}" for value in findings["selection_averages_printed"].values()]
    assert not set(expected) - numbers
