"""The command line, on the demo's own files: results, exit status, errors on one line, nothing half-written."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dataprophet.cli import main
from dataprophet.metric.matrix import TransferMatrix
from dataprophet.metric.published import path as published_path
from dataprophet.profiling.profile import Profile
from dataprophet.scoring.cache import CACHE

torch = pytest.importorskip("torch")
pytest.importorskip("altair")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from dataprophet.demo.run import run_demo

    folder = tmp_path_factory.mktemp("demo") / "out"
    run_demo(folder, source_samples=60, target_samples=40, budget=100)
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: str | Path) -> tuple[int, str, str]:
        status = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return status, out, err

    return call


def test_demo_leaves_everything_and_the_same_twice(demo: Path, tmp_path: Path) -> None:
    from dataprophet.demo.run import run_demo

    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)  # the demo's own choice counts, and the caller's comes back
    try:
        again = run_demo(tmp_path / "again", source_samples=60, target_samples=40, budget=100)
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    names = {str(path.relative_to(demo)) for path in demo.rglob("*") if path.is_file()}
    assert {"scores.csv", "scores.factors.csv", "heatmap.png", "manifest.json", "mixture/manifest.json"} <= names
    assert len([name for name in names if name.startswith("profiles/")]) == 13
    for name in names:
        assert (demo / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name
    assert len(again.scores.sources) == 9
    assert len(again.scores.targets) == 4
    assert sum(share.taken for share in again.mixture.shares) == 100


def test_each_benchmark_ranks_its_own_kind_first_and_perplexity_lifts_wrong_answers(demo: Path) -> None:
    scores = TransferMatrix.from_csv(demo / "scores.csv")
    likenesses = scores.without("perplexity")
    of = {"count-bench": "counting", "sign-bench": "signs", "chart-bench": "charts", "scene-bench": "places"}
    assert {target: likenesses.rank(target)[0].source for target in scores.targets} == of
    for target in scores.targets:
        with_it, without_it = (
            [entry.source for entry in each.rank(target)].index("mislabelled") for each in (scores, likenesses)
        )
        assert with_it < without_it
    perplexity = dict(zip(scores.sources, scores.factors["source_perplexity"][:, 0], strict=True))
    assert perplexity["mislabelled"] > 1.15 * perplexity["captions"]


def test_profile_matrix_rank_mix_by_hand_give_the_demos_results(demo: Path, tmp_path: Path, run: Run) -> None:
    manifest = json.loads((demo / "datasets" / "manifest.json").read_text())
    paths = {entry["name"]: demo / "datasets" / entry["path"] for entry in manifest["datasets"]}
    names = ["counting", "signs", "count-bench"]
    for name in names:
        out = tmp_path / f"{name}.profile"
        status, text, _ = run("profile", paths[name], "--model", "demo", "--name", name, "--out", out)
        assert status == 0
        assert "PPL" in text
        its = Profile.load(demo / "profiles" / f"{name}.profile")
        assert Profile.load(out) == its
        assert [each.digest for each in Profile.load(out).identity] == [each.digest for each in its.identity]
    scores = tmp_path / "scores.csv"
    profiles = [tmp_path / f"{name}.profile" for name in names]
    words = ["matrix", "--source", *profiles[:2], "--target", profiles[2], "--out", scores]
    status, text, _ = run(*words, "--heatmap", tmp_path / "scores.png", "--json")
    assert (tmp_path / "scores.png").read_bytes().startswith(b"\x89PNG")
    assert status == 0
    assert json.loads(text)["sources"] == ["counting", "signs"]
    status, text, _ = run("rank", scores, "--target", "count-bench", "--json")
    ranking = json.loads(text)["sources"]
    assert [set(entry["factors"]) for entry in ranking] == [set(ranking[0]["factors"])] * 2
    assert ranking[0]["score"] > ranking[1]["score"]
    assert ranking[0]["low"] < ranking[0]["score"] < ranking[0]["high"]
    status, text, _ = run("rank", scores, "--target", "count-bench", "--without", "perplexity", "ISim")
    assert status == 0
    assert "ISim" not in text
    data = [f"{name}={paths[name]}" for name in names[:2]]
    words = ["mix", scores, "--target", "count-bench", "--budget", "21", "--dataset", *data, "--out", tmp_path / "mix"]
    status, text, _ = run(*words, "--format", "swift", "--json")
    assert status == 0
    assert sum(share["taken"] for share in json.loads(text)["sources"]) == 21
    assert len((tmp_path / "mix" / "mixture-count-bench.jsonl").read_text().splitlines()) == 21
    words = ["mix", demo / "scores.csv", "--target", "count-bench", "--budget", "100", "--out", tmp_path / "all"]
    words += ["--without", "perplexity"]
    assert run(*words)[0] == 0  # the demo's matrix knows its datasets, wherever its folder lies
    assert (tmp_path / "all" / "mixture-count-bench.json").read_bytes() == (
        demo / "mixture" / "mixture-count-bench.json"
    ).read_bytes()


def test_mix_reads_each_source_in_its_own_way(demo: Path, tmp_path: Path, run: Run) -> None:
    names = ["=a=b", 'hub, "x"/../y']
    for question, rows in (("question", 30), ("q", 20)):
        lines = [json.dumps({"id": i, question: f"What is {i}?", "answer": i}) for i in range(rows)]
        (tmp_path / f"{question}.jsonl").write_text("\n".join(lines))
    (tmp_path / "scores.csv").write_text('source\\target,../../t\n=a=b,1\n"hub, ""x""/../y",3\n')
    data = [f"{names[0]}={tmp_path / 'question.jsonl'}", f"{names[1]}={tmp_path / 'q.jsonl'}"]
    words = ["mix", tmp_path / "scores.csv", "--target", "../../t", "--budget", "8", "--dataset", *data]
    status, _, err = run(*words, "--out", tmp_path / "none")
    assert status == 1
    assert "q.jsonl: format not recognised" in err
    words += ["--columns", f"{names[1]}:question=q", "--input-format", "vqa", "--image-root", f"=a=b:{tmp_path}"]
    status, out, _ = run(*words, "--capacity", "=a=b=1", "--json", "--out", tmp_path / "mix")
    assert status == 0
    assert {share["name"]: share["taken"] for share in json.loads(out)["sources"]} == {names[0]: 1, names[1]: 7}
    assert run("validate", tmp_path / "mix")[0] == 0
    assert {path.name for path in tmp_path.iterdir()} == {"mix", "scores.csv", "q.jsonl", "question.jsonl"}


def test_an_output_that_cannot_be_written_is_an_error_before_any_work(demo: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "file").write_text("mine")
    words = ["profile", demo / "datasets" / "captions", "--model", tmp_path / "no such model"]
    for out, message in (
        (tmp_path / "file" / "x.profile", "file is not a folder"),
        (tmp_path, "is a folder, not a file"),
        ("/dev/null", "is not a regular file"),
    ):
        status, _, err = run(*words, "--out", out)
        assert status == 1
        assert message in err
    assert Path("/dev/null").is_char_device()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_profile_is_written_through_a_link_and_with_the_usual_rights(demo: Path, tmp_path: Path, run: Run) -> None:
    (tmp_path / "link").symlink_to("real.profile")
    (tmp_path / "plain").write_text("")
    status, _, _ = run("profile", demo / "datasets" / "captions", "--model", "demo", "--out", tmp_path / "link")
    assert status == 0
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real.profile").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    np.savez(tmp_path / "s.npz", nll=np.ones(80), answer=np.random.default_rng(0).standard_normal((80, 64)) + 2)
    script = "import sys; from dataprophet.cli import main; sys.exit(main(sys.argv[1:]))"
    words = ["profile", "s.npz", "--features", "--model", "m", "--diversity-fields", "answer", "--out", "s.profile"]
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000)),
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"dataprophet: error: {CACHE}")
    assert "no space is left" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["s.npz"]


def test_mix_never_replaces_the_folder_one_is_in(
    demo: Path, tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    status, _, err = run("demo", "--out", ".")
    assert status == 1
    assert "is the folder you are in" in err
    assert list(tmp_path.iterdir()) == []


def test_validate_lists_bad_rows(tmp_path: Path, run: Run) -> None:
    talk = [{"from": "human", "value": "q?"}, {"from": "gpt", "value": ""}]
    good = [{"from": "human", "value": "q?"}, {"from": "gpt", "value": "a"}]
    rows = [{"id": 1, "conversations": good}, {"id": 2, "conversations": talk}, {"id": 1, "conversations": good}]
    (tmp_path / "x.json").write_text(json.dumps(rows))
    status, out, _ = run("validate", tmp_path / "x.json")
    assert status == 1
    assert "x.json row 2 (id 2)" in out
    assert "x.json row 3 (id 1)" in out
    assert "1 of 3 rows good" in out
    status, out, _ = run("validate", tmp_path / "x.json", "--json")
    assert status == 1
    assert json.loads(out)["counts"] == {"duplicate_row": 1, "empty_answer": 1}
    (tmp_path / "y.json").write_text(json.dumps(rows[:1]))
    status, out, _ = run("validate", tmp_path / "y.json")
    assert status == 0
    assert "no problems" in out


def test_bad_rows_are_left_out_of_a_profile_and_reported_once(demo: Path, tmp_path: Path, run: Run) -> None:
    rows = json.loads((demo / "datasets" / "captions" / "captions.json").read_text())
    del rows[0]["conversations"][1]
    (tmp_path / "x.json").write_text(json.dumps(rows))
    words = ["--model", "demo", "--out", tmp_path / "x.profile", "--image-root", demo / "datasets" / "captions"]
    status, out, err = run("profile", tmp_path / "x.json", *words)
    assert status == 0
    assert f"{len(rows) - 1} samples" in out
    assert len(err.splitlines()) == 2  # the row, and the summary
    assert "x.json row 1" in err
    assert "1 left out" in err


def test_precomputed_features_need_no_model(tmp_path: Path, run: Run) -> None:
    rng = np.random.default_rng(0)
    for name in ("s", "t"):
        vectors = {f: rng.standard_normal((80, 5)) + 2 for f in ("question", "answer", "image")}
        np.savez(tmp_path / f"{name}.npz", nll=rng.random(80), **vectors)
        words = ["--features", "--model", "clip-l", "--out", tmp_path / f"{name}.profile", "--seal", "--json"]
        status, out, _ = run("profile", tmp_path / f"{name}.npz", *words)
        assert status == 0
        assert json.loads(out)["n_samples"] == 80
    profiles = [tmp_path / f"{name}.profile" for name in "st"]
    status, out, _ = run("matrix", "--source", profiles[0], "--target", profiles[1], "--out", tmp_path / "m.csv")
    assert status == 0
    assert "source\\target" in out
    words = ["profile", tmp_path / "s.npz", "--features", "--model", "clip-l", "--out", tmp_path / "all.profile"]
    assert run(*words, "--sketch-size", "all")[0] == 0
    assert Profile.load(tmp_path / "all.profile").settings["sketch_size"] == "all"
    assert (
        run("matrix", "--source", profiles[0], "--target", tmp_path / "all.profile", "--out", tmp_path / "n.csv")[0]
        == 1
    )


def test_evaluate_gives_the_published_agreement(run: Run) -> None:
    files = published_path("metric_scores"), published_path("relative_improvement_percent")
    status, out, _ = run("evaluate", *files, "--json")
    found = json.loads(out)
    assert status == 0
    assert set(found) == {"tau", "tau_target", "tau_source", "per_target", "per_source", "variant"}
    assert round(found["tau_target"], 4) == 0.8641
    assert round(found["tau_source"], 4) == 0.1301
    assert len(found["per_target"]) == 14
    _, out, _ = run("evaluate", *files, "--variant", "a")
    assert "0.8312 over targets" in out
    assert "0.1264 over sources" in out
    _, out, _ = run("evaluate", *files, "--off-diagonal", "--json")
    assert round(json.loads(out)["tau_target"], 3) == 0.841
    status, out, _ = run("evaluate", "--published")
    assert status == 0
    assert "0.8641" in out


def test_doctor_reports(run: Run) -> None:
    status, out, _ = run("doctor")
    assert status == 0
    for word in ("core", "CUDA", "Triton", "torch", "transformers", "Pillow"):
        assert word.lower() in out.lower(), word
    status, out, _ = run("doctor", "--json")
    assert status == 0
    assert all({"name", "ok"} <= set(check) for check in json.loads(out))


def test_bench_times_every_operation(run: Run) -> None:
    status, out, _ = run("bench", "--rows", "200", "--columns", "16", "--rounds", "1")
    assert status == 0
    for word in (
        "mean_direction",
        "cosine_to",
        "nearest",
        "kmeans",
        "silhouette_samples",
        "token_logprobs",
        "numpy",
        "torch",
    ):
        assert word in out, word
    status, out, _ = run("bench", "--rows", "200", "--columns", "16", "--rounds", "1", "--json")
    found = json.loads(out)
    assert found["machine"]["isa"]
    assert all(line["cpu_ms"] > 0 and line["wall_ms"] > 0 for line in found["results"])
    ours = [line for line in found["results"] if line["way"] == "dataprophet"]
    assert len(ours) == 7
    assert all(line["cpu_ratio"] == line["wall_ratio"] == 1 for line in ours)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bench", "--rows", "10"], "--rows: expected more rows than 10 clusters, got 10"),
        (["validate", "{tmp}/absent.json"], "absent.json"),
        (["validate", "{tmp}/notes.txt"], "notes.txt"),
        (["profile", "{tmp}/absent.json", "--model", "demo", "--out", "{tmp}/o"], "absent.json"),
        (["profile", "{demo}/datasets/captions", "--model", "{tmp}/none", "--out", "{tmp}/o"], "none"),
        (["profile", "{demo}/scores.csv", "--model", "demo", "--out", "{tmp}/o"], "scores.csv"),
        (["profile", "{tmp}/absent.npz", "--features", "--model", "m", "--out", "{tmp}/o"], "absent.npz"),
        (["profile", "{demo}/datasets/captions", "--model", "demo", "--device", "gpu", "--out", "{tmp}/o"], "'gpu'"),
        (["profile", "{demo}/datasets/captions", "--model", "demo", "--dtype", "int3", "--out", "{tmp}/o"], "int3"),
        (
            ["profile", "{demo}/datasets/captions", "--model", "demo", "--limit", "5", "--out", "{tmp}/o"],
            "10 different",
        ),
        (["matrix", "--source", "{tmp}/a", "--target", "{tmp}/b", "--out", "{tmp}/o.csv"], "no such profile"),
        (
            ["matrix", "--source", "{tmp}/notes.txt", "--target", "{tmp}/b", "--out", "{tmp}/o.csv"],
            "not a readable profile",
        ),
        (
            ["matrix", "--source", "{tmp}/a", "--target", "{tmp}/b", "--out", "{tmp}/o.csv", "--heatmap", "{tmp}"],
            "is a folder, not a file",
        ),
        (["rank", "{tmp}/absent.csv", "--target", "t"], "absent.csv"),
        (["rank", "{demo}/scores.csv", "--target", "t"], "no target 't'"),
        (["rank", "{demo}/scores.csv", "--target", "sign-bench", "--without", "luck"], "no factor 'luck'"),
        (["evaluate", "{demo}/scores.csv"], "needs two matrices"),
        (["evaluate", "{demo}/scores.csv", "{tmp}/notes.txt"], "notes.txt"),
        (["mix", "{demo}/scores.csv", "--target", "t", "--budget", "5", "--dataset", "x=y", "--out", "{tmp}/o"], "'x'"),
        (
            [
                *["mix", "{demo}/scores.csv", "--target", "sign-bench", "--budget", "5", "--out", "{tmp}/o"],
                *["--dataset", "captions={demo}/datasets/captions", "captions={tmp}"],
            ],
            "'captions' is given twice",
        ),
        (
            [
                *["mix", "{demo}/scores.csv", "--target", "sign-bench", "--budget", "5", "--out", "{tmp}/o"],
                *["--dataset", "captions={demo}/datasets/captions", "--split", "captions:x"],
            ],
            "source 'captions': was profiled without --split, and is given with --split x",
        ),
        (["demo", "--out", "{tmp}/notes.txt"], "notes.txt"),
    ],
)
def test_errors_are_one_line_with_a_fix_and_leave_nothing(
    demo: Path, tmp_path: Path, run: Run, words: list[str], message: str
) -> None:
    (tmp_path / "notes.txt").write_text("not a dataset\n")
    status, out, err = run(*[word.format(tmp=tmp_path, demo=demo) for word in words])
    assert status == 1
    assert out == ""
    assert message in err
    assert len(err.splitlines()) == 1
    assert err.startswith("dataprophet: error: ")
    assert "; " in err
    assert {path.name for path in tmp_path.iterdir()} - {CACHE} == {"notes.txt"}
    # of a pass that was made, and whose profile has no diversity, the cache stays
    assert (tmp_path / CACHE).exists() == (message == "10 different")


def test_the_demo_misses_a_package_before_it_does_any_work(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "altair" else find_spec(name))
    status, out, err = run("demo", "--out", tmp_path / "demo")
    assert (status, out) == (1, "")
    assert err.startswith("dataprophet: error: the demo: altair is not installed; pip install 'torch>=")
    assert "'altair>=" in err
    assert list(tmp_path.iterdir()) == []
