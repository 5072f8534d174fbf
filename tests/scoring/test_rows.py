"""Rows of a scored folder: their digest, the division into shards, the configuration, merged profiles."""

from __future__ import annotations

import dataclasses
from functools import reduce
from itertools import pairwise
from operator import add

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprophet import Features, Profile
from dataprophet.data.sample import Conversation, Problem, Turn
from dataprophet.errors import DataProphetError
from dataprophet.features.features import FIELDS
from dataprophet.profiling.sketch import Sketch, bound_of
from dataprophet.scoring.folder.config import RunConfig
from dataprophet.scoring.folder.rows import Lines, RowsDigest, table_of
from dataprophet.scoring.folder.shards import shards_of
from dataprophet.scoring.targets import SampleScores


def table(n=40):
    words = pa.array(["ok" if i % 3 else "decode_error" for i in range(n)]).dictionary_encode()
    texts = pa.array([None if i % 7 == 0 else "é" * (i % 5) for i in range(n)])
    numbers = pa.array([None if i % 4 == 0 else i / 3 for i in range(n)], pa.float32())
    return pa.table({"id": texts, "status": words, "M:t": numbers, "row": np.arange(n)})


def digest(rows, cuts):
    made = RowsDigest()
    edges = [0, *sorted(cuts), rows.num_rows]
    for start, stop in pairwise(edges):
        for batch in rows.slice(start, stop - start).to_batches():
            made.update(batch)
    return made.hexdigest()


@given(st.lists(st.integers(0, 40), max_size=5))
def test_the_digest_depends_on_the_rows_and_not_on_the_batches(cuts):
    assert digest(table(), cuts) == digest(table(), [])


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("id", ["x"] * 40),
        ("M:t", pa.array([0.0 if i % 4 == 0 else i / 3 for i in range(40)], pa.float32())),
        ("row", np.arange(40)[::-1].copy()),
    ],
)
def test_the_digest_sees_every_change(column, values):
    rows = table()
    changed = rows.set_column(rows.column_names.index(column), column, pa.array(values))
    assert digest(changed, []) != digest(rows, [])


def test_texts_that_run_together_have_another_digest():
    assert digest(pa.table({"id": ["ab", "c"]}), []) != digest(pa.table({"id": ["a", "bc"]}), [])


@given(st.integers(0, 50_000), st.integers(1, 9))
def test_shards_cover_every_row_once(rows, cells):
    shards = list(
        shards_of(0, {"name": "a.jsonl", "digest": "d", "rows": rows}, cells=cells, cell_rows=1024, config="c")
    )
    assert sum(shard.rows for shard in shards) == rows
    assert [shard.first for shard in shards[1:]] == [shard.last for shard in shards[:-1]]
    assert len({shard.key for shard in shards}) == len(shards)


def test_a_key_depends_on_name_content_cells_and_configuration():
    def key(name="a", digest="d", rows=10, config="c"):
        return next(
            shards_of(0, {"name": name, "digest": digest, "rows": rows}, cells=1, cell_rows=4, config=config)
        ).key

    assert len({key(), key(name="b"), key(digest="e"), key(config="f")}) == 4


def config(**changes):
    given = RunConfig(
        name="pool",
        kind="samples",
        pool={"path": "a"},
        model={"name": "demo"},
        fingerprint="f",
        settings={"dtype": "float32"},
        numbers={"threads": "1"},
        reading="r",
        targets=[{"name": "t", "fingerprint": "x"}],
        fields=list(FIELDS),
        sketch={"clusters": "10"},
    )
    return dataclasses.replace(given, **changes)


def test_a_configuration_may_move_but_not_change():
    assert RunConfig.from_json(config().to_json(), "out") == config()
    config(pool={"path": "b"}, model={"name": "elsewhere"}).require_same(config(), "out")
    with pytest.raises(DataProphetError, match=r"^out: .*another settings.dtype \(\"float32\", now \"bfloat16\"\)"):
        config(settings={"dtype": "bfloat16"}).require_same(config(), "out")
    with pytest.raises(DataProphetError, match=r"another number of rows in a shard \(8,192, now 2,048\)"):
        config(shard_cells=2).require_same(config(), "out")


def test_documents_of_other_kinds_are_no_configuration():
    with pytest.raises(DataProphetError, match="not a scored folder"):
        RunConfig.from_json({"format": "other"}, "out")
    with pytest.raises(DataProphetError, match=r"damaged run\.json"):
        RunConfig.from_json({"format": config().format, "colour": "red"}, "out")


