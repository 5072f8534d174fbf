"""The streaming selector, against a list of everything that was fed."""

from __future__ import annotations

import itertools
import re
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import dataprophet as dp
from dataprophet import Features, Profile, Selector
from dataprophet.errors import DataProphetError, MetricError, ProfileError
from dataprophet.scoring.targets import Targets

DOCS = Path(__file__).resolve().parents[2] / "docs"


def features(ids, seed=0, dimensions=4):
    """Features that depend on the id alone, so that a sample has the same score wherever it stands."""
    rows = []
    for name in ids:
        rng = np.random.default_rng([seed, *str(name).encode()])
        rows.append(rng.normal(0.6, 1.0, 3 * dimensions + 1))
    every = np.array(rows).reshape(len(ids), 3 * dimensions + 1)
    parts = {
        name: every[:, i * dimensions : (i + 1) * dimensions].astype(np.float32)
        for i, name in enumerate(("question", "answer", "image"))
    }
    return Features(list(ids), np.abs(every[:, -1]), parts)


def target(name="t", seed=7):
    profile = Profile.empty(name, "m", clusters=2, sketch_size=50)
    profile.update(features([f"{name}{i}" for i in range(30)], seed))
    return profile


TARGET = target()
SCORES = dict(
    zip(
        [f"s{i}" for i in range(60)],
        Targets.of([TARGET]).score(features([f"s{i}" for i in range(60)])).values[:, 0].astype(float),
        strict=True,
    )
)


def ranked(ids, taken=()):
    good = {name for name in ids if not np.isnan(SCORES[name])} - set(taken)
    return sorted(good, key=lambda name: (-SCORES[name], name))


def ids_of(found):
    return [sample.id for sample in found]


@st.composite
def streams(draw):
    ids = draw(st.lists(st.sampled_from(sorted(SCORES)), max_size=80))
    cuts = sorted(draw(st.lists(st.integers(0, len(ids)), max_size=5)))
    edges = [0, *cuts, len(ids)]
    return [ids[a:b] for a, b in itertools.pairwise(edges)]


@settings(deadline=None)
@given(streams(), st.integers(1, 70), st.integers(0, 70))
def test_the_best_of_a_stream(batches, capacity, count):
    selector = Selector([TARGET], capacity=capacity)
    for ids in batches:
        fed = selector.feed(features(ids))
        assert fed.ids == ids
        assert np.array_equal(fed.scores, [SCORES[name] for name in ids], equal_nan=True)
    every = [name for ids in batches for name in ids]
    assert ids_of(selector.best(count)) == ranked(every)[: min(count, capacity)]
    assert len(selector) == min(len(ranked(every)), capacity)
    assert selector.unscored == sum(np.isnan(SCORES[name]) for name in every)
    whole = Profile.empty("pool", "m", clusters=2, sketch_size=50)
    whole.update(features(every))
    assert selector.profile == whole


@settings(deadline=None)
@given(streams(), st.integers(1, 20), st.integers(1, 6))
def test_what_is_taken_is_the_best_of_what_was_seen_and_is_given_once(batches, capacity, count):
    selector = Selector([TARGET], capacity=capacity)
    seen, taken = set(), []
    for ids in batches:
        selector.feed(features(ids))
        seen |= set(ids)
        found = ids_of(selector.take(count))
        assert found == ranked(seen, taken)[: len(found)]
        taken += found
        assert selector.taken == set(taken)
    assert len(taken) == len(set(taken))
    if capacity >= len(seen):  # nothing was dropped, so nothing is held back
        assert ids_of(selector.take(1000)) == ranked(seen, taken)


@settings(deadline=None, max_examples=40)
@given(streams(), st.integers(1, 70), st.randoms(use_true_random=False))
def test_merged_selectors_are_one(tmp_path_factory, batches, capacity, random):
    one = Selector([TARGET], capacity=capacity)
    parts = []
    for ids in batches:
        one.feed(features(ids))
        part = Selector([TARGET], capacity=capacity)
        part.feed(features(ids))
        parts.append(part)
    random.shuffle(parts)
    folder = tmp_path_factory.mktemp("merge")
    first, *others = parts
    for number, part in enumerate(others):
        part.save(folder / f"{number}.snapshot")
        first.merge(Selector.load(folder / f"{number}.snapshot", [TARGET]))
    first.save(folder / "merged")
    one.save(folder / "one")
    assert (folder / "merged").read_bytes() == (folder / "one").read_bytes()


def test_a_snapshot_goes_on_where_it_was(tmp_path):
    ids = sorted(SCORES)
    selector = Selector([TARGET], capacity=20)
    selector.feed(features(ids[:40]))
    selector.take(5)
    selector.save(tmp_path / "snapshot")
    again = Selector.load(tmp_path / "snapshot", [TARGET])
    for each in (selector, again):
        each.feed(features(ids[40:]))
        each.save(tmp_path / f"{id(each)}")
    assert (tmp_path / f"{id(selector)}").read_bytes() == (tmp_path / f"{id(again)}").read_bytes()
    assert selector.take(20) == again.take(20)
    assert again.profile == selector.profile


def test_threads_feed_and_take_at_once():
    ids = [f"x{i}" for i in range(4000)]
    selector = Selector([TARGET], capacity=4000)
    taken, errors = [], []
    lock = threading.Lock()

    def work(number):
        try:
            for start in range(number * 1000, (number + 1) * 1000, 50):
                selector.feed(features(ids[start : start + 50]))
                found = ids_of(selector.take(7))
                with lock:
                    taken.extend(found)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert len(taken) == len(set(taken)) == 4 * 20 * 7
    rest = ids_of(selector.take(10_000))
    scores = Targets.of([TARGET]).score(features(ids)).values[:, 0]
    assert sorted([*taken, *rest]) == sorted(
        name for name, score in zip(ids, scores, strict=True) if not np.isnan(score)
    )
    whole = Profile.empty("pool", "m", clusters=2, sketch_size=50)
    whole.update(features(ids))
    assert selector.profile == whole


