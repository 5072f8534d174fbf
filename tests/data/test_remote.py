"""Data behind URLs: through fsspec's file systems of memory, of zip files and of local folders, and a bounded cache."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sample_files as files

from dataprophet.data import Conversation, open_dataset, remote
from dataprophet.errors import DataError, MissingDependencyError

fsspec = pytest.importorskip("fsspec")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache, and nothing that an earlier test has looked up."""
    monkeypatch.setenv(remote.CACHE, str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "_known", {})
    return tmp_path / "cache" / "files"


@pytest.fixture
def memory():
    fs = fsspec.filesystem("memory")
    yield fs
    fs.rm("/", recursive=True)


def copies(cache):
    return sorted(path for path in cache.iterdir() if path.suffix != ".lock")


def upload(fs, folder, url):
    fs.put(str(folder), url, recursive=True)


def comparable(rows):
    return [(row.id, row.turns, len(row.sources), row.row) for row in rows]


@pytest.mark.parametrize("case", files.CHAT_WRITERS)
def test_every_format_reads_as_from_a_folder(case, tmp_path, memory):
    kind, write = files.CHAT_WRITERS[case]
    (tmp_path / "pool").mkdir()
    path = write(tmp_path / "pool")
    upload(memory, tmp_path / "pool", "memory://pool")
    subset = "mllm" if case == "llamafactory" else None
    here = open_dataset(path, subset=subset)
    there = open_dataset(f"memory://pool/{os.path.relpath(path, tmp_path / 'pool')}".removesuffix("/."), subset=subset)
    assert (there.format, there.name) == (kind, here.name if case != "llamafactory" else "mllm")
    assert all(file.startswith("memory://pool/") for file in there.files)
    assert comparable(files.good(there)) == comparable(files.good(here))
    images = [source for row in there.rows() for source in row.sources]
    assert all(source.where.startswith("memory://pool/") for source in images)
    assert [source.read_bytes() for source in images] == [s.read_bytes() for row in here.rows() for s in row.sources]
    for number in range(len(there.files)):
        index = there.index(number)
        assert (index.name, index.digest, index.rows) == (
            here.index(number).name,
            here.index(number).digest,
            here.index(number).rows,
        )
        assert [row for cell in there.read_cells(index, 0, 1) for row in cell] == [
            row for row in there.rows() if row.file == there.files[number]
        ]


def test_a_folder_of_files_and_their_ids(tmp_path, memory):
    for name in ("b", "a"):
        row = json.dumps({"question": "q", "answer": name}) + "\n"
        memory.pipe_file(f"/pool/{name}.jsonl", row.encode())
    memory.pipe_file("/pool/images/x.png", files.RED)
    dataset = open_dataset("memory://pool/")
    assert dataset.files == ("memory://pool/a.jsonl", "memory://pool/b.jsonl")
    assert [(row.id, row.file) for row in files.good(dataset)] == [
        ("a:1", "memory://pool/a.jsonl"),
        ("b:1", "memory://pool/b.jsonl"),
    ]
    again = open_dataset(**json.loads(json.dumps(dataset.arguments)))
    assert list(again.rows()) == list(dataset.rows())


def rows_of_images(*names):
    return "".join(json.dumps({"image": name, "question": "q", "answer": "a"}) + "\n" for name in names).encode()


def test_images_are_read_inside_the_root_only(tmp_path, memory):
    memory.pipe_file("/secret/x.png", files.RED)
    memory.pipe_file("/pool/images/x.png", files.GREEN)
    inside = ["images/x.png", "./images/../images/x.png", "memory://pool/images/x.png"]
    outside = ["../secret/x.png", "/secret/x.png", "images/../../secret/x.png"]
    urls = ["memory://secret/x.png", "memory://pool/../secret/x.png", "memory://poolx/x.png", "file:///etc/passwd"]
    memory.pipe_file("/pool/a.jsonl", rows_of_images(*inside, *outside, *urls))
    rows = list(open_dataset("memory://pool/a.jsonl", allow_outside=True).rows())
    for row in rows[:3]:
        assert isinstance(row, Conversation)
        assert row.sources[0].where == "memory://pool/images/x.png"
        assert row.sources[0].load().getpixel((0, 0)) == (20, 180, 40)
    assert [row.code for row in rows[3:]] == ["outside_root"] * 3 + ["url_refused"] * 3 + ["outside_root"]


