"""What scoring will cost: against counting everything, and against scoring itself."""

from __future__ import annotations

import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sample_files as files
from scipy.stats import beta

import dataprophet
from dataprophet.cli import main
from dataprophet.data import open_dataset
from dataprophet.data.sample import Conversation, Turn
from dataprophet.errors import DataError
from dataprophet.features.features import Features
from dataprophet.planning.estimates import Estimate, known, ratio, share
from dataprophet.planning.measure import _table, sizes, target_names
from dataprophet.planning.plan import plan
from dataprophet.planning.sample import count_rows, draw
from dataprophet.scoring.folder.rows import Lines, write_rows
from dataprophet.scoring.sources.opener import open_feature_pool


@pytest.fixture(scope="module")
def model():
    return dataprophet.load_model("demo", device="cpu")


def lines(path, count, text="q"):
    path.write_text("".join(json.dumps({"question": f"{text}{i}", "answer": f"a {i}"}) + "\n" for i in range(count)))
    return path


def rng():
    return np.random.default_rng(0)


def exactly(value):
    return Estimate(value, value, value)


@pytest.mark.parametrize("truth", [0.02, 0.2, 0.5])
@pytest.mark.parametrize("n", [30, 300])
def test_shares_cover(truth, n):
    draws = rng()
    found = draws.binomial(n, truth, 1000)
    parts = [Estimate.of(share([events], [n], draws)) for events in found]
    assert np.mean([part.low <= truth <= part.high for part in parts]) > 0.92


def test_shares_as_published():
    """Jeffreys intervals of Brown, Cai and DasGupta (2001): the quantiles of a beta distribution."""
    for found, n in [(81, 263), (15, 148), (0, 20), (1, 29)]:
        part = Estimate.of(share([found], [n], rng()))
        low, high = beta(found + 0.5, n - found + 0.5).ppf([0.025, 0.975])
        assert part.value == found / n
        assert part.high == pytest.approx(high, abs=0.02)
        assert part.low == pytest.approx(low, abs=0.02)


@pytest.mark.parametrize("n", [4, 8, 32])
def test_ratios_cover(n):
    """Cells whose rows differ in length, as the tokens of cells do."""
    draws = np.random.default_rng(1)
    hit = 0
    for _ in range(300):
        size = draws.integers(4, 12, n)
        part = Estimate.of(ratio(size * draws.gamma(20, 0.5, n), size, draws))
        hit += part.low <= 10 <= part.high
    assert hit > 300 * 0.88


def test_a_ratio_of_everything_is_known():
    assert Estimate.of(ratio([1, 2], [2, 4], rng(), fraction=1.0)) == exactly(0.5)
    half, none = (Estimate.of(ratio([1, 2, 4], [2, 2, 2], rng(), fraction=f)) for f in (0.5, 0.0))
    assert half.high - half.low < none.high - none.low
    with pytest.raises(ValueError, match="two units"):
        ratio([1], [1], rng())


def test_clusters_that_differ_are_worth_less():
    def width(found):
        part = Estimate.of(share(found, [8] * len(found), rng()))
        return part.high - part.low

    alike = width([4, 4, 4, 4])
    assert width([0, 8, 0, 8]) > 2 * alike
    assert 0 < width([0, 0]) < 0.2


def test_sums():
    spread = np.append(2.0, np.linspace(1, 3, len(known(0.0)) - 1)) * 3 + 1.0
    assert Estimate.of(spread).value == 7
    assert 3.9 < Estimate.of(spread).low < 4.3
    draws = rng()
    one, two = (np.append(0.0, draws.standard_normal(len(known(0.0)) - 1)) for _ in range(2))
    assert Estimate.of(one + two).high == pytest.approx(1.96 * 2**0.5, rel=0.1)  # as independent numbers add up


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet"])
def test_rows_are_counted(suffix, tmp_path):
    dataset = open_dataset(files.write_vqa(tmp_path, suffix))
    count = count_rows(dataset, seconds=0, rng=rng())
    assert count.exact
    assert count.rows == len(files.QUESTIONS)
    assert count.units == [(3, os.path.getsize(dataset.files[0]))]