def test_every_row_gives_a_line_and_turns_give_one_each():
    turns = (Turn("q1", "a1"), Turn("q2", "a2"))
    entries = [
        Conversation("one", (), turns[:1], "f.jsonl", 1),
        Problem("empty_answer", "the answer is empty", "fill it in", "f.jsonl", 4, "bad"),
        Conversation("two", (), turns, "f.jsonl", 5),
    ]
    lines = Lines.of(entries, 1024)
    lines.refuse(2, "too_long", "it is")
    scores = SampleScores({}, np.full((2, 1), np.nan, np.float32))
    nll, tokens = np.array([0.5, 0.25]), np.array([3, 4])
    rows = table_of(
        lines.columns("f.jsonl"), np.array([0, 1]), nll, tokens, scores=scores, nearest=None, targets=["t"]
    ).to_pylist()
    assert [(row["id"], row["position"], row["row"], row["turn"], row["status"]) for row in rows] == [
        ("one", 1024, 1, 1, "ok"),
        ("bad", 1025, 4, 0, "empty_answer"),
        ("two#1", 1026, 5, 1, "ok"),
        ("two#2", 1026, 5, 2, "too_long"),
    ]
    assert [row["mean_nll"] for row in rows] == [0.5, None, 0.25, None]
    assert [row["answer_tokens"] for row in rows] == [3, None, 4, None]
    assert [row["detail"] for row in rows] == [None, "the answer is empty", None, "it is"]
    assert {row["M:t"] for row in rows} == {None}


def features(rng, ids):
    embeddings = {name: rng.normal(size=(len(ids), 6)).astype(np.float32) for name in FIELDS}
    return Features(ids, rng.random(len(ids)), embeddings, n_tokens=np.ones(len(ids), np.int64))


def test_parts_of_a_large_pool_keep_no_more_than_the_whole_may_need():
    rng = np.random.default_rng(0)
    size, rows = 20, 3000
    parts = [features(rng, [f"{part}-{i}" for i in range(300)]) for part in range(10)]

    def partial(part, bound):
        made = Profile.empty("pool", "m", clusters=3, sketch_size=size)
        made.sketch = Sketch.empty(size, bound=bound)
        made.update(part)
        return made

    def empty():
        return Profile.empty("pool", "m", clusters=3, sketch_size=size)

    whole = sum([partial(part, None) for part in parts], empty())
    bound = bound_of(size, rows)
    bounded = [partial(part, bound) for part in parts]
    assert sum(len(part.sketch) for part in bounded) < 2 * (2 * size + 64)
    for some in (bounded, bounded[::-1], [partial(parts[0], None), *bounded[1:]]):
        made = sum(some, empty())
        assert made == whole
        assert made.sketch.bound is None
    # most rows are bad: the sketch is a smaller sample, the same in any order, and knows it
    few = bounded[:1]
    short = sum(few, empty())
    assert 0 < len(short.sketch) < size
    assert short.sketch.bound == bound
    other = partial(features(rng, [f"other-{i}" for i in range(30)]), None)  # full, and beyond the bound
    both = sum([other, *few], empty())
    assert both == sum([*few, other], empty())
    assert (both.sketch.hashes <= np.uint64(bound)).all()
    assert both.sketch.bound == bound


def test_a_bound_leaves_enough_and_not_much_more():
    rng = np.random.default_rng(0)
    for size, rows in ((1, 200), (100, 1000), (1000, 100_000)):
        hashes = rng.integers(0, 2**64, rows, np.uint64)
        low = int((hashes <= np.uint64(bound_of(size, rows))).sum())
        assert size < low < 3 * size + 200
    assert bound_of(100, 264) is None
    assert bound_of(None, 10**9) is None


@pytest.mark.parametrize("size", [16, 5000])
def test_merged_partials_are_the_profile_of_all(size):
    rng = np.random.default_rng(0)
    parts = [features(rng, [f"{part}-{i}" for i in range(int(rng.integers(0, 60)))]) for part in range(12)]

    def partial(part):
        made = Profile.empty("pool", "m", clusters=3, sketch_size=size)
        made.update(part)
        return made

    empty = Profile.empty("pool", "m", clusters=3, sketch_size=size)
    whole = reduce(add, [partial(part) for part in parts])
    assert sum([partial(part) for part in parts], empty) == whole
    assert sum([partial(part) for part in parts[::-1]], empty) == whole
