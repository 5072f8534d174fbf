"""What tells of noise in a matrix: remarks, and limits that leave sources out."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from dataprophet.cli import main
from dataprophet.errors import MetricError, ProfileError
from dataprophet.features.features import Features
from dataprophet.metric.factors import FACTORS, places_within, product, remarks_on_perplexity, whole_share
from dataprophet.metric.matrix import TransferMatrix
from dataprophet.metric.transfer import transfer_matrix
from dataprophet.profiling.build import profile
from dataprophet.profiling.profile import Profile


def matrix_of(perplexity, others=0.1, targets=2, seed=0):
    """A matrix of sources with these perplexities; the other factors spread by ``others``."""
    rng = np.random.default_rng(seed)
    shape = (len(perplexity), targets)
    factors = {name: np.exp(others * rng.normal(size=shape)) for name in FACTORS}
    factors["source_perplexity"] = np.repeat(np.asarray(perplexity, float)[:, None], targets, axis=1)
    factors["inverse_target_perplexity"] = np.repeat(1 / rng.uniform(1, 5, (1, targets)), len(perplexity), axis=0)
    names = [f"s{i}" for i in range(shape[0])], [f"t{j}" for j in range(targets)]
    return TransferMatrix(*names, product(factors, shape), factors)


def made(name, nll, tokens=None, n=60):
    rng = np.random.default_rng(sum(map(ord, name)))
    vectors = {field: (rng.normal(size=(n, 6)) + 2).astype(np.float32) for field in ("question", "answer", "image")}
    counts = None if tokens is None else np.full(n, tokens)
    given = rng.gamma(4.0, nll / 4, n)
    return profile(Features([str(i) for i in range(n)], given, vectors, n_tokens=counts), "m", name=name, clusters=3)


def test_a_factor_that_decides_alone_is_told():
    matrix = matrix_of([1.1, 2, 4, 9, 20, 60])
    assert all(spearmanr(matrix.factors["source_perplexity"][:, j], matrix.values[:, j])[0] > 0.95 for j in (0, 1))
    (told,) = matrix.remarks()
    assert told.startswith("PPL(s) alone decides the ranking for 2 of 2 targets (rank correlation with M above 0.95)")
    assert matrix.remarks("t1") == [told.replace("2 of 2 targets", "'t1'")]
    assert "--without 'PPL(s)'" in told
    assert matrix.without("PPL(s)").remarks() == []
    for name, sign in FACTORS.items():  # any factor that depends on the source
        if name != "inverse_target_perplexity":
            even = matrix_of([2.0] * 6)
            factors = even.factors | {name: np.exp(np.arange(6.0))[:, None] * np.ones((1, 2))}
            factors["source_perplexity"] = np.minimum(factors["source_perplexity"], 900)
            own = TransferMatrix(even.sources, even.targets, product(factors, even.shape), factors)
            assert [line.split(" alone")[0] for line in own.remarks()] == [sign]


def test_a_balanced_ranking_needs_no_remark():
    told = 0
    for seed in range(20):
        matrix = matrix_of(np.random.default_rng(seed).uniform(1, 1.3, 8), others=0.3, seed=seed)
        for target in matrix.targets:
            j = matrix.column(target)
            alike = {
                spearmanr(part[:, j], matrix.values[:, j])[0] for part in matrix.factors.values() if np.ptp(part[:, j])
            }
            told += bool(matrix.remarks(target))
            assert max(alike) > 0.95 or not matrix.remarks(target)
    assert told <= 2  # of 40: one factor may outweigh the others by chance
    assert matrix_of([1.0, 50.0]).remarks() == []  # of two sources every factor has the order of M, or the reverse
    assert TransferMatrix(["a", "b", "c"], ["t"], np.ones((3, 1))).remarks() == []


def test_high_perplexities_are_told(tmp_path):
    profiles = [made("a", 0.5), made("b", 0.9), made("garbled", 16.0)]
    matrix = transfer_matrix(profiles, profiles[1:])
    high = f"PPL of 'garbled' is {profiles[2].perplexity:,.0f}: the model does not know such answers, rows are garbled"
    assert [line.startswith(high) for line in matrix.remarks()] == [True, False]
    assert "alone decides" in matrix.remarks()[1]
    matrix.to_csv(tmp_path / "m.csv")
    assert TransferMatrix.from_csv(tmp_path / "m.csv").remarks() == matrix.remarks()
    assert transfer_matrix(profiles[:2], profiles[:2]).remarks() == []
    assert high in transfer_matrix(profiles[:2], profiles[2:]).remarks()[0]  # of a target, too


@pytest.mark.parametrize("nll", [6.8, 7.0])
def test_profile_tells_a_high_perplexity(nll, tmp_path, capsys):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "s.npz", nll=np.full(40, nll), question=rng.standard_normal((40, 5)) + 2)
    words = ["profile", str(tmp_path / "s.npz"), "--features", "--model", "m", "--out", str(tmp_path / "s.profile")]
    assert main([*words, "--diversity-fields", "question"]) == 0
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("! ")]
    assert told == [f"! {line}" for line in remarks_on_perplexity("s", np.exp(nll))]
    assert len(told) == (nll == 7.0)


def test_sources_beyond_limits_are_left_out(tmp_path):
    nll, tokens = [0.2, 0.5, 0.9, 1.4, 3.0], [3, 9, 1, 30, 5]
    profiles = [made(f"p{i}", *both) for i, both in enumerate(zip(nll, tokens, strict=True))]
    matrix = transfer_matrix(profiles, profiles[:2])
    matrix.to_csv(tmp_path / "m.csv")
    read = TransferMatrix.from_csv(tmp_path / "m.csv")
    mean = [p.mean_nll for p in profiles]
    for limits, kept in (
        ({}, [0, 1, 2, 3, 4]),
        ({"max_nll": mean[3]}, [0, 1, 2, 3]),
        ({"max_nll": mean[3] - 1e-9}, [0, 1, 2]),
        ({"nll_quantiles": (0.2, 0.8)}, [1, 2, 3]),
        ({"nll_quantiles": (0.19, 0.81)}, [0, 1, 2, 3, 4]),
        ({"min_answer_tokens": 5}, [1, 3, 4]),
        ({"nll_quantiles": [0.0, 0.8], "min_answer_tokens": 4}, [1, 3]),
    ):
        fresh = transfer_matrix([profiles[i] for i in kept], profiles[:2])
        for found in (matrix.within(**limits), read.within(**limits)):
            assert found == fresh
            np.testing.assert_array_equal(found.answer_tokens, [tokens[i] for i in kept])
            np.testing.assert_allclose(found.log_error, fresh.log_error)
        assert [entry.as_dict() for entry in matrix.within(**limits).rank("p0")] == [
            entry.as_dict() for entry in fresh.rank("p0")
        ]
        for ours, theirs in zip(read.within(**limits).rank("p0"), fresh.rank("p0"), strict=True):
            assert ours.resolved in (theirs.resolved, None)
    with pytest.raises(MetricError, match="none of the 5 sources is within the limits"):
        matrix.within(max_nll=0.01)
    with pytest.raises(MetricError, match=r"nll_quantiles: it is 0\.5, 0\.5; give LOW and HIGH"):
        matrix.within(nll_quantiles=(0.5, 0.5))
    with pytest.raises(MetricError, match="max_nll: it is nan"):
        matrix.within(max_nll=float("nan"))
    with pytest.raises(MetricError, match="no factor is left in which sources or samples differ"):
        matrix.without("QSim", "ASim", "ISim", "PPL(s)", "Sil+H")
    with pytest.raises(MetricError, match=r"holds no PPL\(s\) to limit"):
        matrix.without("PPL(s)").within(max_nll=2)
    with pytest.raises(MetricError, match="does not know the answer tokens"):
        transfer_matrix([made("x", 1.0)], profiles[:1]).within(min_answer_tokens=1)


def test_old_factors_files_know_no_tokens(tmp_path):
    profiles = [made("a", 0.5, 3), made("b", 0.9, 4)]
    matrix = transfer_matrix(profiles, profiles[:1])
    TransferMatrix(matrix.sources, matrix.targets, matrix.values, matrix.factors).to_csv(tmp_path / "m.csv")
    read = TransferMatrix.from_csv(tmp_path / "m.csv")
    assert read == matrix
    assert read.answer_tokens is None


def test_a_profile_of_the_wrong_sign_has_no_perplexity():
    wrong = Profile.empty("x", "m")
    wrong.count = wrong.count + 1
    wrong.nll_sum = wrong.nll_sum - 0.5
    with pytest.raises(ProfileError, match=r"profile 'x': nll is -0.5, below 0"):
        _ = wrong.perplexity


def test_shares_are_those_that_are_written() -> None:
    assert whole_share(0.29, 100_000_000) == 29_000_000
    assert places_within((0.0, 0.9), 1_000_000_000) == (0, 899_999_999)
    assert places_within((0.1, 0.7), 10) == (1, 6)
    assert [whole_share(share, 100) for share in (1 - 0.9, 0.7 - 0.4, 1, 0.0)] == [10, 30, 100, 0]
