"""Profiles: merge laws, exact round trips, and sums against their plain definition."""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_features import dp_fields, make_features, take

import dataprophet as dp
from dataprophet.errors import ProfileError
from dataprophet.features.features import Features
from dataprophet.profiling.build import profile
from dataprophet.profiling.profile import Profile
from dataprophet.profiling.sketch import N_GROUPS, Sketch, groups_of, hash_ids


def same_sums(a: Profile, b: Profile) -> None:
    np.testing.assert_array_equal(a.count, b.count)
    np.testing.assert_array_equal(a.tokens, b.tokens)
    np.testing.assert_array_equal(a.nll_sum, b.nll_sum)
    for name in dp_fields():
        np.testing.assert_array_equal(a.field_count[name], b.field_count[name])
        np.testing.assert_array_equal(a.field_sum[name], b.field_sum[name])
    assert a.sketch == b.sketch


def test_statistics_are_those_of_the_definition() -> None:
    features = make_features(300, text_only=0.2)
    made = profile(features, "m", name="x")
    assert made.n_samples == 300
    assert made.n_tokens == int(features.n_tokens.sum())  # type: ignore[union-attr]
    assert made.mean_nll == pytest.approx(features.nll.mean(), rel=1e-9)
    assert made.perplexity == pytest.approx(math.exp(features.nll.mean()), rel=1e-9)
    for name, rows in features.embeddings.items():
        here = rows[features.present[name]].astype(np.float64)
        unit = here / np.linalg.norm(here, axis=1, keepdims=True)
        np.testing.assert_allclose(made.directions[name], unit.mean(0), rtol=1e-7, atol=1e-8)
    assert made.diversity == pytest.approx(made.silhouette + made.entropy)


def test_diversity_is_scikit_learns_on_the_same_labels() -> None:
    silhouette_score = pytest.importorskip("sklearn.metrics").silhouette_score

    made = profile(make_features(400), "m", name="x")
    assert made.sketch is not None
    z = made.sketch.z.astype(np.float32)
    labels = np.asarray(dp.ops.kmeans(z, 10, seed=0).labels)
    shares = np.bincount(labels, minlength=10) / 400
    assert made.silhouette == pytest.approx(silhouette_score(z.astype(np.float64), labels), abs=2e-6)
    assert made.entropy == pytest.approx(-(shares[shares > 0] * np.log(shares[shares > 0])).sum() / np.log(10))


@settings(max_examples=25, deadline=None)
@given(st.permutations(list(range(120))), st.lists(st.integers(0, 120), max_size=4))
def test_any_order_and_split_gives_the_same_profile(order: list[int], cuts: list[int]) -> None:
    features = make_features(120, text_only=0.3)
    whole = Profile.empty("x", "m", sketch_size=40)
    whole.update(features)
    edges = [0, *sorted(cuts), 120]
    parts = []
    for a, b in itertools.pairwise(edges):
        part = Profile.empty("x", "m", sketch_size=40)
        part.update(take(features, order[a:b]))
        parts.append(part)
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    same_sums(total, whole)
    assert total.diversity == whole.diversity


def test_a_list_of_profiles_sums_up() -> None:
    features = make_features(40)
    parts = [profile(take(features, rows)) for rows in (list(range(25)), list(range(25, 40)))]
    assert sum(parts) == parts[0] + parts[1]
    with pytest.raises(TypeError):
        1 + parts[0]  # type: ignore[operator]


def test_copies_do_not_share_sums() -> None:
    whole = profile(make_features(40))
    sealed, copied, before = whole.seal(), copy.copy(whole), copy.deepcopy(whole)
    whole.update(make_features(10, prefix="more"))
    assert copied == before
    assert sealed == before.seal()
    assert sealed.field_count["question"].sum() == sealed.n_samples == 40


def test_merging_is_commutative_and_associative_in_the_sketch() -> None:
    a, b, c = (profile(make_features(80, seed=i, prefix=f"{i}-"), "m", name="x", sketch_size=50) for i in range(3))
    same_sums((a + b) + c, a + (b + c))
    same_sums(a + b, b + a)


def test_merged_sketches_of_any_bounds_are_the_same_in_any_order() -> None:
    def made(size: int | None, hashes: list[int], bound: int | None) -> Sketch:
        kept = [each for each in hashes if bound is None or each <= bound][:size]
        return Sketch(size, np.array(kept, np.uint64), np.full((len(kept), 2), 0.5, np.float16), bound=bound)

    parts = ([1, 4, 9], [2, 3, 2**63, 2**64 - 1], [])
    bounds = (None, 3, 2**63, 2**64 - 1)
    for size, (first, second), low, high in itertools.product(
        (None, 2, 4, 9), itertools.permutations(parts, 2), bounds, bounds
    ):
        a, b = made(size, first, low), made(size, second, high)
        merged, other = (x.merge(y.hashes, y.z, bound=y.bound) for x, y in ((a, b), (b, a)))
        assert merged == other
        told = min((each.bound for each in (a, b) if each.bound is not None), default=2**64 - 1)
        expected = sorted(each for each in (*a.hashes.tolist(), *b.hashes.tolist()) if each <= told)
        assert merged.hashes.tolist() == expected[:size]


