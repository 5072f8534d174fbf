"""A shard is committed exactly once whatever the order of steps of two drivers and two workers, and whoever dies when.

The search is exhaustive (``interleavings.py``), and finds what is wrong with protocols that differ in one line.
"""

from __future__ import annotations

import inspect
import os
import shutil
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from interleavings import Act, Search
from scheduled_files import ROOT, Files, Violation, apply_to_objects
from scheduled_system import Objects, System, patch

from dataprophet.store.base import Store
from dataprophet.store.checksums import parse_document
from dataprophet.store.folder import FolderStore
from dataprophet.store.objects import ObjectStore

pytestmark = pytest.mark.slow
KEY = "0123456789abcdef"
MARKER = f"{ROOT}/commits/{KEY}.json"
Write = Callable[[str, bytes], Any]


COLLECT = Act(lambda store, *_: (store.collect(), None)[1])


def _document(files: Files, name: str) -> dict[str, Any]:
    return parse_document(files.files[f"{ROOT}/{name}"].data)


def _worker(write: Write, *, journals: bool = False) -> list[Act]:
    """Journals a cell, commits the shard unless that is done, and knows whether it did."""

    def score(store: Store, process: str, _: Any) -> tuple[int, ...]:
        with store.journal(KEY) as journal:
            journal.begin("cell 0")
            journal.end("cell 0")
        return tuple(journal.crashes.values())

    def blames_the_dead(files: Files, process: str, crashes: Any) -> bool:
        assert sum(crashes) <= len(files.dead)
        return False

    def commit(store: Store, process: str, _: Any) -> bool:
        return store.commit(KEY, {}, {"rows": 3}) if journals else _commit(store, process, write)

    def knows(files: Files, process: str, won: bool) -> bool:
        if files.withdrawn:  # it may be another one's by now
            return True
        if won != _document(files, f"commits/{KEY}.json")["attempt"].startswith(f"{process}-"):
            raise Violation(f"{process} takes itself for the one that committed")
        return True

    done = Act(lambda store, *_: store.done(KEY), lambda _, __, done: bool(done))
    return [done, *([Act(score, blames_the_dead)] if journals else []), Act(commit, knows)]


def _commit(store: Store, process: str, write: Write) -> bool:
    parts = {suffix: lambda path, suffix=suffix: write(path, f"{suffix} of {process}".encode()) for suffix in "a"}
    return store.commit(KEY, parts, {"rows": 3})


def _driver() -> list[Act]:
    """Creates the run, removes what the dead left, reads what is committed, and writes what follows from it."""

    def create(store: Store, process: str, _: Any) -> str:
        return str(store.create_once("run.json", {"who": process})["who"])

    def agrees(files: Files, process: str, run: Any) -> bool:
        assert run == _document(files, "run.json")["who"]
        return False

    def write(store: Store, process: str, _: Any) -> None:
        store.write("summary.json", b"{}", replace=True)

    tidy = Act(lambda store, *_: store.tidy())
    return [Act(create, agrees), *_reader(), Act(write), tidy]


def _reader() -> list[Act]:
    """What of a driver touches the files of others: it removes those of the dead, and reads what is committed."""

    def collect(store: Store, process: str, dead: list[str]) -> None:
        store._files_of_the_dead = lambda: list(dead)  # type: ignore[method-assign]
        store.collect()

    def read(store: Store, process: str, _: Any) -> None:
        for marker in store.markers().values():
            for suffix in marker["files"]:
                store.part(marker, suffix)

    return [Act(lambda store, *_: tuple(store._files_of_the_dead())), Act(collect), Act(read)]


def _retrier(write: Write) -> list[Act]:
    """Takes back what is committed, and does it again."""
    markers = Act(lambda store, *_: tuple((key, *marker["files"].items()) for key, marker in store.markers().items()))
    again = Act(lambda store, _, found: store.withdraw({key: {"files": dict(files)} for key, *files in found}))
    return [markers, again, *_worker(write)]


