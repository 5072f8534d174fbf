"""One id for several questions about an image: every command keeps all rows, under the same ids."""

import json
from pathlib import Path
from typing import Any

import fault_pools as faults
import pytest
import sample_files as files

import dataprophet as dp
from dataprophet.cli import main
from dataprophet.errors import DataProphetError

pytest.importorskip("transformers")

ROWS = 1060  # two cells


@pytest.fixture(scope="module")
def model() -> Any:
    return faults.demo_model()


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three questions about each image in different places of the file, and two rows that are copies."""
    folder = tmp_path_factory.mktemp("pool")
    files.write_images(folder)
    rows: list[dict[str, Any]] = [
        {"id": f"r{i % 350}", "question": f"q{i // 350}?", "answer": f"a{i % 9}"} for i in range(ROWS - 2)
    ]
    for row in rows[:6]:
        row["image"] = "images/red.png"
    rows[1:1] = [rows[0]]
    rows.append(rows[700])
    files.dump(folder / "a.jsonl", rows)
    return folder


def test_every_command_has_the_same_rows(pool: Path, model: Any, tmp_path: Path, capsys: Any) -> None:
    ids = [row.id for row in dp.open_dataset(pool).rows() if not hasattr(row, "code")]  # type: ignore[union-attr]
    assert len(set(ids)) == len(ids) == ROWS - 2
    assert ids[:2] == ["r0", "r1"]
    assert ids[350] == "r0@a:352"
    profile = dp.profile(dp.open_dataset(pool), model, cache=tmp_path / "cache", sketch_size=50, clusters=2)
    assert profile.n_samples == ROWS - 2
    assert dict(profile.problems.counts) == {"duplicate_row": 2}
    options: dict[str, Any] = {"fields": ["question", "answer"]}
    scored = dp.score(pool, [profile], model, out=tmp_path / "scores", embeddings=True, **options)
    parts = dp.score(pool, [profile], model, out=tmp_path / "parts", shard_rows=1024, **options)
    assert parts.summary["digest"] == scored.summary["digest"]
    assert scored.summary["read"] == {"rows": ROWS, "good": ROWS - 2, "with_images": 6, "images": 6, "turns": ROWS - 2}
    table = scored.read(["id", "status"]).to_pylist()
    assert [row["id"] for row in table if row["status"] == "ok"] == ids
    assert sum(row["status"] == "duplicate_row" for row in table) == 2
    again = dp.score(tmp_path / "scores", [profile], "demo", out=tmp_path / "again", features=True, **options)
    for folder in (scored.folder, again.folder):
        words = ["select", folder, "--target", profile.name, "--budget", str(ROWS - 2), "--overwrite"]
        assert main([*words, "--out", str(tmp_path / "best")]) == 0
        (data,) = (tmp_path / "best").glob("*-*.json")
        written = [row["id"].partition("/")[2] for row in json.loads(data.read_text())]
        assert sorted(written) == sorted(ids)
    capsys.readouterr()


def test_too_many_bad_rows_stop_before_the_model_and_after_it(pool: Path, model: Any, tmp_path: Path) -> None:
    files.write_images(tmp_path)
    (tmp_path / "images" / "cut.png").write_bytes(files.RED[:20])
    rows = [{"id": i, "question": "q", "answer": "" if i < 4 else "a"} for i in range(40)]
    bad = files.dump(tmp_path / "bad.jsonl", rows)
    says = r"4 of 40 rows cannot be used, more than 5% \(4 empty_answer\).*max_bad="
    for call in (
        lambda: dp.score(bad, [], model, out=tmp_path / "bad"),
        lambda: dp.profile(dp.open_dataset(bad), model),
        lambda: dp.profile(dp.open_dataset(bad), model, cache=tmp_path / "cache"),
    ):
        with pytest.raises(DataProphetError, match=says) as error:
            call()
        assert "\n" not in str(error.value)
    assert not list(tmp_path.glob("bad/commits/*"))
    named = [{"id": i, "q": "q" if i < 36 else "", "question": "", "answer": "a"} for i in range(40)]
    other, read_as = files.dump(tmp_path / "other.jsonl", named), {"columns": {"question": "q"}}
    with pytest.raises(DataProphetError, match="40 empty_question"):
        dp.score(other, [], model, out=tmp_path / "other")
    scored = dp.score(other, [], model, out=tmp_path / "other", reading=read_as, max_bad=0.1)  # the folder is of no run
    assert scored.summary["read"]["good"] == 36
    with pytest.raises(DataProphetError, match="was scored with"):
        dp.score(other, [], model, out=tmp_path / "other", max_bad=1)
    for row in rows:
        row |= {"answer": "a", "image": "images/cut.png" if row["id"] < 4 else None}  # type: ignore[operator]
    late = files.dump(tmp_path / "late.jsonl", rows)
    with pytest.raises(DataProphetError, match=r"\(4 decode_error\).*the results are kept in"):
        dp.score(late, [], model, out=tmp_path / "late")
    made = {path: path.stat().st_mtime_ns for path in tmp_path.glob("late/commits/*")}
    scored = dp.score(late, [], model, out=tmp_path / "late", max_bad=0.1)
    assert (scored.complete, scored.n_samples) == (True, 36)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("late/commits/*")} == made
    with pytest.raises(DataProphetError, match="max_bad is 5"):
        dp.score(late, [], model, out=tmp_path / "late", max_bad=5)
