"""Tars: which members are images and in which order, keys with dots, and members that stand apart."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import sample_files as files

from dataprophet.cli import main
from dataprophet.data import Conversation, Problem, open_dataset
from dataprophet.data.files import tar as tars
from dataprophet.data.images.unused import image_like
from dataprophet.errors import DataError

COLOURS = {data: name.removesuffix(".png") for name, data in files.NAMES.items()}


def seen(row: Conversation | Problem) -> tuple[str, list[str]]:
    """The question with marks where its images stand, and their colours; or the code of the problem."""
    if isinstance(row, Problem):
        return row.code, []
    turn = row.turns[0]
    marked = turn.question
    for offset in reversed(turn.image_offsets):
        marked = f"{marked[:offset]}[]{marked[offset:]}"
    return marked, [COLOURS[source.read_bytes()] for source in row.sources]


def write_tar(path: Path, members: Mapping[str, Any]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            files.add_member(tar, name, data if isinstance(data, bytes) else json.dumps(data).encode())
    return path


QA = {"question": "Q", "answer": "A"}
R, G, B = files.RED, files.GREEN, files.BLUE


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({"0.10.png": B, "0.2.png": G, "0.1.png": R, "0.json": QA}, [("[][][]Q", "red green blue")]),
        ({"0.a.png": R, "0.b.png": B, "0.json": {**QA, "images": ["0.b.png", "x/0.a.png"]}}, [("[][]Q", "blue red")]),
        ({"0.png": R, "0.json": {**QA, "image": "train/77.png"}}, [("[]Q", "red")]),
        ({"0.0.png": R, "0.1.png": B, "0.json": {**QA, "images": ["u.png", "v.png"]}}, [("[][]Q", "red blue")]),
        ({"0.0.png": R, "0.1.png": B, "0.json": {**QA, "images": ["u.png"]}}, [("missing_image", "")]),
        ({"0.0.png": R, "0.json": {**QA, "images": ["0.png", "1.png"]}}, [("missing_image", "")]),
        ({"0.depth.png": B, "0.png": R, "0.mask.png": G, "0.json": QA}, [("[]Q", "red")]),
        ({"0.left.png": B, "0.right.png": R, "0.json": QA}, [("unread_image", "")]),
        ({"0.heic": R, "0.json": QA, "1.img": G, "1.json": QA, "2.JFIF": B, "2.JSON": QA}, ["red", "green", "blue"]),
        ({"0.bin": R, "0.json": QA, "1.npy": b"\x93NUMPY", "1.json": QA}, [("unread_image", ""), ("Q", "")]),
        ({"0.json": {**QA, "meta": {"image": "red.png"}}}, [("unread_image", "")]),
        ({"0.mp4": b"x", "0.json": QA}, [("unsupported_media", "")]),
        ({"p 2.0.png": R, "p 2.0.json": QA, "p 2.1.png": B, "p 2.1.json": QA}, ["red", "blue"]),
        ({"v1.5/p 2.0.0.png": R, "v1.5/p 2.0.1.png": B, "v1.5/p 2.0.json": QA}, [("[][]Q", "red blue")]),
        ({"._0.png": b"\0", "0.png": R, "0.question.txt": b"Q", "0.answer.txt": b"A"}, [("[]Q", "red")]),
        ({"0.json": {**QA, "image": "images/red.png"}}, [("[]Q", "red")]),
        ({"0.json": {**QA, "image": "gone.png"}}, [("missing_image", "")]),
    ],
)
def test_members_of_a_tar(members: Mapping[str, Any], expected: list[Any], tmp_path: Path) -> None:
    files.write_images(tmp_path)
    rows = list(open_dataset(write_tar(tmp_path / "a.tar", members)).rows())
    wanted = [(each if isinstance(each, tuple) else ("[]Q", each)) for each in expected]
    assert [seen(row) for row in rows] == [(question, images.split()) for question, images in wanted]


def test_keys_with_dots_are_found_from_any_row(tmp_path: Path) -> None:
    pages = {f"p 2.{k}.{suffix}": data for k in range(2100) for suffix, data in (("png", R), ("json", QA))}
    dataset = open_dataset(write_tar(tmp_path / "a.tar", pages))
    index = dataset.index(0)
    assert index.rows == 2100
    (cell,) = dataset.read_cells(index, 2, 3)
    assert cell == list(dataset.rows())[2048:]
    assert isinstance(cell[0], Conversation)
    assert (cell[0].id, cell[0].row) == ("a:p 2.2048", 2049)


@pytest.mark.parametrize(
    "names", [("0.png", "1.png", "0.json", "1.json"), ("a/0.txt", "b/0.txt", "a/0.png", "b/0.png")]
)
def test_members_apart_from_each_other_are_refused_by_name(names: tuple[str, ...], tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {name: R if name.endswith("png") else QA for name in names})
    dataset = open_dataset(path, columns={"question": "=Q"})
    key = names[0].partition(".")[0]
    for use in (lambda: list(dataset.rows()), lambda: dataset.index(0)):
        with pytest.raises(DataError, match=f"the members of key '{key}' are not side by side; write the shard anew"):
            use()


def test_members_that_are_not_read_are_named_and_can_be_mapped(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", {"0.left.png": R, "0.right.png": B, "0.json": QA})
    rows = list(open_dataset(path, columns={"images": "right.png,left.png"}).rows())
    assert [seen(row) for row in rows] == [("[][]Q", ["blue", "red"])]
    from dataprophet.data.files.tar import read_tar

    ((_, row),) = read_tar(
        str(write_tar(tmp_path / "b.tar", {"0.mask.png": R, "0.png": B, "0.json": QA, "0.cls": b"3"}))
    )
    assert isinstance(row, dict)
    assert image_like(row, "b.tar") == ["mask.png"]


@pytest.mark.parametrize("bare", [0, 2, 5])
def test_keys_without_an_image_among_others_are_told(bare: int, tmp_path: Path, capsys: Any) -> None:
    keys = {f"{i}.json": {"question": f"Q{i}", "answer": "A"} for i in range(5)}
    images = {f"{i}.png": R for i in range(bare, 5)}
    path = write_tar(tmp_path / "x.tar", dict(sorted({**keys, **images}.items())))
    expected = ["2 of 5 keys have no image: read as text rows"] if bare == 2 else []
    assert main(["validate", str(path), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["read_as"]
    assert [line for line in told if "no image" in line] == expected


def test_every_command_tells_keys_without_an_image(tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("torch")
    members: dict[str, Any] = {}
    for i in range(24):
        members |= {f"{i:02}.json": {"question": f"Q{i}", "answer": f"{i}"}}
        members |= {f"{i:02}.png": files.png((9 * i, 1, 1), (8, 8))} if i else {}
    path, out = str(write_tar(tmp_path / "x.tar", members)), str(tmp_path / "x.profile")
    told = "1 of 24 keys have no image: read as text rows"
    assert main(["profile", path, "--model", "demo", "--clusters", "2", "--out", out]) == 0
    assert f"! {told}" in capsys.readouterr().out.splitlines()
    assert main(["score", path, "--model", "demo", "--processes", "0", "--out", str(tmp_path / "scores")]) == 0
    assert told in capsys.readouterr().out.splitlines()
    matrix = str(tmp_path / "m.csv")
    assert main(["matrix", "--source", out, "--target", out, "--out", matrix]) == 0
    assert main(["mix", matrix, "--target", "x", "--budget", "3", "--out", str(tmp_path / "mixture")]) == 0
    assert f"dataprophet: read x: {told}" in capsys.readouterr().err.splitlines()


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_headers_are_what_tarfile_reads(format: int, tmp_path: Path) -> None:
    names = ["a.json", "\u00e9/b.json", f"{'d' * 60}/{'n' * 60}.json", "c d.json"]
    names += ["n" * 200 + ".json"] if format != tarfile.USTAR_FORMAT else []
    path, data = tmp_path / "a.tar", json.dumps(QA).encode()
    with tarfile.open(path, "w", format=format) as tar:
        folder = tarfile.TarInfo("folder")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for number, name in enumerate(names):
            files.add_member(tar, name, data + b" " * 300 * number)

    def read(**how: Any) -> list[tuple[object, ...]]:
        with tarfile.open(path, **how) as tar:
            return [(each.name, each.size, each.offset, each.offset_data, each.type) for each in tar]

    assert read(tarinfo=tars._Header) == read()
    assert [row.id for row in open_dataset(path).rows()] == [f"a:{name.removesuffix('.json')}" for name in names]
    damaged = bytearray(path.read_bytes())
    damaged[512 + 3] ^= 1  # the name of the first file no longer has its checksum
    path.write_bytes(damaged)
    with pytest.raises(DataError, match="no end mark; it is cut short or damaged"):
        list(open_dataset(path).rows())
