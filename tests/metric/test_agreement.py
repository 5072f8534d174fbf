"""Kendall's tau of two matrices: against SciPy, against the pair-by-pair definition, and matching by name."""

from __future__ import annotations

import itertools
import math
from collections import namedtuple
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from dataprophet.errors import MetricError
from dataprophet.metric import published
from dataprophet.metric.agreement import kendall_tau

Matrix = namedtuple("Matrix", ["sources", "targets", "values"])


@pytest.fixture(scope="module")
def metric():
    return published.matrix("metric_scores")


@pytest.fixture(scope="module")
def measured():
    return published.matrix("relative_improvement_percent")


@st.composite
def matrix_pairs(draw):
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=7))
    values = st.one_of(st.integers(-2, 2).map(float), st.floats(-1e6, 1e6))
    return draw(hnp.arrays(np.float64, shape, elements=values)), draw(hnp.arrays(np.float64, shape, elements=values))


def varies(*arrays):
    return all((np.ptp(a, axis=0) > 0).all() and (np.ptp(a, axis=1) > 0).all() for a in arrays)


@given(matrix_pairs().filter(lambda pair: varies(*pair)))
def test_tau_b_equals_scipy(pair):
    x, y = pair
    result = kendall_tau(x, y)
    per_target = [stats.kendalltau(x[:, j], y[:, j]).statistic for j in range(x.shape[1])]
    per_source = [stats.kendalltau(x[i], y[i]).statistic for i in range(x.shape[0])]
    assert list(result.per_target.values()) == pytest.approx(per_target, abs=1e-12)
    assert list(result.per_source.values()) == pytest.approx(per_source, abs=1e-12)
    assert result.tau_target == pytest.approx(np.mean(per_target), abs=1e-12)
    assert result.tau_source == pytest.approx(np.mean(per_source), abs=1e-12)
    assert result.tau == pytest.approx((result.tau_target + result.tau_source) / 2, abs=1e-12)


@given(matrix_pairs())
def test_tau_a_equals_its_definition(pair):
    x, y = pair
    result = kendall_tau(x, y, variant="a")
    for j, tau in enumerate(result.per_target.values()):
        pairs = list(itertools.combinations(range(len(x)), 2))
        products = [np.sign(x[a, j] - x[b, j]) * np.sign(y[a, j] - y[b, j]) for a, b in pairs]
        assert tau == pytest.approx(sum(products) / len(pairs), abs=1e-12)


def test_matches_by_name_not_by_place(metric, measured):
    rows, columns = list(range(14))[::-1], [*range(7, 14), *range(7)]
    moved = Matrix(
        [measured.sources[i] for i in rows],
        [measured.targets[j] for j in columns],
        measured.values[np.ix_(rows, columns)],
    )
    for variant in ("a", "b"):
        result = kendall_tau(metric, measured, variant)
        assert kendall_tau(metric, moved, variant) == result
        assert result.variant == variant
        assert set(asdict(result)) == {"tau", "tau_target", "tau_source", "per_target", "per_source", "variant"}


def test_tables_of_pandas_are_matched_by_their_labels(metric, measured):
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(measured.values, measured.sources, measured.targets)
    assert kendall_tau(metric.to_pandas(), frame.iloc[::-1, ::-1]) == kendall_tau(metric, measured)


def test_without_the_diagonal_its_cells_do_not_matter(metric, measured):
    spoiled = metric.values.copy()
    np.fill_diagonal(spoiled, math.nan)
    result = kendall_tau(Matrix(metric.sources, metric.targets, spoiled), measured, diagonal=False)
    assert result == kendall_tau(metric, measured, diagonal=False)
    for j, name in enumerate(metric.targets):
        keep = np.arange(14) != j
        expected = stats.kendalltau(metric.values[keep, j], measured.values[keep, j]).statistic
        assert result.per_target[name] == pytest.approx(expected, abs=1e-12)


def test_identical_and_reversed_rankings():
    x = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 6.0]])
    assert kendall_tau(x, x).tau == 1.0
    assert kendall_tau(x, -x).tau == -1.0


def grid(sources="ab", targets="xy", values=((1.0, 2.0), (4.0, 3.0))):
    return Matrix(list(sources), list(targets), np.array(values))


@pytest.mark.parametrize(
    ("predicted", "observed", "options", "parts"),
    [
        (grid(), grid(sources="ac"), {}, ["observed: missing source 'b' and extra source 'c'"]),
        (grid(), grid("ab", "xyz", [[1.0, 2, 3], [3, 2, 1]]), {}, ["extra target 'z'"]),
        (grid("ab", "xyz", [[1.0, 2, 3], [3, 2, 1]]), grid(), {}, ["missing target 'z'"]),
        (grid(values=[[1, math.nan], [2, 3]]), grid(), {}, ["predicted", "source 'a', target 'y' is nan"]),
        (grid(), grid(values=[[1, 2], [2, math.inf]]), {}, ["observed", "source 'b', target 'y' is inf"]),
        (grid("a", "xy", [[1.0, 2.0]]), grid(), {}, ["predicted: 1 source,", "at least 2"]),
        (grid("ab", "x", [[1.0], [2.0]]), grid(), {}, ["predicted: 1 target,", "at least 2"]),
        (grid(sources="aa"), grid(), {}, ["predicted: source 'a' occurs more than once"]),
        (grid(), grid(targets="xx"), {}, ["observed: target 'x' occurs more than once"]),
        (grid(sources="abc"), grid(), {}, ["predicted: values has shape (2, 2), expected (3, 2)"]),
        (grid(values=[[1, 2], [1, 3]]), grid(), {}, ["predicted: all values of target 'x' are equal", "variant 'a'"]),
        (grid(), grid(values=[[1, 1], [2, 3]]), {}, ["observed: all values of source 'a' are equal"]),
        (grid(targets="ab"), grid(targets="ab"), {"diagonal": False}, ["target 'a' has fewer than 2 cells"]),
        (grid(), grid(), {"variant": "c"}, ["unknown variant 'c'"]),
        (np.ones(3), np.ones(3), {}, ["predicted: expected 2 dimensions, got shape (3,)"]),
        (grid(), np.ones((2, 2)), {}, ["missing source 'a', 'b' and extra source '0', '1'"]),
    ],
)
def test_bad_input_is_refused_on_one_line(predicted, observed, options, parts):
    with pytest.raises(MetricError) as caught:
        kendall_tau(predicted, observed, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.where
    assert caught.value.fix
    assert all(part in message for part in parts), message


def test_tau_a_of_a_constant_column_is_zero():
    result = kendall_tau(grid(values=[[1, 2], [1, 3]]), grid(), variant="a")
    assert result.per_target["x"] == 0.0
