"""Render the JSON of the benchmarks as the tables of docs/performance.md.

python benchmarks/render.py            rewrites what stands between the marks in docs/performance.md
python benchmarks/render.py --print    prints it
"""

import json
import sys
from pathlib import Path
from typing import Any

from harness import table, verdict

from dataprophet.ops.timing import number

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
    lines = ["", "| operation | task | target | measured | |", "| --- | --- | --- | ---: | --- |"]
    for bench in found:
        for target in bench.get("targets", ()):
            cells = [bench["name"], target["task"], target["text"], number(target["value"]), verdict(target)]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def benchmarks(found: list[dict[str, Any]]) -> str:
    parts = []
    for bench in found:
        parts += ["", f"### {bench['name']}", "", facts(bench), ""]
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
