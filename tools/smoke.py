"""What an installed wheel must do with the base dependencies alone: run by the Python of its environment.

    python -I tools/smoke.py VERSION

It works in a temporary folder, so that no checkout can stand in for what is missing from the wheel.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np


def main(version: str) -> None:
    import dataprophet as dp
    from dataprophet import _core, ops

    assert Path(dp.__file__).is_relative_to(sys.prefix), dp.__file__
    assert dp.__version__ == _core.__version__ == version, (dp.__version__, _core.__version__, version)
    assert ops.mean_direction(np.ones((3, 4), np.float32)).tolist() == [0.5] * 4
    with tempfile.TemporaryDirectory() as folder:
        commands(Path(folder), version)


def commands(folder: Path, version: str) -> None:
    def run(*words: str, status: int = 0) -> str:
        command = [Path(sys.prefix) / "bin" / "dataprophet", *words]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
        return done.stderr if status else done.stdout

    assert run("--version").strip() == f"dataprophet {version}"
    checks = json.loads(run("doctor", "--json"))
    assert all(check["ok"] for check in checks if check["required"]), checks
    assert not any("dataprophet[" in check["fix"] for check in checks), checks
    rng = np.random.default_rng(0)
    for name in ("near", "far", "target"):
        vectors = {field: rng.standard_normal((80, 5)) + 2 for field in ("question", "answer", "image")}
        np.savez(folder / f"{name}.npz", nll=rng.random(80), **vectors)
        run("profile", f"{name}.npz", "--features", "--model", "mine", "--out", f"{name}.profile")
    run("matrix", "--source", "near.profile", "far.profile", "--target", "target.profile", "--out", "scores.csv")
    ranking = run("rank", "scores.csv", "--target", "target")
    assert "near" in ranking, ranking
    assert "far" in ranking, ranking
    (folder / "rows.json").write_text('[{"question": "What?", "answer": "That."}]')
    if not any(check["ok"] for check in checks if check["name"] == "torch"):
        said = run("profile", "rows.json", "--model", "demo", "--out", "rows.profile", status=1)
        assert "torch>=" in said, said
        assert len(said.splitlines()) == 1, said


if __name__ == "__main__":
    main(*sys.argv[1:])
