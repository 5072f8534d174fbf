"""The metric against its plain definition, and its standard errors against a bootstrap over samples."""

from __future__ import annotations

import itertools
import math
import pickle

import numpy as np
import pytest
from numpy.typing import NDArray

from dataprophet.errors import MetricError, ProfileError
from dataprophet.features.features import Features
from dataprophet.metric.factors import FACTORS
from dataprophet.metric.matrix import TransferMatrix
from dataprophet.metric.transfer import transfer_matrix
from dataprophet.profiling.build import profile
from dataprophet.profiling.jackknife import influence, standard_error
from dataprophet.profiling.profile import Profile

FIELDS = ("question", "answer", "image")


def make(name: str, seed: int, n: int = 300, d: int = 8) -> tuple[Features, Profile]:
    rng = np.random.default_rng(seed)
    base = 1.0 + 0.3 * rng.standard_normal(d)
    centres = base + 0.8 * rng.standard_normal((4, d))
    rows = {
        field: (centres[rng.integers(4, size=n)] + 0.4 * rng.standard_normal((n, d))).astype(np.float32)
        for field in FIELDS
    }
    features = Features([f"{name}-{i}" for i in range(n)], rng.gamma(2.0, 0.4, n), rows)
    return features, profile(features, "m", name=name)


def units(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = rows.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def test_scores_are_those_of_the_formula() -> None:
    sources, targets = [make(f"s{i}", i) for i in range(3)], [make(f"t{i}", 10 + i, 200) for i in range(2)]
    matrix = transfer_matrix([p for _, p in sources], [p for _, p in targets])
    assert (matrix.sources, matrix.targets) == (["s0", "s1", "s2"], ["t0", "t1"])
    for i, j in itertools.product(range(3), range(2)):
        (fs, ps), (ft, _) = sources[i], targets[j]
        expected = math.exp(fs.nll.mean()) * (ps.silhouette + ps.entropy) / math.exp(ft.nll.mean())
        for field in FIELDS:
            pairs = units(fs.embeddings[field]) @ units(ft.embeddings[field]).T  # every pair: the definition
            assert matrix.factors[f"{field}_similarity"][i, j] == pytest.approx(pairs.mean(), abs=1e-7)
            expected *= pairs.mean()
        assert matrix.values[i, j] == pytest.approx(expected, rel=5e-7)
    np.testing.assert_allclose(np.prod(list(matrix.factors.values()), axis=0), matrix.values, rtol=1e-14)
    assert list(matrix.factors) == list(FACTORS)


def test_a_score_does_not_depend_on_the_other_datasets() -> None:
    profiles = [make(f"p{i}", i, 60, 33)[1] for i in range(9)]
    whole = transfer_matrix(profiles, profiles[:5])
    for rows, columns in (([6, 0, 3, 8], [4, 1]), ([7, 2], [3]), ([5], [0, 2])):
        part = transfer_matrix([profiles[i] for i in rows], [profiles[j] for j in columns])
        np.testing.assert_array_equal(part.values, whole.values[np.ix_(rows, columns)])
        for name, errors in part.errors.items():
            np.testing.assert_array_equal(errors, whole.errors[name][np.ix_(rows, columns)])


def test_without_a_factor() -> None:
    profiles = [make(f"s{i}", i)[1] for i in range(3)]
    matrix = transfer_matrix(profiles, profiles)
    for name, part in matrix.factors.items():
        left = matrix.without(name)
        np.testing.assert_allclose(left.values, matrix.values / part, rtol=1e-13)
        assert name not in left.factors
    both = matrix.without("perplexity")
    assert set(matrix.factors) - set(both.factors) == {"source_perplexity", "inverse_target_perplexity"}
    for name, sign in FACTORS.items():
        assert matrix.without(sign) == matrix.without(name)
    with pytest.raises(MetricError, match="no factor 'colour'"):
        matrix.without("colour")


def test_rank_orders_by_score_then_name() -> None:
    matrix = TransferMatrix(["b", "c", "a", "d"], ["t"], np.array([[1.0], [2.0], [1.0], [np.nan]]))
    assert [entry.source for entry in matrix.rank("t")] == ["c", "a", "b", "d"]
    assert matrix.rank("t")[:2] == [("c", 2.0), ("a", 1.0)]
    assert dict(matrix.rank("t"))["b"] == 1.0
    assert all(entry.resolved is None for entry in matrix.rank("t"))


def test_jackknife_of_a_mean_is_its_textbook_error() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal(64)  # one sample in each group: the plain jackknife, exact for a mean
    total = x.sum()
    found = standard_error(influence(np.array(x.mean()), (total - x) / 63, np.ones(64, np.int64)))
    assert found == pytest.approx(x.std(ddof=1) / 8, rel=1e-12)
    assert np.isnan(influence(np.array(1.0), np.ones(64), np.eye(1, 64, dtype=np.int64)[0])).all()


def resampled(features: Features, rng: np.random.Generator, name: str) -> Profile:
    rows = rng.integers(len(features.ids), size=len(features.ids))
    embeddings = {field: part[rows] for field, part in features.embeddings.items()}
    ids = [f"{name}-{draw}" for draw in range(len(rows))]
    return profile(Features(ids, features.nll[rows], embeddings), "m", name=name)


@pytest.mark.parametrize(("clusters", "spread"), [(4, 0.4), (6, 0.15)])
def test_standard_errors_agree_with_a_bootstrap_over_samples(clusters: int, spread: float) -> None:
    """Each draw is profiled from the start, clustering included.

    With six tight clusters, fewer than K, k-means ends in another optimum for each draw, and that is most of the error
    of the diversity. One jackknife of 64 groups has an error of 9% itself, 60 draws one of 9%, 16 halves one of 18%.
    """
    ratios: dict[str, list[float]] = {name: [] for name in [*FACTORS, "M"]}
    for seed in range(3):
        source, target = make_correlated("s", 20 + seed, clusters, spread), make_correlated("t", 40 + seed, 4, 0.4)
        matrix = transfer_matrix([profile(source, "m", name="s")], [profile(target, "m", name="t")])
        rng = np.random.default_rng(5)
        drawn = [
            transfer_matrix([resampled(source, rng, "s")], [resampled(target, rng, "t")], errors=False)
            for _ in range(60)
        ]
        for name in FACTORS:
            spread_of_draws = np.std([draw.factors[name][0, 0] for draw in drawn], ddof=1)
            ratios[name].append(float(matrix.errors[name][0, 0] / spread_of_draws))
        assert matrix.log_error is not None
        logs = np.std([math.log(draw.values[0, 0]) for draw in drawn], ddof=1)
        ratios["M"].append(float(matrix.log_error[0, 0] / logs))
    for name, values in ratios.items():
        assert 0.75 < np.mean(values) < 1.3, (name, values)


def make_correlated(name: str, seed: int, clusters: int, spread: float, n: int = 400) -> Features:
    """Questions and answers share their cluster, and the log-likelihood follows it: the factors are not independent."""
    rng = np.random.default_rng(seed)
    centres = 1.0 + 0.3 * rng.standard_normal(8) + 0.8 * rng.standard_normal((clusters, 8))
    of = rng.integers(clusters, size=n)
    own = {"question": of, "answer": of, "image": rng.integers(clusters, size=n)}
    rows = {field: (centres[own[field]] + spread * rng.standard_normal((n, 8))).astype(np.float32) for field in FIELDS}
    return Features([f"{name}-{i}" for i in range(n)], rng.gamma(2.0, 0.4, n) + 0.1 * of, rows)


def test_ranking_knows_what_is_not_resolved() -> None:
    target = make("t", 5, 500)[1]
    features, twin = make("a", 1, 400)
    half = Features([f"b{i}" for i in range(400)], features.nll, features.embeddings)
    near = profile(half, "m", name="b")  # the same numbers under other ids: no true difference
    shifted = Features([f"c{i}" for i in range(400)], features.nll + 2.0, features.embeddings)
    far = profile(shifted, "m", name="c")
    matrix = transfer_matrix([twin, near, far], [target])
    ranking = matrix.rank("t")
    assert ranking[0].source == "c"
    assert ranking[0].resolved is True
    assert ranking[1].resolved is False
    assert ranking[2].resolved is None
    assert all(entry.low < entry.score < entry.high for entry in ranking)
    wide = matrix.rank("t", level=0.999)[0]
    assert wide.low < ranking[0].low
    assert wide.high > ranking[0].high


def test_errors_of_datasets_too_small_to_halve_are_not_known() -> None:
    matrix = transfer_matrix([make("a", 1, 14)[1], make("b", 2, 14)[1]], [make("t", 5, 100)[1]])
    first = matrix.rank("t")[0]
    assert np.isnan(first.low)
    assert first.resolved is None
    assert np.isfinite(matrix.errors["question_similarity"]).all()


def test_shared_target_cancels_in_the_difference_of_neighbours() -> None:
    target = make("t", 5, 40)[1]  # a small target: most of the error of M, none of it in the order
    sources = [make("a", 1, 2000)[1], make("b", 2, 2000)[1]]
    matrix = transfer_matrix(sources, [target])
    assert matrix.next_error is not None
    assert matrix.log_error is not None
    first = int(matrix.order("t")[0])
    assert matrix.next_error[first, 0] < matrix.log_error[:, 0].min()


def test_a_dataset_with_itself_adds_influences() -> None:
    """The norm of one mean direction has twice the influence on its square, not root two times."""
    own = make("a", 1, 500)[1]
    other = make("b", 1, 500)[1]  # the same numbers, other ids
    together = transfer_matrix([own], [own]).errors["question_similarity"][0, 0]
    apart = transfer_matrix([own], [other]).errors["question_similarity"][0, 0]
    assert together == pytest.approx(apart * math.sqrt(2), rel=0.3)
    assert together > apart * 1.1


def test_csv_round_trip_is_exact(tmp_path) -> None:  # type: ignore[no-untyped-def]
    profiles = [make(name, i)[1] for i, name in enumerate(["plain", 'quo"te, comma', "größe"])]
    matrix = transfer_matrix(profiles, profiles[:2])
    matrix.to_csv(tmp_path / "scores.csv")
    back = TransferMatrix.from_csv(tmp_path / "scores.csv")
    assert back == matrix
    assert [entry.as_dict() for entry in back.rank("plain")[:-1]] == [
        entry.as_dict() for entry in pickle.loads(pickle.dumps(matrix.rank("plain")[:-1]))
    ]
    for name in FACTORS:
        np.testing.assert_array_equal(back.errors[name], matrix.errors[name])
    assert back.without("ISim") == matrix.without("ISim")
    first = (tmp_path / "scores.csv").read_bytes(), (tmp_path / "scores.factors.csv").read_bytes()
    back.to_csv(tmp_path / "scores.csv")
    assert first == ((tmp_path / "scores.csv").read_bytes(), (tmp_path / "scores.factors.csv").read_bytes())
    TransferMatrix(matrix.sources, matrix.targets, matrix.values).to_csv(tmp_path / "scores.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["scores.csv"]  # no factors file of another matrix stays


CORNER = "source\\target"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("a,b\nx,1\n", r"row 1: the corner is 'a'"),
        (f"{CORNER}\nx\n", "holds no scores"),
        (f"{CORNER},t\n", "holds no scores"),
        (f"{CORNER},t,u\nx,1\n", "row 2: 2 cells, expected 3"),
        (f"{CORNER},t\nx,1\n\ny,abc\n", r"row 4, column 't': 'abc' is not a finite number"),
        (f"{CORNER},t\nx,\n", "'' is not a finite number"),
        (f"{CORNER},t\nx,inf\n", "'inf' is not a finite number"),
        (f"{CORNER},t\nx,1\nx,2\n", "source 'x' occurs more than once"),
        (f"{CORNER},t,t\nx,1,2\n", "target 't' occurs more than once"),
        (f"{CORNER},t\n,1\n", "row 2: a name is empty"),
        (None, "cannot be read"),
        (b"\xff\xfe\x00\x80", "not UTF-8"),
    ],
)
def test_bad_matrix_files(tmp_path, text: str | bytes | None, message: str) -> None:  # type: ignore[no-untyped-def]
    path = tmp_path / "scores.csv"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(MetricError, match=message) as caught:
        TransferMatrix.from_csv(path)
    assert "scores.csv" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("score,", "points,", 1), "column 'score' is missing"),
        (lambda text: text.replace("t,1,", "other,1,", 1), "not in the matrix"),
        (lambda text: text.replace(text.splitlines()[1].split(",")[3], "0.5", 1), "scores differ"),
        (lambda text: text.rstrip().rsplit(",", 1)[0] + "\n", "cells, expected"),
    ],
)
def test_a_factors_file_of_another_matrix_is_refused(tmp_path, change, message: str) -> None:  # type: ignore[no-untyped-def]
    transfer_matrix([make("a", 1)[1], make("b", 2)[1]], [make("t", 3)[1]]).to_csv(tmp_path / "scores.csv")
    path = tmp_path / "scores.factors.csv"
    path.write_text(change(path.read_text()))
    with pytest.raises(MetricError, match=message):
        TransferMatrix.from_csv(tmp_path / "scores.csv")


