"""What `select` refuses, so that nothing is chosen by scores that cannot be compared or written from other data."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import scored_pools
from scored_pools import TWO_FILES, TWO_SCORES, choose, row, scored, write_pool, write_scores

from dataprophet import Features, Profile, open_dataset, score
from dataprophet.errors import DataProphetError, MetricError
from dataprophet.selection import Settings, select_pool
from dataprophet.selection.verify import verify


def target(scale=1.0, *, sealed=False):
    profile = Profile.empty("t", "f", clusters=2, sketch_size=100, diversity_fields=["question"])
    rows = np.random.default_rng(0).normal(1, 1, (9, 3)).astype(np.float32)
    profile.update(Features([str(i) for i in range(9)], np.full(9, scale), {"question": rows}))
    return profile.seal() if sealed else profile


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"fingerprint": "g"}, "another model"),
        ({"settings": {"template": "x"}}, "another template"),
        ({"fields": ["question", "answer"]}, "another set of fields"),
    ],
)
def test_pools_that_were_not_scored_alike_are_not_chosen_from_together(tmp_path, monkeypatch, other, says):
    one, plain = scored(tmp_path, "one"), scored_pools.RunConfig
    monkeypatch.setattr(scored_pools, "RunConfig", lambda **config: plain(**{**config, **other}))
    two = scored(tmp_path, "two")
    with pytest.raises(MetricError, match=f"scores-two: was scored with {says} than .*scores-one"):
        choose([one, two], tmp_path / "out")


@pytest.mark.parametrize(("second", "fine"), [(target(2.0), False), (target(sealed=True), True)])
def test_profiles_of_one_target_have_to_score_alike(tmp_path, second, fine):
    both = [scored(tmp_path, "one", profiles=[target()]), scored(tmp_path, "two", profiles=[second])]
    if fine:
        assert choose(both, tmp_path / "out").chosen == 5
        return
    with pytest.raises(MetricError, match="another profile of target 't'"):
        choose(both, tmp_path / "out")


def test_leaks_are_found_by_columns_of_one_pool_and_embeddings_of_another(tmp_path):
    both = [
        scored(tmp_path, "one", nearest={key: [float(key[1] == 3)] for key in TWO_SCORES}),
        scored(tmp_path, "two", vectors={key: np.array([1.0, key[1] != 2, key[1] != 2]) for key in TWO_SCORES}),
    ]
    done = select_pool(both, Settings(["t"], 12, leakage=0.9), tmp_path / "out", format="ids")
    assert (tmp_path / "out" / "selection-t.txt").read_text().split() == [
        f"{pool}/{file}/{file[0]}{i}"
        for pool, leak in (("one", 3), ("two", 2))
        for file in TWO_FILES
        for i in range(4)
        if i != leak
    ]
    assert done.dropped == {"leakage": 4}


def test_what_is_read_is_not_replaced(tmp_path):
    scores = scored(tmp_path)
    for folder in (tmp_path / "data-pool", tmp_path):
        (folder / "manifest.json").write_text("{}")
        with pytest.raises(DataProphetError, match="which the selection is made from"):
            choose(scores, folder, overwrite=True)
    assert (tmp_path / "data-pool" / "b.jsonl").exists()


def test_a_place_for_a_pool_that_there_is_not(tmp_path):
    with pytest.raises(DataProphetError, match=r"no pool 'pol'; did you mean pool\?"):
        choose(scored(tmp_path), tmp_path / "out", pools={"pol": "elsewhere"})


def test_files_that_came_since_do_not_matter(tmp_path):
    scores = scored(tmp_path)
    other = (tmp_path / "data-pool" / "b.jsonl").read_bytes().replace(b"answer", b"ANSWER")
    (tmp_path / "data-pool" / "a.jsonl").write_bytes(other)  # first now, as long as the one that was, with its ids
    choose(scores, tmp_path / "out")
    assert b"ANSWER" not in (tmp_path / "out" / "selection-t.jsonl").read_bytes()
    assert verify(tmp_path / "out") == []


def test_data_that_changed_since_it_was_scored_is_refused(tmp_path):
    scores, file = scored(tmp_path), tmp_path / "data-pool" / "b.jsonl"
    before = file.read_bytes()
    file.write_bytes(before.replace(b"answer", b"ANSWER"))  # of the same length
    with pytest.raises(DataProphetError, match=r"b\.jsonl: the file has changed since it was scored"):
        choose(scores, tmp_path / "out")
    file.write_bytes(before)  # touched, and the same
    assert choose(scores, tmp_path / "out").chosen == 5
    file.unlink()
    with pytest.raises(DataProphetError, match=r"the file 'b\.jsonl' is not there any more"):
        choose(scores, tmp_path / "more")
    (tmp_path / "data-pool").rename(tmp_path / "moved")
    with pytest.raises(DataProphetError, match=r"or say where the pool lies now \(--pool pool=PATH\)"):
        choose(scores, tmp_path / "more")


def test_many_targets_make_no_name_that_is_too_long(tmp_path):
    names = [f"a-benchmark-of-some-name-{number}" for number in range(14)]
    scores = write_scores(
        tmp_path / "scores",
        write_pool(tmp_path / "pool", TWO_FILES),
        {k: v * 14 for k, v in TWO_SCORES.items()},
        targets=names,
    )
    select_pool(scores, Settings(names, 5), tmp_path / "out", format="webdataset")
    assert len(list(open_dataset(tmp_path / "out").rows())) == 5


def test_scores_of_embeddings_that_were_made_anew_are_refused(tmp_path):
    def kept(answer):
        shutil.rmtree(tmp_path / "kept", ignore_errors=True)
        rows = [row(f"b{i}") for i in range(4)]
        rows[0]["conversations"][1]["value"] = answer
        pool, keys = write_pool(tmp_path / "pool", {"b.jsonl": rows}), [("b.jsonl", i, 1) for i in range(4)]
        write_scores(tmp_path / "kept", pool, {}, vectors={key: np.array([1.0, 2.0, key[1]]) for key in keys})
        target().save(tmp_path / "kept" / "pool.profile")

    later = target()
    later.name = "later"
    kept("red")
    score(tmp_path / "kept", [later], out=tmp_path / "scores", features=True, fields=["question"])
    asked = Settings(["later"], 3)
    select_pool(tmp_path / "scores", asked, tmp_path / "out", format="swift")
    kept("blue")
    with pytest.raises(DataProphetError, match=r"embeddings of b\.jsonl that are not those of .* now; score it again"):
        select_pool(tmp_path / "scores", asked, tmp_path / "new", format="swift")
