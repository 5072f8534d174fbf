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
from dataprophet.ops.arrays import Operand
from dataprophet.ops.directions import measured
from dataprophet.profiling.build import profile
from dataprophet.profiling.profile import Profile
from dataprophet.profiling.sketch import N_GROUPS, groups_of, hash_ids


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
    from sklearn.metrics import silhouette_score

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


def broken(name: str, row: int, value: float) -> Features:
    features = make_features(30)
    if name == "nll":
        features.nll[row] = value
    else:
        features.embeddings[name][row] = value
    return features


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (broken("nll", 7, math.nan), "sample 's7': nll is not finite in 1 of 30"),
        (broken("nll", 7, math.inf), "nll is not finite"),
        (broken("question", 4, math.nan), "sample 's4': question embedding is not finite"),
        (broken("answer", 4, math.inf), "answer embedding is not finite"),
        (broken("image", 29, 0.0), "sample 's29': image embedding is zero"),
        (Features(["a"], np.zeros(2), {"question": np.ones((1, 2), np.float32)}), r"nll has shape \(2,\)"),
        (Features(["a"], np.zeros(1), {"question": np.ones((2, 2), np.float32)}), "question has shape"),
        (Features(["a"], np.zeros(1), {"caption": np.ones((1, 2), np.float32)}), "unknown field 'caption'"),
        (Features(["a"], np.zeros(1), {}), "no embeddings"),
        (
            Features(["a"], np.zeros(1), {"question": np.ones((1, 2)), "image": np.ones((1, 3))}),
            r"of one width, and they are \[2, 3\]",
        ),
        (Features([], np.zeros(0), {}), "no sample could be used"),
    ],
)
def test_bad_features(features: Features, message: str) -> None:
    with pytest.raises(ProfileError, match=message) as caught:
        profile(features, "m", name="x")
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value)  # the fix


def test_features_of_any_library_and_layout() -> None:
    torch = pytest.importorskip("torch")
    features = make_features(60, text_only=0.3)
    expected = profile(features)
    assert features.n_tokens is not None
    in_float64 = {name: part.astype(np.float64) for name, part in features.embeddings.items()}
    for convert in (torch.tensor, np.ndarray.tolist, np.asfortranarray):
        given = Features(
            tuple(features.ids),  # type: ignore[arg-type]
            convert(features.nll),
            {name: convert(part) for name, part in features.embeddings.items()},
            {name: convert(part) for name, part in features.present.items()},
            convert(features.n_tokens),
        )
        of_lists = Features(features.ids, features.nll, in_float64, features.present, features.n_tokens)
        assert profile(given) == (profile(of_lists) if convert is np.ndarray.tolist else expected)
    halves = {name: torch.tensor(part).bfloat16() for name, part in features.embeddings.items()}
    rounded = {name: part.float().numpy() for name, part in halves.items()}
    in_bfloat16, in_float32 = (
        profile(Features(features.ids, features.nll, e, features.present)) for e in (halves, rounded)
    )
    assert in_bfloat16 == in_float32


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_samples_that_cannot_be_used_are_left_out_with_a_reason(library: str, dtype: str) -> None:
    features, bad = make_features(80, d=19, text_only=0.3), [3, 20, 21, 40, 41, 60]
    features.present["image"][40] = True  # type: ignore[index]
    features.embeddings = {name: rows.astype(dtype) for name, rows in features.embeddings.items()}
    features.nll[[3, 20]] = np.nan
    features.embeddings["question"][[20, 21, 41], 1] = np.inf  # type: ignore[index]
    features.embeddings["answer"][[41, 60]] = 0  # type: ignore[index]
    features.embeddings["image"][40] = 0  # type: ignore[index]
    good = take(features, [row for row in range(80) if row not in bad])
    if library == "torch":
        torch = pytest.importorskip("torch")
        features.embeddings = {name: torch.from_numpy(rows) for name, rows in features.embeddings.items()}
    made = Profile.empty("d", "m")
    found = made.measure(features, leave_out=True)
    expected = Profile.empty("d", "m")
    expected.update(good)
    assert made == expected
    assert made.sketch == expected.sketch
    assert np.flatnonzero(~found.usable).tolist() == bad
    assert found.reasons == {
        3: "nll is not finite",
        20: "nll is not finite",
        21: "question embedding is not finite",
        40: "image embedding is zero",
        41: "question embedding is not finite",
        60: "answer embedding is zero",
    }
    assert [len(part) for part in (found.nll, found.tokens, found.fields["image"].rows)] == [74] * 3


def test_none_of_the_samples_can_be_used() -> None:
    features, made = make_features(4), Profile.empty("d", "m")
    features.embeddings["question"][:] = 0  # type: ignore[index]
    assert len(made.measure(features, leave_out=True).reasons) == 4
    assert made == Profile.empty("d", "m")


def test_embeddings_are_read_once_and_stay_in_their_library(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    features, read = make_features(50), []
    features.embeddings = {name: torch.from_numpy(rows).bfloat16() for name, rows in features.embeddings.items()}
    features.embeddings["answer"][7] = 0  # type: ignore[index]

    def counting(rows, *rest):  # type: ignore[no-untyped-def]
        read.append((rows.values.dtype, len(rows.values)))
        return measured(rows, *rest)

    monkeypatch.setattr("dataprophet.features.features._measured", counting)
    Profile.empty("d", "m").measure(features, leave_out=True)
    once = [(torch.bfloat16, 50)] * 3
    assert read == [*once, (torch.bfloat16, 1)]  # what the bad sample's question added to the sums is taken off


def test_of_tensors_on_a_device_only_chosen_rows_are_copied_for_the_sketch(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    features, copied = make_features(90, text_only=0.2), []
    expected = profile(features, sketch_size=16)
    features.embeddings = {name: torch.from_numpy(rows) for name, rows in features.embeddings.items()}

    def read(operand: Operand, rows: np.ndarray) -> np.ndarray:
        copied.append(len(rows))
        return np.asarray(operand.values[rows])

    monkeypatch.setattr(Operand, "on_cuda", property(lambda operand: operand.is_torch))  # as if they lay on one
    monkeypatch.setattr(Operand, "read", read)
    made = Profile.empty("dataset", "precomputed", sketch_size=16)
    for start in (0, 60):
        made.update(take(features, list(range(start, start + (60 if start == 0 else 30)))))
    assert made == expected
    assert copied[:3] == [60] * 3
    assert max(copied[3:]) < 30  # the sketch is full by then


def test_log_likelihoods_of_whole_answers_are_noticed() -> None:
    summed = profile(Features(["a", "b"], np.full(2, 800.0), {"question": np.ones((2, 3), np.float32)}), name="sums")
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
    with pytest.raises(ProfileError):
        made.update(broken("answer", 2, math.nan))
    with pytest.raises(ProfileError, match="7 wide, earlier ones 6"):
        made.update(make_features(5, d=7))
    assert made == same


def test_too_few_samples_for_the_diversity() -> None:
    made = profile(make_features(8), "m", name="small")
    with pytest.raises(ProfileError, match="profile 'small': diversity needs more than 10 different samples"):
        _ = made.diversity


@pytest.mark.parametrize(
    "damage", ["missing", "empty", "text", "cut", "other", "field", "nan", "order", "bound", "settings", "clusters"]
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
