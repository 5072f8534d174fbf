"""Profiles that keep every sample: the diversity of a whole dataset."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sample_features import make_features, take

from dataprophet.errors import ProfileError
from dataprophet.profiling.build import profile
from dataprophet.profiling.profile import Profile
from dataprophet.profiling.sketch import Sketch


@settings(max_examples=25)
@given(st.permutations(list(range(90))), st.lists(st.integers(0, 90), max_size=6), st.booleans())
def test_all_samples_in_any_order_and_split_give_the_same_profile(
    order: list[int], cuts: list[int], repeated: bool
) -> None:
    features = make_features(90, text_only=0.3)
    if repeated:
        features.ids = [f"s{i % 40}" for i in range(90)]
    whole = profile(features, sketch_size=None)
    assert whole.sketch is not None
    assert len(whole.sketch) == 90
    parts = [Profile.empty("dataset", "precomputed", sketch_size=None)]
    for a, b in itertools.pairwise([0, *sorted(cuts), 90]):
        parts.append(Profile.empty("dataset", "precomputed", sketch_size=None))
        parts[-1].update(take(features, order[a:b]))
    total = sum(parts[1:], parts[0])
    single = profile((take(features, [row]) for row in order), sketch_size=None)  # runs of many lengths
    assert total.sketch == single.sketch == whole.sketch
    assert total.mean_nll == pytest.approx(whole.mean_nll, rel=1e-12)
    np.testing.assert_array_equal(total.count, whole.count)


def test_a_profile_of_all_samples_is_that_of_a_sketch_that_holds_them() -> None:
    features = make_features(300)
    every, large, small = (profile(features, sketch_size=size) for size in (None, 300, 299))
    assert every.diversity == large.diversity
    assert every.diversity != small.diversity
    assert every.diversity_sums.n == 300
    assert every.sketch is not None
    assert large.sketch is not None
    np.testing.assert_array_equal(every.sketch.z, large.sketch.z)
    assert every.sketch != large.sketch  # what they take of further samples differs


def test_a_profile_of_all_samples_does_not_mix_with_one_of_a_sketch() -> None:
    features = make_features(60)
    with pytest.raises(ProfileError, match=r"sketch_size differs from profile 'dataset' \(20000 against all\)"):
        _ = profile(features, sketch_size=None) + profile(features)
    with pytest.raises(ProfileError, match="60 clusters do not fit a sketch of 60 samples"):
        profile(features, clusters=60, sketch_size=60)
    with pytest.raises(ProfileError, match="1 clusters do not fit a sketch of all samples"):
        profile(features, clusters=1, sketch_size=None)


def test_diversity_needs_no_scikit_learn() -> None:
    code = """
import sys
sys.modules["sklearn"] = None  # any import of it fails
from sample_features import make_features
from dataprophet import ops, profile
made = profile(make_features(80))
assert 0 < made.diversity < 2
ops.silhouette_score(made.sketch.z, ops.kmeans(made.sketch.z, 3).labels, sample_size=40)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1] / "support")}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert not any(
        name.lower().startswith("scikit-learn") and "extra" not in name
        for name in metadata.requires("dataprophet") or []
    )


def test_what_is_merged_piece_by_piece_moves_rarely() -> None:
    """A binary counter: never more pieces than the logarithm of the number of samples."""
    sketch, rng = Sketch.empty(None), np.random.default_rng(0)
    for _ in range(1000):
        sketch = sketch.merge(rng.integers(0, 2**63, 3).astype(np.uint64), rng.random((3, 2)).astype(np.float16))
        assert len(sketch._pieces) <= 12
    assert len(sketch) == len(sketch.hashes) == len(sketch.z) == 3000
    assert (np.diff(sketch.hashes.astype(float)) >= 0).all()


def test_a_sketch_gives_no_more_than_its_size() -> None:
    sketch = Sketch(2, np.arange(3, dtype=np.uint64), np.eye(3, dtype=np.float16))
    assert len(sketch) == len(sketch.hashes) == len(sketch.z) == 2
