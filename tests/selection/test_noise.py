"""Limits against noise, and scores without factors, against plain loops over all units."""

from __future__ import annotations

import json
import math

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from scored_pools import forget_checksums, row, write_pool, write_scores

from dataprophet import Features, Profile
from dataprophet.cli import main
from dataprophet.errors import BudgetError, MetricError
from dataprophet.scoring.folder.pool import ScoredPool
from dataprophet.scoring.score import score
from dataprophet.selection import Settings, select_pool
from dataprophet.selection.noise import _between
from dataprophet.selection.verify import verify

COUNT = 400
FIELDS = ("question", "answer", "image")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Features of 400 samples, some without an image, scored for two targets; their numbers."""
    folder, rng = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    vectors = {name: (rng.normal(size=(COUNT, 6)) + 0.8).astype(np.float32) for name in FIELDS}
    nll, tokens = rng.gamma(2.0, 0.7, COUNT).astype(np.float32), rng.integers(1, 12, COUNT)
    nll[7], present = 200.0, rng.random(COUNT) < 0.8  # exp(200) is beyond float32: M is not defined
    ids = np.array([f"s{i:03d}" for i in range(COUNT)])
    np.savez(folder / "f.npz", id=ids, nll=nll, n_tokens=tokens, image_present=present, **vectors)
    targets = []
    for name, level in (("t", 0.4), ("u", 1.1)):
        made = Profile.empty(name, "enc", clusters=2, sketch_size=100)
        other = {field: (rng.normal(size=(50, 6)) + 1).astype(np.float32) for field in FIELDS}
        made.update(Features([f"{name}{i}" for i in range(50)], np.full(50, level), other))
        made.save(folder / f"{name}.profile")
        targets.append(folder / f"{name}.profile")
    score(folder / "f.npz", targets, "enc", out=folder / "scores", features=True, threads=1)
    table = ScoredPool(folder / "scores").read()
    return folder, {
        name: table.column(name).to_numpy(zero_copy_only=False).astype(float) for name in table.column_names[7:]
    }


def chosen(out):
    return pq.read_table(out / "_selected.parquet").column("position").to_pylist()


def best(values, count):
    """The best by a plain sort; ties by the id, which is in order."""
    good = [int(i) for i in np.flatnonzero(~np.isnan(values))]
    return sorted(sorted(good, key=lambda i: (-values[i], i))[:count])


@pytest.mark.parametrize(
    "without", [[], ["perplexity"], ["PPL(s)"], ["ISim"], ["image_similarity", "QSim"], ["1/PPL(t)", "ASim"]]
)
def test_scores_without_factors(folders, tmp_path, without):
    folder, numbers = folders
    signs = {"ISim": "ISim", "image_similarity": "ISim", "QSim": "QSim", "ASim": "ASim"}
    left = {signs[name] for name in without if name in signs}
    values = np.ones(COUNT)
    for sign in {"QSim", "ASim", "ISim"} - left:
        part = numbers[f"{sign}:t"]
        values *= np.where(part > 0, part, np.nan)
    if not {"perplexity", "PPL(s)"} & set(without):
        values *= np.exp(numbers["mean_nll"])
    values = values if without else numbers["M:t"]
    done = select_pool(folder / "scores", Settings(["t"], 60, without=without), tmp_path / "out", format="ids")
    assert chosen(tmp_path / "out") == best(values, 60)
    scale = 1 if not without or {"perplexity", "1/PPL(t)"} & set(without) else math.exp(0.4)
    assert done.lowest == pytest.approx(sorted(values[~np.isnan(values)])[-60] / scale, rel=1e-5)
    assert verify(tmp_path / "out") == []


@pytest.mark.parametrize(
    "limits",
    [
        {"max_nll": 1.25},
        {"nll_quantiles": (0.05, 0.9)},
        {"nll_quantiles": (0.0, 0.5), "min_answer_tokens": 4},
        {"min_answer_tokens": 8, "without": ["perplexity"]},
        {"max_nll": 2.0, "nll_quantiles": (0.25, 1.0), "min_answer_tokens": 2, "without": ["ISim"]},
    ],
)
def test_limits(folders, tmp_path, limits):
    folder, numbers = folders
    nll, values = numbers["mean_nll"], numbers["M:t"].copy()
    if limits.get("without") == ["perplexity"]:
        parts = [numbers[f"{sign}:t"] for sign in ("QSim", "ASim", "ISim")]
        values = np.prod([np.where(part > 0, part, np.nan) for part in parts], axis=0)
    elif limits.get("without") == ["ISim"]:
        parts = [numbers[f"{sign}:t"] for sign in ("QSim", "ASim")]
        values = np.prod([np.where(part > 0, part, np.nan) for part in parts], axis=0) * np.exp(nll)
    scored = np.sort(nll[~np.isnan(values)])
    low, high = limits.get("nll_quantiles", (0, 1))
    first, last = math.floor(low * len(scored)), len(scored) - 1 - math.floor((1 - high) * len(scored) + 1e-9)
    over = nll > limits.get("max_nll", math.inf)
    outside = ~over & ((nll < scored[first]) | (nll > scored[last]))
    short = ~over & ~outside & (numbers["answer_tokens"] < limits.get("min_answer_tokens", 0))
    some = ~np.isnan(values)
    counts = {"max_nll": over, "nll_quantiles": outside, "min_answer_tokens": short}
    expected = {name: int((given & some).sum()) for name, given in counts.items() if (given & some).any()}
    values[over | outside | short] = np.nan
    done = select_pool(folder / "scores", Settings(["t"], 30, **limits), tmp_path / "out", format="ids")
    assert chosen(tmp_path / "out") == best(values, 30)
    assert done.noisy == expected
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["noisy"] == expected
    told = {name: list(given) if isinstance(given, tuple) else given for name, given in limits.items()}
    assert manifest["settings"].items() >= told.items()
    assert verify(tmp_path / "out") == []


def test_too_few_within_the_limits_says_so(folders, tmp_path):
    with pytest.raises(BudgetError, match=r"can be chosen of \d+ with a score .*left out: \d+ max_nll"):
        select_pool(folders[0] / "scores", Settings(["t"], 300, max_nll=0.8), tmp_path / "out", format="ids")


def test_answer_tokens_that_nobody_knows_are_no_limit(tmp_path):
    pool = write_pool(tmp_path / "pool", {"a.jsonl": [row("a"), row("b"), row("c")]})
    places = [("a.jsonl", place, 1) for place in range(3)]
    numbers = {place: (tokens, 1.5) for place, tokens in zip(places, (9, 0, 9), strict=True)}
    scores = write_scores(tmp_path / "s", pool, dict.fromkeys(places, (1.0,)), numbers=numbers)
    with pytest.raises(BudgetError, match="does not know the answer tokens of each sample"):
        select_pool(scores, Settings(["t"], 1, min_answer_tokens=4), tmp_path / "out", format="ids")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"without": ["Sil+H"]}, "without: 'diversity' is no factor of a sample's score; choose among QSim, ASim"),
        ({"without": ["colour"]}, "'colour' is no factor"),
        ({"nll_quantiles": (0.9, 0.1)}, "nll_quantiles: it is 0.9, 0.1"),
        ({"nll_quantiles": (0.1,)}, "nll_quantiles"),
        ({"max_nll": math.nan}, "max_nll: it is nan"),
        ({"min_answer_tokens": -1}, "min_answer_tokens"),
        ({"without": ["QSim", "ASim", "ISim", "perplexity"]}, "no factor is left in which .* samples differ"),
        ({"without": ["QSim", "ASim", "ISim", "PPL(s)"]}, "no factor is left"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises((BudgetError, MetricError), match=message):
        Settings(["t"], 5, **options)


def test_rows_of_several_turns_count_with_the_mean_and_the_sum(tmp_path):
    files = {"a.jsonl": [row(f"r{i}", turns=1 + i % 3) for i in range(9)]}
    keys = [("a.jsonl", i, turn) for i in range(9) for turn in range(1, 2 + i % 3)]
    rng = np.random.default_rng(5)
    numbers = {key: (int(rng.integers(1, 6)), float(np.float32(rng.uniform(0, 3)))) for key in keys}
    pool = write_pool(tmp_path / "pool", files)
    folder = write_scores(tmp_path / "scores", pool, {key: [2.0 - key[1] / 8] for key in keys}, numbers=numbers)
    of_row = {i: [numbers[key] for key in keys if key[1] == i] for i in range(9)}
    tokens = {i: sum(own for own, _ in each) for i, each in of_row.items()}
    nll = {i: sum(own for _, own in each) / len(each) for i, each in of_row.items()}
    good = [i for i in range(9) if tokens[i] >= 4 and nll[i] <= 1.8]
    assert 2 < len(good) < 9
    settings = Settings(["t"], len(good), max_nll=1.8, min_answer_tokens=4)
    select_pool(folder, settings, tmp_path / "out", format="ids")
    assert chosen(tmp_path / "out") == good


def test_a_stored_folder_of_the_wrong_sign_is_refused(folders, tmp_path, capsys):
    """Such as an earlier version wrote."""
    score(folders[0] / "f.npz", [], "enc", out=tmp_path / "scores", features=True, embeddings=True)
    forget_checksums(tmp_path / "scores")
    (path,) = (tmp_path / "scores" / "data").glob("*.rows.parquet")
    table = pq.read_table(path)
    place = table.column_names.index("mean_nll")
    pq.write_table(table.set_column(place, "mean_nll", pc.negate(table.column(place))), path)
    assert (
        main(["score", str(tmp_path / "scores"), "--features", "--model", "enc", "--out", str(tmp_path / "again")]) == 1
    )
    told = capsys.readouterr().err
    assert "f.npz row 1: nll is -" in told
    assert "below 0, in 400 of 400 samples; give minus the mean log-probability" in told
    assert "Traceback" not in told


def test_quantiles_are_exact():
    rng = np.random.default_rng(0)
    for n in (1, 2, 9, 1000, 5001):
        values = np.concatenate([rng.gamma(1.0, 1.0, n), np.zeros(n // 4), np.full(n // 3, 2.5)]).astype(np.float32)
        parts = np.array_split(rng.permutation(values), 3)
        ordered = np.sort(values)
        for low, high in ((0.0, 1.0), (0.05, 0.9), (0.5, 0.75), (0.99, 1.0)):
            found = _between(lambda parts=parts: iter(parts), (low, high))
            first = min(math.floor(low * len(values) + 1e-9), len(values) - 1)
            last = max(len(values) - 1 - math.floor((1 - high) * len(values) + 1e-9), 0)
            assert found == (ordered[first] or -np.inf, ordered[last])
    assert _between(lambda: iter([]), (0.1, 0.9)) == (-np.inf, np.inf)


def test_the_command_takes_and_verifies_them(folders, tmp_path, capsys):
    words = ["select", str(folders[0] / "scores"), "--target", "t", "--budget", "40", "--format", "ids"]
    words += [
        "--without",
        "perplexity",
        "--max-nll",
        "2.5",
        "--nll-quantiles",
        "0.1",
        "0.9",
        "--min-answer-tokens",
        "3",
    ]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "left out: " in out
    assert "min_answer_tokens" in out
    settings = json.loads((tmp_path / "out" / "manifest.json").read_text())["settings"]
    asked = {"without": ["perplexity"], "max_nll": 2.5, "nll_quantiles": [0.1, 0.9], "min_answer_tokens": 3}
    assert settings.items() >= asked.items()
    assert main(["select", "--verify", str(tmp_path / "out")]) == 0
    manifest = tmp_path / "out" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"max_nll": 2.5', '"max_nll": 0.5'))
    assert main(["select", "--verify", str(tmp_path / "out")]) == 1
