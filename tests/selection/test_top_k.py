"""The streaming top k, against `select` on the whole array."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprophet.selection import select, top_k
from dataprophet.selection.quotas import exact_sum
from dataprophet.selection.top_k import top_rows

SCORES = st.one_of(st.sampled_from([0.0, -0.0, 1.0, 2.0, math.inf, -math.inf, math.nan]), st.floats(width=32))


@st.composite
def streams(draw):
    scores = draw(st.lists(SCORES, max_size=60))
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


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300), max_size=40))
def test_exact_sums(values):
    assert exact_sum(np.array(values)) == sum(map(Fraction, values))
