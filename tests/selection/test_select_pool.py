"""Selection from scored pools, against a plain list of all units."""

from __future__ import annotations

import itertools
import json
import math
from fractions import Fraction
from functools import cache

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scored_pools import row, write_pool, write_scores

import dataprophet.selection
from dataprophet import open_dataset
from dataprophet.data.export import EXPORT_FORMATS
from dataprophet.errors import BudgetError, DataProphetError, MetricError
from dataprophet.selection import Settings, select_pool
from dataprophet.selection.pools import open_candidates
from dataprophet.selection.quotas import Quota, exact_sum
from dataprophet.selection.ranking import Ranking

FEW = st.sampled_from([0.25, 0.5, 1.0, 2.0, math.nan])


def write(folder, files, scores, **options):
    return write_scores(folder / "scores", write_pool(folder / "pool", files), scores, **options)


def chosen_of(out):
    """(id, position, turn) of what was chosen."""
    table = pq.read_table(out / "_selected.parquet")
    return list(zip(*(table.column(name).to_pylist() for name in ("id", "position", "turn")), strict=True))


@st.composite
def pools(draw):
    """Two files of rows with few distinct ids and scores, and the settings of a selection."""
    files, scores = {}, {}
    targets = draw(st.integers(1, 2))
    for name in ("a.jsonl", "b.jsonl"):
        rows = []
        for position in range(draw(st.integers(1, 6))):
            turns = draw(st.integers(1, 2))
            rows.append(row(draw(st.sampled_from(["x", "y", "z", "é"])), turns=turns))
            for turn in range(1, turns + 1):
                scores[name, position, turn] = draw(st.lists(FEW, min_size=targets, max_size=targets))
        files[name] = rows
    options = {
        "unit": draw(st.sampled_from(["row", "sample"])),
        "combine": draw(st.sampled_from(["mean", "worst", "quota"])),
        "minimum": draw(st.none() | st.sampled_from([0.4, 1.0])),
        "max_share": draw(st.none() | st.sampled_from([0.5, 0.75, 1.0])),
    }
    if options["combine"] != "quota":
        options["quotas"] = draw(st.just({}) | st.just({"a.jsonl": 1}))
    return files, scores, Settings(["t", "u"][:targets], draw(st.integers(1, 5)), **options)


def reference(files, scores, asked):
    """What is to be chosen, by a sort of everything; None where there is not enough."""
    units = []
    for name, rows in files.items():
        for position, entry in enumerate(rows):
            turns = len(entry["conversations"]) // 2
            own = [np.array(scores[name, position, turn], np.float32).astype(float) for turn in range(1, turns + 1)]
            if asked.unit == "row":
                units.append((entry["id"], name, position, 0, sum(own) / turns))
            else:
                tails = [f"#{turn}" if turns > 1 else "" for turn in range(1, turns + 1)]
                units += [
                    (entry["id"] + tail, name, position, turn, own[turn - 1]) for turn, tail in enumerate(tails, 1)
                ]
    with np.errstate(invalid="ignore"):
        stack = np.array([unit[4] for unit in units])
        means = [math.fsum(v[~np.isnan(v)]) / max(1, (~np.isnan(v)).sum()) for v in stack.T]
    if len(asked.targets) == 1:
        lanes = [(asked.budget, stack[:, 0])]
    elif 0 in means:
        return None
    elif asked.combine == "quota":
        lanes = [(count, stack[:, i] / means[i]) for i, count in enumerate(asked.per_target.values())]
    else:
        both = [stack[:, i] / means[i] for i in range(2)]
        lanes = [(asked.budget, (both[0] + both[1]) / 2 if asked.combine == "mean" else np.minimum(*both))]
    sources = [None] * len(lanes)
    if asked.quotas:
        (_, score), first = lanes[0], asked.quotas["a.jsonl"]
        lanes, sources = [(first, score), (asked.budget - first, score)], ["a.jsonl", "b.jsonl"]
    cap = math.floor((asked.max_share if asked.max_share is not None else 1) * asked.budget)
    taken, ids, counts = set(), set(), dict.fromkeys(files, 0)
    for (count, score), source in zip(lanes, sources, strict=True):
        least = -math.inf if asked.minimum is None else asked.minimum
        reached = [place for place in range(len(units)) if score[place] >= least and source in (None, units[place][1])]
        before = len(taken)
        for place in sorted(reached, key=lambda i: (-score[i], *units[i][:4])):
            name, file = units[place][:2]
            if len(taken) - before < count and (file, name) not in ids and counts[file] < cap:
                taken.add(place)
                ids.add((file, name))
                counts[file] += 1
        if len(taken) - before < count:
            return None
    return [(f"pool/{units[i][1]}/{units[i][0]}", units[i][2], units[i][3]) for i in sorted(taken)]