def opposite(name: str) -> Profile:
    features, _ = make(name, 1)
    features.embeddings = {**features.embeddings, "answer": -features.embeddings["answer"]}
    return profile(features, "m", name=name)


def imageless(name: str) -> Profile:
    features, _ = make(name, 1)
    features.embeddings = {f: rows for f, rows in features.embeddings.items() if f != "image"}
    return profile(features, "m", name=name)


def test_factors_that_are_not_positive_are_named() -> None:
    good, bad = make("good", 2)[1], opposite("bad")
    with pytest.raises(MetricError, match=r"'bad' -> 'good': ASim is -0\.\d+, not positive") as caught:
        transfer_matrix([good, bad], [good])
    assert "\n" not in str(caught.value)
    matrix = transfer_matrix([bad, good], [good], allow_nonpositive=True)
    assert np.isnan(matrix.values[0, 0])
    assert [entry.source for entry in matrix.rank("good")] == ["good", "bad"]
    with pytest.raises(MetricError, match="no score for target 'good' is defined"):
        transfer_matrix([bad], [good], allow_nonpositive=True).rank("good")


def test_datasets_without_images() -> None:
    good, text = make("good", 2)[1], imageless("text")
    with pytest.raises(MetricError, match="profile 'text': no sample has the field 'image'"):
        transfer_matrix([text, good], [good])
    matrix = transfer_matrix([text, good], [good], fields=("question", "answer"))
    assert "image_similarity" not in matrix.factors
    assert np.isfinite(matrix.values).all()