def test_roots_here_and_there(tmp_path, memory):
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "a.png").write_bytes(files.RED)
    memory.pipe_file("/there/b.png", files.GREEN)
    memory.pipe_file("/pool/c.png", files.BLUE)
    memory.pipe_file("/pool/a.jsonl", rows_of_images("a.png", "b.png", "c.png", "d.png"))
    dataset = open_dataset("memory://pool/a.jsonl", image_root=[tmp_path / "here", "memory://there"])
    sources = [row.sources[0] for row in dataset.rows()]
    assert [source.where for source in sources] == [
        str(tmp_path / "here" / "a.png"),
        "memory://there/b.png",
        "memory://pool/c.png",
        "memory://pool/d.png",
    ]
    with pytest.raises(DataError, match=r"memory://pool/d.png: no such file"):
        sources[-1].load()


def test_a_large_image_is_refused(memory, monkeypatch):
    memory.pipe_file("/pool/x.png", bytes(100))
    with pytest.raises(DataError, match="more than 99 bytes"):
        remote.read_bytes("memory://pool/x.png", 99)
    assert remote.read_bytes("memory://pool/x.png", 100) == bytes(100)


def test_a_new_version_is_copied_anew(memory, monkeypatch, cache):
    url = "memory://pool/a.jsonl"
    memory.pipe_file(url, b"one")
    first = remote.local(url)
    assert remote.local(url) == first
    memory.pipe_file(url, b"two")
    monkeypatch.setattr(remote, "_known", {})  # as in another process
    second = remote.local(url)
    assert second != first
    assert Path(second).read_text() == "two"


def test_the_cache_is_bounded(memory, monkeypatch, cache):
    monkeypatch.setenv(remote.CACHE_GB, "0.0000025")
    urls = [f"memory://pool/{number}.jsonl" for number in range(4)]
    for url in urls:
        memory.pipe_file(url, url.encode().ljust(1000))
    for number, url in enumerate(urls[:3]):
        copy = remote.local(url)
        os.utime(copy, (time.time() - 1000 + number,) * 2)
    assert [path.read_bytes().split()[0].decode() for path in sorted(copies(cache), key=os.path.getmtime)] == urls[1:3]
    remote.local(urls[3])
    left = {path.read_bytes().split()[0].decode() for path in copies(cache)}
    assert left == {urls[2], urls[3]}
    assert Path(remote.local(urls[0])).read_text().split()[0] == urls[0]  # it comes again when it is needed


def test_copies_in_use_stay(memory, monkeypatch, cache):
    monkeypatch.setenv(remote.CACHE_GB, "0.0000015")
    for number in range(3):
        memory.pipe_file(f"memory://pool/{number}.jsonl", bytes([number]) * 1000)
        remote.local(f"memory://pool/{number}.jsonl")
    assert len(copies(cache)) == 3


def test_a_copy_that_is_gone_is_made_again(memory, cache):
    memory.pipe_file("/pool/a.parquet", b"x" * 10)
    copy = remote.local("memory://pool/a.parquet")
    assert copy.endswith(".parquet")
    os.unlink(copy)
    assert Path(remote.local("memory://pool/a.parquet")).read_text() == "x" * 10


