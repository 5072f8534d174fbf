"""Files whose names are any bytes, and ids that no format holds: the work goes on, and their place goes to the next."""

from __future__ import annotations

import os

import numpy as np
from sample_features import make_features

import dataprophet as dp
from dataprophet.cli import main
from dataprophet.profiling.build import profile


def test_names_of_any_bytes_and_ids_that_cannot_be_written_do_not_stop_the_work(tmp_path, capsys):
    (tmp_path / "pool").mkdir()
    for name in (b"\xff\xfe.npz", b"new\nline.npz", b"ok.npz"):
        rows = make_features(20, 8, seed=1, prefix=f"{name[0]}-")
        ids = np.array([*rows.ids[:3], "bell\x07", *rows.ids[4:]])
        with open(os.path.join(os.fsencode(tmp_path / "pool"), name), "wb") as file:
            np.savez(file, id=ids, nll=rows.nll, **rows.embeddings)
    target = profile(make_features(100, 8, seed=9), "m", name="t", clusters=4, sketch_size=1000)
    scored = dp.score(tmp_path / "pool", [target], "m", features=True, out=tmp_path / "out")
    assert scored.complete
    words = ["select", tmp_path / "out", "--target", "t", "--budget", 57, "--format", "ids", "--out", tmp_path / "best"]
    assert main([str(word) for word in words]) == 0
    assert "3 bad_id" in capsys.readouterr().out
    lines = next((tmp_path / "best").glob("*.txt")).read_text().splitlines()
    assert sorted({line.split("/")[1] for line in lines}) == ["\\udcff\\udcfe.npz", "new\\nline.npz", "ok.npz"]
    assert len(lines) == 57
    assert main(["select", "--verify", str(tmp_path / "best")]) == 0
