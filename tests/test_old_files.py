"""Files that version 0.1.0 wrote are read as it read them: profiles, a scored folder, a selection and a snapshot."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import dataprophet as dp
from dataprophet.selection.verify import verify

WRITTEN = Path(__file__).parent / "support" / "written_by_0_1_0"
EXPECTED: dict[str, Any] = json.loads((WRITTEN / "expected.json").read_text())


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(WRITTEN / "files.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


def numbers(profile: dp.Profile) -> dict[str, Any]:
    names = ["n_samples", "n_tokens", "mean_nll", "perplexity", "diversity", "silhouette", "fingerprint", "model"]
    return {
        **{name: getattr(profile, name) for name in names},
        "directions": {name: values[:4].tolist() for name, values in profile.directions.items()},
    }


def same(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Whether numbers are the same, apart from what another processor may round otherwise."""
    rounded = {name: pytest.approx(expected[name], abs=2e-6) for name in ("diversity", "silhouette")}
    rounded["perplexity"] = pytest.approx(expected["perplexity"], rel=1e-6)
    directions = {name: pytest.approx(values, rel=1e-6) for name, values in expected["directions"].items()}
    return found == {**expected, **rounded, "directions": directions}


@pytest.mark.parametrize("name", ["target", "sealed"])
def test_profiles(old: Path, tmp_path: Path, name: str) -> None:
    path = old / f"{name}.profile"
    profile = dp.Profile.load(path)
    assert same(numbers(profile), EXPECTED[name])
    assert profile.sealed == (name == "sealed")
    again = dp.Profile.load(path)
    assert again.to_bytes(checked=False) == path.read_bytes()
    again.save(tmp_path / "again")
    assert dp.Profile.load(tmp_path / "again") == profile


def test_a_matrix_of_profiles(old: Path) -> None:
    pool, target = dp.open_scores(old / "scores").profile, dp.Profile.load(old / "target.profile")
    np.testing.assert_allclose(dp.transfer_matrix([pool, target], [target]).values, EXPECTED["matrix"], rtol=1e-6)
    np.testing.assert_allclose(dp.TransferMatrix.from_csv(old / "matrix.csv").values, EXPECTED["matrix"], rtol=1e-6)


def test_a_scored_folder(old: Path) -> None:
    scored, expected = dp.open_scores(old / "scores"), EXPECTED["scores"]
    table = scored.read()
    assert scored.complete
    assert (scored.digest(), scored.config.hash) == (expected["digest"], expected["hash"])
    assert (dict(scored.statuses), dict(scored.unscored)) == (expected["statuses"], expected["unscored"])
    assert table["id"].to_pylist() == expected["ids"]
    for name in ("M:target", "Nearest:target"):
        assert table[name].to_pylist() == expected[name]
    assert same(numbers(scored.profile), EXPECTED["pool"])
    assert same(numbers(scored.merged_profile()), EXPECTED["pool"])


def test_stored_embeddings_are_scored_again(old: Path, tmp_path: Path) -> None:
    scored = dp.score(old / "scores", [old / "target.profile"], out=tmp_path / "again", features=True, max_bad=0.2)
    assert scored.read()["M:target"].to_pylist() == [
        None if score is None else pytest.approx(score, rel=1e-5) for score in EXPECTED["again"]["M:target"]
    ]


def test_a_selection_is_made_again(old: Path) -> None:
    # the manifest names the version that wrote it, which may be another one now
    assert [line for line in verify(old / "selection") if not line.startswith("manifest.json")] == []


def test_the_manifest_of_a_mixture(old: Path) -> None:
    manifest = json.loads((old / "mixture" / "manifest.json").read_text())
    assert {share["name"]: share["taken"] for share in manifest["sources"]} == EXPECTED["mixture"]
    assert (old / "mixture" / "mixture-target.txt").read_text().split() == manifest["ids"]


def test_a_snapshot_of_a_selector(old: Path) -> None:
    selector, expected = dp.Selector.load(old / "selector.snapshot", [old / "target.profile"]), EXPECTED["selector"]
    assert [[sample.id, sample.score] for sample in selector.best(9)] == expected["remembered"]
    assert sorted(selector.taken) == expected["taken"]
    assert (selector.n_samples, selector.profile.mean_nll) == (expected["n_samples"], expected["mean_nll"])
