"""Data, images, scored folders and exports in an object store: the same as on a disk, or an error of one line, soon."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import dataprophet as dp
from dataprophet.cli import main
from dataprophet.demo.datasets import write_datasets
from dataprophet.selection.mixture import mix
from dataprophet.store import patience

s3fs = pytest.importorskip("s3fs")

DATA = ("counting/counting.json", "outlines/outlines.tar", "signs/signs.parquet")


@pytest.fixture(scope="module")
def model() -> Any:
    return dp.load_model("demo", device="cpu")


@pytest.fixture(scope="module")
def data(bucket: str, model: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Datasets of three formats, here and under the same names in the bucket, and the profile of a target."""
    folder = tmp_path_factory.mktemp("data")
    write_datasets(folder / "drawn", n_source=24, n_target=24)
    store = s3fs.S3FileSystem(skip_instance_cache=True)
    for path in DATA:
        name = path.partition("/")[0]
        store.put(f"{folder}/drawn/{name}", f"bucket/drawn/{name}", recursive=True)
    target = folder / "drawn/count-bench/count-bench.parquet"
    dp.profile(dp.open_dataset(target), model).save(folder / "target.profile")
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATAPROPHET_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("path", DATA)
def test_scores_from_and_to_a_bucket(
    path: str, data: Path, model: Any, bucket: str, tmp_path: Path, cache: Any
) -> None:
    target = dp.Profile.load(data / "target.profile")
    here = dp.score(data / "drawn" / path, [target], model, out=tmp_path / "out")
    pool, out = f"{bucket}/drawn/{path}", f"{bucket}/scores/{Path(path).stem}"
    there = dp.score(pool, [target], model, out=out)
    assert there.n_samples == 24
    assert there.digest() == here.digest()
    assert there.profile == here.profile
    assert dp.score(pool, [target], model, out=out).store.markers() == there.store.markers()  # nothing is left to do


def test_a_profile_of_pictures_under_an_image_root(data: Path, bucket: str, tmp_path: Path, cache: Any) -> None:
    rows = tmp_path / "counting.json"
    rows.write_bytes((data / "drawn" / DATA[0]).read_bytes())
    made = []
    for name, root in (("here", str(data / "drawn/counting")), ("there", f"{bucket}/drawn/counting")):
        out = str(tmp_path / f"{name}.profile")
        assert main(["profile", str(rows), "--image-root", root, "--model", "demo", "--out", out]) == 0
        made.append(dp.Profile.load(out))
    assert made[0] == made[1]
    assert made[1].n_samples == 24


def _bytes(folder: str) -> dict[str, bytes]:
    """Content of each file, but for the manifest, which says where the folder lies."""
    if "://" in folder:
        store = s3fs.S3FileSystem(skip_instance_cache=True)
        top = folder.removeprefix("s3://")
        found = {name.removeprefix(f"{top}/"): store.cat_file(name) for name in store.find(top)}
    else:
        paths = [path for path in Path(folder).rglob("*") if path.is_file()]
        found = {str(path.relative_to(folder)): path.read_bytes() for path in paths}
    assert found.pop("manifest.json")
    return found


def test_exports_to_a_bucket(data: Path, model: Any, bucket: str, tmp_path: Path, cache: Any) -> None:
    target = dp.Profile.load(data / "target.profile")
    dp.score(data / "drawn" / DATA[0], [target], model, out=tmp_path / "scores")
    words = ["select", str(tmp_path / "scores"), "--target", target.name, "--budget", "9"]
    there = f"{bucket}/best"
    for out in (str(tmp_path / "best"), there):
        assert main([*words, "--out", out]) == 0
    assert _bytes(there) == _bytes(str(tmp_path / "best"))
    read = [len(list(dp.open_dataset(f"{out}/selection-{target.name}.json"))) for out in (tmp_path / "best", there)]
    assert read[0] == read[1] > 0
    assert main([*words, "--out", there]) == 1  # is there
    assert main([*words[:-1], "5", "--out", there, "--overwrite", "--format", "ids"]) == 0
    assert sorted(_bytes(there)) == ["_dropped.parquet", "_selected.parquet", f"selection-{target.name}.txt"]


def test_a_mixture_in_a_bucket(data: Path, model: Any, bucket: str, tmp_path: Path, cache: Any) -> None:
    opened = dp.open_dataset(f"{bucket}/drawn/{DATA[1]}")
    scores = dp.transfer_matrix([dp.profile(opened, model)], [dp.Profile.load(data / "target.profile")])
    made = [
        mix(scores, scores.targets[0], 7, {opened.name: opened}, out, format="webdataset")
        for out in (tmp_path / "mixed", f"{bucket}/mixed")
    ]
    assert made[1].folder == f"{bucket}/mixed"
    assert _bytes(f"{bucket}/mixed") == _bytes(str(tmp_path / "mixed"))


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr(patience, "ANSWER_S", 0.5)
        s3fs.S3FileSystem.clear_instance_cache()
        yield
    s3fs.S3FileSystem.clear_instance_cache()


def _said(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 1
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_server_that_does_not_answer(
    silent: None, data: Path, tmp_path: Path, cache: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    told = _said(capsys, "profile", "s3://bucket/a.jsonl", "--model", "demo", "--out", str(tmp_path / "p"))
    assert "s3://bucket/a.jsonl" in told
    assert "no answer for 0 s" in told
    pool = str(data / "drawn" / DATA[0])
    told = _said(capsys, "score", pool, "--model", "demo", "--out", "s3://bucket/silent")
    assert "s3://bucket/silent" in told
    assert "no answer for 0 s" in told


def test_a_bucket_that_is_not_there(
    bucket: str, data: Path, tmp_path: Path, cache: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    pool = str(data / "drawn" / DATA[0])
    for words in (
        ["profile", "s3://nosuch/a.jsonl", "--out", str(tmp_path / "p")],
        ["score", pool, "--out", "s3://nosuch/o"],
    ):
        assert "s3://nosuch" in _said(capsys, *words, "--model", "demo")