def test_repeated_ids_do_not_make_the_sketch_depend_on_order() -> None:
    features = make_features(60)
    features.ids = [f"s{i % 20}" for i in range(60)]
    whole = profile(features, "m", name="x", sketch_size=30)
    back = profile(take(features, list(range(59, -1, -1))), "m", name="x", sketch_size=30)
    same_sums(whole, back)


def test_sketch_is_a_uniform_sample_and_groups_are_even() -> None:
    hashes = hash_ids([f"id-{i}" for i in range(64_000)])
    counts = np.bincount(groups_of(hashes), minlength=N_GROUPS)
    assert abs(counts - 1000).max() < 160  # five standard deviations of a binomial
    smallest = np.sort(hashes)[:6400]
    assert smallest[-1] / 2**64 == pytest.approx(0.1, rel=0.06)
    low = np.bincount(groups_of(smallest), minlength=N_GROUPS)
    assert abs(low - 100).max() < 55  # the sketch does not favour a group


@pytest.mark.parametrize("sketch_size", [90, None])
@pytest.mark.parametrize("sealed", [False, True])
def test_saving_is_exact(tmp_path, sealed: bool, sketch_size: int | None) -> None:  # type: ignore[no-untyped-def]
    made = profile(make_features(200, text_only=0.1), "m", name="größe", sketch_size=sketch_size)
    if sealed:
        made = made.seal()
    made.save(tmp_path / "a.profile")
    back = Profile.load(tmp_path / "a.profile")
    assert back == made
    assert back.diversity == made.diversity
    assert back.fingerprint == made.fingerprint
    assert [path.name for path in tmp_path.iterdir()] == ["a.profile"]
    Profile.load(tmp_path / "a.profile").save(tmp_path / "b.profile")
    assert (tmp_path / "a.profile").read_bytes() == (tmp_path / "b.profile").read_bytes()


def test_equality_sees_a_single_bit() -> None:
    a, b = (profile(make_features(50), "m", name="x") for _ in range(2))
    assert a == b
    b.nll_sum[3] = np.nextafter(b.nll_sum[3], 9)
    assert a != b


def test_sealed_profiles_are_small_and_do_not_merge(tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = profile(make_features(3000, d=64), "m", name="x")
    sealed = made.seal()
    made.save(tmp_path / "a")
    sealed.save(tmp_path / "b")
    assert (tmp_path / "b").stat().st_size < (tmp_path / "a").stat().st_size - 3000 * 64 * 2
    with pytest.raises(ProfileError, match="sealed and no longer merges"):
        _ = sealed + made
    with pytest.raises(ProfileError, match="sealed"):
        sealed.update(make_features(3))


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        ({"model": "m"}, {"model": "other"}, "model differs"),
        ({"model": "m", "clusters": 4}, {"model": "m"}, "clusters differs"),
        ({"model": "m"}, {"model": "m", "diversity_fields": ("question",)}, "diversity_fields differs"),
        ({"model": "m", "seed": 1}, {"model": "m"}, "seed differs"),
    ],
)
def test_other_origins_do_not_mix(a: dict, b: dict, message: str) -> None:  # type: ignore[type-arg]
    left = profile(make_features(40), name="left", **a)
    right = profile(make_features(40, seed=1), name="right", **b)
    with pytest.raises(ProfileError, match=message) as caught:
        _ = left + right
    assert "'right'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_log_likelihoods_of_whole_answers_are_noticed() -> None:
    summed = Features(["a", "b"], np.full(2, 800.0), {"question": np.ones((2, 3), np.float32)})
    with pytest.raises(ProfileError, match=r"nll is above 700 nats.*mean over the tokens, not their sum"):
        profile(summed, name="sums")


def test_a_profile_whose_perplexity_overflows_is_told() -> None:
    summed = profile(Features(["a", "b"], np.full(2, 600.0), {"question": np.ones((2, 3), np.float32)}), name="sums")
    summed.nll_sum = summed.nll_sum / 3 * 4
    with pytest.raises(ProfileError, match="profile 'sums': mean_nll is 800 nats"):
        summed.perplexity  # noqa: B018


@given(st.lists(st.text(max_size=300), max_size=20))
def test_hashes_of_ids_are_those_of_hashlib(ids: list[str]) -> None:
    ids += ["a" * length for length in (127, 128, 129, 256, 257)] + ["", "half a pair \ud800"]
    digests = [hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest() for name in ids]
    assert hash_ids(ids).tolist() == [int.from_bytes(digest, "little") for digest in digests]


def test_ids_are_hashed_as_text() -> None:
    assert np.array_equal(hash_ids([7, np.int64(8)]), hash_ids(["7", "8"]))  # type: ignore[list-item]
    assert len(set(hash_ids(["\ud83d", "\ude00", "?"]).tolist())) == 3  # halves of a surrogate pair, as JSON may hold