@pytest.mark.parametrize("combine", ["mean", "worst"])
def test_several_targets(combine):
    targets, ids = [target("t"), target("u", 8)], sorted(SCORES)
    values = Targets.of(targets).score(features(ids)).values.astype(float) / [2.0, 0.5]
    expected = values.mean(1) if combine == "mean" else values.min(1)
    selector = Selector(targets, combine=combine, means={"t": 2.0, "u": 0.5})
    fed = selector.feed(features(ids))
    np.testing.assert_allclose(fed.scores, expected, rtol=1e-12)
    assert fed.values.shape == (60, 2)
    best = selector.best(1)[0]
    assert best.score == np.nanmax(expected)
    assert best.values == tuple(fed.values[ids.index(best.id)].tolist())


def test_samples_with_a_model(tmp_path):
    pytest.importorskip("transformers", reason="the model extra is not installed")
    from scored_pools import row, write_pool

    model = dp.load_model("demo")
    rows = [row(f"r{i}", image=["red.png", "blue.png", "green.png"][i % 3]) for i in range(6)]
    write_pool(tmp_path, {"a.jsonl": rows})
    (tmp_path / "green.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    samples = list(dp.open_dataset(tmp_path))
    goal = dp.profile(
        [sample for sample in samples if sample.id != "r0" and int(sample.id[1]) % 3 < 2], model, name="g"
    )
    selector = Selector([goal], model)
    fed = selector.feed(samples)
    assert sorted(problem.code for problem in fed.problems) == ["undecodable_image", "undecodable_image"]
    assert fed.ids == ["r0", "r1", "r3", "r4"]
    assert selector.n_samples == 4
    assert len(selector.take(10)) + selector.unscored == 4
    keeper, other = (Selector([goal], model, keep_samples=True) for _ in range(2))
    keeper.feed(samples[:3])
    other.feed(iter(samples[3:]))
    keeper.merge(other)
    expected = [scored.id for scored in keeper.best(10)]
    keeper.save(tmp_path / "snapshot")
    assert keeper.take(10, samples=True) == [samples[int(name[1])] for name in expected]
    assert keeper.take(10, samples=True) == []
    again = Selector.load(tmp_path / "snapshot", [goal], model)
    for selector in (again, Selector([goal], model)):
        selector.feed(samples[:2])
        with pytest.raises(
            DataProphetError, match=r"take: sample '\w+' is not kept; make the selector with keep_samples"
        ):
            selector.take(1, samples=True)
        assert not selector.taken


def test_a_batch_that_is_refused_changes_nothing():
    selector = Selector([TARGET])
    selector.feed(features(["s1", "s2"]))
    before = selector.profile
    bad = features(["s3", "s4"])
    bad.nll[1] = np.nan
    with pytest.raises(ProfileError, match="nll is not finite"):
        selector.feed(bad)
    assert selector.profile == before
    assert set(ids_of(selector.best(9))) <= {"s1", "s2"}


SELF = Selector([TARGET])


@pytest.mark.parametrize(
    ("make", "error", "says"),
    [
        (lambda: Selector([]), MetricError, "no targets given"),
        (lambda: Selector([TARGET], combine="best"), MetricError, "unknown combine 'best'"),
        (lambda: Selector([TARGET], capacity=0), DataProphetError, "capacity: it is 0"),
        (lambda: Selector([TARGET, target("u")]), MetricError, "means: no typical score, above zero, for 't'"),
        (lambda: Selector([TARGET]).feed([]), DataProphetError, "samples need a model"),
        (lambda: Selector([TARGET]).merge(Selector([target("u")])), DataProphetError, "have other targets"),
        (lambda: SELF.merge(SELF), DataProphetError, "merge: it is the selector itself"),
        (lambda: Selector([TARGET], capacity=1.5), DataProphetError, "capacity: it is of type float"),
        (lambda: SELF.take(-1), DataProphetError, "count: -1 is no number of samples"),
    ],
)
def test_what_does_not_fit_is_refused(make, error, says):
    with pytest.raises(error, match=says) as caught:
        make()
    assert caught.value.fix


def test_damaged_snapshots(tmp_path):
    path = tmp_path / "snapshot"
    selector = Selector([TARGET])
    selector.feed(features(["s1"]))
    selector.save(path)
    with pytest.raises(DataProphetError, match="it was made for other targets"):
        Selector.load(path, [target("t", 9)])
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataProphetError, match="not a readable snapshot"):
        Selector.load(path, [TARGET])
    TARGET.save(path)
    with pytest.raises(DataProphetError, match="not a snapshot of format"):
        Selector.load(path, [TARGET])


def test_the_example_of_the_documentation_runs(tmp_path, monkeypatch, capsys):
    code, merging = re.findall(r"^```python\n(.*?)^```", (DOCS / "selector.md").read_text(), re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "__main__"}
    exec(compile(code, "docs/selector.md", "exec"), names)
    assert "1280 samples seen, 160 used" in capsys.readouterr().out
    assert len(names["again"].taken) == 80
    exec(compile(merging, "docs/selector.md", "exec"), names)
    assert names["total"].taken == names["selector"].taken