def _last(write: Write) -> list[Act]:
    """The same command once more, after which the folder holds what it should and nothing else."""
    create, *rest = _driver()

    def clean(files: Files, process: str, _: Any) -> bool:
        parts = [f"{ROOT}/{name}" for name in _document(files, f"commits/{KEY}.json")["files"].values()]
        left = set(files.files) - {*parts, MARKER, f"{ROOT}/run.json", f"{ROOT}/summary.json"}
        if files.withdrawn:  # parts of one that runs still; they go when it has ended
            left = {path for path in left if path.split(".")[1].partition("-")[0] in files.dead}
        assert {*parts, MARKER, f"{ROOT}/run.json", f"{ROOT}/summary.json"} <= set(files.files)
        assert not left
        assert f"{ROOT}/tmp" not in files.folders
        return True

    finish = Act(lambda store, process, _: store.done(KEY) or _commit(store, process, write))
    return [create, COLLECT, finish, COLLECT, *rest[:-1], Act(rest[-1].run, clean)]


SIDE_BY_SIDE = {
    "a driver, a worker": ["driver", "worker"],
    "two drivers": ["driver", "driver"],
    "two workers with journals": ["journalist", "journalist"],
    "two drivers' reading, a worker": ["reader", "reader", "worker"],
    "a driver's reading, two workers": ["reader", "worker", "worker"],
}


def _programs(kinds: list[str], write: Write) -> dict[str, list[Act]]:
    made = {"driver": _driver(), "reader": _reader(), "worker": _worker(write)}
    made |= {"retrier": _retrier(write)}
    made |= {"journalist": _worker(write, journals=True), "collector": [COLLECT]}
    return {**{f"{kind}{number}": made[kind] for number, kind in enumerate(kinds)}, "last": _last(write)}


def _in_a_folder(monkeypatch: pytest.MonkeyPatch, kinds: list[str]) -> Search:
    system = System()
    patch(system, monkeypatch, folders=True)
    programs = _programs(kinds, lambda path, data: system.call("write", path, data))
    return Search(lambda: FolderStore(ROOT), programs, system, lasting="driver" not in kinds)