@pytest.mark.parametrize(
    ("sources", "targets", "options", "error", "message"),
    [
        ([], ["t"], {}, MetricError, "no sources given"),
        (["t"], [], {}, MetricError, "no targets given"),
        (["t", "t"], ["t"], {}, MetricError, "source 't' occurs more than once"),
        (["t"], ["t"], {"fields": ["colour"]}, MetricError, "unknown field 'colour'"),
        (["absent"], ["t"], {}, ProfileError, "absent: no such profile"),
        (["t"], ["foreign"], {}, ProfileError, "profile 'foreign': model differs"),
    ],
)
def test_bad_calls(tmp_path, sources, targets, options, error, message: str) -> None:  # type: ignore[no-untyped-def]
    known = {"t": make("t", 1)[1], "foreign": profile(make("f", 2)[0], "another", name="foreign")}
    items = [[known.get(name, tmp_path / name) for name in names] for names in (sources, targets)]
    with pytest.raises(error, match=message):
        transfer_matrix(*items, **options)


def test_paths_serve_as_profiles(tmp_path) -> None:  # type: ignore[no-untyped-def]
    made = make("a", 1)[1]
    made.save(tmp_path / "a.profile")
    assert transfer_matrix([tmp_path / "a.profile"], [str(tmp_path / "a.profile")]) == transfer_matrix([made], [made])
    assert transfer_matrix(made, str(tmp_path / "a.profile")) == transfer_matrix([made], [made])


