"""The output folder: one commit for each shard whatever dies when, nothing half-written, and errors on one line."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import textwrap
import uuid
from pathlib import Path

import dying_store
import pytest

from dataprophet.errors import StoreError
from dataprophet.store import Store, open_store
from dataprophet.store.attempts import is_alive, new_attempt

KEY = "0123456789abcdef"


def _commit(store: Store, text: str = "rows", key: str = KEY) -> bool:
    parts = {"rows.parquet": f"{text} rows", "profile": f"{text} profile"}
    return store.commit(
        key, {suffix: lambda path, data=data: _write(path, data) for suffix, data in parts.items()}, {"rows": 3}
    )


def _write(path: str, text: str) -> None:
    Path(path).write_text(text)


def _files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def _run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_commit_and_read_back(root: str) -> None:
    store = open_store(root)
    assert store.markers() == {}
    assert not store.done(KEY)
    assert _commit(store)
    other = open_store(root)
    assert other.done(KEY)
    marker = other.markers()[KEY]
    assert marker["rows"] == 3
    assert Path(other.local(marker["files"]["profile"])).read_text() == "rows profile"
    assert Path(other.local(marker["files"]["rows.parquet"])).read_text() == "rows rows"
    assert other.collect() == []


def test_second_commit_loses_and_leaves_nothing(root: str) -> None:
    first, second = open_store(root), open_store(root)
    assert _commit(first, "first")
    before = first.markers()
    assert not _commit(second, "second")
    assert second.markers() == before
    assert Path(second.local(before[KEY]["files"]["profile"])).read_text() == "first profile"
    assert len(second._ages("data")) == 2


def test_run_is_created_once(root: str) -> None:
    assert open_store(root).create_once("run.json", {"a": 1}) == {"a": 1}
    assert open_store(root).create_once("run.json", {"a": 2}) == {"a": 1}


def test_write_and_replace(root: str) -> None:
    store = open_store(root)
    assert store.write("index/a.json", b"1")
    assert not store.write("index/a.json", b"2")
    assert store.read("index/a.json") == b"1"
    assert store.write("index/a.json", b"3", replace=True)
    assert store.exists("index/a.json")
    assert not store.exists("index/b.json")
    assert store.read("index/a.json") == b"3"


def test_log(root: str) -> None:
    store = open_store(root)
    store.log(KEY, "one\ntwo")
    store.log(KEY, "three")
    text = b"".join(store._read_all("logs").values()).decode()
    assert [line.split(" ", 2)[2] for line in text.splitlines()] == ["one", "two", "three"]


def test_error_of_a_part_leaves_nothing(root: str) -> None:
    store = open_store(root)

    def fails(path: str) -> None:
        Path(path).write_text("half")
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        store.commit(KEY, {"profile": lambda path: _write(path, "whole"), "rows.parquet": fails}, {})
    assert store._ages("data") == {}
    assert store._ages("tmp") == {}
    assert store.markers() == {}


def test_damaged_marker_is_named(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    _commit(store)
    (tmp_path / "commits" / f"{KEY}.json").write_text('{"rows": ')
    with pytest.raises(StoreError, match=f"damaged commits/{KEY}.json") as caught:
        store.markers()
    assert str(tmp_path) in str(caught.value)


def _die(root: Path, step: int, key: str) -> int:
    command = [sys.executable, "-P", dying_store.__file__, str(root), str(step), key]
    return subprocess.run(command, check=False).returncode


def test_death_at_each_step_of_a_commit(tmp_path: Path) -> None:
    codes, committed = [], []
    for step in range(dying_store.STEPS + 1):
        root = tmp_path / str(step)
        codes.append(_die(root, step, KEY))
        store = open_store(root)
        committed.append(store.done(KEY))
        assert _commit(store, "alive") is not committed[-1]
        store.collect()
        marker = store.markers()[KEY]
        who = "dead" if committed[-1] else "alive"
        texts = [Path(store.local(name)).read_text() for name in marker["files"].values()]
        assert texts == [f"{who} rows", f"{who} profile"]
        assert _files(root) == sorted([f"commits/{KEY}.json", *marker["files"].values()])
        assert store.collect() == []
    assert codes == [dying_store.DIED] * dying_store.STEPS + [0]  # each step was there, and there is no further one
    assert committed == [False] * 8 + [True] * 3


def test_death_before_the_run_is_created(tmp_path: Path) -> None:
    for step in range(2):
        root = tmp_path / str(step)
        assert _die(root, step, "run") == dying_store.DIED
        assert not (root / "run.json").exists()
        store = open_store(root)
        assert len(store.collect()) == 1
        assert store.create_once("run.json", {"who": "alive"}) == {"who": "alive"}
        assert _files(root) == ["run.json"]


RACES = """
    import sys
    from pathlib import Path
    from dataprophet.store import Store, open_store
    store = open_store(sys.argv[1])
    for shard in range(20):
        sys.stdin.readline()
        write = lambda path: Path(path).write_text(sys.argv[2])
        print(int(store.commit(f"{shard:016x}", {"rows.parquet": write, "profile": write}, {})), flush=True)