@pytest.mark.parametrize("kinds", SIDE_BY_SIDE.values(), ids=SIDE_BY_SIDE)
def test_in_a_folder(kinds: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert _in_a_folder(monkeypatch, kinds).run() > 500


WITHDRAWN = {
    "two that try again": ["retrier", "retrier"],
    "one, and a worker": ["retrier", "worker"],
    "one, and two workers": ["retrier", "worker", "worker"],
}


@pytest.mark.parametrize("kinds", WITHDRAWN.values(), ids=WITHDRAWN)
def test_commits_that_are_taken_back(kinds: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is committed is whole at all times, nobody ends with an error, and the last command finds or makes it."""
    assert _in_a_folder(monkeypatch, kinds).run(Files(withdrawn=True)) > 500


@pytest.mark.parametrize("kinds", WITHDRAWN.values(), ids=WITHDRAWN)
def test_commits_that_are_taken_back_in_an_object_store(
    kinds: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    start = Files(folders={}, withdrawn=True)
    assert _in_an_object_store(monkeypatch, tmp_path / "cache", kinds).run(start) > 500


@pytest.mark.skipif("WHOLE" not in os.environ, reason="takes a minute and 2 GB: make soak")
def test_the_whole_of_two_drivers_reading_and_two_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _in_a_folder(monkeypatch, ["reader", "reader", "worker", "worker"]).run() > 4_000_000


def _in_an_object_store(monkeypatch: pytest.MonkeyPatch, cache: Path, kinds: list[str]) -> Search:
    system = System()
    patch(system, monkeypatch, folders=False)

    def make() -> ObjectStore:
        shutil.rmtree(cache, ignore_errors=True)
        cache.mkdir()
        store = ObjectStore.__new__(ObjectStore)
        Store.__init__(store, f"memory://{ROOT}")
        store._fs, store._prefix, store._cache, store._copying = Objects(system), ROOT, str(cache), threading.Lock()
        return store

    programs = _programs(kinds, lambda path, data: Path(path).write_bytes(data))
    return Search(make, programs, system, apply_to_objects)


@pytest.mark.parametrize("kinds", SIDE_BY_SIDE.values(), ids=SIDE_BY_SIDE)
def test_in_an_object_store(kinds: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert _in_an_object_store(monkeypatch, tmp_path / "cache", kinds).run(Files(folders={})) > 500


def _changed(method: Any, *changes: tuple[str, str]) -> Any:
    """A method in which some text is another one."""
    source = textwrap.dedent(inspect.getsource(method))
    for old, new in changes:
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    names: dict[str, Any] = {}
    exec(source, inspect.unwrap(method).__globals__, names)
    return names[method.__name__]


_OWNER = "self._committed_by(key) == attempt"
_MARKERS = "markers = self.markers() if dead else {}"
WORKERS, DRIVEN, COLLECTED = ["worker", "worker"], ["driver", "worker"], ["collector", "worker"]
Wrong = tuple[type, str, list[tuple[str, str]], list[str], str]
WRONG: dict[str, Wrong] = {
    "the owner is not asked": (Store, "commit", [(_OWNER, "self.done(key)")], WORKERS, "takes itself for the one"),
    "two share the names of parts": (
        *(Store, "commit", [("{key}.{attempt}.{suffix}", "{key}.{suffix}")]),
        *(WORKERS, "not there as it was committed"),
    ),
    "the marker may be replaced": (
        *(FolderStore, "_link", [("os.link(", "os.replace(")]),
        *(WORKERS, "which others trust"),
    ),
    "the living lose their files": (
        *(Store, "_files_of_the_dead", [(" if _left_behind(os.path.basename(name), age)", "")]),
        *(COLLECTED, "of a living process"),
    ),
    "markers are read before it is seen who is dead": (
        *(Store, "collect", [("dead = self", "markers = self.markers()\n        dead = self"), (_MARKERS, "")]),
        *(COLLECTED, "not there as it was committed"),
    ),
    "parts are not forced to the disk": (
        *(FolderStore, "_put", [("self._force(temporary)", "pass")]),
        *(WORKERS, "at a power cut"),
    ),
    "their names are not forced to the disk": (
        *(FolderStore, "_rename", [("_sync(os.path.dirname(final))", "")]),
        *(WORKERS, "at a power cut"),
    ),
    "the name of their folder is not": (
        *(FolderStore, "_link", [("_sync(self.path)", "pass")]),
        *(WORKERS, "at a power cut"),
    ),
    "the emptied folder is not made again": (
        *(FolderStore, "_temporary", [("suppress(FileNotFoundError)", "suppress()")]),
        *(DRIVEN, "ends with StoreError"),
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_search_finds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, method, changes, kinds, what = WRONG[name]
    monkeypatch.setattr(kind, method, _changed(getattr(kind, method), *changes))
    with pytest.raises(AssertionError) as caught:
        _in_a_folder(monkeypatch, kinds).run()
    assert what in str(caught.value)


def test_the_search_finds_parts_that_go_before_their_marker(monkeypatch: pytest.MonkeyPatch) -> None:
    def withdraw(store: Store, markers: dict[str, Any]) -> None:
        store.remove(name for marker in markers.values() for name in marker["files"].values())
        store.remove(f"commits/{key}.json" for key in markers)

    monkeypatch.setattr(Store, "withdraw", withdraw)
    with pytest.raises(Violation, match="not there as it was committed"):
        _in_a_folder(monkeypatch, ["retrier", "worker"]).run(Files(withdrawn=True))


def test_the_search_finds_a_write_without_a_condition(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    changed = _changed(ObjectStore._create, (', mode="create"', ""))
    monkeypatch.setattr(ObjectStore, "_create", changed)
    with pytest.raises(Violation, match=r"which others trust|does not honour conditional writes"):
        _in_an_object_store(monkeypatch, tmp_path / "cache", WORKERS).run(Files(folders={}))
