"""A cache by content: what a stage made, under a hash of all that went into it. Files appear whole or not at all.

Code is no part of the hash: raise VERSION after a change that changes results.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

VERSION = 1


def digest(value: Any) -> str:
    """Hex hash of bytes, or of anything that JSON can hold."""
    raw = value if isinstance(value, bytes) else json.dumps(value, sort_keys=True).encode()
    return hashlib.sha256(raw).hexdigest()[:24]


class Cache:
    """A folder with a subfolder for each stage."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)

    def path(self, stage: str, inputs: Mapping[str, Any], suffix: str) -> Path:
        return self.folder / stage / f"{digest([VERSION, stage, dict(inputs)])}{suffix}"

    def file(self, stage: str, inputs: Mapping[str, Any], suffix: str, make: Callable[[Path], None]) -> Path:
        """The file of a stage; ``make`` writes it, under another name, where it is not there."""
        final = self.path(stage, inputs, suffix)
        if not final.exists():
            final.parent.mkdir(parents=True, exist_ok=True)
            temporary = final.with_name(f".{os.getpid()}-{final.name}")
            make(temporary)
            os.replace(temporary, final)
        return final

    def json(self, stage: str, inputs: Mapping[str, Any], make: Callable[[], Any]) -> Any:
        """What ``make`` returned, now or in an earlier run."""
        made = self.file(stage, inputs, ".json", lambda path: _write(path, make()))
        return json.loads(made.read_text(encoding="utf-8"))


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
