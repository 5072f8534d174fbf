"""The numbers of the house: how many rooms and floors the package has, what runs in circles, and how long it is.

    python tools/house.py          print them
    python tools/house.py --check  and fail where a target is missed (make lint)

Imports are read with grimp, import-linter's library: every import counts, lazy and type-only ones included. They are
those of the installed package, which has dataprophet.kernels; lines are those of this checkout. A part is a file or a
folder of the folder that is looked at; a floor is a part's height above those that import nothing beside them, where
all parts of a circle are on one floor; an import runs up when it goes to a higher layer of the contract in
pyproject.toml. A line of code is neither blank, nor a comment, nor part of a docstring.
"""

from __future__ import annotations

import argparse
import ast
import io
import sys
import tokenize
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "dataprophet"
LOOK_INTO = {"": (20, 11), "data": (12, 9), "scoring": (14, 8)}
"""Folders whose inside is looked at, with the most parts and floors that they may have."""
LOOSE, LINES_OF_PACKAGE, LINES_OF_FILE = 2, 22_550, 400  # the package grows by decision, not by drift
NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}

Edges = Mapping[str, set[str]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="fail where a target is missed")
    check = parser.parse_args().check
    missed = report()
    for problem in missed if check else []:
        print(f"missed: {problem}")
    return int(check and bool(missed))


def report() -> list[str]:
    """Print the numbers, and return the targets that they miss."""
    # Of the installed package: the folder of this checkout is not on the path under -P, nor is dataprophet beside us.
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    missed = []
    loose = loose_modules(ROOT / PACKAGE)
    expect(missed, len(loose) <= LOOSE, f"loose modules in {PACKAGE}/: {len(loose)} ({', '.join(loose)})", LOOSE)
    for folder, most in LOOK_INTO.items():
        edges = parts(graph, ".".join(filter(None, (PACKAGE, folder))))
        found = circles(edges)
        size = len(edges), len(set(floors(edges).values()))
        fits = size[0] <= most[0] and size[1] <= most[1]
        expect(missed, fits, f"{folder or PACKAGE}: {size[0]} parts on {size[1]} floors", most)
        shown = "; ".join(" - ".join(sorted(circle)) for circle in found)
        expect(missed, not found, f"{folder or PACKAGE}: circles: {len(found)} {shown}".rstrip(), 0)
    upward = imports_up(parts(graph, PACKAGE), layers(ROOT / "pyproject.toml"))
    expect(missed, not upward, f"imports that run up: {len(upward)} {', '.join(upward)}".rstrip(), 0)
    counts = {path.relative_to(ROOT): lines_of_code(path) for path in python_files(ROOT)}
    folders: Counter[str] = Counter()
    for path, lines in counts.items():
        folders["/".join(path.parts[:2]) if len(path.parts) > 2 else path.parts[0]] += lines
    for folder, lines in sorted(folders.items()):
        print(f"{lines:6,} lines of code in {folder}")
    package = sum(lines for path, lines in counts.items() if path.parts[0] == PACKAGE)
    expect(missed, package <= LINES_OF_PACKAGE, f"lines of code of the package: {package:,}", LINES_OF_PACKAGE)
    for top in ("tests", "benchmarks", "tools", "kernels"):
        print(f"lines of code of {top}: {sum(lines for path, lines in counts.items() if path.parts[0] == top):,}")
    cpp = [path for path in (ROOT / "csrc").rglob("*") if path.is_file()]
    print(f"lines of csrc: {sum(map(length, cpp)):,}")
    for path in counts:
        if length(ROOT / path) > LINES_OF_FILE:
            expect(missed, False, f"{path}: {length(ROOT / path)} lines", LINES_OF_FILE)
    return missed


def expect(missed: list[str], holds: bool, fact: str, target: int | tuple[int, int]) -> None:
    print(fact)
    if not holds:
        most = f"{target:,}" if isinstance(target, int) else " on ".join(map(str, target))
        missed.append(f"{fact} (at most {most})")


def loose_modules(package: Path) -> list[str]:
    """Python files beside the package's folders, but for __init__.py."""
    return sorted(path.name for path in package.glob("*.py") if path.name != "__init__.py")


def parts(graph: grimp.ImportGraph, folder: str) -> Edges:
    """Files and folders of a package, and which of them each imports."""
    names = sorted(graph.find_children(folder))
    inside = {name: {name, *graph.find_descendants(name)} for name in names}
    home = {module: name for name, modules in inside.items() for module in modules}
    return {
        name: {
            home[imported]
            for module in modules
            for imported in graph.find_modules_directly_imported_by(module)
            if home.get(imported, name) != name
        }
        for name, modules in inside.items()
    }


def circles(edges: Edges) -> list[set[str]]:
    """Parts that import each other, directly or through others: each set of two or more."""
    reached = {name: reach(edges, name) for name in edges}
    found = [{other for other in reached[name] if name in reached[other]} for name in edges if name in reached[name]]
    return [circle for i, circle in enumerate(found) if circle not in found[:i]]


def reach(edges: Edges, start: str) -> set[str]:
    """All parts that one imports, directly or through others."""
    found: set[str] = set()
    left = [start]
    while left:
        new = edges[left.pop()] - found
        found |= new
        left += new
    return found


def floors(edges: Edges) -> dict[str, int]:
    """The height of each part above those that import nothing: one more than the highest that it stands on."""
    reached = {name: reach(edges, name) for name in edges}
    heights: dict[str, int] = {}
    for name in sorted(edges, key=lambda part: len(reached[part] | {part})):
        below = [heights[other] for other in reached[name] if name not in reached[other] and other != name]
        heights[name] = 1 + max(below, default=-1)
    return heights


def layers(settings: Path) -> dict[str, int]:
    """The layer of each part of the package by the contract of import-linter, counted from the top."""
    contracts = tomllib.loads(settings.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    order = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return {name.strip(): place for place, layer in enumerate(order) for name in layer.split("|")}


def imports_up(edges: Edges, order: Mapping[str, int]) -> list[str]:
    """Imports from a layer to one above it, or to another part of its own."""
    short = {name: name.rpartition(".")[2] for name in edges}
    return [
        f"{short[name]} -> {short[other]}"
        for name, imported in edges.items()
        for other in sorted(imported)
        if order.get(short[name], -1) >= order.get(short[other], len(order))
    ]


def python_files(root: Path) -> Iterable[Path]:
    for top in (PACKAGE, "kernels", "tests", "benchmarks", "tools"):
        yield from sorted(path for path in (root / top).rglob("*.py") if "__pycache__" not in path.parts)


def lines_of_code(path: Path) -> int:
    source = path.read_text(encoding="utf-8")
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node, clean=False) is not None:
            docstrings.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NO_CODE:
            code.update(range(token.start[0], token.end[0] + 1))
    return len(code - docstrings)


def length(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


if __name__ == "__main__":
    sys.exit(main())
