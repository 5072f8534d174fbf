"""Writes dataprophet/_core.pyi and dataprophet/_cuda.pyi: what the compiled modules take and return, for type checkers.

    python tools/stubs.py          write them (make stubs)
    python tools/stubs.py --check  fail where they are not what the compiled modules say (make lint)

pybind11-stubgen reads the installed modules, whose signatures and documentation stand in csrc/bind. Where the CUDA
module is not built, its stub is left alone, and that is said.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MODULES = ("_core", "_cuda")
HEADER = "# Generated from csrc/bind by tools/stubs.py (make stubs). Do not edit.\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing, and fail where a stub is stale")
    check = parser.parse_args().check
    stale = 0
    for module in MODULES:
        written = ROOT / "dataprophet" / f"{module}.pyi"
        if importlib.util.find_spec(f"dataprophet.{module}") is None:
            print(f"{written.name}: not looked at, since dataprophet.{module} is not built here")
            continue
        text = stub(module)
        if not check:
            written.write_text(text, encoding="utf-8")
        elif not written.exists() or written.read_text(encoding="utf-8") != text:
            print(f"{written.name}: not what the compiled module says; run make stubs")
            stale += 1
    return int(stale > 0)


def stub(module: str) -> str:
    """The stub of a compiled module, formatted as all code is."""
    with tempfile.TemporaryDirectory() as folder:
        run("pybind11_stubgen", f"dataprophet.{module}", "--numpy-array-use-type-var", "--exit-code", "-o", folder)
        text = (Path(folder) / "dataprophet" / f"{module}.pyi").read_text(encoding="utf-8")
    # The values differ from one release and machine to the next.
    text = re.sub(r"^(__version__|architectures): str = .*$", r"\1: str", text, flags=re.MULTILINE)
    return run("ruff", "format", "--stdin-filename", ROOT / "dataprophet" / f"{module}.pyi", "-", given=HEADER + text)


def run(module: str, *arguments: object, given: str = "") -> str:
    """What a Python module prints. -P: the package is the installed one, not the sources beside this folder."""
    command = [sys.executable, "-P", "-m", module, *map(str, arguments)]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, cwd=ROOT)
    if done.returncode:
        raise SystemExit(f"{module} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
