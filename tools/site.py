"""Hooks of mkdocs.yml: what the pages hold for GitHub becomes what a site can show."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
NAMES = "<!-- every public name -->"
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((\.\./[^)\s]+)\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Links that leave docs/ become their text, and the mark above becomes the docstrings of ``dataprophet``."""
    folder = posixpath.dirname(page.file.src_uri)

    def shown(link: re.Match[str]) -> str:
        leaves = posixpath.normpath(posixpath.join(folder, link[2])).startswith("..")
        return link[1] if leaves else link[0]

    return _LINK.sub(shown, markdown).replace(NAMES, "\n\n".join(f"::: {name}" for name in public_names()))


def public_names() -> list[str]:
    """Each name of ``dataprophet`` with its home, by its stub."""
    stub = (ROOT / "dataprophet" / "__init__.pyi").read_text(encoding="utf-8")
    found = re.findall(r"^from (\S+) import (\w+) as", stub, re.MULTILINE)
    return [f"{home}.{name}" for home, name in found if name != "ops"]
