"""Single flipped bits and files cut short, over all kinds of files: each is detected in one line, or changes nothing.

FLIPS and CUTS in the environment say how many are tried; `make soak` tries more.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from sample_features import make_features

import dataprophet as dp
from dataprophet.cli import main
from dataprophet.data.identity.compare import Identity
from dataprophet.errors import DataProphetError
from dataprophet.features.file import load_features
from dataprophet.files import MANIFEST
from dataprophet.profiling.build import profile
from dataprophet.profiling.profile import Profile
from dataprophet.scoring.check import check
from dataprophet.scoring.score import score
from dataprophet.selection import Settings, select_pool
from dataprophet.selection.verify import verify
from dataprophet.store import open_store
from dataprophet.store.checksums import dump_document, parse_document

FLIPS, CUTS = (int(os.environ.get(name, usual)) for name, usual in (("FLIPS", 20), ("CUTS", 10)))
KINDS = ["run.json", "files.json", "index/*", "targets/*", "commits/*", "data/*.parquet", "data/*.profile"]
KINDS += ["data/*.safetensors", "pool.profile", "summary.json", "journal/*", "logs/*"]


def _nothing(_: Any) -> None:
    """No sync."""


@pytest.fixture(autouse=True)
def _no_sync() -> Any:
    """No machine stops in these tests, and the disk would take longer than all the rest."""
    with mock.patch("os.fsync", _nothing):
        yield


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A pool of features in two files, its target, and what scoring it gave."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "pool").mkdir()
    for number in range(2):
        rows = make_features(1100, 8, seed=number, prefix=f"{number}-")
        np.savez(folder / "pool" / f"part{number}.npz", id=np.array(rows.ids), nll=rows.nll, **rows.embeddings)
    target = profile(make_features(100, 8, seed=9), "m", name="t", clusters=4, sketch_size=1000)
    with mock.patch("os.fsync", _nothing):
        again(folder, target, folder / "out")
    return folder, target


def again(folder: Path, target: Profile, out: Path) -> dp.ScoredPool:
    return score(folder / "pool", [target], "m", features=True, embeddings=True, out=out, shard_rows=1024)


def results(folder: Path, target: Profile, out: Path) -> tuple[Any, ...]:
    """What comes of a folder: of one that goes on, and of one that is selected from."""
    scored = again(folder, target, out)
    chosen = out.with_name("chosen")
    shutil.rmtree(chosen, ignore_errors=True)
    select_pool(str(out), Settings(["t"], 200, near_duplicates=0.95), str(chosen), format="ids")
    picked = next(chosen.glob("*.txt")).read_bytes()
    return scored.digest(), scored.profile, dict(scored.statuses), scored.complete, picked, dict(scored.summary)


def damage(path: Path, draw: random.Random, *, cut: bool) -> None:
    """Flip a bit of a file, or cut it short. It becomes another file: parts of a folder may be links to one."""
    data = bytearray(path.read_bytes())
    if cut:
        del data[draw.randrange(len(data)) :]
    else:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    path.unlink()
    path.write_bytes(data)


def same_or_told(make: Callable[[], Any], expected: Any) -> bool:
    """Whether what is made of something damaged is what it was; if not, an error says so in one line."""
    try:
        found = make()
    except DataProphetError as error:
        told = str(error)
        return False if told == " ".join(told.split()) else pytest.fail(told)
    assert found == expected, "silent"
    return True


@pytest.mark.parametrize(("count", "cut"), [(FLIPS, False), (CUTS, True)], ids=["flips", "cuts"])
def test_damage_of_a_scored_folder_is_detected_or_harmless(made: Any, tmp_path: Path, count: int, cut: bool) -> None:
    folder, target = made
    shutil.copytree(folder / "out", tmp_path / "out")
    whole, draw, seen = results(folder, target, tmp_path / "out"), random.Random(3), 0
    for number in range(count):
        out = tmp_path / "out"
        shutil.rmtree(out)
        shutil.copytree(folder / "out", out, copy_function=os.link)
        commits = sorted((out / "commits").iterdir())
        open_store(str(out)).journal(commits[0].stem).begin("cell 0")
        if number // len(KINDS) % 2:  # half-finished
            for name in [*commits[::2], out / "pool.profile", out / "summary.json"]:
                name.unlink()
        if not (found := sorted(out.glob(KINDS[number % len(KINDS)]))):
            continue
        path = draw.choice(found)
        damage(path, draw, cut=cut)
        if path.parent.name in ("targets", "index"):  # read where a shard is still to be done
            commits[0].unlink(missing_ok=True)
        if not same_or_told(partial(results, folder, target, out), whole):
            seen += 1
            store = open_store(str(out))
            check(store).repair(store)
            assert results(folder, target, out) == whole
    assert seen > count / 3


@pytest.mark.parametrize("sealed", [False, True])
def test_damage_of_a_profile_is_detected_or_harmless(made: Any, tmp_path: Path, sealed: bool) -> None:
    _, target = made
    path, draw = tmp_path / "t.profile", random.Random(1)
    whole = replace(target).seal() if sealed else target  # a copy: the diversity stays with it
    for number in range(FLIPS + CUTS):
        whole.save(path)
        damage(path, draw, cut=number >= FLIPS)
        same_or_told(partial(Profile.load, path), whole)


def resaved(path: Path, target: Profile) -> bytes:
    dp.Selector.load(path, [target]).save(path)
    return path.read_bytes()


def test_damage_of_a_snapshot_is_detected_or_harmless(made: Any, tmp_path: Path) -> None:
    _, target = made
    selector = dp.Selector([target])
    selector.feed(make_features(50, 8, seed=4))
    path, draw = tmp_path / "snapshot", random.Random(1)
    for number in range(FLIPS + CUTS):
        selector.save(path)
        whole = path.read_bytes()
        damage(path, draw, cut=number >= FLIPS)
        same_or_told(partial(resaved, path, target), whole)


@pytest.mark.parametrize("kind", ["scores.csv", "scores.factors.csv", "scores.identity.json"])
def test_damage_of_a_matrix_is_detected_or_harmless(made: Any, tmp_path: Path, kind: str) -> None:
    _, target = made
    source = profile(make_features(100, 8, seed=5), "m", name="s", clusters=4, sketch_size=1000)
    target = replace(target)
    for each in (source, target):
        each.identity = (Identity("p", str(tmp_path / "p"), "features"),)
    matrix = dp.transfer_matrix([source], [target])
    draw, path = random.Random(1), tmp_path / "scores.csv"
    for number in range(30):
        matrix.to_csv(path)
        damage(tmp_path / kind, draw, cut=number >= 20)
        same_or_told(partial(dp.TransferMatrix.from_csv, path), matrix)


def test_a_matrix_that_was_changed_by_hand_is_told(made: Any, tmp_path: Path) -> None:
    _, target = made
    path = tmp_path / "scores.csv"
    matrix = dp.transfer_matrix([replace(target)], [replace(target)])
    matrix.identities = {"sources": {"t": (Identity("p", str(tmp_path / "p"), "features"),)}}
    matrix.to_csv(path)
    path.write_text(path.read_text().replace("0.", "1.", 1))
    with pytest.raises(DataProphetError, match=r"scores\.factors\.csv: scores differ from those of the matrix"):
        dp.TransferMatrix.from_csv(path)
    (tmp_path / "scores.factors.csv").unlink()
    with pytest.raises(DataProphetError, match=r"scores\.identity\.json: belongs to other scores than scores\.csv"):
        dp.TransferMatrix.from_csv(path)
    (tmp_path / "scores.identity.json").unlink()
    assert dp.TransferMatrix.from_csv(path) != matrix


def test_damage_of_a_manifest_is_detected_or_harmless(made: Any, tmp_path: Path) -> None:
    folder, _ = made
    out, draw = tmp_path / "chosen", random.Random(1)
    select_pool(str(folder / "out"), Settings(["t"], 50), str(out), format="ids")
    whole = (out / MANIFEST).read_bytes()
    for number in range(10):
        (out / MANIFEST).write_bytes(whole)
        damage(out / MANIFEST, draw, cut=number >= 8)
        same_or_told(partial(verify, out), [])


def test_the_check_names_what_is_damaged_and_repairs_it(made: Any, tmp_path: Path, capsys: Any) -> None:
    folder, target = made
    out = tmp_path / "out"
    shutil.copytree(folder / "out", out)
    assert main(["check", str(out)]) == 0
    assert "files are as they were written" in capsys.readouterr().out
    digest = again(folder, target, out).digest()
    names = [next(out.glob(kind)).relative_to(out).as_posix() for kind in ("data/*.parquet", "index/*", "pool.profile")]
    for name in names:
        damage(out / name, random.Random(2), cut=True)
    assert main(["check", str(out), "--json"]) == 1
    assert sorted(each["file"] for each in json.loads(capsys.readouterr().out)["damaged"]) == sorted(names)
    with pytest.raises(DataProphetError, match=f"dataprophet check {out} --repair"):
        again(folder, target, out)
    assert main(["check", str(out), "--repair"]) == 0
    assert not any((out / name).exists() for name in names)
    assert again(folder, target, out).digest() == digest
    assert main(["check", str(out)]) == 0
    assert main(["check", str(folder / "pool")]) == 1
    assert "not a scored folder" in capsys.readouterr().err


def test_a_target_under_the_name_of_another_is_refused(made: Any, tmp_path: Path) -> None:
    folder, target = made
    out = tmp_path / "out"
    shutil.copytree(folder / "out", out)
    lies = next((out / "targets").iterdir())
    profile(make_features(100, 8, seed=10), "m", name="t", clusters=4, sketch_size=1000).save(lies)
    next((out / "commits").iterdir()).unlink()
    with pytest.raises(DataProphetError, match="another profile than its name says"):
        again(folder, target, out)


def test_files_without_a_checksum_are_read(made: Any, tmp_path: Path) -> None:
    folder, target = made
    out = tmp_path / "out"
    shutil.copytree(folder / "out", out)
    expected = results(folder, target, out)
    for path in [*out.glob("*.json"), *out.glob("index/*"), *out.glob("commits/*")]:
        document = parse_document(path.read_bytes())
        document.pop("checksums", None)
        path.write_text(json.dumps(document))
    for path in out.rglob("*.profile"):
        path.write_bytes(Profile.load(path).to_bytes(checked=False))
    found = check(open_store(str(out)))
    assert not found.damages
    assert found.unchecked == 3 * len(list(out.glob("commits/*")))
    assert results(folder, target, out) == expected


@pytest.mark.parametrize("document", [{}, {"a": 1.5, "b": ["ü", None]}, {"checksums": {"checksum": "0" * 32}}])
@pytest.mark.parametrize("options", [{}, {"indent": 1}, {"indent": 1, "ascii_only": False}])
def test_documents_come_back_or_are_damaged(document: dict[str, Any], options: dict[str, Any]) -> None:
    data = dump_document(document, **options)
    assert parse_document(data) == document
    for place in range(len(data)):
        for bit in range(8):
            changed = bytearray(data)
            changed[place] ^= 1 << bit
            with pytest.raises(ValueError):  # noqa: PT011 (any; also where the name of the checksum is hit)
                parse_document(bytes(changed))


def _negative(entry: dict[str, Any]) -> None:
    entry["nll"]["data_offsets"] = [-40, -8]


def _overlapping(entry: dict[str, Any]) -> None:
    entry["nll"]["data_offsets"] = [4, 36]


def _huge(entry: dict[str, Any]) -> None:
    entry["nll"].update(shape=[2**32, 2**32], data_offsets=[0, 0])


def _cut(entry: dict[str, Any]) -> None:
    entry["image"]["data_offsets"] = [32, 10**9]


@pytest.mark.parametrize("lie", [_negative, _overlapping, _huge, _cut])
def test_a_lying_header_of_safetensors_is_refused(tmp_path: Path, lie: Callable[[dict[str, Any]], None]) -> None:
    head: dict[str, Any] = {"nll": {"dtype": "F32", "shape": [8], "data_offsets": [0, 32]}}
    head["image"] = {"dtype": "F32", "shape": [8, 4], "data_offsets": [32, 160]}
    lie(head)
    text = json.dumps(head).encode()
    path = tmp_path / "f.safetensors"
    path.write_bytes(len(text).to_bytes(8, "little") + text + np.ones(40, np.float32).tobytes())
    with pytest.raises(DataProphetError, match="cannot be read"):
        load_features(path)
