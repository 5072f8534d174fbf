"""Features that cannot be used: refused, or left out with a reason, in the one read of the embeddings."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sample_features import make_features, take

from dataprophet.errors import ProfileError
from dataprophet.features.features import Features
from dataprophet.ops.arrays import Operand
from dataprophet.ops.directions import measured
from dataprophet.profiling.build import profile
from dataprophet.profiling.profile import Profile


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
        (broken("nll", 7, -0.5), "x, sample 's7': nll is -0.5, below 0, in 1 of 30 samples; .*change the sign"),
        (broken("question", 4, math.nan), "sample 's4': question embedding is not finite"),
        (broken("answer", 4, math.inf), "answer embedding is not finite"),
        (broken("image", 29, 0.0), "sample 's29': image embedding is zero"),
        (Features(["a"], np.zeros(2), {"question": np.ones((1, 2), np.float32)}), r"nll has shape \(2,\)"),
        (Features(["a"], np.zeros(1), {"question": np.ones((2, 2), np.float32)}), "question has shape"),
        (
            Features(["a", "b"], np.zeros(2), {"image": np.ones((2, 2))}, {"image": np.array([1, math.nan])}),
            "image_present is not true or false for each sample",
        ),
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
    assert read == [*once, *[(torch.bfloat16, 1)] * 2]  # what its question and image added to the sums is taken off


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