@settings(max_examples=120, deadline=None)
@given(pools())
def test_equals_a_plain_sort_of_all_units(tmp_path_factory, pool):
    files, scores, asked = pool
    folder = tmp_path_factory.mktemp("pool")
    write(folder, files, scores, targets=asked.targets)
    expected = reference(files, scores, asked)
    if expected is None:
        with pytest.raises((BudgetError, MetricError)):
            select_pool(folder / "scores", asked, folder / "out", format="ids")
        assert not (folder / "out").exists()
        return
    done = select_pool(folder / "scores", asked, folder / "out", format="ids")
    assert done.chosen == asked.budget
    assert sorted(chosen_of(folder / "out")) == sorted(expected)
    assert (folder / "out" / f"selection-{'-'.join(asked.targets)}.txt").read_text().split() == [
        name for name, _, _ in chosen_of(folder / "out")
    ]


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def many(folder, cells, name="pool"):
    """5,000 rows in two files, with many ties."""
    rng = np.random.default_rng(0)
    files = {f"{n}.jsonl": [row(f"{n}{i:04d}", turns=1 + i % 3) for i in range(2500)] for n in "ab"}
    scores = {
        (file, position, turn): rng.integers(1, 6, 2) / 4
        for file, rows in files.items()
        for position, entry in enumerate(rows)
        for turn in range(1, 1 + len(entry["conversations"]) // 2)
    }
    return write(folder, files, scores, targets=("t", "u"), cells=cells, name=name)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Number of cells, and the pool's name -> such a scored folder, which tests leave as it is."""
    folder = tmp_path_factory.mktemp("many")
    return cache(lambda cells, name="pool": many(folder / f"{cells}-{name}", cells, name))


@pytest.mark.parametrize(
    "options", [{}, {"combine": "worst", "unit": "sample"}, {"combine": "quota", "max_share": 0.6}]
)
def test_the_size_of_shards_does_not_change_a_byte(shared, request, options):
    trees = []
    for cells in (1, 2, 8):
        out = shared(cells).parent / request.node.name  # beside the scores, so that all name them alike
        select_pool(shared(cells), Settings(["t", "u"], 777, **options), out, format="swift")
        trees.append(tree(out))
    assert trees[0] == trees[1] == trees[2]


def test_the_order_of_the_folders_does_not_change_a_byte(shared, tmp_path):
    folders = [shared(2, name) for name in ("one", "two")]
    asked = Settings(["t"], 1000, quotas={"one": 300})
    for out, order in (("first", folders), ("second", folders[::-1])):
        done = select_pool(order, asked, tmp_path / out, format="llava")
        assert done.sources == {"one": 300, "two": 700}
    assert tree(tmp_path / "first") == tree(tmp_path / "second")


def test_ranking_goes_on_where_it_stopped_through_ties(shared):
    candidates = open_candidates(shared(1), Settings(["t"], 1))
    quota = Quota("", 1, lambda values: values[:, 0].copy())
    whole = Ranking(candidates, quota).next(10_000)
    assert whole.num_rows == 5000
    ranking = Ranking(candidates, quota)
    parts = [ranking.next(count) for count in (1, 700, 7, 4000, 900)]
    assert ranking.next(5).num_rows == 0
    assert list(itertools.chain(*(part.column("id").to_pylist() for part in parts))) == whole.column("id").to_pylist()


def test_no_module_hides_the_function():
    """A module of its name would, once it is imported."""
    assert callable(dataprophet.selection.select_pool)
    assert callable(dataprophet.selection.select)


ROWS = [
    row("one", image="red.png"),
    row("two", turns=3, image="blue.png"),
    row("three"),
    row("four", image="green.png"),
]
SCORES = {("a.jsonl", p, t): [4.0 - p - t / 10] for p in range(4) for t in (1, 2, 3)}


@pytest.mark.parametrize("format", EXPORT_FORMATS)
def test_rows_are_written_as_they_are_in_the_pool(tmp_path, format):
    scores = write(tmp_path, {"a.jsonl": ROWS}, SCORES)
    done = select_pool(scores, Settings(["t"], 3), tmp_path / "out", format=format)
    assert (done.chosen, done.sources, done.dropped) == (3, {"a.jsonl": 3}, {})
    if format == "ids":
        assert (tmp_path / "out" / "selection-t.txt").read_text().split() == ["pool/one", "pool/two", "pool/three"]
        return
    back = list(open_dataset(tmp_path / "out").rows())
    given = list(open_dataset(tmp_path / "pool").rows())[:3]
    assert [entry.id for entry in back] == [f"pool/{entry.id}" for entry in given]
    if format != "verl":  # of which the answers before the last are context
        assert [entry.turns for entry in back] == [entry.turns for entry in given]
    for entry, before in zip(back, given, strict=True):
        assert [source.digest() for source in entry.sources] == [source.digest() for source in before.sources]


def test_a_turn_is_written_with_the_turns_before_it(tmp_path):
    scores = write(tmp_path, {"a.jsonl": ROWS}, {("a.jsonl", 1, 2): [1.0], ("a.jsonl", 1, 3): [0.5]})
    select_pool(scores, Settings(["t"], 1, unit="sample"), tmp_path / "out", format="llava")
    (back,) = open_dataset(tmp_path / "out").rows()
    (given,) = [entry for entry in open_dataset(tmp_path / "pool").rows() if entry.id == "two"]
    assert (back.id, back.turns, len(back.sources)) == ("pool/two#2", given.turns[:2], 1)


def partly_trained(name, turns, trained):
    """An ms-swift row of which some turns alone are trained."""
    messages = []
    for turn in range(1, turns + 1):
        messages.append({"role": "user", "content": f"{name} question {turn}"})
        messages.append({"role": "assistant", "content": f"{name} answer {turn}", "loss": turn in trained})
    return {"id": name, "messages": messages}


@pytest.mark.parametrize("format", ["ids", "swift"])
def test_rows_of_which_some_turns_are_trained_keep_their_ids(tmp_path, format):
    """A line of such a row is called <id>#<turn>, as is that of a row with this very id and one turn."""
    rows = [partly_trained("a", 2, {2}), partly_trained("b", 11, {10, 11}), partly_trained("c#1", 1, {1})]
    rows += [partly_trained("d#2", 2, {1}), partly_trained("e", 12, {12})]
    scores = {("p.jsonl", place, turn): [1.0] for place in range(len(rows)) for turn in range(1, 13)}
    folder = write(tmp_path, {"p.jsonl": rows}, scores)
    names = ["pool/a", "pool/b", "pool/c#1", "pool/d#2", "pool/e"]
    done = select_pool(folder, Settings(["t"], 5), tmp_path / "out", format=format)
    assert done.dropped == {}
    assert [name for name, _, _ in chosen_of(tmp_path / "out")] == names
    if format == "ids":
        assert (tmp_path / "out" / "selection-t.txt").read_text().split() == names
    else:
        written = {each.id: len(each.turns) for each in open_dataset(tmp_path / "out").rows()}
        assert written == dict(zip(names, (2, 11, 1, 2, 12), strict=True))
    vectors = {key: np.eye(4)[key[1] % 3 + 2 * (key[1] == 4)].tolist() for key in scores}  # the fourth is as the first
    twice = write(tmp_path / "twice", {"p.jsonl": rows}, scores, vectors=vectors)
    select_pool(twice, Settings(["t"], 4, near_duplicates=0.99), tmp_path / "one", format=format)
    (dropped,) = pq.read_table(tmp_path / "one" / "_dropped.parquet").select(["id", "of"]).to_pylist()
    assert dropped == {"id": "pool/d#2", "of": "pool/a"}
    turns = select_pool(folder, Settings(["t"], 6, unit="sample"), tmp_path / "turns", format="ids")
    assert turns.chosen == 6
    names = {"pool/a#2", "pool/b#10", "pool/b#11", "pool/c#1", "pool/d#2#1", "pool/e#12"}
    assert {name for name, _, _ in chosen_of(tmp_path / "turns")} == names


def test_the_manifest_tells_what_was_asked_and_what_came_of_it(tmp_path):
    scores = write(tmp_path, {"a.jsonl": [*ROWS, row("one"), {"id": "bad"}]}, {**SCORES, ("a.jsonl", 4, 1): [9.0]})
    select_pool(scores, Settings(["t"], 3, max_share=1.0), tmp_path / "out", format="swift")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    (pool,) = manifest["pools"]
    assert pool["scores"] == "../scores"
    assert pool["statuses"]["ok"] == 7
    assert sum(pool["statuses"].values()) == 8
    assert manifest["settings"]["budget"] == manifest["rows"] == 3
    assert manifest["dropped"] == {"duplicate_id": 1}
    dropped = pq.read_table(tmp_path / "out" / "_dropped.parquet").to_pylist()
    assert [(entry["id"], entry["position"], entry["reason"]) for entry in dropped] == [("pool/one", 0, "duplicate_id")]
    table = pq.read_table(tmp_path / "out" / "_selected.parquet").to_pylist()
    assert [entry["position"] for entry in table] == [1, 2, 4]
    assert table[0]["answer_tokens"] == 12
    assert table[0]["score"] == pytest.approx(2.8)
    assert table[0]["QSim:t"] == 0.5


def test_an_image_that_is_gone_gives_its_place_to_the_next(tmp_path):
    scores = write(tmp_path, {"a.jsonl": ROWS}, SCORES)
    (tmp_path / "pool" / "red.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    done = select_pool(scores, Settings(["t"], 2), tmp_path / "out")
    assert done.dropped == {"undecodable_image": 1}
    assert [entry.id for entry in open_dataset(tmp_path / "out").rows()] == ["pool/two", "pool/three"]
    (tmp_path / "pool" / "blue.png").unlink()
    done = select_pool(scores, Settings(["t"], 2), tmp_path / "more")
    assert done.dropped == {"changed_row": 1, "undecodable_image": 1}
    assert [entry.id for entry in open_dataset(tmp_path / "more").rows()] == ["pool/three", "pool/four"]
    with pytest.raises(BudgetError, match=r"3 rows asked, 2 can be chosen of 4 with a score .*undecodable_image"):
        select_pool(scores, Settings(["t"], 3), tmp_path / "less")


def test_a_pool_that_has_moved(tmp_path):
    scores = write(tmp_path, {"a.jsonl": ROWS}, SCORES)
    (tmp_path / "pool").rename(tmp_path / "elsewhere")
    with pytest.raises(DataProphetError, match="no such file"):
        select_pool(scores, Settings(["t"], 2), tmp_path / "out")
    select_pool(scores, Settings(["t"], 2), tmp_path / "out", pools={"pool": str(tmp_path / "elsewhere")})
    assert len(list(open_dataset(tmp_path / "out").rows())) == 2


def test_a_pool_that_is_not_scored_to_the_end(tmp_path):
    scores = many(tmp_path, 1)
    next(iter((scores / "commits").iterdir())).unlink()
    with pytest.raises(DataProphetError, match="1 shards and 0 files are not scored; score it to the end"):
        select_pool(scores, Settings(["t"], 10), tmp_path / "out", format="ids")
    assert select_pool(scores, Settings(["t"], 10), tmp_path / "out", format="ids", partial=True).chosen == 10


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"targets": []}, MetricError, "no target"),
        ({"targets": ["v"]}, MetricError, "not scored for 'v'; choose among t, u"),
        ({"budget": 0}, BudgetError, "0 is not a number of units"),
        ({"budget": True}, BudgetError, "True is not a number of units"),
        ({"unit": "turn"}, BudgetError, "unknown unit 'turn'"),
        ({"combine": "best"}, BudgetError, "unknown combine 'best'"),
        ({"max_share": 1.5}, BudgetError, "max_share: it is 1.5"),
        ({"minimum": math.nan}, BudgetError, "minimum: it is nan"),
        ({"quotas": {"a.jsonl": 11}}, BudgetError, "the quotas come to 11, and the budget is 10"),
        ({"quotas": {"c": 1}}, BudgetError, "quota of 'c': no such source; choose among a.jsonl, b.jsonl"),
        ({"target_quotas": {"t": 1}, "combine": "quota"}, BudgetError, "they come to 1 of 10"),
        ({"quotas": {"a.jsonl": 1}, "combine": "quota", "targets": ["t", "u"]}, BudgetError, "one kind of quota"),
        ({"budget": 5001}, BudgetError, "5001 rows asked, 5000 can be chosen of 5000 with a score"),
        ({"minimum": 1.2, "budget": 4000}, BudgetError, "with a score of at least 1.2"),
        ({"near_duplicates": 0.9}, DataProphetError, "no embeddings were kept"),
        ({"leakage": 0.9}, DataProphetError, "no embeddings were kept"),
    ],
)
def test_what_cannot_be_chosen_is_said_on_one_line(shared, tmp_path, options, error, says):
    asked = {"targets": ["t"], "budget": 10, **options}
    with pytest.raises(error, match=says) as caught:
        select_pool(shared(8), Settings(**asked), tmp_path / "out", format="ids")
    assert caught.value.fix
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300), max_size=40))
def test_exact_sums(values):
    assert exact_sum(np.array(values)) == sum(map(Fraction, values))
