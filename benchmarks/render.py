"""Render the JSON of the benchmarks as the tables of docs/performance.md.

python benchmarks/render.py            rewrites what stands between the marks in docs/performance.md
python benchmarks/render.py --print    prints it
"""

import json
import sys
import textwrap
from pathlib import Path
from typing import Any

from harness import number, table, verdict

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "performance.md"


def main() -> None:
    found = [
        json.loads(file.read_text(encoding="utf-8"))
        for file in sorted((ROOT / "benchmarks" / "results").glob("*.json"))
    ]
    parts = {"targets": targets(found), "benchmarks": benchmarks(found)}
    if "--print" in sys.argv[1:]:
        print("\n".join(parts.values()))
        return
    page = PAGE.read_text(encoding="utf-8")
    for name, text in parts.items():
        page = replaced(page, name, text)
    PAGE.write_text(page, encoding="utf-8")


def replaced(page: str, name: str, text: str) -> str:
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    head, _, rest = page.partition(begin)
    _, found, tail = rest.partition(end)
    if not found:
        sys.exit(f"{PAGE.name}: the marks {begin} and {end} are missing; put them back")
    return f"{head}{begin}\n{text}\n{end}{tail}"


def targets(found: list[dict[str, Any]]) -> str:
    """A list for each benchmark: its tasks, and below each its targets with what was measured."""
    lines = []
    for bench in found:
        lines += ["", f"**{bench['name']}**", ""]
        task = None
        for target in bench.get("targets", ()):
            if target["task"] != task:
                task = target["task"]
                lines += wrapped(f"- {task}")
            measured = "" if target["value"] is None else f"{number(target['value'])}, "
            lines += wrapped(f"  - {target['text']}: {measured}{verdict(target)}")
    return "\n".join(lines) + "\n"


def wrapped(text: str) -> list[str]:
    """Lines of a document, or of one entry of a list."""
    indent = " " * (len(text) - len(text.lstrip(" -")))
    return textwrap.wrap(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def benchmarks(found: list[dict[str, Any]]) -> str:
    parts = []
    for bench in found:
        parts += ["", f"### {bench['name']}", "", *wrapped(facts(bench)), ""]
        parts += [table(task) for task in bench["tasks"]]
        if not any(task["device"] == "cuda" for task in bench["tasks"]):
            parts.append("CUDA: not measured.")
    return "\n".join(parts).rstrip() + "\n"


def facts(bench: dict[str, Any]) -> str:
    machine = bench["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    quick = " Quick run: small data, not a measurement." if bench["quick"] else ""
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['isa']}{gpu}; Python {machine['python']}, {versions}; "
        f"load average {machine['load_average']} at the start, {machine['date']}.{quick}"
    )


if __name__ == "__main__":
    main()