def test_threads_share_one_copy(memory, monkeypatch, cache):
    memory.pipe_file("/pool/a.bin", bytes(10_000))
    copied = []
    get_file = type(memory).get_file

    def slow(self, *args, **options):
        copied.append(args)
        time.sleep(0.05)
        return get_file(self, *args, **options)

    monkeypatch.setattr(type(memory), "get_file", slow)
    paths = set()
    threads = [threading.Thread(target=lambda: paths.add(remote.local("memory://pool/a.bin"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(copied) == len(paths) == 1
    assert copies(cache) == [cache / os.path.basename(paths.pop())]


def test_processes_share_one_copy(tmp_path, cache):
    pq.write_table(pa.table({"question": ["q"] * 5, "answer": ["a"] * 5}), tmp_path / "a.parquet")
    program = (
        "import sys; from dataprophet.data import open_dataset; d = open_dataset(sys.argv[1]);"
        "print(d.index(0).rows, d.index(0).digest, len(list(d.rows())))"
    )
    command = [sys.executable, "-c", program, f"local://{tmp_path}/a.parquet"]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = {process.communicate()[0] for process in running}
    assert [process.returncode for process in running] == [0] * 3
    assert said == {f"5 {open_dataset(tmp_path / 'a.parquet').index(0).digest} 5\n"}
    assert len(copies(cache)) == 1


def test_a_copy_that_ends_early_is_refused(memory, monkeypatch, cache):
    memory.pipe_file("/pool/a.jsonl", bytes(1000))
    monkeypatch.setattr(type(memory), "get_file", lambda self, place, part: Path(part).write_bytes(b"short"))
    with pytest.raises(DataError, match="5 bytes came where 1000 were announced"):
        remote.local("memory://pool/a.jsonl")
    assert copies(cache) == []


def test_a_changed_file_is_refused(memory):
    memory.pipe_file("/pool/a.jsonl", rows_of_images("a.png"))
    index = open_dataset("memory://pool/a.jsonl").index(0)
    memory.pipe_file("/pool/a.jsonl", rows_of_images("a.png", "b.png"))
    remote._known.clear()
    with pytest.raises(DataError, match=r"memory://pool/a.jsonl: the file has changed"):
        list(open_dataset("memory://pool/a.jsonl").read_cells(index, 0, 1))


def test_what_cannot_be_read(tmp_path, memory, monkeypatch):
    with pytest.raises(DataError, match=r"memory://nowhere/a.jsonl: no such file or folder"):
        open_dataset("memory://nowhere/a.jsonl")
    with pytest.raises(DataError, match=r"nosuch://b/a.jsonl: .*use a scheme that fsspec knows"):
        open_dataset("nosuch://b/a.jsonl")
    memory.pipe_file("/pool/a.jsonl", rows_of_images("a.png"))
    monkeypatch.setenv(remote.CACHE_GB, "much")
    with pytest.raises(DataError, match="DATAPROPHET_CACHE_GB is 'much'"):
        open_dataset("memory://pool/a.jsonl")
    monkeypatch.delenv(remote.CACHE_GB)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(remote.CACHE, str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot be copied to .*DATAPROPHET_CACHE"):
        open_dataset("memory://pool/a.jsonl")
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(MissingDependencyError, match="pip install 'fsspec>="):
        open_dataset("memory://pool/a.jsonl")


def test_the_package_of_a_scheme_is_named():
    try:
        import s3fs  # noqa: F401
    except ImportError:
        with pytest.raises(MissingDependencyError, match="s3fs"):
            open_dataset("s3://bucket/a.jsonl")


def test_urls_of_files_are_paths(tmp_path):
    path = files.write_llava(tmp_path)
    dataset = open_dataset(f"file://{path}")
    assert dataset.files == (str(path),)
    assert len(files.good(dataset)) == len(files.ROWS)


def test_a_web_server(tmp_path, cache):
    pytest.importorskip("aiohttp")
    (tmp_path / "served" / "pool").mkdir(parents=True)
    files.write_llava_lines(tmp_path / "served" / "pool")

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format, *args):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=tmp_path / "served")) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        for path in (f"{url}/pool/", f"{url}/pool/data.jsonl"):
            dataset = open_dataset(path)
            assert dataset.files == (f"{url}/pool/data.jsonl",)
            rows = files.good(dataset)
            assert len(rows) == len(files.ROWS)
            assert rows[0].sources[0].load().getpixel((0, 0)) == (200, 30, 30)
        with pytest.raises(DataError, match=f"{url}/pool/none.jsonl: no such file or folder"):
            open_dataset(f"{url}/pool/none.jsonl")
        server.shutdown()
    assert len(copies(cache)) == 1
    with pytest.raises(DataError, match="cannot be read"):
        remote.read_bytes(f"{url}/pool/images/red.png", 1000)


def test_a_chain_of_urls_is_refused(memory):
    with pytest.raises(DataError, match="a chain of URLs"):
        open_dataset("zip://data.jsonl::memory://pool/pool.zip")