"""


@pytest.mark.parametrize("place", ["folder", "s3"])
def test_processes_that_commit_the_same_shards(place: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    root = str(tmp_path) if place == "folder" else f"{request.getfixturevalue('bucket')}/race"
    command = [sys.executable, "-P", "-c", textwrap.dedent(RACES), root]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
    processes = [subprocess.Popen([*command, str(number)], **pipes) for number in range(3)]  # type: ignore[call-overload]
    won = []
    for _ in range(20):
        for process in processes:
            process.stdin.write("go\n")
        won.append([int(process.stdout.readline()) for process in processes])
    for process in processes:
        process.communicate()
    assert [sum(row) for row in won] == [1] * 20
    store = open_store(root)
    for row, (key, marker) in zip(won, sorted(store.markers().items()), strict=True):
        for name in marker["files"].values():
            assert name.startswith(f"data/{key}.")
            assert Path(store.local(name)).read_text() == str(row.index(1))
    assert len(store._ages("data")) == 40


def test_collect_spares_what_a_running_process_writes(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    code = """
        import sys
        from pathlib import Path
        from dataprophet.store.folder import FolderStore
        def write(path):
            Path(path).write_text("part")
            print("writing", flush=True)
            sys.stdin.readline()
        FolderStore(sys.argv[1]).commit(sys.argv[2], {"profile": write}, {})
    """
    command = [sys.executable, "-P", "-c", textwrap.dedent(code), str(tmp_path), KEY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        (tmp_path / "data").mkdir(exist_ok=True)
        other = tmp_path / "data" / f"{KEY}.ffffffffffff-1-1-00000000.profile"  # of another machine
        other.write_text("x")
        foreign = tmp_path / "data" / "notes.txt"
        foreign.write_text("x")
        assert store.collect() == []
        old = other.stat().st_mtime - 2 * 24 * 3600
        os.utime(other, (old, old))
        assert store.collect() == [f"data/{other.name}"]
        process.communicate("\n")
        assert process.returncode == 0
    assert store.done(KEY)
    assert foreign.exists()


def test_owner_is_alive() -> None:
    assert is_alive(new_attempt()) is True
    process = _run("from dataprophet.store.attempts import new_attempt; print(new_attempt())")
    assert is_alive(process.stdout.strip()) is False
    machine, pid, started, token = new_attempt().split("-")
    assert is_alive(f"{machine}-{pid}-{int(started) + 1}-{token}") is False  # the number was used again
    assert is_alive(f"ffffffffffff-{pid}-{started}-{token}") is None
    with subprocess.Popen(["true"]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)  # it ended, and stays in the table of processes
        start = Path(f"/proc/{ended.pid}/stat").read_text().rpartition(")")[2].split()[19]
        assert is_alive(f"{machine}-{ended.pid}-{start}-{token}") is False


@pytest.mark.parametrize("limit", [0, 5, 30, 200])
def test_full_disk(tmp_path: Path, limit: int) -> None:
    store = open_store(tmp_path)
    _commit(store, key="before")
    before = _files(tmp_path)
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, kept[1]))  # a file may not grow beyond: the write fails
    try:
        with pytest.raises(StoreError, match="no space is left") as caught:
            store.commit(
                KEY,
                {"a": lambda path: _write(path, "a" * 4), "b": lambda path: _write(path, "b" * 20)},
                {"why": "x" * 300},
            )
        with pytest.raises(StoreError, match="no space is left"):
            store.create_once("run.json", {"name": "x" * 300})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert _files(tmp_path) == before
    assert _commit(store)


def test_folder_without_rights(tmp_path: Path) -> None:
    code = """
        import os, sys
        from dataprophet.errors import StoreError
        from dataprophet.store import Store, open_store
        if os.geteuid() == 0:
            os.setuid(65534)  # root writes anywhere
        try:
            open_store(sys.argv[1] + "/out").create_once("run.json", {})
        except StoreError as error:
            print(error)
    """
    tmp_path.chmod(0o555)
    try:
        said = _run(code, tmp_path)
    finally:
        tmp_path.chmod(0o755)
    assert "cannot be written (Permission denied)" in said.stdout, said.stderr


def test_folder_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("x")
    with pytest.raises(StoreError, match="cannot be used"):
        open_store(tmp_path / "out").create_once("run.json", {})


def test_folder_in_proc_is_refused() -> None:
    with pytest.raises(StoreError, match="cannot be"):
        open_store("/proc/out").create_once("run.json", {})


@pytest.mark.parametrize("name", ["with space", "ünïcode-数", "a%20b", "a#b?c", "new\nline", "-x"])
def test_odd_names_of_folders(tmp_path: Path, name: str) -> None:
    store = open_store(tmp_path / name)
    assert _commit(store)
    assert store.done(KEY)
    assert len(_files(tmp_path / name)) == 3


def test_file_url(tmp_path: Path) -> None:
    assert _commit(open_store(f"file://{tmp_path}/a%20b"))
    assert len(_files(tmp_path / "a b")) == 3


def test_orphans_in_an_object_store(bucket: str) -> None:
    root = f"{bucket}/orphans"
    code = """
        import os, sys
        from pathlib import Path
        from dataprophet.store.objects import ObjectStore
        class Dying(ObjectStore):
            def _create(self, name, data):
                os._exit(9)
        Dying(sys.argv[1]).commit(sys.argv[2], {"profile": lambda path: Path(path).write_text("x") and None}, {})
    """
    assert _run(code, root, KEY).returncode == 9
    store = open_store(root)
    assert not store.done(KEY)
    assert len(store._ages("data")) == 1
    assert _commit(store)
    (orphan,) = store.collect()
    assert orphan.endswith(".profile")
    assert len(store._ages("data")) == 2


def test_local_copies_do_not_outlive_their_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fsspec")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    _run("import os; from dataprophet.store import open_store; s = open_store('memory://a/b'); os.kill(os.getpid(), 9)")
    assert len(list(tmp_path.iterdir())) == 1
    store = open_store(f"memory://{uuid.uuid4().hex}/out")
    _commit(store)
    (own,) = tmp_path.iterdir()
    assert store.local(next(iter(store.markers().values()))["files"]["profile"]).startswith(str(own))
    store.close()
    assert list(tmp_path.iterdir()) == []


def test_bucket_that_is_not_there(bucket: str) -> None:
    with pytest.raises(StoreError, match="cannot be") as caught:
        open_store("s3://nosuchbucket/out").create_once("run.json", {})
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("s3://nosuchbucket/out: ")


def test_reading_makes_no_folder(tmp_path: Path) -> None:
    store = open_store(tmp_path / "absent")
    assert store.markers() == {}
    assert store.collect() == []
    with pytest.raises(StoreError, match=r"run\.json"):
        store.read("run.json")
    assert not (tmp_path / "absent").exists()


def test_file_systems_without_exclusive_creation_are_refused() -> None:
    pytest.importorskip("fsspec")
    with pytest.raises(StoreError, match="only where there is none"):
        open_store("ftp://host/out")


def test_markers_are_json_for_people(tmp_path: Path) -> None:
    _commit(open_store(tmp_path))
    (tmp_path / "commits" / f".{KEY}.json.x7Yz").write_text("{")  # a copy under way
    assert list(open_store(tmp_path).markers()) == [KEY]
    marker = json.loads((tmp_path / "commits" / f"{KEY}.json").read_text())
    assert set(marker) == {"checksum", "rows", "attempt", "files", "checksums"}


def test_what_other_programs_leave_is_ignored(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    _commit(store)
    store.journal("b" * 32).begin("cell 0")
    for folder in ("data", "commits", "journal", "tmp"):
        for name in (".ipynb_checkpoints", "@eaDir", "a.b.c", f"{KEY}.json.d"):
            (tmp_path / folder / name).mkdir()
        for name in (".DS_Store", "Thumbs.db", "._a.b", "desktop.ini"):
            (tmp_path / folder / name).write_bytes(b"x")
            os.utime(tmp_path / folder / name, (0, 0))
    (tmp_path / "commits" / "f.json").mkdir()
    before = _files(tmp_path)
    store = open_store(tmp_path)
    assert list(store.markers()) == [KEY]
    assert store.suspects() == set()
    assert store.collect() == []
    assert store.names("commits") == [f"commits/{KEY}.json"]
    assert _files(tmp_path) == before