@pytest.mark.parametrize("tokens", [[1], [-1, 2], [0.5, 2], [math.nan, 1], ["a", "b"]])
def test_bad_token_counts(tokens: list) -> None:  # type: ignore[type-arg]
    result = Profile.empty("d", "m")
    with pytest.raises(ProfileError, match="n_tokens"):
        result.update(Features(["a", "b"], np.ones(2), {"question": np.ones((2, 3), np.float32)}, n_tokens=tokens))  # type: ignore[arg-type]
    assert result == Profile.empty("d", "m")


def test_huge_and_tiny_embeddings_keep_their_direction() -> None:
    features = make_features(30)
    plain = profile(features, "m", name="x")
    features.embeddings["question"] *= np.float32(1e30)
    features.embeddings["answer"] *= np.float32(1e-30)
    scaled = profile(features, "m", name="x")
    for name in dp_fields():
        np.testing.assert_allclose(scaled.directions[name], plain.directions[name], rtol=1e-5)


def test_large_batches_are_those_of_small_ones() -> None:
    """More rows than one block, and a sketch that is full before they end."""
    features = make_features(1700, 5, text_only=0.4)
    features.embeddings["image"][~features.present["image"]] = np.nan  # rows of absent fields mean nothing
    whole = profile(features, sketch_size=100)
    single = profile((take(features, [row]) for row in range(1700)), sketch_size=100)
    same_sums(whole, single)
    unit = features.embeddings["image"][features.present["image"]].astype(float)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    np.testing.assert_allclose(whole.directions["image"], unit.mean(0), rtol=1e-7)


def test_a_failed_update_leaves_the_profile_as_it_was() -> None:
    made, same = (profile(make_features(40), "m", name="x") for _ in range(2))
    broken = make_features(30)
    broken.embeddings["answer"][2] = math.nan
    with pytest.raises(ProfileError):
        made.update(broken)
    with pytest.raises(ProfileError, match="7 wide, earlier ones 6"):
        made.update(make_features(5, d=7))
    assert made == same


def test_too_few_samples_for_the_diversity() -> None:
    made = profile(make_features(8), "m", name="small")
    with pytest.raises(ProfileError, match="profile 'small': diversity needs more than 10 different samples"):
        _ = made.diversity


@pytest.mark.parametrize(
    "damage",
    [
        *("missing", "empty", "text", "cut", "other", "field", "nan", "nan in the sketch", "inf in the sketch"),
        *("order", "bound", "settings", "clusters"),
    ],
)
def test_damaged_files(tmp_path, damage: str) -> None:  # type: ignore[no-untyped-def]
    from safetensors.numpy import load_file, save_file

    path = tmp_path / "x.profile"
    made = profile(make_features(40), "m", name="x")
    made.save(path)
    data, tensors = path.read_bytes(), load_file(path)
    head = {
        "dataprophet": json.dumps(
            {"format": "dataprophet-profile-1", "name": "x", "model": "m", "settings": made.settings}
        )
    }
    match damage:
        case "missing":
            path.unlink()
        case "empty":
            path.write_bytes(b"")
        case "text":
            path.write_text("hello")
        case "cut":
            path.write_bytes(data[:-10])
        case "other":
            save_file(tensors, path)
        case "field":
            del tensors["image.sum"]
            save_file(tensors, path, head)
        case "nan":
            tensors["nll_sum"][0] = np.nan
            save_file(tensors, path, head)
        case "nan in the sketch" | "inf in the sketch":
            tensors["sketch.z"][-1, -1] = np.nan if damage.startswith("nan") else -np.inf
            save_file(tensors, path, head)
        case "order":
            tensors["sketch.hashes"] = tensors["sketch.hashes"][::-1].copy()
            save_file(tensors, path, head)
        case "bound":
            save_file({**tensors, "sketch.bound": np.array([0], np.uint64)}, path, head)
        case "settings":
            save_file(
                tensors, path, {"dataprophet": head["dataprophet"].replace('"settings": {', '"settings": [], "s": {')}
            )
        case "clusters":
            made.seal().save(path)
            tensors = load_file(path)
            tensors["diversity.cluster_counts"] *= 0
            save_file(tensors, path, head)
    with pytest.raises(ProfileError, match=r"x\.profile: .*; ") as caught:
        Profile.load(path)
    assert "\n" not in str(caught.value)


def test_profile_says_what_it_needs() -> None:
    sample = dp.Sample("a", [], "q", "a")
    with pytest.raises(ProfileError, match="samples need a model"):
        dp.profile([sample])
    with pytest.raises(ProfileError, match="holds dict, not samples"):
        dp.profile([{"id": 1}], "m")  # type: ignore[list-item]
    for path in ("data.json", Path("data.json")):
        with pytest.raises(ProfileError, match=r"is not a dataset; open files with dataprophet\.open_dataset"):
            dp.profile(path, "m")  # type: ignore[arg-type]
