"""Features on a CUDA device that the CPU plays: profiles, scores and selections are those of the CPU, and stay there.

The operations are the CUDA kernels, run by the emulator; the bounds are those of docs/cuda.md.
"""

from __future__ import annotations

import json
from dataclasses import replace

import cuda_emulated
import numpy as np
import pytest
import sample_files as files
from sample_features import make_features

import dataprophet as dp
from dataprophet.errors import ProfileError
from dataprophet.features.features import FIELDS
from dataprophet.ops import backend
from dataprophet.scoring.targets import Targets
from dataprophet.selection.pools import select_pool
from dataprophet.selection.settings import Settings

torch = pytest.importorskip("torch")
import cuda_device  # noqa: E402 (needs torch)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(cuda_emulated.compiler() is None, reason="there is no C++ compiler"),
]

ROWS, KEPT, WIDTH = 60, 24, 24
SMALL = {"clusters": 2, "sketch_size": KEPT}


@pytest.fixture
def device(emulated, monkeypatch):
    monkeypatch.setattr(backend, "_LIFTED", 0.0)  # small work is not worth the way
    return cuda_device.install(emulated, monkeypatch)


def on_device(features):
    return replace(features, embeddings={name: cuda_device.put(rows) for name, rows in features.embeddings.items()})


def same_profile(found, expected, rows):
    """Counts to the bit; sums to 2e-8 for each row; vectors of the sketch to an ulp of float16."""
    assert (found.count == expected.count).all()
    assert (found.nll_sum == expected.nll_sum).all()
    for name in FIELDS:
        assert (found.field_count[name] == expected.field_count[name]).all()
        np.testing.assert_allclose(found.field_sum[name], expected.field_sum[name], rtol=0, atol=rows * 2e-7)
    assert (found.sketch.hashes == expected.sketch.hashes).all()
    np.testing.assert_allclose(found.sketch.z.astype(float), expected.sketch.z.astype(float), rtol=0, atol=6e-4)
    assert found.diversity == pytest.approx(expected.diversity, abs=1e-3)
    np.testing.assert_allclose(found.diversity_sums.halves, expected.diversity_sums.halves, rtol=0, atol=2e-3)


def test_features_on_the_device(device):
    """Profiles, scores and nearest cosines, of a field that some samples lack and of samples that cannot be used."""
    features = make_features(ROWS, d=WIDTH, text_only=0.3)
    targets = [
        dp.profile(make_features(30, d=WIDTH, seed=i + 1, prefix=f"t{i}-"), name=f"t{i}", **SMALL) for i in (0, 1)
    ]
    its = Targets.of(targets)
    expected = dp.profile(features, name="s", **SMALL)
    scores, nearest = its.score(features), its.nearest(features)
    moved = on_device(features)
    del device[:]
    with backend.watching() as computed:
        runs = [(dp.profile(moved, name="s", **SMALL), its.score(moved), its.nearest(moved)) for _ in range(2)]
        _ = [run[0].diversity for run in runs]
    assert set(computed) == {
        "average_directions", "cluster_entropy", "kmeans", "measure_rows", "nearest", "silhouettes",
    }  # fmt: skip
    assert all(places == {"cuda"} for places in computed.values())
    assert ((ROWS, WIDTH), torch.float32) not in device  # no embeddings left it, but vectors of the sketch
    (profile, found, close), (again, *_) = runs
    assert profile.to_bytes() == again.to_bytes()
    same_profile(profile, expected, ROWS)
    np.testing.assert_allclose(found.values, scores.values, rtol=2e-5)
    for name in FIELDS:
        np.testing.assert_allclose(found.similarities[name], scores.similarities[name], rtol=0, atol=3e-6)
    np.testing.assert_allclose(close, nearest, rtol=0, atol=1e-3)  # of vectors in float16


def test_samples_that_cannot_be_used_on_the_device(device):
    features = make_features(ROWS, d=WIDTH, text_only=0.3)
    features.embeddings["answer"][7], features.embeddings["question"][11, 3] = 0, np.nan
    made = [dp.Profile.empty("s", "m", **SMALL) for _ in range(2)]
    host, there = (
        each.measure(given, leave_out=True) for each, given in zip(made, (features, on_device(features)), strict=True)
    )
    assert there.reasons == host.reasons == {7: "answer embedding is zero", 11: "question embedding is not finite"}
    same_profile(made[1], made[0], ROWS)
    with pytest.raises(ProfileError, match="question embedding is not finite in 1 of 60 samples"):
        dp.profile(on_device(features))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("pool")
    files.write_images(path)
    names = ["images/red.png", "images/green.png", "images/blue.png"]
    rows = [
        {"id": f"r{i}", "image": names[i % 3], "question": f"q{i % 40}?", "answer": f"a{i % 7}"} for i in range(ROWS)
    ]
    del rows[7]["image"]
    (path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


def scored(folder, model, out):
    """A target, a pool scored for it, and ids that were selected."""
    target = dp.profile(dp.open_dataset(folder / "a.jsonl", limit=20, name="t"), model, **SMALL)
    pool = dp.score(folder / "a.jsonl", [target], model, out=out / "scores", embeddings=True)
    settings = Settings(["t"], 8, near_duplicates=0.9999, leakage=0.99999)
    select_pool(str(out / "scores"), settings, out / "best", format="ids")
    return target, pool, sorted(path.read_bytes() for path in (out / "best").glob("*.txt"))


@pytest.fixture(scope="module")
def of_host(folder, tiny_model, tmp_path_factory):
    return scored(folder, tiny_model("internvl"), tmp_path_factory.mktemp("host"))


def test_a_model_whose_embeddings_lie_on_the_device(folder, tiny_model, of_host, device, monkeypatch, tmp_path):
    target, expected, chosen = of_host
    assert {place for places in expected.summary["computed"].values() for place in places} <= {"core", "torch"}
    model = tiny_model("internvl")
    for name in ("text_means", "image_means"):
        plain = getattr(model._adapter, name)
        monkeypatch.setattr(model._adapter, name, lambda *given, plain=plain: cuda_device.put(plain(*given)))
    own, pool, best = scored(folder, model, tmp_path)
    assert best == chosen
    again = dp.score(folder / "a.jsonl", [own], model, out=tmp_path / "again", embeddings=True)
    assert again.digest() == pool.digest()
    assert again.profile.to_bytes() == pool.profile.to_bytes()
    same_profile(own, target, ROWS)
    same_profile(pool.profile, expected.profile, ROWS)
    rows, others = pool.read(), expected.read()
    for name in rows.column_names:
        if name.startswith(("M:", "QSim:", "ASim:", "ISim:", "Nearest:")):
            some, same = (np.nan_to_num(each.column(name).to_numpy(), nan=-9) for each in (rows, others))
            np.testing.assert_allclose(some, same, rtol=2e-5, atol=1e-3 if name.startswith("Nearest") else 1e-5)
        else:
            assert rows.column(name).equals(others.column(name))
    computed = pool.summary["computed"]
    for name in ("average_directions", "kmeans", "measure_rows", "nearest", "silhouettes"):
        assert computed[name] == ["cuda"]
    width = own.sketch.z.shape[1]
    assert not [shape for shape, dtype in device if shape[1:] == (width,) and dtype == torch.float32]
