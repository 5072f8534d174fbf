"""A shard is committed exactly once whatever the order of steps of two drivers and two workers, and whoever dies when.

The search is exhaustive (``interleavings.py``), and finds what is wrong with protocols that differ in one line.
"""

from __future__ import annotations

import inspect
import shutil
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from interleavings import ROOT, Act, Files, Objects, Search, System, Violation, apply_to_objects, patch

from dataprophet.store.base import Store
from dataprophet.store.checksums import parse_document
from dataprophet.store.folder import FolderStore
from dataprophet.store.objects import ObjectStore

pytestmark = pytest.mark.once
KEY = "0123456789abcdef"
PARTS = "ab"
MARKER = f"{ROOT}/commits/{KEY}.json"
Write = Callable[[str, bytes], Any]


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
        return _commit(store, process, write)

    def knows(files: Files, process: str, won: bool) -> bool:
        if won != _document(files, f"commits/{KEY}.json")["attempt"].startswith(f"{process}-"):
            raise Violation(f"{process} takes itself for the one that committed")
        return True

    done = Act(lambda store, *_: store.done(KEY), lambda _, __, done: bool(done))
    return [done, *([Act(score, blames_the_dead)] if journals else []), Act(commit, knows)]


def _commit(store: Store, process: str, write: Write) -> bool:
    parts = {suffix: lambda path, suffix=suffix: write(path, f"{suffix} of {process}".encode()) for suffix in PARTS}
    return store.commit(KEY, parts, {"rows": 3})


def _driver() -> list[Act]:
    """Creates the run, removes what the dead left, reads what is committed, and writes what follows from it."""

    def create(store: Store, process: str, _: Any) -> str:
        return str(store.create_once("run.json", {"who": process})["who"])

    def agrees(files: Files, process: str, run: Any) -> bool:
        assert run == _document(files, "run.json")["who"]
        return False

    def read(store: Store, process: str, _: Any) -> None:
        for marker in store.markers().values():
            for suffix in marker["files"]:
                store.part(marker, suffix)

    def write(store: Store, process: str, _: Any) -> None:
        store.write("summary.json", b"{}", replace=True)

    collect, tidy = Act(lambda store, *_: (store.collect(), None)[1]), Act(lambda store, *_: store.tidy())
    return [Act(create, agrees), collect, Act(read), Act(write), tidy]


def _last(write: Write) -> list[Act]:
    """The same command once more, after which the folder holds what it should and nothing else."""
    create, collect, *rest = _driver()

    def clean(files: Files, process: str, _: Any) -> bool:
        parts = [f"{ROOT}/{name}" for name in _document(files, f"commits/{KEY}.json")["files"].values()]
        assert sorted(files.files) == sorted([*parts, MARKER, f"{ROOT}/run.json", f"{ROOT}/summary.json"])
        assert f"{ROOT}/tmp" not in files.folders
        return True

    finish = Act(lambda store, process, _: store.done(KEY) or _commit(store, process, write))
    return [create, collect, finish, collect, *rest[:-1], Act(rest[-1].run, clean)]


def _in_a_folder(monkeypatch: pytest.MonkeyPatch, *, drivers: int, workers: int) -> Search:
    system = System()
    patch(system, monkeypatch, folders=True)

    def write(path: str, data: bytes) -> None:
        system.call("write", path, data)

    programs = {f"d{number}": _driver() for number in range(drivers)}
    programs |= {f"w{number}": _worker(write) for number in range(workers)}
    return Search(lambda: FolderStore(ROOT), {**programs, "last": _last(write)}, system)


def test_in_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    for drivers, workers in (
        (0, 2),
        (1, 1),
        (1, 2),
    ):
        search = _in_a_folder(monkeypatch, drivers=drivers, workers=workers)
        t = time.time()
        print(drivers, workers, search.run(), len(search._nodes), len(search._files), time.time() - t)


def _in_an_object_store(monkeypatch: pytest.MonkeyPatch, cache: Path, *, drivers: int, workers: int) -> Search:
    system = System()
    patch(system, monkeypatch, folders=False)

    def make() -> ObjectStore:
        shutil.rmtree(cache, ignore_errors=True)
        cache.mkdir()
        store = ObjectStore.__new__(ObjectStore)
        Store.__init__(store, f"memory://{ROOT}")
        store._fs, store._prefix, store._cache, store._copying = Objects(system), ROOT, str(cache), threading.Lock()
        return store

    def write(path: str, data: bytes) -> None:
        Path(path).write_bytes(data)

    programs = {f"d{number}": _driver() for number in range(drivers)}
    programs |= {f"w{number}": _worker(write) for number in range(workers)}
    return Search(make, {**programs, "last": _last(write)}, system, apply_to_objects)


def test_in_an_object_store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import time
    for drivers, workers in ((0,1), (0,2),(1, 1), (2,1), (1,2),):
        search = _in_an_object_store(monkeypatch, tmp_path / "cache", drivers=drivers, workers=workers)
        t=time.time()
        print(drivers, workers, search.run(Files(folders={})), len(search._nodes), len(search._files), time.time()-t, flush=True)


def _changed(method: Any, *changes: tuple[str, str]) -> Any:
    """A method in which some text is another one."""
    source = textwrap.dedent(inspect.getsource(method))
    for old, new in changes:
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    names: dict[str, Any] = {}
    exec(source, method.__globals__, names)
    return names[method.__name__]


_OWNER = ' and self.document(_marker(key))["attempt"] == attempt'
_MARK = "            self.write_document(_marker(key), document, replace=False)\n"
_PUT = "            with self.explained():\n                for suffix in parts:\n"
WRONG: dict[str, tuple[type, str, list[tuple[str, str]]]] = {
    "the owner is not asked": (Store, "commit", [(_OWNER, "")]),
    "two share the names of parts": (Store, "commit", [("{key}.{attempt}.{suffix}", "{key}.{suffix}")]),
    "the marker may be replaced": (Store, "commit", [("document, replace=False", "document, replace=True")]),
    "the loser removes nothing": (Store, "commit", [("self._remove(names.values())", "pass")]),
    "the living lose their files": (Store, "collect", [(" if _left_behind(os.path.basename(name), age)", "")]),
    "markers are read before the dead are known": (
        Store,
        "collect",
        [
            ("ages = {f", "markers = self.markers()\n        ages = {f"),
            ("markers = self.markers() if dead else {}", ""),
        ],
    ),
    "parts are not forced to the disk": (FolderStore, "_put", [("self._force(temporary)", "pass")]),
    "names of parts are not forced to the disk": (FolderStore, "_rename", [("_sync(os.path.dirname(final))", "")]),
    "the emptied folder is not made again": (
        FolderStore,
        "_temporary",
        [("suppress(FileNotFoundError)", "suppress()")],
    ),
    "a marker is seen half-written": (FolderStore, "_create", [("self._link(temporary, ", "self._rename(temporary, ")]),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_search_finds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, method, changes = WRONG[name]
    monkeypatch.setattr(kind, method, _changed(getattr(kind, method), *changes))
    with pytest.raises((Violation, AssertionError)) as caught:
        _in_a_folder(monkeypatch, drivers=1, workers=2).run()
    print(caught.value)
