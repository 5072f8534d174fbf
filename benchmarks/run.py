"""Runs benchmarks by name, each in a process of its own, and finds harness.py for them.

python benchmarks/run.py                      every bench_*.py, into benchmarks/results/<processor>
python benchmarks/run.py kmeans nearest       some of them
python benchmarks/run.py kmeans --quick       tries one out; what starts with - goes to the benchmarks
python benchmarks/run.py soak                 any other script of the folders, by the name of its file
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SUPPORT = HERE.parent / "tests" / "support"  # builders that soak.py shares with the tests


def scripts() -> dict[str, Path]:
    """Name -> file; a bench_NAME.py goes by its name."""
    return {file.stem.removeprefix("bench_"): file for file in sorted(HERE.glob("*/*.py"))}


def main() -> int:
    """Run what is asked for; the exit status of the first that fails."""
    first_option = next((place for place, word in enumerate(sys.argv) if word.startswith("-")), len(sys.argv))
    names, flags = sys.argv[1:first_option], sys.argv[first_option:]
    known = scripts()
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"no benchmark {unknown[0]!r}; choose among {', '.join(known)}")
    chosen = [known[name] for name in names] or [file for file in known.values() if file.stem.startswith("bench_")]
    for file in chosen:
        path = os.pathsep.join(map(str, [HERE, file.parent, SUPPORT, *filter(None, [os.environ.get("PYTHONPATH")])]))
        done = subprocess.run([sys.executable, str(file), *flags], env={**os.environ, "PYTHONPATH": path}, check=False)
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
