"""Damaged scores and selections, and selections that are stopped: one line, and nothing half-written."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest
from scored_pools import IMAGES, TWO_SCORES, choose, scored

from dataprophet import open_dataset, open_scores
from dataprophet.cli import main
from dataprophet.data.export import write_rows
from dataprophet.data.images.sources import BytesImage
from dataprophet.data.sample import Conversation, Turn
from dataprophet.selection.verify import verify


def damage_list(scores):
    (scores / "files.json").write_text('{"files": [{"name": "a"}]}')


def damage_run(scores):
    (scores / "run.json").write_text("[]")


def damage_marker(scores):
    next((scores / "commits").iterdir()).write_text("{}")


def damage_rows(scores):
    next((scores / "data").glob("*.parquet")).write_bytes(b"")


def damage_embeddings(scores):
    path = next((scores / "data").glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:60])


def damage_index(scores):
    for path in (scores / "index").iterdir():
        path.write_text("{")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (damage_list, "damaged files.json"),
        (damage_run, "damaged run.json"),
        (damage_marker, "damaged commits/"),
        (damage_rows, "rows.parquet is damaged"),
        (damage_embeddings, "embeddings.safetensors is damaged"),
        (damage_index, "damaged index"),
    ],
)
def test_damaged_scores_are_told_on_one_line(tmp_path, capsys, damage, says):
    rng = np.random.default_rng(0)
    scores = scored(tmp_path, vectors={key: rng.normal(size=3) for key in TWO_SCORES})
    damage(scores)
    arguments = ["select", scores, "--target", "t", "--budget", 5, "--near-duplicates", 0.9999, "--out"]
    assert main([str(text) for text in [*arguments, tmp_path / "out"]]) == 1
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.pop("settings"),
        lambda manifest: manifest.pop("files"),
        lambda manifest: manifest["pools"][0].pop("rows"),
        lambda manifest: manifest["settings"].update(colour=1),
        lambda manifest: manifest["settings"].update(max_share="x"),
    ],
)
def test_a_damaged_manifest_is_told_on_one_line(tmp_path, capsys, change):
    choose(scored(tmp_path), tmp_path / "out")
    path = tmp_path / "out" / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    assert main(["select", "--verify", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert "damaged" in error
    assert error.count("\n") == 1


def test_verify_reads_what_was_scored_against(tmp_path):
    choose(scores := scored(tmp_path), tmp_path / "out")
    assert verify(tmp_path / "out") == []
    (target,) = (scores / "targets").iterdir()
    content = bytearray(target.read_bytes())
    content[len(content) // 2] ^= 1
    target.write_bytes(content)
    (found,) = verify(tmp_path / "out")
    assert f"{target.name}" in found
    assert "does not have its checksum" in found


def test_a_budget_of_nothing_is_no_missing_budget(tmp_path, capsys):
    arguments = ["select", scored(tmp_path), "--target", "t", "--budget", 0, "--out", tmp_path / "out"]
    assert main([str(text) for text in arguments]) == 1
    assert "budget: 0 is not a number of units" in capsys.readouterr().err


def test_a_run_that_has_committed_nothing_has_no_rows(tmp_path):
    scores = scored(tmp_path)
    for marker in (scores / "commits").iterdir():
        marker.unlink()
    found = open_scores(scores)
    assert found.read(["id", "M:t"]).column_names == ["id", "M:t"]
    assert found.read().num_rows == found.profile.n_samples == 0


def test_a_parquet_file_that_was_replaced_is_read_anew(tmp_path):
    for image in (IMAGES["red.png"], IMAGES["blue.png"]):
        given = Conversation("x", (BytesImage(image),), (Turn("q", "a", (0,)),))
        write_rows([given], tmp_path / "out", "huggingface", name="x", overwrite=True)
        ((source,),) = [entry.sources for entry in open_dataset(tmp_path / "out").rows()]
        assert source.read_bytes() == image


def test_sigterm_leaves_nothing_behind(tmp_path, monkeypatch, request):
    earlier = signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a cluster that other tests started has set its own
    request.addfinalizer(lambda: signal.signal(signal.SIGTERM, earlier))
    scores = scored(tmp_path)
    before = sorted(tmp_path.iterdir())

    def stop(row):
        os.kill(os.getpid(), signal.SIGTERM)
        return True

    monkeypatch.setattr("dataprophet.selection.written_rows.decodes", stop)
    arguments = ["select", scores, "--target", "t", "--budget", 5, "--out", tmp_path / "out"]
    with pytest.raises(SystemExit, match="143"):
        main([str(text) for text in arguments])
    assert sorted(tmp_path.iterdir()) == before
