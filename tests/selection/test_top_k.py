"""The best k of an array, against a plain sort, and the streaming top k, against `select` on the whole array."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprophet.errors import BudgetError, MetricError
from dataprophet.selection import select, top_k
from dataprophet.selection.top_k import top_rows

FEW = [0.0, -0.0, 1.0, 2.0, math.inf, -math.inf]
SCORES = st.one_of(st.sampled_from(FEW), st.floats(allow_nan=False))
STREAMED = st.one_of(st.sampled_from([*FEW, math.nan]), st.floats(width=32))


@st.composite
def pools(draw):
    scores = draw(st.lists(SCORES, max_size=30))
    ids = draw(st.lists(st.text(max_size=3), min_size=len(scores), max_size=len(scores)))
    return scores, ids, draw(st.integers(0, len(scores)))


@given(pools())
def test_equals_a_plain_sort(pool):
    scores, ids, k = pool
    by_id = sorted(range(len(scores)), key=lambda row: (-scores[row], ids[row], row))
    by_row = sorted(range(len(scores)), key=lambda row: (-scores[row], row))
    assert select(np.array(scores, dtype=np.float64), k, ids=ids).tolist() == by_id[:k]
    assert select(np.array(scores, dtype=np.float64), k).tolist() == by_row[:k]


@given(pools(), st.randoms(use_true_random=False))
def test_order_of_the_pool_does_not_matter(pool, random):
    scores, _, k = pool
    ids = [f"sample-{row}" for row in range(len(scores))]
    order = list(range(len(scores)))
    random.shuffle(order)
    chosen = [ids[row] for row in select(np.array(scores, dtype=np.float64), k, ids=ids)]
    moved = [ids[row] for row in order]
    again = select(np.array([scores[row] for row in order], dtype=np.float64), k, ids=moved)
    assert [moved[row] for row in again] == chosen


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8, np.int64])
def test_every_dtype(dtype):
    chosen = select(np.array([1, 3, 2, 3], dtype=dtype), 3)
    assert chosen.tolist() == [1, 3, 2]
    assert chosen.dtype == np.int64


def test_large_integers_keep_their_order():
    assert select(np.array([2**62, 2**62 + 1], dtype=np.int64), 1).tolist() == [1]


def test_torch_and_dlpack():
    torch = pytest.importorskip("torch")

    class OnlyDlpack:
        def __init__(self, array):
            self.array = array

        def __dlpack__(self, **options):
            return self.array.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.array.__dlpack_device__()

    assert select(torch.tensor([1.0, 3.0, 2.0], dtype=torch.bfloat16, requires_grad=True), 2).tolist() == [1, 2]
    assert select(torch.tensor([1 + 1j, 1 + 3j, 1 + 2j]).conj().imag, 1).tolist() == [0]  # a lazily negated view
    assert select(OnlyDlpack(np.array([1.0, 3.0, 2.0])), 2).tolist() == [1, 2]


def test_ids_of_every_kind_sort_as_text():
    scores = np.ones(3)
    assert select(scores, 3, ids=[10, 9, 1]).tolist() == [2, 0, 1]
    assert select(scores, 3, ids=np.array([b"b", b"a", b"c"])).tolist() == [1, 0, 2]
    assert select(scores, 2, ids=["same", "same", "a"]).tolist() == [2, 0]


def test_threshold_only_limits_what_may_be_chosen():
    scores = np.array([0.1, 0.9, 0.5])
    assert select(scores, 2, threshold=0.5).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("scores", "k", "options", "error", "parts"),
    [
        ([1.0, math.nan], 1, {}, MetricError, ["row 1: the score is NaN"]),
        ([1.0, math.nan], 1, {"ids": ["a", "b"]}, MetricError, ["row 1 (id 'b')"]),
        ([1.0, 2.0], 3, {}, BudgetError, ["3 samples asked of 2"]),
        ([1.0, 2.0], -1, {}, BudgetError, ["k: -1 "]),
        ([1.0, 2.0], 0.5, {}, BudgetError, ["k: 0.5 "]),
        ([1.0, 2.0], "1", {}, BudgetError, ["k: '1' "]),
        ([1.0, 2.0], 1, {"ids": ["a"]}, MetricError, ["1 ids for 2 scores"]),
        ([1.0, 2.0], 2, {"threshold": 1.5}, BudgetError, ["1 of 2 score at least 1.5"]),
        ([1.0, 2.0], 2, {"threshold": math.nan}, BudgetError, ["threshold: it is NaN"]),
        ([[1.0], [2.0]], 1, {}, MetricError, ["expected 1 dimension, got shape (2, 1)"]),
        ([[1.0], [2.0, 3.0]], 1, {}, MetricError, ["expected an array, got list"]),
        ([True, False], 1, {}, MetricError, ["got dtype bool"]),
    ],
)
def test_bad_input_is_refused_on_one_line(scores, k, options, error, parts):
    with pytest.raises(error) as caught:
        select(scores, k, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert caught.value.where
    assert caught.value.fix
    assert all(part in message for part in parts), message


@st.composite
def streams(draw):
    scores = draw(st.lists(STREAMED, max_size=60))
    ids = draw(st.lists(st.text(max_size=2), min_size=len(scores), max_size=len(scores)))
    edges = sorted(draw(st.lists(st.integers(0, len(scores)), max_size=6)))
    return scores, ids, [0, *edges, len(scores)], draw(st.integers(0, len(scores) + 2))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(stream=streams(), least=st.sampled_from([0, 1, 5, 1 << 16]))
def test_equals_select_on_the_whole(dtype, stream, least):
    scores, ids, edges, k = stream
    values = np.array(scores, dtype)
    parts = list(pairwise(edges))

    def keys(number, rows):
        return pa.table({"id": [ids[parts[number][0] + row] for row in rows]})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(top_k, "_LEAST", least)  # small, so that pruning happens in small streams too
        rows, found = top_rows(lambda: (values[start:stop] for start, stop in parts), k, keys)
    good = np.flatnonzero(~np.isnan(values))
    expected = good[select(values[good], min(k, len(good)), ids=[ids[row] for row in good])]
    assert rows.tolist() == sorted(expected.tolist())
    assert found.tolist() == values[rows].tolist()


def test_ids_are_asked_for_only_where_the_last_places_are_contested():
    values = np.array([3.0, 1.0, 2.0, 1.0])

    def refuse(number, rows):
        raise AssertionError("no tie has to be broken")

    assert top_rows(lambda: [values[:2], values[2:]], 2, refuse)[0].tolist() == [0, 2]
    assert top_rows(lambda: [values[:2], values[2:]], 4, refuse)[0].tolist() == [0, 1, 2, 3]
