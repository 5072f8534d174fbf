"""A store whose process ends at the n-th of the steps of a commit: python dying_store.py ROOT N KEY."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

from dataprophet.store.folder import FolderStore

STEPS = 10
"""Of a commit of two parts: before and after each is forced to the disk, after it is renamed; before and after the
marker is forced to the disk, after it is linked, and before the journal is removed."""
DIED = 9
PARTS = {"rows.parquet": "rows", "profile": "profile"}


class DyingStore(FolderStore):
    """Ends the process at a step."""

    left = 0

    def _step(self) -> None:
        if self.left == 0:
            os._exit(DIED)
        self.left -= 1

    def _force(self, path: str) -> None:
        self._step()
        super()._force(path)
        self._step()

    def _rename(self, temporary: str, final: str) -> None:
        super()._rename(temporary, final)
        self._step()

    def _link(self, temporary: str, final: str) -> None:
        super()._link(temporary, final)
        self._step()

    def _forget_journal(self, key: str) -> None:
        self._step()
        super()._forget_journal(key)


def part(text: str) -> Callable[[str], None]:
    """What writes a part."""

    def write(path: str) -> None:
        Path(path).write_text(text)

    return write


if __name__ == "__main__":
    root, step, key = sys.argv[1:]
    store = DyingStore(root)
    store.left = int(step)
    if key == "run":
        store.create_once("run.json", {"who": "dead"})
    else:
        store.commit(key, {name: part(f"dead {text}") for name, text in PARTS.items()}, {"rows": 3})
