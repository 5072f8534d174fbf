"""Render the JSON of the benchmarks as the tables of docs/performance.md.

python benchmarks/render.py            rewrites what stands between the marks in docs/performance.md
python benchmarks/render.py --print    prints it
"""

import json
import sys
from pathlib import Path

from harness import table

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"


def main() -> None:
    text = render(sorted((ROOT / "benchmarks" / "results").glob("*.json")))
    if "--print" in sys.argv[1:]:
        print(text)
        return
    page = PAGE.read_text(encoding="utf-8")
    head, _, rest = page.partition(BEGIN)
    _, found, tail = rest.partition(END)
    if not found:
        sys.exit(f"{PAGE.name}: the marks {BEGIN} and {END} are missing; put them back")
    PAGE.write_text(f"{head}{BEGIN}\n{text}\n{END}{tail}", encoding="utf-8")


def render(files: list[Path]) -> str:
    parts = []
    for file in files:
        found = json.loads(file.read_text(encoding="utf-8"))
        parts += ["", f"### {found['name']}", "", facts(found), ""]
        parts += [table(task) for task in found["tasks"]]
        if not any(task["device"] == "cuda" for task in found["tasks"]):
            parts.append("CUDA: not measured.")
    return "\n".join(parts).rstrip() + "\n"


def facts(found: dict) -> str:
    machine = found["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    gpu = f", {machine['gpu']}" if machine["gpu"] else ""
    quick = " Quick run: small data, not a measurement." if found["quick"] else ""
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['isa']}{gpu}; Python {machine['python']}, {versions}; "
        f"load average {machine['load_average']} at the start, {machine['date']}.{quick}"
    )


if __name__ == "__main__":
    main()
