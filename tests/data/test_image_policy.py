"""Which images a row may name: files of its folder and of image_root, and addresses where the user allows them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import sample_files as files

from dataprophet.data import Dataset, Problem, open_dataset, validate
from dataprophet.data.images.sources import UrlImage
from dataprophet.data.remote import fetch
from dataprophet.errors import DataError


def ask(folder: Path, image: str, **options: object) -> str:
    """Code of the one row's problem, or the colour that was read."""
    dataset: Dataset = open_dataset(
        files.dump(folder / "a.jsonl", [{"query": "Q", "response": "A", "images": [image]}]), **options
    )  # type: ignore[arg-type]
    (row,) = dataset.rows()
    if isinstance(row, Problem):
        return row.code
    red, green, blue = row.sources[0].load().getpixel((0, 0))  # type: ignore[misc]
    return "red" if red > green + blue else "green" if green > red + blue else "blue"


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """A dataset's folder beside one that it must not reach, and links between them."""
    data, other = tmp_path / "data", tmp_path / "data-private"
    files.write_images(data)
    other.mkdir()
    (other / "green.png").write_bytes(files.GREEN)
    (data / "link.png").symlink_to(other / "green.png")
    (data / "folder").symlink_to(other)
    (data / "inner.png").symlink_to(data / "images" / "red.png")
    return data


@pytest.mark.parametrize(
    "image",
    [
        "../data-private/green.png",
        "images/../../data-private/green.png",
        "link.png",
        "folder/green.png",
        "{root}/data-private/green.png",
        "/etc/passwd",
        "../data-private/none.png",
        "..",
        "/",
    ],
)
def test_images_outside_the_folder_are_refused(folders: Path, image: str) -> None:
    assert ask(folders, image.format(root=folders.parent)) == "outside_root"


def test_images_inside_and_allowed(folders: Path) -> None:
    other = folders.parent / "data-private"
    assert ask(folders, "images/red.png") == "red"
    assert ask(folders, "images/../images/red.png") == "red"
    assert ask(folders, str(folders / "images" / "red.png")) == "red"
    assert ask(folders, "inner.png") == "red"
    for image in ("../data-private/green.png", "link.png", "folder/green.png", str(other / "green.png")):
        assert ask(folders, image, allow_outside=True) == "green"
        assert ask(folders, image, image_root=other) == "green"
    assert ask(folders, "green.png", image_root=[other]) == "green"
    assert ask(folders, "images/red.png", image_root=[other]) == "red"
    assert ask(folders, "/etc/passwd", image_root=other) == "outside_root"


def test_a_tar_member_is_never_a_path(tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        files.add_member(tar, "../../escape.png", files.RED)
        files.add_member(tar, "../../escape.json", b'{"question": "Q", "answer": "A", "image": "/etc/passwd"}')
        link = tarfile.TarInfo("b.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
        files.add_member(tar, "b.json", b'{"question": "Q", "answer": "A"}')
    dataset = open_dataset(tmp_path / "a.tar")
    (first,) = dataset
    assert [image.size for image in first.images] == [(6, 4)]
    assert "b.png is a link" in str(dataset.problems.first[0])
    assert list(tmp_path.iterdir()) == [tmp_path / "a.tar"]


def test_llamafactory_data_file_cannot_leave_its_folder(folders: Path) -> None:
    files.dump(folders.parent / "data-private" / "a.json", [{"instruction": "Q", "output": "A"}])
    (folders / "dataset_info.json").write_text('{"a": {"file_name": "../data-private/a.json"}}')
    with pytest.raises(DataError, match="the data file lies outside the folder"):
        open_dataset(folders)
    assert len(list(open_dataset(folders, allow_outside=True))) == 1


class Handler(BaseHTTPRequestHandler):
    """Serves an image, an endless body, a slow one, redirects, and errors; notes what was asked for."""

    asked: list[str]

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        target = {"/to-file": "file:///etc/passwd", "/to-ftp": "ftp://127.0.0.1/a", "/to-red": "/red.png"}.get(
            self.path
        )
        if target:
            self.send_response(302)
            self.send_header("Location", target)
            self.end_headers()
        elif self.path == "/red.png":
            self.send_response(200)
            self.end_headers()
            self.wfile.write(files.RED)
        elif self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(bytes(1 << 16))
            except OSError:
                return
        elif self.path == "/drip":
            self.send_response(200)
            self.end_headers()
            gone = threading.Event()
            try:
                while not gone.wait(0.02):
                    self.wfile.write(b"x")
            except OSError:
                return
        else:
            self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        return


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    Handler.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_addresses_are_fetched_only_when_allowed(server: str, tmp_path: Path) -> None:
    assert ask(tmp_path, f"{server}/red.png") == "url_refused"
    assert Handler.asked == []
    assert ask(tmp_path, f"{server}/red.png", allow_urls=True) == "red"
    assert Handler.asked == ["/red.png"]
    for address in ("file:///etc/passwd", "FILE:///etc/passwd", "file://localhost/etc/passwd"):
        assert ask(tmp_path, address, allow_urls=True) == "outside_root"
    for address in ("ftp://host/a.png", "gopher://x/y"):
        assert ask(tmp_path, address, allow_urls=True) == "url_refused"
    (row,) = validate(open_dataset(tmp_path / "a.jsonl", allow_urls=True)).problems
    assert row.code == "url_refused"


def test_reading_rows_fetches_nothing(server: str, tmp_path: Path) -> None:
    rows = [{"query": "Q", "response": "A", "images": [f"{server}/red.png"]}]
    (sample,) = open_dataset(files.dump(tmp_path / "a.jsonl", rows), allow_urls=True)
    assert Handler.asked == []
    assert sample.images[0].size == (6, 4)
    assert Handler.asked == ["/red.png"]


def test_fetching_is_bounded(server: str) -> None:
    assert fetch(f"{server}/to-red") == files.RED
    with pytest.raises(DataError, match="more than 100000 bytes"):
        fetch(f"{server}/endless", max_bytes=100_000)
    with pytest.raises(DataError, match=r"cannot be fetched \(more than 0.2 s\)"):
        fetch(f"{server}/drip", timeout_s=0.2)
    with pytest.raises(DataError, match="404"):
        fetch(f"{server}/none")
    for path in ("/to-file", "/to-ftp"):
        with pytest.raises(DataError, match="cannot be fetched"):
            fetch(f"{server}{path}")
    with pytest.raises(DataError, match="only http and https"):
        fetch("file:///etc/passwd")
    with pytest.raises(DataError, match=r"http://127.0.0.1:1/a.*cannot be fetched"):
        UrlImage("http://127.0.0.1:1/a").load()


def test_images_of_several_parts_are_looked_up_beside_their_own_file(tmp_path: Path) -> None:
    for part, data in (("one", files.RED), ("two", files.GREEN)):
        (tmp_path / part / "images").mkdir(parents=True)
        (tmp_path / part / "images" / "0.png").write_bytes(data)
        files.dump(tmp_path / part / "data.jsonl", [{"question": part, "answer": "A", "image": "images/0.png"}])

    def found(**options: object) -> list[bytes]:
        rows = open_dataset(tmp_path, **options).rows()  # type: ignore[arg-type]
        return [row.sources[0].read_bytes() for row in rows]  # type: ignore[union-attr]

    assert found() == [files.RED, files.GREEN]
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "0.png").write_bytes(files.BLUE)
    assert found() == [files.RED, files.GREEN]
    assert found(image_root=tmp_path) == [files.BLUE] * 2
    (tmp_path / "two" / "images" / "0.png").unlink()
    assert found() == [files.RED, files.BLUE]