def test_tars_are_counted(tmp_path):
    assert count_rows(open_dataset(files.write_webdataset(tmp_path)), seconds=0, rng=rng()).rows == len(files.ROWS)


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv"])
def test_what_is_not_counted_is_estimated(suffix, tmp_path, monkeypatch):
    monkeypatch.setattr("dataprophet.data.index.CELL_ROWS", 10)
    monkeypatch.setattr("dataprophet.planning.sample.CELL_ROWS", 10)
    texts = [("q" * int(length), "a") for length in rng().integers(1, 90, 500)]
    path = tmp_path / f"a{suffix}"
    if suffix == ".csv":
        path.write_text("question,answer\n" + "".join(f"{q},{a}\n" for q, a in texts))
    else:
        files.dump(path, [{"question": q, "answer": a} for q, a in texts])
    dataset = open_dataset(path)
    count = count_rows(dataset, seconds=0, rng=rng())
    assert not count.exact
    assert count.rows == 80
    drawn = draw(dataset, count, 40, rng())
    assert 30 <= len(drawn) <= 50
    assert all(row.row <= 81 for _, row in drawn)
    units = np.array(count.units)
    rest = count.total_bytes - count.counted_bytes
    part = Estimate.of(ratio(units[:, 0], units[:, 1], rng()) * rest + count.rows)
    assert part.low < 500 < part.high


def test_of_many_files_some_are_counted(tmp_path):
    for number in range(12):
        lines(tmp_path / f"{number:02d}.jsonl", 20)
    count = count_rows(open_dataset(tmp_path), seconds=0, rng=rng())
    assert 2 <= len(count.files) < 12
    assert count.total_bytes == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_draws_are_from_everywhere_and_repeat(tmp_path):
    for number in range(3):
        lines(tmp_path / f"{number}.jsonl", 3000)
    dataset = open_dataset(tmp_path)
    count = count_rows(dataset, seconds=60, rng=rng())
    drawn = draw(dataset, count, 200, rng())
    assert drawn == draw(dataset, count, 200, rng())
    assert drawn != draw(dataset, count, 200, np.random.default_rng(1))
    assert len({(row.file, row.row) for _, row in drawn}) == len(drawn)
    assert {row.file for _, row in drawn} == set(dataset.files)
    assert abs(len(drawn) - 200) < 20
    everything = draw(dataset, count, 9000, rng())
    assert [row for _, row in everything] == list(dataset.rows())


def test_a_small_pool_is_known_but_for_its_time(tmp_path, model):
    """All rows are drawn, so that what scoring says of them must be what the plan says."""
    path = tmp_path / "pool.jsonl"
    rows = [{"question": f"What is {i}?", "answer": f"It is {'so ' * (i % 5)}{i}."} for i in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "{broken\n" + '{"question": "x"}\n')
    made = plan([open_dataset(path)], model, seconds=0.2, embeddings=True)
    amounts = made.total
    assert (amounts.rows, amounts.samples) == (exactly(62), exactly(60))
    assert amounts.bad_rows == exactly(2)
    assert made.pools[0].problems == {"bad_json": 1, "empty_answer": 1}
    target = dataprophet.profile(open_dataset(path), model, name="target1")
    scored = dataprophet.score(
        path, [target], model, out=tmp_path / "scores", processes=0, embeddings=True, fields=["question", "answer"]
    )
    assert amounts.answer_tokens == exactly(sum(shard.marker["tokens"] for shard in scored.shards))
    (shard,) = scored.shards
    assert amounts.rows_bytes.value == pytest.approx(os.path.getsize(shard.rows), rel=0.25)
    assert amounts.embedding_bytes.value == pytest.approx(os.path.getsize(shard.embeddings), rel=0.1)
    profiles = 2 * os.path.getsize(scored.store.local(shard.marker["files"]["profile"]))
    assert amounts.profile_bytes.value == pytest.approx(profiles, rel=0.25)
    assert 0 <= amounts.hours.low < amounts.hours.value < amounts.hours.high
    json.dumps(made.to_json(), allow_nan=False)


def test_a_few_rows_tell_the_bytes_of_many(tmp_path):
    """What a rows file takes once must not count for each of its rows."""

    def measured(count):
        entries = [Conversation(f"row-{i:06d}", (), (Turn("q", "a"),), "f", i + 1) for i in range(count)]
        columns = Lines.of(entries, 0).columns("pool.jsonl")
        embeddings = {"question": np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)}
        features = Features([str(i) for i in range(20)], np.ones(20), embeddings)
        names = target_names(1)
        return sizes(columns, np.arange(count), features, names, nearest=True), _table(
            columns, np.arange(count), names, nearest=True, spread=1.0
        )

    few, (_, table) = measured(100)[0], measured(3000)
    write_rows(table, tmp_path / "rows.parquet")
    assert few.shard + 3000 * few.line == pytest.approx(os.path.getsize(tmp_path / "rows.parquet"), rel=0.3)
    assert 0 < few.line_least < few.line


