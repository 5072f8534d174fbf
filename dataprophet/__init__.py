"""DataProphet: predict, before any training, which data a multimodal model should be trained on.

The names load on first use, so that ``import dataprophet`` costs nothing and works without torch. What they are, and
where they live, is said once, in ``__init__.pyi``.
"""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

_STUB = Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8")
_HOME = {name: home for home, name in re.findall(r"^from (\S+) import (\w+) as", _STUB, re.MULTILINE)}
_ROOMS = {"ops": "dataprophet.ops", "published": "dataprophet.metric.published"}

__all__ = [*_HOME]  # noqa: PLE0604 (the keys are the names)


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(_ROOMS[name])
    if name == "__version__":
        from importlib import metadata

        return metadata.version("dataprophet")
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'dataprophet' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "published", "__version__"])  # and not what this file imports
