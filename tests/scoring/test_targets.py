"""Scores of single samples, and profiles whose sums are exact."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sample_features import make_features, take

from dataprophet import Features, Profile, ops
from dataprophet.errors import MetricError, ProfileError
from dataprophet.features.features import FIELDS
from dataprophet.ops.reference import SUM_UNIT
from dataprophet.scoring.targets import Targets


def profile_of(features: Features, name: str = "t", **options) -> Profile:  # type: ignore[no-untyped-def]
    made = Profile.empty(name, "m", clusters=3, **options)
    made.update(features)
    return made


def targets_of(count: int = 3, **options) -> list[Profile]:  # type: ignore[no-untyped-def]
    return [profile_of(make_features(40, seed=50 + i, prefix=f"t{i}-"), f"t{i}", **options) for i in range(count)]


def positive(features: Features) -> Features:
    """The features moved to where all cosines to the targets are positive."""
    for name, rows in features.embeddings.items():
        rows[features.present[name]] += 4
    return features


def by_hand(features: Features, profile: Profile, fields: tuple[str, ...] = FIELDS) -> np.ndarray:
    """M of each sample as the formula has it."""
    ppl = np.exp(features.nll) / math.exp(profile.mean_nll)
    for name in fields:
        rows = features.embeddings[name].astype(np.float64)
        cosines = rows @ profile.directions[name] / np.maximum(np.linalg.norm(rows, axis=1), 1e-300)
        ppl = ppl * np.where((cosines > 0) & features.present[name], cosines, np.nan)
    return ppl


@pytest.mark.parametrize("fields", [FIELDS, ("image", "question"), ("answer",)])
def test_scores_are_those_of_the_formula(fields: tuple[str, ...]) -> None:
    features, targets = positive(make_features(300, text_only=0.3)), targets_of()
    scores = Targets.of(targets, fields).score(features)
    assert list(scores.similarities) == [name for name in FIELDS if name in fields]
    for number, target in enumerate(targets):
        expected = by_hand(features, target, fields)
        assert np.isnan(expected).any() == ("image" in fields)
        np.testing.assert_allclose(scores.values[:, number], expected, rtol=2e-6)
        for name, found in scores.similarities.items():
            assert (np.isnan(found[:, number]) == ~features.present[name]).all()


def test_a_factor_that_is_not_positive_gives_no_score() -> None:
    features, targets = positive(make_features(50)), Targets.of(targets_of())
    features.embeddings["answer"][7] *= -1  # type: ignore[index]
    scores = targets.score(features)
    assert (scores.similarities["answer"][7] < 0).all()
    assert np.isnan(scores.values[7]).all()
    assert not np.isnan(np.delete(scores.values, 7, 0)).any()


def test_a_score_beyond_float32_is_no_score() -> None:
    features, targets = positive(make_features(6)), Targets.of(targets_of())
    features.nll[1:4] = [85.0, 100.0, 699.0]
    values = targets.score(features).values
    assert np.isnan(values).tolist() == [[False] * 3, [False] * 3, [True] * 3, [True] * 3, [False] * 3, [False] * 3]
    held = take(features, [0, 1, 4, 5])
    np.testing.assert_allclose(values[[0, 1, 4, 5], 0], by_hand(held, targets_of()[0]), 2e-6)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
def test_scores_of_one_sample_do_not_depend_on_the_others(dtype: str) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes")
    features, targets = make_features(600, d=33), [profile_of(make_features(40, d=33, seed=5))]
    kind = ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype
    features.embeddings = {name: rows.astype(kind) for name, rows in features.embeddings.items()}
    whole = Targets.of(targets).score(features)
    for start, stop in [(0, 1), (1, 37), (37, 38), (38, 600)]:
        part = Targets.of(targets).score(take(features, list(range(start, stop))))
        assert part.values.tobytes() == whole.values[start:stop].tobytes()
        for name, found in part.similarities.items():
            assert found.tobytes() == whole.similarities[name][start:stop].tobytes()


def test_adding_scores_and_profiles_at_once() -> None:
    features, targets = make_features(200, text_only=0.2), Targets.of(targets_of())
    made = Profile.empty("t", "m", clusters=3)
    scores = targets.add(features, made)
    assert made == profile_of(features)
    assert scores.values.tobytes() == targets.score(features).values.tobytes()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@given(st.permutations(range(90)), st.lists(st.integers(0, 90), max_size=4), st.randoms(use_true_random=False))
def test_profiles_are_the_same_bits_for_any_order_batches_and_merge(dtype, order, cuts, random):  # type: ignore[no-untyped-def]
    features = make_features(90, d=19, text_only=0.2)
    features.embeddings = {name: rows.astype(dtype) for name, rows in features.embeddings.items()}
    whole = profile_of(features, sketch_size=16)
    edges = [0, *sorted(cuts), 90]
    parts = [
        profile_of(take(features, order[start:stop]), sketch_size=16)
        for start, stop in itertools.pairwise(edges)
        if start < stop
    ]
    random.shuffle(parts)
    while len(parts) > 1:  # merged as a random tree
        at = random.randrange(len(parts) - 1)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    assert parts[0] == whole


def test_sums_are_multiples_of_the_unit() -> None:
    made = profile_of(make_features(90))
    for sums in (made.nll_sum, *made.field_sum.values()):
        assert (sums / SUM_UNIT == np.rint(sums / SUM_UNIT)).all()


def test_nearest_is_the_largest_cosine_to_a_sample_of_the_target() -> None:
    features, profiles = make_features(30, text_only=0.3), targets_of(2)
    copied = make_features(40, seed=51, prefix="t1-")
    both = Features(
        features.ids + copied.ids[:1],
        np.append(features.nll, 1.0),
        {name: np.append(rows, copied.embeddings[name][:1], 0) for name, rows in features.embeddings.items()},
        {name: np.append(flags, [True]) for name, flags in features.present.items()},
    )
    found = Targets.of(profiles).nearest(both)
    z = np.zeros((31, 6))
    for rows in both.embeddings.values():
        z += rows / np.maximum(np.linalg.norm(rows, axis=1), 1e-9)[:, None]
    z /= np.linalg.norm(z, axis=1)[:, None]
    for number, profile in enumerate(profiles):
        assert profile.sketch is not None
        expected = z @ profile.sketch.z.astype(np.float64).T
        np.testing.assert_allclose(found[:, number], expected.max(1), atol=1e-3)
    assert found[30, 1] == pytest.approx(1, abs=1e-6)


def test_nearest_of_samples_without_a_place_on_the_sphere() -> None:
    features = make_features(5)
    for name in FIELDS:
        features.embeddings[name][2] = features.embeddings["question"][2]  # type: ignore[index]
    features.embeddings["answer"][2] *= -1  # type: ignore[index]
    features.present["image"][2] = False  # type: ignore[index]
    assert np.isnan(Targets.of(targets_of(2)).nearest(features)).tolist() == [[row == 2] * 2 for row in range(5)]


def test_sealed_targets_score_but_know_no_nearest() -> None:
    features, profiles = make_features(20), targets_of(2)
    sealed = Targets.of([profile.seal() for profile in profiles])
    assert sealed.score(features).values.tobytes() == Targets.of(profiles).score(features).values.tobytes()
    with pytest.raises(ProfileError, match="'t0': is sealed"):
        sealed.nearest(features)


def test_no_samples() -> None:
    targets = Targets.of(targets_of(2))
    none = Features([], np.empty(0), {})
    assert targets.score(none).values.shape == (0, 2)
    assert targets.nearest(none).shape == (0, 2)
    made = Profile.empty("p", "m", clusters=3)
    assert targets.add(none, made).values.shape == (0, 2)
    assert made.n_samples == 0


def test_the_fingerprint_knows_what_changes_a_score() -> None:
    profiles = targets_of(2)
    known = {Targets.of(profiles).fingerprint, Targets.of(profiles, ["image"]).fingerprint}
    known |= {Targets.of(profiles[:1]).fingerprint, Targets.of(profiles[::-1]).fingerprint}
    assert len(known) == 4
    assert Targets.of(targets_of(2)).fingerprint == Targets.of(profiles).fingerprint


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Targets.of([]), MetricError, "no targets given"),
        (lambda: Targets.of(targets_of(1), []), MetricError, "no field given"),
        (lambda: Targets.of(targets_of(1), ["colour"]), MetricError, "unknown field 'colour'"),
        (lambda: Targets.of([*targets_of(1), Profile.empty("o", "other")]), ProfileError, "model differs"),
        (lambda: Targets.of([Profile.empty("o", "m")]), MetricError, "'o': no sample has the field 'question'"),
        (lambda: Targets.of(targets_of(1)).score(make_features(3, d=4)), ProfileError, "4 wide, .* targets 6"),
    ],
)
def test_bad_calls(call, error, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(error, match=message):
        call()


def test_a_failed_add_leaves_the_profile_as_it_was() -> None:
    features, targets = make_features(20), Targets.of(targets_of(2))
    made = profile_of(features, "p")
    before = profile_of(features, "p")
    features.embeddings["image"][3] = np.nan  # type: ignore[index]
    with pytest.raises(ProfileError, match="sample 's3'"):
        targets.add(features, made)
    assert made == before


def test_measured_rows_leave_out_what_they_are_told_to() -> None:
    rows = np.array([[3.0, 4.0], [0.0, 0.0], [0.0, 2.0]], np.float32)
    found = ops.measure_rows(rows, np.eye(2), [1, -1, 1], 2)
    assert found.lengths[[0, 2]].tolist() == [5, 2]
    assert np.isnan(found.lengths[1])
    assert np.isnan(found.cosines[1]).all()
    np.testing.assert_allclose(found.sums, [[0, 0], [0.6, 1.8]], atol=1e-7)
