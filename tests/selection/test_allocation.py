"""Exact allocation: the sum, the bounds, the proportions, and the refusal of what cannot be met."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprophet.errors import BudgetError
from dataprophet.selection.allocation import allocate

WEIGHTS = st.lists(st.floats(0, 1e300, allow_subnormal=True), min_size=1, max_size=12).filter(any)
BUDGETS = st.integers(0, 10**15)


@st.composite
def bounded_problems(draw):
    """Draw weights, bounds and a budget that some allocation meets."""
    small = st.integers(0, 40)
    n = draw(st.integers(1, 8))
    weights = draw(st.lists(st.one_of(st.just(1.0), st.floats(1e-3, 1e3)), min_size=n, max_size=n))
    lower = draw(st.lists(small, min_size=n, max_size=n))
    upper = [low + extra for low, extra in zip(lower, draw(st.lists(small, min_size=n, max_size=n)), strict=True)]
    return weights, draw(st.integers(sum(lower), sum(upper))), lower, upper


@given(WEIGHTS, BUDGETS)
def test_sums_exactly_and_stays_within_one_of_proportional(weights, budget):
    shares = allocate(weights, budget)
    exact = [Fraction(w) * budget / sum(map(Fraction, weights)) for w in weights]
    assert shares.dtype == np.int64
    assert sum(shares.tolist()) == budget
    assert all(abs(share - x) < 1 for share, x in zip(shares.tolist(), exact, strict=True))


@given(WEIGHTS, BUDGETS)
def test_a_larger_weight_never_gets_less(weights, budget):
    shares = allocate(weights, budget)
    # among equal weights the lower index may get one more, so it comes later here
    by_weight = sorted((weight, -i, share) for i, (weight, share) in enumerate(zip(weights, shares, strict=True)))
    assert all(first[2] <= second[2] for first, second in itertools.pairwise(by_weight))


@given(bounded_problems())
def test_bounds_hold_and_one_level_explains_every_share(problem):
    weights, budget, lower, upper = problem
    shares = allocate(weights, budget, capacity=upper, minimum=lower).tolist()
    assert sum(shares) == budget
    assert all(low <= share <= high for low, share, high in zip(lower, shares, upper, strict=True))
    # a level with clip(level * w, lower, upper) within one sample of every share: its range is an intersection
    least, most = Fraction(0), None
    for weight, share, low, high in zip(map(Fraction, weights), shares, lower, upper, strict=True):
        if share > low:
            least = max(least, (share - 1) / weight)
        if share < high:
            most = (share + 1) / weight if most is None else min(most, (share + 1) / weight)
    assert most is None or least <= most


@given(bounded_problems())
def test_unrounded_water_level_is_a_fixed_point(problem):
    weights, budget, lower, upper = problem
    scale = 2**20  # with everything this much larger, rounding is negligible against the shares
    shares = allocate(
        weights, budget * scale, capacity=[high * scale for high in upper], minimum=[low * scale for low in lower]
    )
    inside = [
        Fraction(int(share)) / Fraction(weight)
        for weight, share, low, high in zip(weights, shares, lower, upper, strict=True)
        if low * scale < share < high * scale
    ]
    if inside:
        level = sum(inside) / len(inside)
        refilled = [
            min(max(level * Fraction(w), low * scale), high * scale)
            for w, low, high in zip(weights, lower, upper, strict=True)
        ]
        slack = 2 * max(weights) / min(weights)
        assert all(abs(x - int(share)) <= slack for x, share in zip(refilled, shares, strict=True))


@given(bounded_problems(), st.integers(-300, 300))
def test_scaling_the_weights_changes_nothing(problem, power):
    weights, budget, lower, upper = problem
    scaled = [math.ldexp(w, power) for w in weights]
    one = allocate(weights, budget, capacity=upper, minimum=lower)
    assert one.tolist() == allocate(scaled, budget, capacity=upper, minimum=lower).tolist()


@given(bounded_problems(), st.randoms(use_true_random=False))
def test_order_of_sources_matters_only_between_ties(problem, random):
    weights, budget, lower, upper = problem
    order = list(range(len(weights)))
    random.shuffle(order)
    shares = allocate(weights, budget, capacity=upper, minimum=lower)
    moved = allocate(
        [weights[i] for i in order], budget, capacity=[upper[i] for i in order], minimum=[lower[i] for i in order]
    )
    back = np.empty_like(moved)
    back[order] = moved
    assert np.abs(back - shares).max() <= 1
    if all(low < share < high for low, share, high in zip(lower, shares, upper, strict=True)):
        remainders = [budget * Fraction(weight) / sum(map(Fraction, weights)) % 1 for weight in weights]
        if len(set(remainders)) == len(remainders):
            assert back.tolist() == shares.tolist()


@pytest.mark.parametrize(
    ("weights", "budget", "bounds", "expected"),
    [
        ([1, 1, 1], 10, {}, [4, 3, 3]),
        ([1, 1, 1, 1], 2, {}, [1, 1, 0, 0]),
        ([0.5, 0.3, 0.2], 10, {}, [5, 3, 2]),
        ([0, 1], 5, {}, [0, 5]),
        ([0, 0], 0, {}, [0, 0]),
        ([3], 7, {}, [7]),
        ([8, 1, 1], 10, {"capacity": [4, 9, 9]}, [4, 3, 3]),
        ([8, 1, 1], 10, {"capacity": [4, None, math.inf]}, [4, 3, 3]),
        ([8, 1, 1], 10, {"minimum": 2}, [6, 2, 2]),
        ([8, 1, 1], 12, {"capacity": [5, 5, 2], "minimum": [0, 0, 2]}, [5, 5, 2]),
        ([0, 1], 5, {"minimum": [2, 0]}, [2, 3]),
        ([1, 1], 2**63 - 1, {}, [2**62, 2**62 - 1]),
        ([2**62 + 1, 2**62 - 1], 2**62, {}, [2**61 + 1, 2**61 - 1]),
        ([5e-324, 1.5e-323], 8, {}, [2, 6]),
    ],
)
def test_known_allocations(weights, budget, bounds, expected):
    assert allocate(weights, budget, **bounds).tolist() == expected


def test_arrays_of_every_kind_give_the_same():
    torch = pytest.importorskip("torch")
    expected = [5, 3, 2]
    assert allocate(np.array([5, 3, 2], dtype=np.int32), 10).tolist() == expected
    assert allocate(np.array([5, 3, 2], dtype=np.float16), 10, capacity=np.array([9, 9, 9])).tolist() == expected
    assert allocate(torch.tensor([5.0, 3.0, 2.0], dtype=torch.bfloat16, requires_grad=True), 10).tolist() == expected


def test_ten_thousand_sources_with_bounds():
    rng = np.random.default_rng(0)
    weights = np.exp(rng.normal(0, 20, 10_000))
    lower = rng.integers(0, 10**10, 10_000)
    upper = lower + rng.integers(0, 10**12, 10_000)
    shares = allocate(weights, 10**15, capacity=upper, minimum=lower)
    assert shares.sum() == 10**15
    assert ((lower <= shares) & (shares <= upper)).all()


@pytest.mark.parametrize(
    ("weights", "budget", "options", "parts"),
    [
        ([], 1, {}, ["weights", "at least one weight"]),
        ([1.0, math.nan], 1, {"names": ["a", "b"]}, ["b: the weight is nan"]),
        ([1.0, math.inf], 1, {"names": ["a", "b"]}, ["b: the weight is inf"]),
        ([-1.0, 1.0], 1, {}, ["source 0: the weight is -1.0"]),
        ([0.0, 0.0], 1, {"names": ["a", "b"]}, ["every weight is 0", "a"]),
        ([1.0], -1, {}, ["budget: -1 "]),
        ([1.0], 1.5, {}, ["budget: 1.5 "]),
        ([1.0], math.nan, {}, ["budget: nan "]),
        ([1.0], "10", {}, ["budget: '10' "]),
        ([1.0], None, {}, ["budget: None "]),
        ([1.0], 2**63, {}, ["budget: 9223372036854775808 "]),
        ([1, 1], 9, {"minimum": [4, 6], "names": ["a", "b"]}, ["sum to 10", "budget 9", "b"]),
        ([1, 1], 9, {"minimum": [0, 10], "names": ["a", "b"]}, ["b: the minimum 10 is above the budget 9"]),
        ([1, 1], 9, {"minimum": [5, 0], "capacity": [4, 9], "names": ["a", "b"]}, ["a: the minimum 5", "capacity 4"]),
        ([1, 1], 9, {"capacity": [5, 3], "names": ["a", "b"]}, ["sum to 8", "budget 9", "b"]),
        ([1, 0], 9, {"capacity": 5, "names": ["a", "b"]}, ["can give 5", "b has weight 0"]),
        ([1, 1], 9, {"capacity": [5, -3], "names": ["a", "b"]}, ["capacity of b: -3"]),
        ([1, 1], 9, {"capacity": [5, math.nan], "names": ["a", "b"]}, ["capacity of b: nan"]),
        ([1, 1], 9, {"minimum": [0.5, 0]}, ["minimum of source 0: 0.5"]),
        ([1, 1], 9, {"minimum": math.inf}, ["minimum of source 0: inf"]),
        ([1, 1], 9, {"minimum": [1, 2, 3]}, ["minimum: 3 values for 2 sources"]),
        ([1, 1], 9, {"names": ["a"]}, ["1 names for 2 weights"]),
        ([[1, 1]], 9, {}, ["weights: expected 1 dimension"]),
        (["a", "b"], 9, {}, ["weights: expected real numbers"]),
    ],
)
def test_what_cannot_be_met_is_refused_on_one_line(weights, budget, options, parts):
    with pytest.raises(BudgetError) as caught:
        allocate(weights, budget, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.where
    assert caught.value.fix
    assert all(part in message for part in parts), message


def test_temperature_evens_or_sharpens_shares():
    weights = [1.0, 4.0, 16.0]
    assert allocate(weights, 700, temperature=2).tolist() == [100, 200, 400]  # square roots
    assert allocate(weights, 273, temperature=0.5).tolist() == [1, 16, 256]
    assert allocate(weights, 210, temperature=1).tolist() == allocate(weights, 210).tolist() == [10, 40, 160]
    assert allocate([0.0, 4.0, 16.0], 10, temperature=1e9).tolist() == [0, 5, 5]
    assert allocate([1e-300, 1e300], 10, temperature=0.1).tolist() == [0, 10]
    for wrong in (0, -1, math.inf, math.nan):
        with pytest.raises(BudgetError, match="temperature"):
            allocate(weights, 10, temperature=wrong)
