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
MARKER = f"{ROOT}/commits/{KEY}.json"
Write = Callable[[str, bytes], Any]


def _document(files: Files, name: str) -> dict[str, Any]:
    return parse_document(files.files[f"{ROOT}/{name}"].data)


def _worker(write: Write) -> list[Act]:
    """Journals a cell, commits the shard unless that is done, and knows whether it did."""

    def score(store: Store, process: str) -> dict[str, int]:
        with store.journal(KEY) as journal:
            journal.begin("cell 0")
            journal.end("cell 0")
        return dict(journal.crashes)

    def blames_the_dead(files: Files, process: str, crashes: Any) -> bool:
        assert crashes is None or sum(crashes.values()) <= len(files.dead)
        return crashes is None

    def commit(store: Store, process: str) -> bool:
        return _commit(store, process, write)

    def knows(files: Files, process: str, won: bool | None) -> bool:
        mine = _document(files, f"commits/{KEY}.json")["attempt"].startswith(f"{process}-") if won is not None else None
        if won is not mine:
            raise Violation(f"{process} takes itself for the one that committed")
        return True

    done = Act(lambda store, _: store.done(KEY), lambda _, __, done: done is not False)
    return [done, Act(score, blames_the_dead), Act(commit, knows)]


def _commit(store: Store, process: str, write: Write) -> bool:
    parts = {suffix: lambda path, suffix=suffix: write(path, f"{suffix} of {process}".encode()) for suffix in "ab"}
    return store.commit(KEY, parts, {"rows": 3})


def _driver() -> list[Act]:
    """Creates the run, removes what the dead left, reads what is committed, and writes what follows from it."""

    def create(store: Store, process: str) -> dict[str, Any]:
        return store.create_once("run.json", {"who": process})

    def agrees(files: Files, process: str, run: Any) -> bool:
        assert run is None or run == _document(files, "run.json")
        return run is None

    def read(store: Store, process: str) -> None:
        for marker in store.markers().values():
            for suffix in marker["files"]:
                store.part(marker, suffix)

    def write(store: Store, process: str) -> None:
        store.write("summary.json", b"{}", replace=True)

    collect, tidy = Act(lambda store, _: store.collect() and None), Act(lambda store, _: store.tidy())
    return [Act(create, agrees), collect, Act(read), Act(write), tidy]


def _last(write: Write) -> list[Act]:
    """The same command once more, after which the folder holds what it should and nothing else."""
    create, collect, *rest = _driver()

    def clean(files: Files, process: str, _: Any) -> bool:
        parts = [f"{ROOT}/{name}" for name in _document(files, f"commits/{KEY}.json")["files"].values()]
        assert sorted(files.files) == sorted([*parts, MARKER, f"{ROOT}/run.json", f"{ROOT}/summary.json"])
        assert f"{ROOT}/tmp" not in files.folders
        return True

    finish = Act(lambda store, process: store.done(KEY) or _commit(store, process, write))
    return [create, collect, finish, collect, *rest[:-1], Act(rest[-1].run, clean)]


def _in_a_folder(monkeypatch: pytest.MonkeyPatch, *, drivers: int, workers: int) -> Search:
    system = System()
    patch(system, monkeypatch)

    def write(path: str, data: bytes) -> None:
        system.call("write", path, data)

    programs = {f"d{number}": _driver() for number in range(drivers)}
    programs |= {f"w{number}": _worker(write) for number in range(workers)}
    return Search(lambda: FolderStore(ROOT), {**programs, "last": _last(write)}, system)


def test_in_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    import time
    for drivers, workers in ((0,2),(1, 1), (2,1), (1,2),):
        search = _in_a_folder(monkeypatch, drivers=drivers, workers=workers)
        t=time.time()
        print(drivers, workers, search.run(), len(search._nodes), len(search._files), time.time()-t)


def _changed(method: Any, *changes: tuple[str, str]) -> Any:
    """A method in which some text is another one."""
    source = textwrap.dedent(inspect.getsource(method))
    for old, new in changes:
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    names: dict[str, Any] = {}
    exec(source, method.__globals__, names)  # noqa: S102
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
        [("ages = {f", "markers = self.markers()\n        ages = {f"), ("markers = self.markers() if dead else {}", "")],
    ),
    "parts are not forced to the disk": (FolderStore, "_put", [("self._force(temporary)", "pass")]),
    "names of parts are not forced to the disk": (FolderStore, "_rename", [("_sync(os.path.dirname(final))", "")]),
    "the emptied folder is not made again": (FolderStore, "_temporary", [("suppress(FileNotFoundError)", "suppress()")]),
    "a marker is seen half-written": (FolderStore, "_create", [("self._link(temporary, ", "self._rename(temporary, ")]),
}


@pytest.mark.parametrize("name", WRONG)
def test_the_search_finds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, method, changes = WRONG[name]
    monkeypatch.setattr(kind, method, _changed(getattr(kind, method), *changes))
    with pytest.raises((Violation, AssertionError)) as caught:
        _in_a_folder(monkeypatch, drivers=1, workers=2).run()
    print(caught.value)