def test_values_of_any_library() -> None:
    torch = pytest.importorskip("torch")
    expected = TransferMatrix(["a"], ["t", "u"], np.array([[1.5, 2.0]]))
    for values in ([[1.5, 2.0]], torch.tensor([[1.5, 2.0]], dtype=torch.bfloat16)):
        assert TransferMatrix(["a"], ["t", "u"], values) == expected  # type: ignore[arg-type]
    with pytest.raises(MetricError, match="values: expected real numbers"):
        TransferMatrix(["a"], ["t"], [["x"]])  # type: ignore[arg-type]


def test_unknown_target_and_level() -> None:
    matrix = TransferMatrix(["a"], ["t"], np.ones((1, 1)))
    with pytest.raises(MetricError, match="no target 'x'; choose among t"):
        matrix.rank("x")
    with pytest.raises(MetricError, match="level is 1"):
        matrix.rank("t", level=1.0)
    with pytest.raises(MetricError, match=r"values has shape \(2, 1\), expected \(1, 1\)"):
        TransferMatrix(["a"], ["t"], np.ones((2, 1)))


def test_a_matrix_of_a_thousand_profiles_needs_no_errors() -> None:
    profiles = []
    for i in range(130):
        made = make(f"p{i}", 1, 64)[1]
        profiles.append(made)
    matrix = transfer_matrix(profiles, profiles)
    assert matrix.log_error is None
    assert matrix.rank("p0")[0].resolved is None
