"""Render the JSON of the benchmarks as the tables of docs/performance.md.

python benchmarks/render.py            rewrites what stands between the marks in docs/performance.md
python benchmarks/render.py --print    prints it
"""

import itertools
import json
import sys
import textwrap
from pathlib import Path
from typing import Any

from harness import RESULTS, folder_of, number, table, verdict

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "performance.md"


def main() -> None:
    made = parts()
    if "--print" in sys.argv[1:]:
        print("\n".join(made.values()))
    else:
        PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8"), made), encoding="utf-8")


def parts() -> dict[str, str]:
    """Name of a part of the page -> what the results say. Those of the transfer lab have a page of their own."""
    files = [file for file in RESULTS.glob("*/*.json") if file.parent.name != "transfer"]
    files.sort(key=lambda file: (file.stem, file.parent.name))
    found = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return {"targets": targets(found), "benchmarks": benchmarks(found)}


def rendered(page: str, made: dict[str, str]) -> str:
    """The page with its parts replaced."""
    for name, text in made.items():
        page = replaced(page, name, text)
    return page


def replaced(page: str, name: str, text: str) -> str:
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    head, _, rest = page.partition(begin)
    _, found, tail = rest.partition(end)
    if not found:
        sys.exit(f"{PAGE.name}: the marks {begin} and {end} are missing; put them back")
    return f"{head}{begin}\n{text}\n{end}{tail}"


def targets(found: list[dict[str, Any]]) -> str:
    """A list for each benchmark: its tasks, and below each its targets with what each machine measured."""
    lines = []
    for name, runs in by_name(found):
        lines += ["", f"**{name}**", ""]
        measured: dict[tuple[str, str], list[str]] = {}
        for run in runs:
            for target in run.get("targets", ()):
                value = "" if target["value"] is None else f"{number(target['value'])}, "
                told = measured.setdefault((target["task"], target["text"]), [])
                told.append(f"{short_name(run)} {value}{verdict(target)}")
        task = None
        for (of, text), told in measured.items():
            if of != task:
                task = of
                lines += wrapped(f"- {task}")
            lines += wrapped(f"  - {text}: {'; '.join(told)}")
    return "\n".join(lines) + "\n"


def by_name(found: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
    """The benchmarks, each with its runs on the machines that there were."""
    return [(name, list(runs)) for name, runs in itertools.groupby(found, key=lambda run: run["name"])]


def short_name(run: dict[str, Any]) -> str:
    """First words of the processor's name, and its instruction set, which tells two of one name apart."""
    processor = folder_of({**run["machine"], "isa": "", "gpu": None}).split("-")[:2]
    name = " ".join(processor).title().replace("Amd", "AMD").replace("Epyc", "EPYC")
    return f"{name} {run['machine']['isa']}"


def wrapped(text: str) -> list[str]:
    """Lines of a document, or of one entry of a list."""
    indent = " " * (len(text) - len(text.lstrip(" -")))
    return textwrap.wrap(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def benchmarks(found: list[dict[str, Any]]) -> str:
    parts = []
    for name, runs in by_name(found):
        parts += ["", f"### {name}"]
        for run in runs:
            parts += ["", *wrapped(facts(run)), "", *(table(task) for task in run["tasks"])]
        if not any(task["device"] == "cuda" for run in runs for task in run["tasks"]):
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