def test_intervals_hold_the_truth(tmp_path, model):
    """A pool of which few rows are drawn: samples, tokens and bad rows against counting all of them."""
    path = tmp_path / "pool.jsonl"
    draws = np.random.default_rng(3)
    with path.open("w") as file:
        for i in range(9000):
            row = {"question": f"What is {i}?", "answer": "so " * int(draws.integers(1, 9))}
            file.write((json.dumps(row) if draws.random() > 0.1 else "{broken") + "\n")
    dataset = open_dataset(path)
    amounts = plan([dataset], model, rows=200, seconds=0.1).total
    samples = list(dataset)
    assert amounts.rows == exactly(9000)
    tokens = sum(len(sample.answer.split()) for sample in samples)
    assert amounts.samples.low <= len(samples) <= amounts.samples.high
    assert amounts.bad_rows.low <= 9000 - len(samples) <= amounts.bad_rows.high
    per_word = sum(len(values) for values in model.logprobs(samples[:50]))
    per_word /= sum(len(sample.answer.split()) for sample in samples[:50])
    assert amounts.answer_tokens.low <= tokens * per_word <= amounts.answer_tokens.high


def test_pictures_and_several_pools(tmp_path, model):
    for name, write in (("a", files.write_llava), ("b", files.write_webdataset)):
        (tmp_path / name).mkdir()
        write(tmp_path / name)
    pools = [open_dataset(tmp_path / "a" / "data.json"), open_dataset(tmp_path / "b" / "data.tar")]
    made = plan(pools, model, seconds=0.1)
    assert made.total.rows == exactly(8)
    assert made.total.tokens.value == sum(pool.amounts.tokens.value for pool in made.pools)
    hours = [pool.amounts.hours for pool in made.pools]
    assert made.total.hours.value == pytest.approx(sum(part.value for part in hours))


def test_files_that_cannot_be_read_are_told(tmp_path, model, capsys):
    for number in range(2):
        table = pa.table({"question": ["q"] * 30, "answer": ["a"] * 30})
        pq.write_table(table, tmp_path / f"{number}.parquet")
    os.truncate(tmp_path / "1.parquet", 100)
    assert main(["plan", str(tmp_path), "--model", "demo", "--device", "cpu", "--seconds", "0.1"]) == 1
    said = capsys.readouterr()
    assert "1.parquet" in said.err
    assert "30" in said.out
    assert "1 files cannot be read" in said.out
    os.truncate(tmp_path / "0.parquet", 100)
    with pytest.raises(DataError, match=r"nothing to plan with .*\.parquet"):
        plan([open_dataset(tmp_path, format="vqa")], model)


def test_precomputed_features(tmp_path, capsys):
    n, d = 3000, 16
    draws = rng()
    np.savez(
        tmp_path / "f.npz",
        nll=draws.random(n),
        n_tokens=draws.integers(1, 9, n),
        **{name: draws.standard_normal((n, d)).astype(np.float32) for name in ("question", "answer")},
    )
    made = plan([open_feature_pool(tmp_path / "f.npz")], seconds=0.2, targets=3)
    assert made.total.rows == exactly(n)
    assert made.total.samples == exactly(n)
    assert made.total.bad_rows == exactly(0)
    assert made.total.hours.value > 0
    assert main(["plan", str(tmp_path / "f.npz"), "--features", "--json", "--seconds", "0.2"]) == 0
    assert json.loads(capsys.readouterr().out)["total"]["rows"] == {"value": n, "low": n, "high": n}


def test_what_does_not_make_sense(tmp_path, model, capsys):
    with pytest.raises(DataError, match="draw 16 rows"):
        plan([open_dataset(lines(tmp_path / "a.jsonl", 2))], model, rows=3)
    with pytest.raises(DataError, match="give the model"):
        plan([open_dataset(tmp_path / "a.jsonl")])
    with pytest.raises(DataError, match="nothing to plan"):
        plan([], model)
    assert main(["plan", str(tmp_path / "a.jsonl")]) == 1
    assert "no model given" in capsys.readouterr().err
